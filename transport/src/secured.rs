//! What a layer that secures a connection knows of its peer.

/// What was agreed on before the first byte of a secured connection, and who the peer proved to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secured {
    /// The name of the server that the peer asked for (SNI), in lower case; the peer's to choose.
    pub server_name: Option<Box<str>>,
    /// The peer's certificate and those that lead to its authority, as DER; empty when it showed
    /// none. They were verified.
    pub peer_certificates: Vec<Box<[u8]>>,
    /// Whether an earlier session was resumed, which spares most of the work.
    pub is_resumed: bool,
}
