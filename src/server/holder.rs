//! Who holds an address that we cannot have: the program and its PID, as /proc tells them.
//!
//! Order: the table of sockets gives the inode of the one that listens, and the descriptors of all processes that we may look
//! into give its holder.
//!
//! Invariant: what cannot be found out is left unsaid.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    program: String,
    pid: u32,
}

impl Holder {
    /// Whether it is a server of this kind, for which a configuration may be checked while it runs.
    pub(super) fn is_server(&self) -> bool {
        self.program == env!("CARGO_PKG_NAME")
    }

    /// Whether it is this process.
    pub(super) fn is_self(&self) -> bool {
        self.pid == std::process::id()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, PID {}", self.program, self.pid)
    }
}

/// Who listens where `address` would.
pub(super) fn of_tcp(address: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<u64> = tables.iter().flat_map(|table| listening(table, address)).collect();
    with_socket(&inodes)
}

/// Who listens on the Unix socket at `path`.
pub(super) fn of_unix(path: &Path) -> Option<Holder> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    with_socket(&listening_unix(&table, path).collect::<Vec<_>>())
}

/// The state LISTEN in the tables of proc(5).
const LISTEN: &str = "0A";

/// Inodes of the sockets in this table (/proc/net/tcp or tcp6) that keep `address` from being bound.
fn listening(table: &str, address: SocketAddr) -> impl Iterator<Item = u64> + '_ {
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let inode = words.nth(5)?.parse().ok()?;
        let (ip, port) = local.split_once(':')?;
        let (ip, port) = (ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
        let is_in_the_way = ip == address.ip()
            || (ip.is_unspecified() && (ip.is_ipv6() || address.is_ipv4()))
            || (address.ip().is_unspecified() && ip.is_ipv4() == address.is_ipv4());
        (state == LISTEN && port == address.port() && is_in_the_way).then_some(inode)
    })
}

/// An address of these tables: words of 32 bits in the byte order of the machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (part, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
        part.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

/// __SO_ACCEPTCON in the flags of /proc/net/unix.
const ACCEPTS: u64 = 1 << 16;

fn listening_unix<'a>(table: &'a str, path: &'a Path) -> impl Iterator<Item = u64> + 'a {
    table.lines().skip(1).filter_map(move |line| {
        // Num: RefCount Protocol Flags Type St Inode Path, where the path may hold spaces.
        let mut words = line.split_ascii_whitespace();
        let flags = u64::from_str_radix(words.nth(3)?, 16).ok()?;
        let inode = words.nth(2)?;
        let name = line.split_once(&format!(" {inode} "))?.1;
        (flags & ACCEPTS != 0 && Path::new(name) == path).then(|| inode.parse().ok()).flatten()
    })
}

/// A process that has one of these sockets open.
fn with_socket(inodes: &[u64]) -> Option<Holder> {
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        targets.any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
    })?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // A process names itself as it likes.
    let program = name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(Holder { program, pid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn tables_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: \
                   0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n   1: \
                   00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0\n   2: \
                   0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0\n   3: \
                   00000000000000000000000000000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 \
                   00:00000000 00000000     0        0 444 1 0 100 0 0 10 0\n";
        let found = |address: &str| listening(tcp, address.parse().expect(address)).collect::<Vec<_>>();
        for (address, expected) in [
            ("127.0.0.1:8080", &[111][..]),
            ("0.0.0.0:8080", &[111]),
            ("127.0.0.2:8080", &[]),
            ("[::]:8080", &[]),
            ("10.0.0.1:80", &[222]),
            ("[::1]:80", &[]),
            ("[::1]:81", &[444]),
            ("127.0.0.1:81", &[444]),
        ] {
            // The words of a table are written in the order of the machine, and these are of a little-endian one.
            if cfg!(target_endian = "little") {
                assert_eq!(found(address), expected, "{address}");
            }
        }
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 555 /run/a b\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 666 /run/a b\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 777\n";
        assert_eq!(listening_unix(unix, Path::new("/run/a b")).collect::<Vec<_>>(), [555]);
        assert_eq!(listening_unix(unix, Path::new("/run/a")).count(), 0);
    }

    #[test]
    fn a_listener_of_ours_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let holder = of_tcp(address).expect("we may look into ourselves");
        assert!(holder.is_self() && holder.to_string().ends_with(&format!(", PID {}", std::process::id())), "{holder}");
        drop(listener);
    }
}
