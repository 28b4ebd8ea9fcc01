//! What happens to the server while browsers are at work: many connections of HTTP/2, with many requests on each.
//!
//! Invariant: no request fails, whatever an administrator does that is to go unnoticed.

use crate::harness::server::Setup;
use crate::harness::site::write;
use crate::harness::streams::Streams;
use crate::harness::{Server, Site, eventually};
use rustix::process::Signal;

const CONNECTIONS: usize = 50;
const STREAMS: usize = 20;
/// Answers between two events: one, on average, for each request that is under way.
const ROUND: usize = CONNECTIONS * STREAMS;

/// Content that a worker holds, that all share, and that comes from disk.
fn at_work(site: &Site, server: &Server) -> Streams {
    let lengths = [200, 900, 5000, 5000, 20_000, 60_000, 200_000, 700_000];
    let known = lengths.iter().enumerate().map(|(number, length)| {
        let name = format!("{number}.bin");
        let content = site.pattern(&name, *length);
        (format!("/{name}"), content)
    });
    Streams::start(server.address(), known.collect(), CONNECTIONS, STREAMS)
}

#[test]
fn a_reload_fails_no_request_of_browsers() {
    let site = Site::new();
    let file = site.outside().join("changing.conf");
    let text = format!(
        "workers = 2\ndrain_timeout = 20\nh2c = true\nlisten = '127.0.0.1:0'\nroot = '{}'\ncache_file_size_max = '512k'\n",
        site.root().display()
    );
    write(&file, &text);
    let server = Setup::flags([""; 0]).config_file(&file).start();
    let browsers = at_work(&site, &server);
    browsers.wait_for_more(ROUND);
    for reload in 1..=3 {
        write(&file, format!("{text}headers = [{{ set = {{ X-Reload = '{reload}' }} }}]\n"));
        server.signal(Signal::HUP);
        eventually("the reload", || server.log().matches("reloaded in").count() == reload);
        browsers.wait_for_more(ROUND);
    }
    assert!(browsers.connections() > CONNECTIONS, "{} connections", browsers.connections());
    assert_eq!(browsers.end(), [""; 0]);
}
