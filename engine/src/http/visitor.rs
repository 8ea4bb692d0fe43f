//! The streams that come to the side door.

use throng_transport::{Socket, StdStream};

/// A stream that can be served here.
pub(crate) enum Visitor {
    Plain(StdStream),
    #[cfg(feature = "tls")]
    Secure(Box<throng_transport::tls::TlsStream>),
}

impl Visitor {
    /// What a driver gave away; `None` when nobody here knows it.
    pub(crate) fn new(socket: Socket) -> Option<Visitor> {
        match socket.into_std() {
            Ok(stream) => Some(Visitor::Plain(stream)),
            #[cfg(feature = "tls")]
            Err(foreign) => foreign
                .into_foreign()
                .ok()
                .map(|stream| Visitor::Secure(Box::new(stream))),
            #[cfg(not(feature = "tls"))]
            Err(_) => None,
        }
    }
}

impl From<StdStream> for Visitor {
    fn from(stream: StdStream) -> Visitor {
        Visitor::Plain(stream)
    }
}
