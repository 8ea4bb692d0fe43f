//! What must hold of each connection, whatever the script was.

use throng::protocol::Role;
use throng::protocol::deflate::{Params, check_response};
use throng::protocol::fault::Fault;
use throng::protocol::frame::{OpCode, server_frame_len, server_payload};
use throng::protocol::message::{Decoder, MessageLimits, Pool};
use throng::{Cause, Close, CloseCode};

use super::World;
use super::driver::Wire;
use super::peer::Peer;
use super::service::{Book, NOTICE_MARK, OUTSIDE_MARK, Page, ROOM, URGENT_MARK};
use crate::{Decoded, Owned, Pieces, decode};

const UNLIMITED: MessageLimits = MessageLimits {
    max_message_size: 1 << 30,
    max_frame_size: 1 << 30,
};

/// The head of a response.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    len: usize,
    content: usize,
    /// The compression agreed on.
    pub(super) agreed: Option<Params>,
}

impl Answer {
    /// The head that `bytes` begin with, once it is there.
    pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).expect("a response of HTTP");
        let httparse::Status::Complete(len) = parsed else {
            return None;
        };
        let values = |name: &'static str| {
            let headers = response.headers.iter();
            headers.filter(move |h| h.name == name).map(|h| h.value)
        };
        let content = values("Content-Length")
            .next()
            .map_or("0", |len| str::from_utf8(len).expect("a number"));
        let agreed = check_response(values("Sec-WebSocket-Extensions"), &Params::default());
        Some(Answer {
            status: response.code?,
            len,
            content: content.parse().expect("a number"),
            agreed: agreed.expect("nothing else is agreed on"),
        })
    }
}

impl World {
    /// Holds everything against everything; at the `end`, nothing is left.
    pub(super) fn check(&self, end: bool) {
        let mut book = self.service.book();
        for (number, (wire, peer)) in self.driver.wires.iter().zip(&self.peers).enumerate() {
            book.page(number);
            let seen = Seen {
                world: self,
                book: &book,
                page: &book.pages[number],
                wire,
                peer,
                is_lost: self.has_stopped || wire.is_cut,
            };
            seen.check();
            if end {
                assert_eq!(seen.page.opened, seen.page.closed.len(), "each end is told");
                assert!(
                    self.has_stopped || wire.release.is_some(),
                    "each socket is released"
                );
            }
        }
        let handle = self.shard.handle();
        let open = book.pages.iter().filter(|page| page.is_open()).count();
        assert_eq!((handle.connections(), handle.room_len(ROOM)), (open, open));
    }
}

impl Page {
    fn is_open(&self) -> bool {
        self.opened > self.closed.len()
    }
}

/// One connection from all sides.
struct Seen<'w> {
    world: &'w World,
    book: &'w Book,
    page: &'w Page,
    wire: &'w Wire,
    peer: &'w Peer,
    /// What the shard sent last may not have arrived.
    is_lost: bool,
}

