//! Why an address cannot be listened on, and what to do about it.
//!
//! Order: the number of the error says which case it is · [`holder`] names the program that is in the way.
//!
//! Invariant: each explanation is one line with a remedy.

use super::{Address, Listen, StartError, holder};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::Path;

/// The number of an error.
pub(super) fn errno(error: &std::io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Whether the machine lacks the address or its whole family.
pub(super) fn is_absent(error: &std::io::Error) -> bool {
    matches!(errno(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

pub(super) fn explain(listen: &Listen, error: &std::io::Error) -> StartError {
    match &listen.address {
        Address::Tcp(address) => explain_tcp(*address, error),
        Address::Unix(path) => explain_unix(path, error),
    }
}

pub(super) fn explain_unix(path: &Path, error: &std::io::Error) -> StartError {
    let holder = holder::of_unix(path);
    let path = path.display();
    StartError(match errno(error) {
        Some(Errno::ADDRINUSE) => match holder {
            Some(holder) => {
                format!("unix:{path}: another program listens there ({holder}); stop it, or choose another path")
            }
            None => format!(
                "unix:{path}: another program listens there, or the file is no socket; remove it or choose another"
            ),
        },
        Some(Errno::NOENT | Errno::NOTDIR) => format!("unix:{path}: its directory does not exist; make it first"),
        Some(Errno::ACCESS | Errno::PERM) => {
            format!("unix:{path}: permission denied; let the server's user write to the directory")
        }
        _ => format!("unix:{path}: cannot listen: {error}"),
    })
}

pub(super) fn explain_tcp(address: SocketAddr, error: &std::io::Error) -> StartError {
    let port = address.port();
    StartError(match errno(error) {
        Some(Errno::ADDRINUSE) => match holder::of_tcp(address) {
            Some(holder) if holder.is_self() => format!(
                "{address}: this process listens there already, by another address of `listen`; leave one of the two out"
            ),
            Some(holder) if holder.is_server() => format!(
                "{address}: another program listens there ({holder}); stop it, or choose another port with --port, or ask \
                 with --reload-check whether it would take this configuration"
            ),
            Some(holder) => format!(
                "{address}: another program listens there ({holder}); stop it, or choose another port with --port"
            ),
            None => format!(
                "{address}: another program listens there (`ss -ltnp 'sport = :{port}'` names it); stop it, or choose \
                 another port with --port"
            ),
        },
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "{address}: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE, others do not \
             (--port 8080)"
        ),
        Some(Errno::ADDRNOTAVAIL) => {
            format!("{address}: this machine has no such address (`ip address` lists them); choose with --address")
        }
        Some(Errno::AFNOSUPPORT) => format!("{address}: the kernel has no IPv6; choose an IPv4 address with --address"),
        _ => format!("{address}: cannot listen: {error}"),
    })
}
