//! TLS above any driver.
//!
//! A [`TlsDriver`] stands between a driver and its service: the driver within moves records, the
//! service sees plain bytes, and the [contract](crate::driver) holds on both sides. [`Tls`] says who the
//! server is, and can be changed while it runs.
//!
//! - **Received** records are decrypted in the buffer that they arrived in, but rustls hands each out in memory
//!   of its own, from which it is copied once more, to be delivered together with the others. What is not
//!   whole yet is kept until it is. Between two records a connection holds no buffer.
//! - **Sent** bytes are gathered into records as large as they may be, so that the small messages of a
//!   turn do not cost one each, up to [`SEALED_AT_ONCE`] at a time: what a slow peer does not take stays
//!   as it was given, and shared. [`Sent::Done`] says that the driver within was given all of it, encrypted,
//!   and says so too; should that stall, so does this. Of a record that the system has not taken
//!   whole something is unsent, less with every byte that it takes.
//! - **Handshakes** are bounded: [`TlsOptions::max_handshakes`] at once, beyond which sockets fail before
//!   anything is computed for them, and [`STEPS_PER_WAIT`] steps per wait. One is under way from the first
//!   whole record on: who says nothing keeps nobody out. How long one may take is the service's to bound, by
//!   closing the socket. What is sent meanwhile waits.
//! - **The end.** [`Driver::finish`] and [`Driver::close`] say `close_notify` first. A peer that ends its
//!   stream without it has ended all the same: protocols above that need to know whether all was said
//!   have ends of their own, as WebSocket does, and many peers never send it. But a stream that ends
//!   within a record, or before the handshake is done, has failed.
//! - **A fault** of the peer's is told as a failure. The peer is told by an alert first, but for a few faults
//!   that rustls has none for (a message of the handshake that is too long, records among its parts).
//!
//! TLS 1.2 and 1.3 are spoken, without renegotiation and early data. Unix sockets are left as they are, and
//! so are sockets [in clear](Socket::in_clear) and, unless [`TlsOptions::secures_foreign`] says otherwise, streams that
//! are not the system's.

mod config;
mod error;
mod layer;
mod link;
mod pipe;
mod session;

use std::io;
use std::time::Duration;

use crate::buffer::SendQueue;
use crate::driver::{Detached, Driver, Sent, Service, SocketKey};
use crate::listener::Listener;
use crate::runtime::{AsyncDriver, Waker};
use crate::socket::Socket;
use layer::{Layer, Relay};
use link::{Batch, Link};
use session::{Outgoing, Session};

pub use config::{ClientCertificates, Credentials, Tls, TlsCounts};
pub use error::TlsError;
pub use link::TlsStream;
pub use pipe::Pipe;
pub use rustls;

/// Plain bytes that are encrypted before the system is asked to take them.
pub const SEALED_AT_ONCE: usize = 128 * 1024;
/// Steps of handshakes that one wait computes. Each takes some tenths of a millisecond, with an RSA
/// key one or two, and everybody else waits for it.
pub const STEPS_PER_WAIT: usize = 4;

/// How a [`TlsDriver`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct TlsOptions {
    /// Bytes that one wait delivers of a socket at the most: what the driver within does.
    pub receive_buffer: usize,
    /// How many sockets room is made for at once. There may be more; then the table grows.
    pub expected_sockets: usize,
    /// Handshakes that may be under way at once: whose peers have sent a record.
    pub max_handshakes: usize,
    /// Whether sockets that are not the system's ([`Socket::foreign`]) speak TLS, too. Whoever made them
    /// may have seen to that already.
    pub secures_foreign: bool,
}