impl Seen<'_> {
    fn check(&self) {
        let outbound = &self.wire.outbound;
        let Some(answer) = Answer::read(outbound) else {
            // Who leaves in the turn in which it came in is not answered.
            let has_vanished = |close: &Close| close.cause == Cause::PeerVanished;
            let is_gone = self.page.closed.iter().any(has_vanished);
            assert!(self.is_lost || is_gone || self.page.opened == 0);
            return;
        };
        if answer.status != 101 {
            assert!(answer.status >= 400 && self.page.opened == 0);
            let whole = answer.len + answer.content;
            assert!(outbound.len() == whole || self.is_lost && outbound.len() < whole);
            return;
        }
        assert_eq!(self.page.opened, 1);
        let (head, frames) = outbound.split_at(answer.len);
        assert!(self.peer.wishes.is_none() || self.peer.understands(head));
        self.check_frames(frames);
        let said = self.peer.said(answer.agreed.as_ref(), &self.world.limits);
        let heard = hear(frames, answer.agreed.as_ref());
        self.check_received(&said);
        self.check_messages(&heard);
        self.check_control(&heard, &said);
        match &self.page.closed[..] {
            [] => assert!(!heard.is_over(), "closed, and nobody was told"),
            [close] => self.check_close(close, &heard, &said),
            more => panic!("ended more than once: {more:?}"),
        }
    }

    /// Whole frames, with nothing behind a close frame.
    fn check_frames(&self, mut frames: &[u8]) {
        while let Some(len) = server_frame_len(frames) {
            let Some((frame, rest)) = frames.split_at_checked(len) else {
                break;
            };
            frames = rest;
            if matches!(server_payload(frame), Some((OpCode::Close, _))) {
                assert!(frames.is_empty(), "nothing follows a close frame");
            }
        }
        assert!(frames.is_empty() || self.is_lost, "half a frame");
    }

    /// The handler received what was said, all of it unless something came between.
    fn check_received(&self, said: &Decoded) {
        let messages: Vec<&Owned> = said
            .events
            .iter()
            .filter(|e| e.as_message().is_some())
            .collect();
        let received: Vec<&Owned> = self.page.received.iter().collect();
        let is_all_heard = match &self.page.closed[..] {
            [] => !self.peer.has_left,
            [close, ..] => matches!(
                close.cause,
                Cause::PeerClosed { .. } | Cause::ProtocolFault | Cause::TooBig
            ),
        };
        assert!(
            messages.starts_with(&received),
            "{received:?} of {messages:?}"
        );
        assert!(!is_all_heard || messages.len() == received.len());
    }

    /// The peer was sent what the service sent, each lane in order, and all that was accepted.
    fn check_messages(&self, heard: &Decoded) {
        let first = |event: &Owned| event.as_message()?.as_bytes().first().copied();
        let (mut normal, mut urged, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        let (mut notices, mut missed) = (0, 0);
        for event in heard
            .events
            .iter()
            .filter(|event| event.as_message().is_some())
        {
            match first(event) {
                Some(URGENT_MARK) => urged.push(event.clone()),
                Some(OUTSIDE_MARK) => outside.push(event.clone()),
                Some(NOTICE_MARK) => {
                    notices += 1;
                    missed += missed_by(event);
                }
                _ => normal.push(event.clone()),
            }
        }
        let count = (normal.len() + urged.len() + outside.len()) as u64 + notices;
        let page = self.page;
        assert!(
            is_within(&outside, &self.book.outside),
            "each once, in order"
        );
        // Nobody tells what became of what was published from outside.
        let is_outside_lost = !self.world.never_drops && !self.book.outside.is_empty();
        let may_lack = self.book.has_lost || is_outside_lost;
        if may_lack {
            assert!(is_within(&normal, &page.told) && is_within(&urged, &page.urged));
        } else {
            assert!(
                page.told.starts_with(&normal),
                "{normal:?} of {:?}",
                page.told
            );
            assert!(
                page.urged.starts_with(&urged),
                "{urged:?} of {:?}",
                page.urged
            );
        }
        if page.is_open() && !self.is_lost && !may_lack {
            assert_eq!(
                (normal.len(), urged.len()),
                (page.told.len(), page.urged.len())
            );
            let since = self.book.outside.len() - page.outside_before;
            assert!(self.book.outside.ends_with(&outside) && outside.len() >= since);
        }
        if let [close] = &page.closed[..] {
            assert!(missed <= close.counts.dropped, "{missed}: {close:?}");
        }
        if let [close] = &page.closed[..]
            && heard.is_over()
        {
            assert_eq!(
                count,
                close.counts.messages_out + close.waiting,
                "{close:?}"
            );
        }
    }

    fn check_control(&self, heard: &Decoded, said: &Decoded) {
        let pings = |events: &[Owned]| {
            of_kind(events, |event| match event {
                Owned::Ping(payload) => Some(payload.clone()),
                _ => None,
            })
        };
        let pongs = of_kind(&heard.events, |event| match event {
            Owned::Pong(payload) => Some(payload.clone()),
            _ => None,
        });
        let asked = pings(&said.events);
        assert!(is_within(&pongs, &asked), "{pongs:?} to {asked:?}");
        if self.page.is_open() && !self.peer.has_left && !self.is_lost {
            assert_eq!(pongs.last(), asked.last(), "the latest ping is answered");
        }
        // Those of the heartbeat are empty.
        let mut own = pings(&heard.events);
        own.retain(|payload| !payload.is_empty());
        let sent = self.page.pings.iter().filter(|payload| !payload.is_empty());
        assert!(sent.cloned().collect::<Vec<_>>().starts_with(&own));
    }

    /// The cause is one that the script gave, and the peer was told what it calls for.
    fn check_close(&self, close: &Close, heard: &Decoded, said: &Decoded) {
        let world = self.world;
        let mut is_told = true;
        let expected: &[(u16, &str)] = match &close.cause {
            Cause::PeerClosed { code, reason } => {
                let frame = code.map(|code| (code, reason.clone()));
                assert_eq!(said.events.last(), Some(&Owned::Close(frame)));
                &[(code.map_or(1005, u16::from), "")]
            }
            Cause::ProtocolFault | Cause::TooBig => {
                let fault = said.fault.expect("something that is not allowed was said");
                assert_eq!(fault.is_too_big(), close.cause == Cause::TooBig);
                &[close_of(fault)]
            }
            Cause::Kicked { code } => {
                assert!(self.page.kicks.contains(code));
                &[(u16::from(*code), "kicked")]
            }
            Cause::SlowConsumer => {
                assert!(self.peer.has_stalled);
                is_told = false;
                &[(1008, "slow consumer")]
            }
            Cause::Policy => {
                assert!(world.has_waited);
                &[(1008, "idle")]
            }
            Cause::Drain => {
                assert!(world.is_drained);
                &[(1012, "the server is going down"), (1001, "")]
            }
            Cause::PeerVanished => {
                assert!(self.peer.has_left);
                &[]
            }
            Cause::HeartbeatMissed => {
                assert!(world.has_waited);
                &[]
            }
            Cause::OverBudget | Cause::HandlerPanicked | Cause::LibraryFault => {
                panic!("{close:?}")
            }
        };
        let told = heard.events.last().and_then(|event| match event {
            Owned::Close(None) => Some((1005, String::new())),
            Owned::Close(Some((code, reason))) => Some((u16::from(*code), reason.clone())),
            _ => None,
        });
        match told {
            Some(told) => assert!(
                expected
                    .iter()
                    .any(|(code, reason)| is_close(&told, *code, reason)),
                "{told:?} for {close:?}"
            ),
            // Whoever takes too long to read it, or to answer, is cut.
            None => assert!(
                expected.is_empty() || !is_told || self.is_lost || world.has_waited,
                "not told of {close:?}"
            ),
        }
    }
}

