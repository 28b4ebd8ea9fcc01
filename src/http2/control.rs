//! Frames that are about a connection or a stream and no part of a request: settings, windows, priorities, pings, resets.
//!
//! Invariant: each kind that costs more than it says is counted ([`Flood`](super::flood::Flood)).

use super::connection::{Connection, Event, Going, NOTICE, Received, TableSizes};
use super::error::{ConnectionError, ErrorCode};
use super::flood::Nuisance;
use super::frame::{self, FrameHead, WINDOW_MAX};
use super::priority::Priority;
use super::streams::Named;

/// Identifiers of settings (RFC 9113 §6.5.2).
const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 9218 §2.1
pub(super) const NO_RFC7540_PRIORITIES: u16 = 0x9;

impl Connection {
    pub(super) fn take_priority(&mut self, head: FrameHead, payload: &[u8]) -> Received {
        self.flood.count(Nuisance::Priority, self.now)?;
        if head.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY on no stream"));
        }
        let Ok(dependency) = payload.try_into() else { return Err(ConnectionError::size("PRIORITY of a wrong size")) };
        // The priorities of RFC 7540, which RFC 9113 §5.3 has done away with.
        depends_on_another(head.stream, dependency).map(|()| None)
    }

    /// RFC 9218 §7.1
    pub(super) fn take_priority_update(&mut self, head: FrameHead, payload: &[u8]) -> Received {
        self.flood.count(Nuisance::Priority, self.now)?;
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE on a stream"));
        }
        let Some((id, value)) = payload.split_first_chunk::<4>() else {
            return Err(ConnectionError::size("PRIORITY_UPDATE is too short"));
        };
        let id = frame::number_of_31_bits(id);
        if id % 2 == 0 {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE of a stream that is not a client's"));
        }
        let priority = Priority::parse(value);
        match self.streams.find(id) {
            Named::Open(key) => self.streams.get_mut(key).priority = priority,
            Named::Idle if !self.streams.put_ahead(id, priority, self.limits.streams_max as usize) => {
                return Err(ConnectionError::protocol("PRIORITY_UPDATE of more streams than there may be"));
            }
            _ => {}
        }
        Ok(None)
    }

    pub(super) fn take_reset(&mut self, head: FrameHead, payload: &[u8]) -> Received {
        if payload.len() != 4 {
            return Err(ConnectionError::size("RST_STREAM of a wrong size"));
        }
        self.flood.count(Nuisance::Reset, self.now)?;
        match self.streams.find(head.stream) {
            _ if head.stream == 0 => Err(ConnectionError::protocol("RST_STREAM on no stream")),
            Named::Idle => Err(ConnectionError::protocol("RST_STREAM on a stream that was not begun")),
            Named::Open(key) => {
                self.streams.end(key, false);
                Ok(Some(Event::Ended(key)))
            }
            Named::Reset | Named::Ended | Named::Forgotten => Ok(None),
        }
    }

    pub(super) fn take_settings(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        if head.has(frame::ACK) {
            return if payload.is_empty() {
                Ok(None)
            } else {
                Err(ConnectionError::size("an acknowledgement with settings"))
            };
        }
        if payload.len() % 6 != 0 {
            return Err(ConnectionError::size("SETTINGS of a wrong size"));
        }
        self.flood.count(Nuisance::Settings, self.now)?;
        self.has_settings = true;
        for setting in payload.chunks_exact(6) {
            self.set(u16::from_be_bytes([setting[0], setting[1]]), frame::number(&setting[2..]))?;
        }
        frame::write_settings_ack(out);
        Ok(None)
    }

    /// One setting of the peer (RFC 9113 §6.5.2).
    fn set(&mut self, identifier: u16, value: u32) -> Result<(), ConnectionError> {
        match identifier {
            HEADER_TABLE_SIZE => {
                let smallest = self.table_bytes_max.map_or(value, |sizes| sizes.smallest.min(value));
                self.table_bytes_max = Some(TableSizes { smallest, last: value });
            }
            ENABLE_PUSH if value > 1 => {
                return Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH is neither 0 nor 1"));
            }
            INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                let change = window - self.streams.initial_window;
                self.streams.initial_window = window;
                let largest = self.streams.iter().map(|(_, stream)| stream.send_window).max().unwrap_or(0);
                if window > WINDOW_MAX || largest + change > WINDOW_MAX {
                    return Err(ConnectionError::new(ErrorCode::FlowControlError, "a window that is too large"));
                }
                for (_, stream) in self.streams.iter_mut() {
                    stream.send_window += change;
                }
            }
            MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                return Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE is out of bounds"));
            }
            // We send no larger frames than everybody takes, and push nothing. Others are ignored (RFC 9113 §6.5.2).
            _ => {}
        }
        Ok(())
    }

    pub(super) fn take_ping(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        let Ok(opaque) = <&[u8; 8]>::try_from(payload) else {
            return Err(ConnectionError::size("PING of a wrong size"));
        };
        if head.has(frame::ACK) {
            return Ok((*opaque == NOTICE && self.going == Going::Noticed).then_some(Event::NoticeSeen));
        }
        self.flood.count(Nuisance::Ping, self.now)?;
        frame::write_ping(true, opaque, out);
        Ok(None)
    }

    pub(super) fn take_window_update(&mut self, head: FrameHead, payload: &[u8], out: &mut Vec<u8>) -> Received {
        let Ok(increment) = <[u8; 4]>::try_from(payload).map(u32::from_be_bytes) else {
            return Err(ConnectionError::size("WINDOW_UPDATE of a wrong size"));
        };
        self.flood.count(Nuisance::Window, self.now)?;
        let increment = i64::from(increment & 0x7fff_ffff);
        if head.stream == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("a window that is opened by nothing"));
            }
            self.send_window += increment;
            if self.send_window > WINDOW_MAX {
                return Err(ConnectionError::new(ErrorCode::FlowControlError, "a window that is too large"));
            }
            return Ok(None);
        }
        match self.streams.find(head.stream) {
            Named::Idle => Err(ConnectionError::protocol("WINDOW_UPDATE on a stream that was not begun")),
            Named::Open(key) if increment == 0 => self.break_off(key, ErrorCode::ProtocolError, out),
            Named::Open(key) => {
                let stream = self.streams.get_mut(key);
                stream.send_window += increment;
                if stream.send_window > WINDOW_MAX {
                    return self.break_off(key, ErrorCode::FlowControlError, out);
                }
                Ok(None)
            }
            Named::Reset | Named::Ended | Named::Forgotten => Ok(None),
        }
    }
}

/// RFC 7540 §5.3.1: a stream cannot depend on itself.
pub(super) fn depends_on_another(stream: u32, dependency: &[u8; 5]) -> Result<(), ConnectionError> {
    if frame::number_of_31_bits(dependency) == stream {
        return Err(ConnectionError::protocol("a stream that depends on itself"));
    }
    Ok(())
}