/// A driver whose sockets speak TLS, over another that moves their records.
///
/// ```
/// use std::time::Instant;
/// use throng_transport::poll::{PollDriver, PollOptions};
/// use throng_transport::tls::{Tls, TlsDriver, TlsError, TlsOptions};
///
/// fn driver(tls: &Tls) -> std::io::Result<TlsDriver<PollDriver>> {
///     let (receive_buffer, expected_sockets) = (256 * 1024, 10_000);
///     let inner = PollDriver::new(&PollOptions {
///         receive_buffer,
///         expected_sockets,
///         epoch: Instant::now(),
///     })?;
///     let options = TlsOptions {
///         receive_buffer,
///         expected_sockets,
///         max_handshakes: 256,
///         secures_foreign: false,
///     };
///     Ok(TlsDriver::new(inner, tls.clone(), &options))
/// }
/// ```
pub struct TlsDriver<D> {
    inner: D,
    layer: Box<Layer>,
    secures_foreign: bool,
}

impl<D: Driver> TlsDriver<D> {
    /// A driver without sockets, over one without sockets.
    pub fn new(inner: D, tls: Tls, options: &TlsOptions) -> TlsDriver<D> {
        TlsDriver {
            inner,
            layer: Box::new(Layer::new(tls, options)),
            secures_foreign: options.secures_foreign,
        }
    }

    /// Takes over a link whose socket the inner driver has, and delivers what it holds already.
    fn take_over(&mut self, key: SocketKey, mut link: Link) {
        link.flags.is_new = link.session.is_handshaking();
        link.judge_end();
        self.layer.links.insert(key.slot, link);
        self.layer.touch(key);
    }

    /// Hands the inner driver what there is to be sent, until it keeps some of it. Whether it took all of
    /// the service's bytes and keeps none.
    fn push(&mut self, key: SocketKey) -> bool {
        let Some(link) = self.layer.links.get(key) else {
            return true;
        };
        while !link.flags.is_held && link.failure.is_none() {
            let mut outgoing = Outgoing {
                pool: &mut self.layer.pool,
                queue: &mut self.layer.batch,
            };
            let sealed = match next_records(link, &mut self.layer.gathered, &mut outgoing) {
                Ok(Some(sealed)) => sealed,
                Ok(None) => {
                    if link.flags.is_finished && !link.flags.is_inner_finished {
                        link.flags.is_inner_finished = true;
                        self.inner.finish(key);
                    }
                    return link.rest.is_empty();
                }
                Err(error) => {
                    self.layer.batch.clear();
                    link.failure = Some(io::Error::other(error));
                    self.layer.touch(key);
                    return false;
                }
            };
            link.given.note(sealed, self.layer.delivery.wait);
            link.flags.is_held = self.inner.send(key, &mut self.layer.batch) == Sent::Pending;
        }
        false
    }

    /// The same for the last time. A farewell is not sent behind a send that has stalled unbeknown to the
    /// service: the inner driver, told to close, delivers the one but drops what it was given after it.
    fn push_last(&mut self, key: SocketKey) {
        if let Some(link) = self.layer.links.get(key)
            && !link.flags.is_held
            && link.given.is_undecided(self.layer.delivery.wait)
        {
            link.flags.is_held = self.inner.unsent(key) > 0;
        }
        self.push(key);
    }

    /// Does what could not be done while the inner driver waited.
    fn attend_all(&mut self, service: &mut impl Service) {
        self.layer.step(STEPS_PER_WAIT, service);
        let mut touched = std::mem::take(&mut self.layer.touched);
        for key in touched.drain(..) {
            self.attend(key, service);
        }
        // What an attended link asked for is for the next wait.
        touched.append(&mut self.layer.touched);
        self.layer.touched = touched;
    }

