//! The keys of `[admin]`: where administrators come in.
//!
//! Invariant: an address that others than this machine can reach is refused unless it was asked for in so many words.

use super::keys;
use super::table::{Problem, Table, Value};
use super::value;
use crate::server::{Address, admin};

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 8081;

/// The door for administrators; none, where there is no `[admin]`.
pub(super) fn admin(table: &Table<'_>) -> Result<admin::Options, Problem> {
    let Some(written) = table.get("admin") else {
        return Ok(admin::Options { listen: Vec::new(), is_public: false });
    };
    let known: Vec<&str> = keys::names(keys::ADMIN).collect();
    let table = written.table(&known)?;
    let is_public = table.read("public", |value| value.boolean())?.unwrap_or(false);
    // One that says nothing else says that there is none.
    let listen = match (table.get("listen"), written.entries()?.is_empty()) {
        (None, true) => Vec::new(),
        _ => addresses(table.required("listen", written.span())?, is_public)?,
    };
    Ok(admin::Options { listen, is_public })
}

fn addresses(value: Value<'_>, is_public: bool) -> Result<Vec<Address>, Problem> {
    let mut addresses = Vec::new();
    for one in value.one_or_list() {
        let text = one.text()?;
        for listen in
            value::listen(text, DEFAULT_PORT, one.world()).map_err(|what| one.wrong(format!("{text:?}: {what}")))?
        {
            if listen.is_proxied {
                return Err(one.wrong("proxy_protocol is not understood here"));
            }
            if listen.is_tls {
                return Err(one.wrong("tls is not understood here"));
            }
            if let Address::Tcp(address) = listen.address {
                if !address.ip().to_canonical().is_loopback() && !is_public {
                    return Err(one.wrong(format!(
                        "{address} can be reached from other machines, and the admin listener asks for no password; name \
                         \"unix:/run/otus-httpd/admin.sock\" or an address such as \"127.0.0.1:{DEFAULT_PORT}\", or set `public = true`"
                    )));
                }
            }
            if !addresses.contains(&listen.address) {
                addresses.push(listen.address);
            }
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, check_text};
    use crate::cli::Args;

    #[test]
    fn only_this_machine_comes_in_unless_it_is_said() {
        for (file, named) in [
            ("listen = '127.0.0.1:9'", None),
            ("listen = '[::1]:9'", None),
            ("listen = ['unix:/run/a.sock', '127.0.0.2']", None),
            ("listen = '0.0.0.0:9'\npublic = true", None),
            ("listen = []", None),
            ("", None),
            ("public = true", Some("`listen` is missing")),
            ("listen = '0.0.0.0:9'", Some("can be reached from other machines")),
            ("listen = '9090'", Some("can be reached from other machines")),
            ("listen = '[::]:9'", Some("can be reached from other machines")),
            ("listen = '192.0.2.1:9'\npublic = false", Some("can be reached from other machines")),
            ("listen = '127.0.0.1:9 proxy_protocol'", Some("proxy_protocol")),
            ("listen = 'here'", Some("not an address")),
            ("listen = 5", Some("expected a text")),
            ("listen = '127.0.0.1'\npublic = 'yes'", Some("expected true or false")),
            ("lsiten = '127.0.0.1'", Some("did you mean `listen`?")),
        ] {
            let outcome = check_text(&format!("[admin]\n{file}"));
            match named {
                None => assert_eq!(outcome, Ok(()), "{file}"),
                Some(named) => assert!(outcome.as_ref().is_err_and(|line| line.contains(named)), "{file}: {outcome:?}"),
            }
        }
        let file = "drain_delay = 3\n[admin]\nlisten = ['127.0.0.1', '127.0.0.1:8081', 'unix:/x']";
        let options = Config::of_text(&Args::default(), file, "test").expect("valid").server_options();
        assert_eq!(options.drain_delay.as_secs(), 3);
        let listen: Vec<_> = options.admin.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:8081", "unix:/x"]);
    }
}
