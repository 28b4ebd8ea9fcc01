//! The PROXY header that a load balancer puts in front of a connection: whom it speaks for.
//!
//! Invariant: nobody is believed but the proxies that the configuration names, and nothing is answered on a connection
//! whose header is missing or malformed: it did not come by the way that it should have.

use super::close::Close;
use super::inbox::{Fill, Inbox};
use super::phase::Phase;
use super::roster::Place;
use crate::http::proxy_header::{self, Parse, ProxyHeader};
use crate::shard::{Peer, Shard};
use crate::socket::Stream;
use std::net::IpAddr;
use std::rc::Rc;

/// Reads the header, and gives the address of the client.
pub(super) async fn client(
    stream: &mut Stream,
    peer: &Peer,
    shard: &Rc<Shard>,
    place: &Place,
    inbox: &mut Inbox,
) -> Result<Option<IpAddr>, Close> {
    let service = shard.served(peer.listener).service;
    if !service.trusts(peer) {
        if service.admits_message() {
            let reason = "no_proxy";
            tracing::info!(peer = ?peer.address, reason, "closed: it is not one of the proxies of `real_ip_from`");
        }
        return Err(Close::Distrusted);
    }
    loop {
        match proxy_header::parse(inbox.unread()) {
            Ok(Parse::Complete { header, len }) => {
                inbox.consume(len);
                if place.phase() == Phase::Head {
                    // The client behind the proxy has sent nothing yet.
                    place.begin(Phase::Fresh);
                }
                return Ok(match header {
                    // The proxy's own connection, to see whether we live.
                    ProxyHeader::Local => peer.address,
                    ProxyHeader::Proxied { source, .. } => Some(source.ip().to_canonical()),
                    ProxyHeader::Unix => None,
                });
            }
            Ok(Parse::Partial) => {
                if !inbox.unread().is_empty() && place.phase() != Phase::Head {
                    place.begin(Phase::Head);
                }
                if inbox.fill(stream, shard, place).await? == Fill::End {
                    return Err(if inbox.unread().is_empty() { Close::ByPeer } else { Close::MidHead });
                }
            }
            Err(bad) => {
                if service.admits_message() {
                    tracing::info!(peer = ?peer.address, reason = "proxy_header", "closed: {bad}");
                }
                return Err(Close::Distrusted);
            }
        }
    }
}

// A header must fit into the first buffer, which need not grow for it.
const _: () = assert!(proxy_header::BYTES_MAX <= crate::shard::BUFFER_BYTES);