    /// The same for one link.
    fn attend(&mut self, key: SocketKey, service: &mut impl Service) {
        let Some(link) = self.layer.links.get(key) else {
            return;
        };
        link.flags.is_touched = false;
        if link.failure.is_some() && !link.flags.is_lost {
            link.flags.is_lost = true;
            if !link.flags.is_held && !link.outgoing.is_empty() {
                // The alert. Where there is no room for it the peer will do without.
                let _ = self.inner.send(key, &mut link.outgoing);
            }
            self.inner.close(key);
        }
        let is_all_sent = self.push(key);
        let Some(link) = self.layer.links.get(key) else {
            return;
        };
        if link.flags.is_held && !link.flags.is_sending && link.given.has_plain() {
            link.tell_stall(key, self.inner.unsent(key), service);
        }
        if is_all_sent && link.flags.is_sending {
            if link.given.is_undecided(self.layer.delivery.wait) {
                // What the inner driver says to be done may stall yet.
                self.layer.touch(key);
            } else {
                link.flags.is_sending = false;
                service.sent(key);
            }
        }
        let Some(link) = self.layer.links.get(key) else {
            return;
        };
        if link.undelivered() == 0 || link.flags.is_paused {
            if link.failure.is_some() {
                let failure = self.layer.remove(key).and_then(|link| link.failure);
                if let Some(error) = failure {
                    service.failed(key, error);
                }
                return;
            }
            if link.undelivered() == 0 && link.flags.has_ended && !link.flags.is_end_told {
                link.flags.is_end_told = true;
                service.ended(key);
            }
        }
        link.tidy();
        self.layer.delivery.look_again(key, link);
        self.set_reading(key);
    }

    /// Has the inner driver deliver, or not, whatever is right now.
    fn set_reading(&mut self, key: SocketKey) {
        let Some(link) = self.layer.links.get(key) else {
            return;
        };
        let is_paused = !link.wants_bytes();
        if !link.flags.is_lost && link.flags.is_inner_paused != is_paused {
            link.flags.is_inner_paused = is_paused;
            if is_paused {
                self.inner.pause(key);
            } else {
                self.inner.resume(key);
            }
        }
    }
}

/// Puts the next records to be sent into `outgoing`; `None` when there are none.
fn next_records(
    link: &mut Link,
    gathered: &mut Vec<u8>,
    outgoing: &mut Outgoing<'_>,
) -> Result<Option<Batch>, rustls::Error> {
    let is_handshaking = link.session.is_handshaking();
    let mut plain = 0;
    if !link.outgoing.is_empty() {
        std::mem::swap(outgoing.queue, &mut link.outgoing);
        link.outgoing = SendQueue::new();
    } else if !link.rest.is_empty() && !is_handshaking {
        plain = link
            .session
            .seal(&mut link.rest, SEALED_AT_ONCE, gathered, outgoing)?;
    } else if link.rest.is_empty() && link.flags.is_finishing && !link.flags.is_finished {
        link.flags.is_finished = true;
        if is_handshaking {
            return Ok(None);
        }
        link.session.close(outgoing)?;
    } else {
        return Ok(None);
    }
    let sealed = outgoing.queue.bytes();
    Ok(Some(Batch { plain, sealed }))
}

