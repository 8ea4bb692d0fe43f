//! What a request for an upgrade comes to, whoever has read it: a shard, or hyper in front of the engine.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;
use throng_transport::{Peer, Secured};

use crate::address::Counted;
use crate::budget::Pressure;
use crate::config::{Compression, Config};
use crate::event::{ErrorKind, Rejection};
use crate::handler::{Accept, Reject, Upgrade};
use crate::limits::RETRY_AFTER_SECONDS;
use crate::protocol::deflate::{Accepted, negotiate};
use crate::protocol::handshake::{Refusal, UpgradeRequest, check_header, choose_protocol};
use crate::shard::{Foreign, NO_PROTOCOL, Particulars, guard};
use crate::shared::{Seat, Shared};

/// What clients are told once a drain has begun.
pub(crate) const GOING_DOWN: &str = "the server is going down";

/// What clients are told where the memory budget is nearly used up.
pub(crate) const SHORT_OF_MEMORY: &str = "the server is short of memory";

/// What clients are told beyond `max_connections`.
pub(crate) const FULL: &str = "the server is full";

/// What clients are told beyond `max_connections_per_ip`.
const TOO_MANY_OF_ONE: &str = "too many connections from this address";

/// What clients are told beyond `max_handshakes`.
pub(crate) const TOO_MANY_HANDSHAKES: &str = "too many are asking at once";

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// A request for an upgrade, which obeys RFC 6455, and what is known of who sent it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a UpgradeRequest<'a, 'a>,
    /// `None` where nobody has said.
    pub(crate) peer: Option<Peer>,
    /// The client's address, as a header of the PROXY protocol told it.
    pub(crate) announced: Option<IpAddr>,
    /// There was such a header, and it told none.
    pub(crate) is_unnamed: bool,
    pub(crate) secured: Option<&'a Secured>,
    /// In seconds since 1970.
    pub(crate) unix_time: u64,
}

/// A connection that is let in: what the client is answered, and what its shard keeps.
#[derive(Debug)]
pub(crate) struct Opening<S> {
    pub(crate) state: S,
    /// Index of the subprotocol in the configuration, or [`NO_PROTOCOL`].
    pub(crate) protocol: u8,
    pub(crate) particulars: Option<Box<Particulars>>,
    pub(crate) compression: Option<Accepted>,
    /// Headers of the answer besides those of the handshake.
    pub(crate) headers: Vec<(String, String)>,
}

impl<S> Opening<S> {
    /// The subprotocol that the client is told.
    pub(crate) fn subprotocol<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        let listed = config.subprotocols.get(usize::from(self.protocol));
        let own = || self.particulars.as_ref()?.subprotocol.as_deref();
        listed.map(String::as_str).or_else(own)
    }

    /// The same with its state in another form.
    #[cfg(feature = "http")]
    pub(crate) fn map<T>(self, map: impl FnOnce(S) -> T) -> Opening<T> {
        Opening {
            state: map(self.state),
            protocol: self.protocol,
            particulars: self.particulars,
            compression: self.compression,
            headers: self.headers,
        }
    }
}

/// What a client is answered that is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) why: Rejection,
    /// The client's address, where it was found out.
    pub(crate) client: Option<IpAddr>,
    /// What went wrong, where the service or the engine is at fault.
    pub(crate) fault: Option<ErrorKind>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Denial {
    fn text(why: Rejection, status: u16, text: &'static str) -> Denial {
        Denial {
            why,
            client: None,
            fault: None,
            status,
            headers: Vec::new(),
            content_type: PLAIN_TEXT.into(),
            body: text.as_bytes().into(),
        }
    }

    /// A later attempt may succeed.
    pub(crate) fn for_now(why: Rejection, status: u16, text: &'static str) -> Denial {
        let headers = vec![("Retry-After".into(), RETRY_AFTER_SECONDS.into())];
        Denial {
            headers,
            ..Denial::text(why, status, text)
        }
    }

    /// The client has as many connections, or handshakes, as it may.
    pub(crate) fn too_many_of_one() -> Denial {
        Denial::for_now(Rejection::PerIp, 429, TOO_MANY_OF_ONE)
    }

    /// The service is at fault, or the engine, and the log says how.
    pub(crate) fn internal(fault: ErrorKind) -> Denial {
        Denial {
            fault: Some(fault),
            ..Denial::text(Rejection::Failed, 500, "internal error")
        }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        let headers = refusal.headers().iter();
        Denial {
            headers: headers
                .map(|&(name, value)| (name.into(), value.into()))
                .collect(),
            ..Denial::text(Rejection::Malformed, refusal.status, refusal.reason)
        }
    }
}