fn close_of(fault: Fault) -> (u16, &'static str) {
    (u16::from(fault.close_code()), fault.reason())
}

/// Whether this is the close frame of that code and reason; one that may not be sent is sent as none.
fn is_close(told: &(u16, String), code: u16, reason: &str) -> bool {
    if CloseCode::from(code).is_valid_on_wire() {
        told.0 == code && told.1 == reason
    } else {
        told.0 == 1005 && told.1.is_empty()
    }
}

/// What the peer makes of the frames; half of one at their end is no fault.
fn hear(frames: &[u8], agreed: Option<&Params>) -> Decoded {
    let mut decoder = match agreed {
        Some(params) => Decoder::with_compression(Role::Client, params),
        None => Decoder::new(Role::Client),
    };
    let pieces = Pieces::new(&[]);
    let heard = decode(&mut decoder, frames, pieces, &UNLIMITED, &mut Pool::new());
    assert_eq!(heard.fault, None);
    heard
}

/// How many messages a notice tells of.
fn missed_by(notice: &Owned) -> u64 {
    let bytes = notice
        .as_message()
        .map_or(&[][..], |message| message.as_bytes());
    let count = bytes.get(1..).and_then(|count| count.try_into().ok());
    u64::from_be_bytes(count.expect("a notice as the service makes it"))
}

fn of_kind(events: &[Owned], payload: impl Fn(&Owned) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    events.iter().filter_map(payload).collect()
}

/// Whether `part` can be had from `whole` by leaving some out.
fn is_within<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|item| rest.any(|other| other == item))
}
