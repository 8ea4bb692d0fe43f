//! RFC 6455 without I/O: bytes come in as slices, events and bytes go out.
//!
//! Nothing here opens a socket, reads a clock or draws randomness, and no byte from a peer can
//! panic. A connection's life is [`handshake`] first, then a [`message::Decoder`] for what
//! arrives and [`frame::write_server_header`] for what is sent, and [`close`] at the end. What a
//! peer did wrong is a [`fault::Fault`]. What a client sends, and fragments of either side, an
//! [`encoder::Encoder`] writes.

pub mod close;
pub mod encoder;
pub mod fault;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
pub mod utf8;

/// Which side of the connection this program is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Frames that arrive are masked, frames sent are not (RFC 6455 §5.1).
    #[default]
    Server,
    /// Frames that arrive are not masked, frames sent are.
    Client,
}