impl From<Reject> for Denial {
    /// Answers 500 in place of what cannot be sent.
    fn from(reject: Reject) -> Denial {
        let Reject {
            status,
            headers,
            content_type,
            body,
        } = reject;
        let is_sound = (300..=599).contains(&status)
            && check_header("Content-Type", &content_type)
            && headers
                .iter()
                .all(|(name, value)| check_header(name, value));
        if !is_sound {
            tracing::error!(
                status,
                ?headers,
                "on_upgrade gave an answer that cannot be sent"
            );
            return Denial::internal(ErrorKind::BadAnswer);
        }
        let headers = headers.into_iter();
        Denial {
            why: Rejection::Service,
            client: None,
            fault: None,
            status,
            headers: headers
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            content_type: content_type.into(),
            body: body.into(),
        }
    }
}

/// Decides about a request whose socket has a seat, which becomes a regular one. `ask` is the service's
/// part in it, and may panic.
///
/// # Errors
/// What the client is answered instead.
pub(crate) fn decide<S>(
    shared: &Shared,
    seat: &mut Seat,
    asked: Asked<'_>,
    ask: impl FnOnce(&Upgrade<'_>) -> Result<Accept<S>, Reject>,
) -> Result<Opening<S>, Denial> {
    let client = client_of(shared, &asked);
    let decision = decide_about(client, shared, seat, asked, ask);
    decision.map_err(|denial| Denial { client, ..denial })
}

/// The client's address, as far as it is known.
fn client_of(shared: &Shared, asked: &Asked<'_>) -> Option<IpAddr> {
    let is_forwarded = |name: &str| name.eq_ignore_ascii_case("X-Forwarded-For");
    let headers = asked.request.headers();
    let lines = headers.filter(|(name, _)| !asked.is_unnamed && is_forwarded(name));
    let lines: SmallVec<[&[u8]; 1]> = lines.map(|(_, value)| value).collect();
    let proxies = &shared.proxies;
    proxies.client(asked.peer, asked.announced, lines.into_iter())
}

fn decide_about<S>(
    client: Option<IpAddr>,
    shared: &Shared,
    seat: &mut Seat,
    asked: Asked<'_>,
    ask: impl FnOnce(&Upgrade<'_>) -> Result<Accept<S>, Reject>,
) -> Result<Opening<S>, Denial> {
    if shared.is_draining() {
        return Err(Denial::for_now(Rejection::Draining, 503, GOING_DOWN));
    }
    if shared.budget.pressure() >= Pressure::Refuse {
        shared.budget.count_refused();
        return Err(Denial::for_now(Rejection::Memory, 503, SHORT_OF_MEMORY));
    }
    if !shared.may_open(seat) {
        return Err(Denial::for_now(Rejection::Full, 503, FULL));
    }
    let config = &shared.config;
    let Asked {
        request,
        peer,
        secured,
        unix_time,
        ..
    } = asked;
    let counted = count(shared, client)?;
    let compression = agree_on_compression(config, request)?;
    let chosen = choose_protocol(&config.subprotocols, request);
    let peer = peer.unwrap_or(Peer::Unix);
    let upgrade = Upgrade {
        request,
        peer,
        client,
        subprotocol: chosen.map(|index| &*config.subprotocols[index]),
        secured,
        unix_time,
    };
    // Origins may be the service's code as well.
    let decision = guard(|| {
        let is_allowed =
            config
                .origins
                .allows_on(request.origin(), request.host(), upgrade.is_secure());
        is_allowed.then(|| ask(&upgrade))
    });
    match decision {
        Some(Some(Ok(accept))) => {
            let mut opening = settle(config, request, accept, chosen, compression)?;
            let is_told = client != peer.address().map(|address| address.ip());
            if is_told || counted.is_some() {
                let particulars = opening.particulars.get_or_insert_default();
                (particulars.client, particulars.counted) = (client, counted);
            }
            Ok(opening)
        }
        Some(Some(Err(reject))) => Err(reject.into()),
        Some(None) => Err(Denial::text(Rejection::Origin, 403, "origin not allowed")),
        None => {
            tracing::error!(?peer, "a handler panicked in on_upgrade");
            Err(Denial::internal(ErrorKind::Panic))
        }
    }
}

/// Counts a connection of a client's, where that is bounded.
fn count(shared: &Shared, client: Option<IpAddr>) -> Result<Option<Counted>, Denial> {
    let (Some(table), Some(client)) = (&shared.per_address, client) else {
        return Ok(None);
    };
    table
        .count(client)
        .ok_or_else(Denial::too_many_of_one)
        .map(Some)
}

/// Checks what the service said of a client that it lets in.
fn settle<S>(
    config: &Config,
    request: &UpgradeRequest<'_, '_>,
    accept: Accept<S>,
    mut chosen: Option<usize>,
    compression: Option<Accepted>,
) -> Result<Opening<S>, Denial> {
    let Accept {
        state,
        user_id,
        metadata,
        mut subprotocol,
        headers,
        attributes,
    } = accept;
    let attributes = Foreign::new(attributes);
    let offers = |name: &String| request.protocols().any(|offered| offered == name);
    let is_offered = subprotocol.as_ref().is_none_or(offers);
    let may_be_sent = |(name, value): &(String, String)| check_header(name, value);
    if !is_offered || !headers.iter().all(may_be_sent) {
        tracing::error!(
            ?subprotocol,
            ?headers,
            "on_upgrade gave an answer that cannot be sent"
        );
        drop_state(state);
        return Err(Denial::internal(ErrorKind::BadAnswer));
    }
    if let Some(own) = &subprotocol {
        chosen = config.subprotocols.iter().position(|listed| listed == own);
        subprotocol.take_if(|_| chosen.is_some());
    }
    let subprotocol = subprotocol.map(String::into_boxed_str);
    let particulars = Particulars::given(user_id, metadata, attributes, subprotocol);
    Ok(Opening {
        state,
        protocol: chosen
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or(NO_PROTOCOL),
        particulars: particulars.into_box(),
        compression,
        headers,
    })
}

/// Drops a state that comes to no connection, or what holds it. Its `Drop` is the service's code.
pub(crate) fn drop_state<S>(state: S) {
    if guard(|| drop(state)).is_none() {
        tracing::error!("a state panicked when it was dropped");
    }
}

/// The answer to the client's offer of compression (RFC 7692 §5), where there is one. What is no
/// offer at all is refused, wanted or not (RFC 6455 §9.1).
fn agree_on_compression(
    config: &Config,
    request: &UpgradeRequest<'_, '_>,
) -> Result<Option<Accepted>, Refusal> {
    let is_offer = |name: &str| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions");
    let lines = request.headers().filter(|(name, _)| is_offer(name));
    let wishes = config.compression.as_ref().map(Compression::params);
    let agreed = negotiate(lines.map(|(_, value)| value), &wishes.unwrap_or_default())?;
    Ok(agreed.filter(|_| wishes.is_some()))
}
