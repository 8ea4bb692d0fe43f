//! Upgrades asked of another HTTP server, which the engine is mounted in.
//!
//! The decision is made where the request is, on the thread of whoever asks: an answer neither waits for a
//! shard nor keeps one waiting. What was decided follows the socket to its shard ([`hand_over`]).

use std::any::{Any, TypeId, type_name};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::http::uri::Authority;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use throng_transport::Peer;
use tokio::runtime::Handle;

use super::hand_over::{Pending, hand_over};
use crate::event::{ErrorKind, Rejection};
use crate::handle::EngineHandle;
use crate::handler::{Accept, Handler, Reject, Upgrade};
use crate::opening::{Asked, Denial, FULL, GOING_DOWN, Opening, decide, drop_state};
use crate::protocol::handshake::{
    MAX_HEAD, MAX_HEADERS, Refusal, RequestLine, Target, UpgradeRequest, accept_key, check_parsed,
};
use crate::shard::Unopened;
use crate::shared::{HeldSeat, Shared};

/// What a request for an upgrade is answered by [`EngineHandle::upgrade`].
pub type UpgradeResponse = Response<Full<Bytes>>;

/// A state of whichever type the handler has.
type AnyState = Box<dyn Any + Send>;

/// A handler whose type of state is not known where it is asked.
pub(crate) trait MountPoint: Send + Sync {
    fn ask(&self, upgrade: &Upgrade<'_>) -> Result<Accept<AnyState>, Reject>;

    /// The type of its states, and its name.
    fn state(&self) -> (TypeId, &'static str);
}

impl<H: Handler> MountPoint for H {
    fn ask(&self, upgrade: &Upgrade<'_>) -> Result<Accept<AnyState>, Reject> {
        Ok(self.on_upgrade(upgrade)?.boxed())
    }

    fn state(&self) -> (TypeId, &'static str) {
        (TypeId::of::<H::State>(), type_name::<H::State>())
    }
}

/// Mounted in another HTTP server: axum's, or any on hyper.
impl EngineHandle {
    /// Answers a request for an upgrade that another HTTP server has received, and serves the connection
    /// once that server gives it up.
    ///
    /// The rules are those of the engine's own port, and so are the answers: 101, what
    /// [`on_upgrade`](Handler::on_upgrade) rejects with, 403 for a foreign origin, 400, 405, 426, 431 and 505
    /// for what is no sound request for a WebSocket, 503 with `Retry-After` when the engine is full, short of
    /// memory or going down. 500 is answered when the service is at fault, or the server cannot upgrade, and
    /// the log says how.
    ///
    /// [`Upgrade::peer`] is the [`Peer`] that the request's extensions hold: a request does not tell where it came
    /// from. Where they hold none it is [`Peer::Unix`], which nobody trusts to be a
    /// [proxy](field@crate::Config::trusted_proxies) and none of
    /// [`max_connections_per_ip`](field@crate::Config::max_connections_per_ip) counts. On the open connection it is the
    /// socket's.
    ///
    /// A plain TCP or Unix socket of tokio's moves to one of the engine's threads, and the other server has
    /// done its part. Any other stream (TLS spoken by that server, for instance) is served where the shards are
    /// tasks ([`Backend::Tokio`](crate::Backend::Tokio)), and elsewhere through a pair of sockets that a task
    /// copies to and from, which costs as much again; without Unix it is closed.
    ///
    /// Must be called in a tokio runtime with time enabled, as servers of axum and hyper are; a task in it
    /// waits for the socket, for [`handshake_timeout`](field@crate::Config::handshake_timeout) at most.
    ///
    /// ```
    /// use throng::{EngineHandle, UpgradeResponse};
    ///
    /// // `hyper::Request` and `axum::extract::Request` are both `http::Request`.
    /// async fn socket<B>(engine: EngineHandle, request: http::Request<B>) -> UpgradeResponse {
    ///     engine.upgrade(request)
    /// }
    /// ```
    pub fn upgrade<B>(&self, request: Request<B>) -> UpgradeResponse {
        let Some(point) = self.mount_point() else {
            return refuse(self.shared(), peer_of(&request), &gone());
        };
        self.answer(request, |upgrade| point.ask(upgrade))
    }

    /// The same, where the caller lets the client in in place of [`on_upgrade`](Handler::on_upgrade), which is
    /// not asked. `accept` holds a state of the engine's handler; one of another type is answered 500, and the
    /// log names both types. That of [`Builder::serve`](crate::Builder::serve) is `()`; who comes in this way has a
    /// future like everybody else. With [`Builder::serve_with`](crate::Builder::serve_with) it is `()`, too, but what its
    /// first function says of a client is missing then: the connection is closed with 1011, unless that is `()`.
    ///
    /// ```
    /// use throng::{Accept, EngineHandle, UpgradeResponse};
    ///
    /// async fn socket<B>(engine: EngineHandle, user: String, request: http::Request<B>) -> UpgradeResponse {
    ///     engine.upgrade_with(request, Accept::new(()).user_id(user))
    /// }
    /// ```
    pub fn upgrade_with<S, B>(&self, request: Request<B>, accept: Accept<S>) -> UpgradeResponse
    where
        S: Send + 'static,
    {
        let mut accept = Unasked(Some(accept.boxed()));
        let Some(point) = self.mount_point() else {
            return refuse(self.shared(), peer_of(&request), &gone());
        };
        let (expected, name) = point.state();
        if TypeId::of::<S>() != expected {
            let given = type_name::<S>();
            tracing::error!(
                given,
                expected = name,
                "upgrade_with: another state than the handler's"
            );
            let denial = Denial::internal(ErrorKind::BadAnswer);
            return refuse(self.shared(), peer_of(&request), &denial);
        }
        self.answer(request, |_| accept.0.take().ok_or(Reject::new(500)))
    }

    fn mount_point(&self) -> Option<Arc<dyn MountPoint>> {
        self.shared().mount_point.as_ref()?.upgrade()
    }

    fn answer<B>(
        &self,
        mut request: Request<B>,
        ask: impl FnOnce(&Upgrade<'_>) -> Result<Accept<AnyState>, Reject>,
    ) -> UpgradeResponse {
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let begun = begin(self.shared(), &request, on_upgrade, ask);
        begun.unwrap_or_else(|denial| refuse(self.shared(), peer_of(&request), &denial))
    }
}

/// Who asks, where somebody has said.
fn peer_of<B>(request: &Request<B>) -> Option<Peer> {
    request.extensions().get().copied()
}

/// What is answered when the engine is gone.
fn gone() -> Denial {
    Denial::for_now(Rejection::Draining, 503, GOING_DOWN)
}

/// What a caller lets a client in with, which may be dropped without having been asked for.
struct Unasked(Option<Accept<AnyState>>);

impl Drop for Unasked {
    fn drop(&mut self) {
        if let Some(accept) = self.0.take() {
            drop_state(accept);
        }
    }
}

/// Decides, and has a task wait for the socket.
fn begin<B>(
    shared: &Arc<Shared>,
    request: &Request<B>,
    on_upgrade: Option<OnUpgrade>,
    ask: impl FnOnce(&Upgrade<'_>) -> Result<Accept<AnyState>, Reject>,
) -> Result<UpgradeResponse, Denial> {
    let headers = lines(request.headers())?;
    let asked = read(request, &headers)?;
    let peer = peer_of(request);
    let Some(on_upgrade) = on_upgrade else {
        tracing::error!(
            "a request's connection cannot be upgraded: its server, or a layer, does not let it"
        );
        return Err(Denial::internal(ErrorKind::BadAnswer));
    };
    let Ok(runtime) = Handle::try_current() else {
        tracing::error!("an upgrade was asked for outside a tokio runtime");
        return Err(Denial::internal(ErrorKind::BadAnswer));
    };
    let mut seat = shared
        .admit()
        .ok_or(Denial::for_now(Rejection::Full, 503, FULL))?;
    let decision = decide(
        shared,
        &mut seat,
        Asked {
            request: &asked,
            peer,
            announced: None,
            is_unnamed: false,
            secured: None,
            unix_time: shared.unix_time(),
        },
        ask,
    );
    let seat = HeldSeat::new(shared, seat);
    let opening = decision?.map(Unopened::new);
    let response = switching(shared, &asked, &opening)
        .ok_or_else(|| Denial::internal(ErrorKind::BadAnswer))?;
    let pending = Pending {
        shared: Arc::clone(shared),
        peer: peer.unwrap_or(Peer::Unix),
        opening,
        seat,
    };
    runtime.spawn(hand_over(on_upgrade, pending));
    Ok(response)
}

/// The headers as they were sent, as far as they would be taken on the engine's own port.
fn lines(headers: &HeaderMap) -> Result<Vec<httparse::Header<'_>>, Denial> {
    const TOO_MANY: Refusal = Refusal {
        status: 431,
        reason: "over 100 header lines",
    };
    const TOO_LONG: Refusal = Refusal {
        status: 431,
        reason: "request head is over 16 KiB",
    };
    if headers.len() > MAX_HEADERS {
        return Err(TOO_MANY.into());
    }
    let lines = headers.iter().map(|(name, value)| httparse::Header {
        name: name.as_str(),
        value: value.as_bytes(),
    });
    let lines: Vec<_> = lines.collect();
    let bytes = lines.iter().map(|line| line.name.len() + line.value.len());
    if bytes.sum::<usize>() > MAX_HEAD {
        return Err(TOO_LONG.into());
    }
    Ok(lines)
}

fn read<'r, B>(
    request: &'r Request<B>,
    headers: &'r [httparse::Header<'r>],
) -> Result<UpgradeRequest<'r, 'r>, Denial> {
    let line = RequestLine {
        method: request.method().as_str(),
        is_http_1_1: request.version() == Version::HTTP_11,
    };
    let uri = request.uri();
    let target = Target {
        authority: uri.authority().map(Authority::as_str),
        path: uri.path(),
        query: uri.query(),
    };
    check_parsed(line, target, headers)?.ok_or_else(|| {
        let refusal = Refusal {
            status: 426,
            reason: "only WebSocket is spoken here",
        };
        refusal.into()
    })
}

/// The answer that opens a WebSocket (RFC 6455 §4.2.2, item 5).
fn switching(
    shared: &Shared,
    asked: &UpgradeRequest<'_, '_>,
    opening: &Opening<Unopened>,
) -> Option<UpgradeResponse> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = accept_key(asked.key());
    headers.insert(
        hyper::header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_bytes(&accept).ok()?,
    );
    if let Some(protocol) = opening.subprotocol(&shared.config) {
        let value = HeaderValue::from_str(protocol).ok()?;
        headers.insert(hyper::header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    if let Some(agreed) = &opening.compression {
        let value = HeaderValue::from_str(&agreed.response).ok()?;
        headers.insert(hyper::header::SEC_WEBSOCKET_EXTENSIONS, value);
    }
    append(
        headers,
        opening
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value)),
    )?;
    Some(response)
}

/// The answer to who is not let in, which is counted and told as on the engine's own port.
fn refuse(shared: &Shared, peer: Option<Peer>, denial: &Denial) -> UpgradeResponse {
    tracing::debug!(status = denial.status, "an upgrade was refused");
    if let Some(fault) = denial.fault {
        shared.note_error_elsewhere(fault);
    }
    let peer = peer.unwrap_or(Peer::Unix);
    let status = Some(denial.status);
    shared.note_rejected_elsewhere(peer, denial.client, denial.why, status);
    respond(denial)
}

fn respond(denial: &Denial) -> UpgradeResponse {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(&denial.body)));
    let status = StatusCode::from_u16(denial.status);
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let lines = denial
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value));
    // They were checked when they were given.
    let _ = append(headers, lines);
    if !denial.content_type.is_empty()
        && let Ok(value) = HeaderValue::from_str(&denial.content_type)
    {
        headers.insert(CONTENT_TYPE, value);
    }
    response
}

fn append<'h>(
    headers: &mut HeaderMap,
    lines: impl Iterator<Item = (&'h str, &'h str)>,
) -> Option<()> {
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(())
}
