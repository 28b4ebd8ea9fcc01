//! What goes wrong, and whom it ends: the connection, or one stream (RFC 9113 §5.4, §7).

/// Why a connection or a stream ends, as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError = 0x0,
    /// A rule of the protocol was broken.
    ProtocolError = 0x1,
    /// The server failed.
    InternalError = 0x2,
    /// More was sent than a window allowed.
    FlowControlError = 0x3,
    /// A frame for a stream that has ended.
    StreamClosed = 0x5,
    /// A frame of a size that its kind cannot have.
    FrameSizeError = 0x6,
    /// The stream was not begun, and may be asked for again.
    RefusedStream = 0x7,
    /// The stream is not wanted any more.
    Cancel = 0x8,
    /// The two sides do not agree on what was indexed any more.
    CompressionError = 0x9,
    /// The peer asks for too much.
    EnhanceYourCalm = 0xb,
}

/// The end of a connection: a GOAWAY with the code is owed to the peer, and nothing more is read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} ({code:?})")]
pub struct ConnectionError {
    /// What the GOAWAY says.
    pub code: ErrorCode,
    /// The same in words, for the log.
    pub why: &'static str,
}

impl ConnectionError {
    /// An error of this code, in these words.
    pub(super) const fn new(code: ErrorCode, why: &'static str) -> ConnectionError {
        ConnectionError { code, why }
    }

    /// A rule of the protocol was broken.
    pub(super) const fn protocol(why: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::ProtocolError, why)
    }

    /// A frame of a size that its kind cannot have.
    pub(super) const fn size(why: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::FrameSizeError, why)
    }

    /// The peer asks for too much.
    pub(super) const fn calm(why: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::EnhanceYourCalm, why)
    }
}