impl<D: Driver> Driver for TlsDriver<D> {
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        self.inner.listen(listener)
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }

    /// Takes over a connected socket, whose peer is expected to begin a handshake, or a [`TlsStream`].
    ///
    /// It fails with [`io::ErrorKind::ResourceBusy`] when too many handshakes are under way once its peer
    /// begins one.
    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        if self.layer.links.is_taken(key.slot) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = match socket.into_foreign::<TlsStream>() {
            Ok(stream) => {
                self.inner.adopt(key, stream.socket)?;
                let mut link = Link::new(key.generation, stream.session);
                link.flags.is_finished = stream.is_finished;
                link.flags.is_inner_finished = stream.is_finished;
                self.take_over(key, link);
                self.layer.receive_early(key, stream.records);
                return Ok(());
            }
            Err(socket) => socket,
        };
        let is_left_alone = socket.is_unix() || socket.is_in_clear();
        if is_left_alone || (socket.is_foreign() && !self.secures_foreign) {
            return self.inner.adopt(key, socket);
        }
        let session = Session::new(self.layer.tls.current())?;
        self.inner.adopt(key, socket)?;
        self.take_over(key, Link::new(key.generation, session));
        Ok(())
    }

    fn secure(&mut self, key: SocketKey, received: Vec<u8>) -> io::Result<()> {
        if self.layer.links.is_taken(key.slot) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let session = Session::new(self.layer.tls.current())?;
        self.take_over(key, Link::new(key.generation, session));
        if !received.is_empty() {
            self.layer.receive_early(key, received);
        }
        Ok(())
    }

    /// Gives the connection away, as a [foreign](Socket::foreign) [`TlsStream`].
    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        let Some(link) = self.layer.links.get(key) else {
            return self.inner.detach(key);
        };
        let is_sending = link.flags.is_sending || link.flags.is_held;
        if is_sending || !link.outgoing.is_empty() || link.failure.is_some() {
            return None;
        }
        let under = self.inner.detach(key)?;
        let link = self.layer.give_away(key)?;
        Some(link.into_detached(under))
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        let timeout = self.layer.timeout(timeout);
        let mut relay = Relay {
            layer: &mut self.layer,
            service,
        };
        self.inner.wait(timeout, &mut relay)?;
        self.attend_all(service);
        Ok(())
    }

    #[inline]
    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let Some(link) = self.layer.links.get(key) else {
            return self.inner.send(key, queue);
        };
        if queue.is_empty() {
            return Sent::Done;
        }
        debug_assert!(!link.flags.is_sending, "one send per socket");
        std::mem::swap(&mut link.rest, queue);
        let is_done = self.push(key);
        let Some(link) = self.layer.links.get(key) else {
            return Sent::Done;
        };
        if is_done {
            // The service's queue keeps its memory.
            std::mem::swap(&mut link.rest, queue);
            return Sent::Done;
        }
        link.flags.is_sending = true;
        link.rest.compact();
        Sent::Pending
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        let Some(link) = self.layer.links.get(key) else {
            return self.inner.unsent(key);
        };
        if !link.flags.is_sending || link.failure.is_some() {
            return 0;
        }
        let waiting = link.rest.bytes();
        if link.flags.is_held && link.given.has_plain() {
            waiting + link.given.plain_of(self.inner.unsent(key))
        } else {
            waiting
        }
    }

    fn is_mute(&mut self, key: SocketKey) -> bool {
        match self.layer.links.get(key) {
            Some(link) => link.session.is_handshaking(),
            None => self.inner.is_mute(key),
        }
    }

    fn pause(&mut self, key: SocketKey) {
        match self.layer.links.get(key) {
            Some(link) => link.flags.is_paused = true,
            None => return self.inner.pause(key),
        }
        self.set_reading(key);
    }

    fn resume(&mut self, key: SocketKey) {
        match self.layer.links.get(key) {
            Some(link) => {
                link.flags.is_paused = false;
                self.layer.delivery.look_again(key, link);
            }
            None => return self.inner.resume(key),
        }
        self.set_reading(key);
    }

    fn finish(&mut self, key: SocketKey) {
        match self.layer.links.get(key) {
            Some(link) => link.flags.is_finishing = true,
            None => return self.inner.finish(key),
        }
        self.push_last(key);
        if let Some(link) = self.layer.links.get(key)
            && link.flags.is_held
            && !link.flags.is_sending
        {
            // The service may have to be told of what stalled before.
            self.layer.touch(key);
        }
    }

    fn close(&mut self, key: SocketKey) {
        if let Some(link) = self.layer.links.get(key) {
            link.rest.clear();
            link.flags.is_finishing = true;
            self.push_last(key);
        }
        match self.layer.remove(key) {
            Some(link) if link.flags.is_lost => {}
            _ => self.inner.close(key),
        }
    }

    fn abort(&mut self, key: SocketKey) {
        match self.layer.remove(key) {
            Some(link) if link.flags.is_lost => {}
            _ => self.inner.abort(key),
        }
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

impl<D: AsyncDriver> AsyncDriver for TlsDriver<D> {
    async fn wait_async<S: Service>(
        &mut self,
        timeout: Option<Duration>,
        service: &mut S,
    ) -> io::Result<()> {
        let timeout = self.layer.timeout(timeout);
        let mut relay = Relay {
            layer: &mut self.layer,
            service,
        };
        self.inner.wait_async(timeout, &mut relay).await?;
        self.attend_all(service);
        Ok(())
    }
}

impl<D> std::fmt::Debug for TlsDriver<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsDriver")
            .field("handshakes", &self.layer.under_way)
            .finish_non_exhaustive()
    }
}
