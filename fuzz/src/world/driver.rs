//! A driver without an operating system: its sockets are queues of bytes.
//!
//! It keeps the promises of `throng_transport::driver` and holds the service to its side: one send
//! at a time, none behind the end of the stream.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Duration;

use throng_transport::{
    Detached, Driver, Listener, Peer, SendQueue, Sent, Service, Socket, SocketKey, StdStream, Waker,
};

/// What one wait delivers of a socket at the most.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// One connection, from the accepting side of the system.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The service's name for it, from its adoption until its release.
    key: Option<SocketKey>,
    /// What the peer sent and the service has not received.
    pub(super) inbound: VecDeque<u8>,
    /// The peer has ended its side.
    pub(super) is_ended: bool,
    /// The peer has reset the connection.
    pub(super) is_reset: bool,
    /// What the system has taken to be delivered to the peer.
    pub(super) outbound: Vec<u8>,
    /// How much more it takes.
    pub(super) room: usize,
    /// Of a send that is under way.
    pending: SendQueue,
    is_paused: bool,
    /// The end of the peer's side was reported.
    told_end: bool,
    /// Our side has ended, or will behind what is pending.
    is_finished: bool,
    pub(super) release: Option<Release>,
    /// It was let go of before everything was taken, or what was taken may not have arrived.
    pub(super) is_cut: bool,
}

/// How a socket was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// What the system has is delivered.
    Closed,
    /// Reset by the service.
    Aborted,
    /// Reset by the peer.
    Failed,
}

/// Owns the wires, numbered in the order of their connecting.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) now: Duration,
    pub(super) wires: Vec<Wire>,
    /// How many of them were offered to the service, and how many it has adopted.
    accepted: usize,
    adopted: usize,
    is_listening: bool,
    waker: Waker,
}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory {
            now: Duration::ZERO,
            wires: Vec::new(),
            accepted: 0,
            adopted: 0,
            is_listening: true,
            waker: Waker::new(|| true),
        }
    }

    /// A peer connects, unless nobody listens.
    pub(super) fn connect(&mut self, room: usize) -> bool {
        if self.is_listening {
            self.wires.push(Wire {
                room,
                ..Wire::default()
            });
        }
        self.is_listening
    }

    /// Whether a wait would have something to tell.
    pub(super) fn is_quiet(&self) -> bool {
        self.accepted == self.wires.len() && self.wires.iter().all(Wire::is_quiet)
    }

    fn open(&mut self, key: SocketKey) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.key == Some(key))
    }

    fn release(&mut self, key: SocketKey, release: Release) {
        if let Some(wire) = self.open(key) {
            wire.let_go(release);
        }
    }
}

impl Wire {
    fn is_quiet(&self) -> bool {
        let may_send = !self.pending.is_empty() && self.room > 0;
        let may_receive = !self.inbound.is_empty() && !self.is_paused;
        let may_end = self.is_ended && !self.told_end && self.inbound.is_empty();
        self.key.is_none() || !(may_send || may_receive || may_end || self.is_reset)
    }

    /// Whether a send waits for the peer.
    pub(super) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    fn let_go(&mut self, release: Release) {
        self.key = None;
        self.is_cut = release != Release::Closed || self.is_behind();
        self.pending.clear();
        self.release = Some(release);
    }

    /// The system takes what it has room for.
    fn transmit(&mut self) {
        let mut sent = 0;
        for slice in self.pending.iter() {
            let bytes = slice.as_bytes();
            let len = bytes.len().min(self.room - sent);
            self.outbound.extend_from_slice(&bytes[..len]);
            sent += len;
        }
        self.room -= sent;
        self.pending.advance(sent);
    }

    fn report(&mut self, key: SocketKey, service: &mut impl Service) {
        if self.is_reset {
            self.let_go(Release::Failed);
            return service.failed(key, io::ErrorKind::ConnectionReset.into());
        }
        if self.is_behind() {
            self.transmit();
            if !self.is_behind() {
                service.sent(key);
            }
        }
        if !self.is_paused && !self.inbound.is_empty() {
            let len = self.inbound.len().min(RECEIVE_BUFFER);
            let mut bytes: Vec<u8> = self.inbound.drain(..len).collect();
            service.received(key, &mut bytes);
        }
        if self.is_ended && !self.told_end && self.inbound.is_empty() {
            self.told_end = true;
            service.ended(key);
        }
    }
}

impl Driver for Memory {
    fn listen(&mut self, _: Listener) -> io::Result<()> {
        Ok(())
    }

    fn stop_listening(&mut self) {
        self.is_listening = false;
    }

    fn adopt(&mut self, key: SocketKey, _: Socket) -> io::Result<()> {
        assert!(self.open(key).is_none());
        self.wires[self.adopted].key = Some(key);
        self.adopted += 1;
        Ok(())
    }

    fn detach(&mut self, _: SocketKey) -> Option<Detached> {
        None
    }

    fn wait(&mut self, _: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        assert_eq!(
            self.adopted, self.accepted,
            "every socket has found its place"
        );
        service.begin(self.now);
        for wire in &mut self.wires {
            if let Some(key) = wire.key {
                wire.report(key, service);
            }
        }
        for number in self.accepted..self.wires.len() {
            service.accepted(stand_in()?, name(number));
        }
        self.accepted = self.wires.len();
        if self.waker.take() {
            service.woken();
        }
        Ok(())
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        let Some(wire) = self.open(key) else {
            queue.clear();
            return Sent::Done;
        };
        assert!(!wire.is_behind(), "one send at a time");
        assert!(!wire.is_finished, "nothing is said behind the end");
        // The slices themselves: whoever writes into them before they are sent is found out.
        wire.pending = std::mem::take(queue);
        wire.transmit();
        if wire.is_behind() {
            Sent::Pending
        } else {
            Sent::Done
        }
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.open(key).map_or(0, |wire| wire.pending.bytes())
    }

    fn pause(&mut self, key: SocketKey) {
        if let Some(wire) = self.open(key) {
            wire.is_paused = true;
        }
    }

    fn resume(&mut self, key: SocketKey) {
        if let Some(wire) = self.open(key) {
            wire.is_paused = false;
        }
    }

    fn finish(&mut self, key: SocketKey) {
        if let Some(wire) = self.open(key) {
            wire.is_finished = true;
        }
    }

    fn close(&mut self, key: SocketKey) {
        self.release(key, Release::Closed);
    }

    fn abort(&mut self, key: SocketKey) {
        self.release(key, Release::Aborted);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

/// The name that a peer goes by, and its number again.
fn name(number: usize) -> Peer {
    let port = u16::try_from(number).unwrap_or(u16::MAX);
    Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// What a service is handed for a socket of ours. It only passes it on.
fn stand_in() -> io::Result<Socket> {
    static SOCKET: LazyLock<io::Result<(UnixStream, UnixStream)>> = LazyLock::new(UnixStream::pair);
    match &*SOCKET {
        Ok((near, _)) => Socket::from_std(StdStream::Unix(near.try_clone()?)),
        Err(error) => Err(error.kind().into()),
    }
}
