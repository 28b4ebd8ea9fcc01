//! Who counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that a provider hands out as a whole.
//!
//! Invariant: two clients of different families are never one.

use std::net::IpAddr;
use std::num::NonZeroU64;

/// One client, as far as its connections and requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(NonZeroU64);

/// The upper half of what stands for an IPv4 address: a prefix of multicast addresses, from which nobody connects.
const IPV4: u64 = 0xFFFF_FFFF_0000_0000;

impl Client {
    /// The client at this address.
    pub fn of(address: IpAddr) -> Client {
        let prefix = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                u64::try_from(address.to_bits() >> 64).expect("the upper half of 128 bits fits into 64")
            }
        };
        // Inverted, for `::1` is a client, and all ones is none but the limited broadcast of IPv4.
        Client(NonZeroU64::new(!prefix).unwrap_or(NonZeroU64::MIN))
    }

    /// The number that stands for it.
    pub(super) fn number(self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_one_client() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "127.0.0.1", false),
            ("::1", "255.255.255.255", false),
        ] {
            let of = |text: &str| Client::of(text.parse().expect("each row is an address"));
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }
}
