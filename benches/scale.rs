//! Do two workers serve more than one? `cargo bench --bench scale`
//!
//! Starts the server with one worker and with two, in turn, and loads both from one thread that
//! spends as little as it can on each answer: content is dropped by the kernel (MSG_TRUNC) and
//! never copied out. A load generator that parses needs as much CPU as the server, and on two
//! cores would measure itself.
//!
//! Prints medians over the rounds and their ratio. Nothing passes or fails here.

use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

struct Scenario {
    name: &'static str,
    path: &'static str,
    connections: usize,
    /// Requests in one write.
    batch: usize,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "index, 34 bytes", path: "/httptest/dir2/", connections: 64, batch: 1 },
    Scenario { name: "index, 16 pipelined", path: "/httptest/dir2/", connections: 64, batch: 16 },
    Scenario { name: "page, 954824 bytes", path: "/httptest/wikipedia_russia.html", connections: 16, batch: 1 },
];

fn main() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/httptest/docroot");
    println!("{:22} {:>12} {:>12} {:>7}", "answers a second", "1 worker", "2 workers", "ratio");
    for scenario in &SCENARIOS {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (rates, workers) in rates.iter_mut().zip(["1", "2"]) {
                let server = Server::start(root, workers);
                rates.push(load(&server.address, scenario));
            }
        }
        let [one, two] = rates.map(median);
        println!("{:22} {one:>12.0} {two:>12.0} {:>7.2}", scenario.name, two / one);
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Answers a second that the server at `address` gave.
fn load(address: &str, scenario: &Scenario) -> f64 {
    let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", scenario.path);
    let answer_bytes = answer_bytes(address, &request);
    let batch = request.repeat(scenario.batch);
    let batch_bytes = answer_bytes * scenario.batch;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll is there");
    let mut peers = Vec::new();
    for number in 0..scenario.connections {
        let stream = TcpStream::connect(address).expect("the server listens");
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).expect("a socket can be waited for");
        send(&stream, batch.as_bytes(), SendFlags::NOSIGNAL).expect("a fresh socket takes a request");
        peers.push((stream, batch_bytes));
    }
    let mut answers = 0;
    let mut events = Vec::with_capacity(scenario.connections);
    // With MSG_TRUNC nothing is written to it; its length says how much may be dropped at once.
    let mut dropped = vec![0; 1 << 20];
    let begin = Instant::now();
    while begin.elapsed() < ROUND {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).expect("waiting works");
        for event in &events {
            let (stream, left) = &mut peers[event.data.u64() as usize];
            let (_, count) = recv(&*stream, &mut dropped[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)
                .expect("the server sends what it promised");
            assert!(count > 0, "the server closed");
            *left -= count;
            if *left == 0 {
                answers += scenario.batch;
                *left = batch_bytes;
                send(&*stream, batch.as_bytes(), SendFlags::NOSIGNAL).expect("an idle socket takes a request");
            }
        }
    }
    answers as f64 / begin.elapsed().as_secs_f64()
}

/// The length of one answer, head and content.
fn answer_bytes(address: &str, request: &str) -> usize {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let last = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream.write_all(last.as_bytes()).expect("a fresh socket takes a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    answer.len() + "keep-alive".len() - "close".len()
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(root: &str, workers: &str) -> Server {
        // Started as root it would serve as another user, who may not enter the directory of the bench.
        let user: &[&str] = if rustix::process::geteuid().is_root() { &["--user", "root"] } else { &[] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_otus-httpd"))
            .args(user)
            .args(["-c", "/dev/null", "-a", "127.0.0.1", "-p", "0", "-r", root, "-w", workers])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server was built with the bench");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped above");
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.expect("the line names the address").to_owned();
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
