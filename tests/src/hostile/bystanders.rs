//! Well-behaved connections that check everything they hear.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use throng::protocol::frame::OpCode;

use super::memory;
use super::square::BYSTANDER;
use crate::engine::{PATIENCE, frame, request, until_within};

/// Well-behaved connections of a siege.
pub const BYSTANDERS: usize = 500;
/// Broadcasts of one round.
const BROADCASTS: usize = 4;

/// Connections on a thread of their own. In each round every one of them asks for an echo, and one
/// publishes `BROADCASTS` messages to all; the next round begins when everybody has heard all of
/// it. So each knows what it must hear, and hears of a message lost by nothing coming any more.
#[derive(Debug)]
pub struct Bystanders {
    rounds: Arc<AtomicUsize>,
    may_go: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

/// What bystanders have heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rounds in which everybody has heard everything.
    pub rounds: usize,
    /// What was wrong.
    pub fault: Option<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = self.rounds * BYSTANDERS * (1 + BROADCASTS);
        match &self.fault {
            None => write!(f, "{heard} heard in {} rounds, 0 lost", self.rounds),
            Some(fault) => write!(f, "{heard} heard, then {fault}"),
        }
    }
}

impl Bystanders {
    /// Connects them all and begins.
    pub fn gather(address: SocketAddr) -> Bystanders {
        let (rounds, may_go) = (Arc::default(), Arc::default());
        let (counter, told) = (Arc::clone(&rounds), Arc::clone(&may_go));
        let thread = thread::spawn(move || {
            memory::count_no_more_here();
            let mut members: Vec<Member> = (0..BYSTANDERS)
                .map(|index| Member::connect(address, index))
                .collect();
            live(&mut members, &counter, &told)
        });
        Bystanders {
            rounds,
            may_go,
            thread,
        }
    }

    /// Waits until so many more rounds are over, or one never will be.
    pub fn live_on(&self, rounds: usize) {
        let target = self.rounds.load(Ordering::Relaxed) + rounds;
        // A bystander that waits in vain is to say so first.
        until_within(2 * PATIENCE, "the bystanders' rounds", || {
            self.rounds.load(Ordering::Relaxed) >= target || self.thread.is_finished()
        });
    }

    /// Ends it all, which each side must do in order.
    pub fn verdict(self) -> Verdict {
        self.may_go.store(true, Ordering::Relaxed);
        let outcome = self.thread.join().expect("the bystanders' thread");
        Verdict {
            rounds: self.rounds.load(Ordering::Relaxed),
            fault: outcome.err(),
        }
    }
}

fn live(members: &mut [Member], rounds: &AtomicUsize, may_go: &AtomicBool) -> Result<(), String> {
    while !may_go.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed);
        let speaker = round % members.len();
        for member in &mut *members {
            member.say(round, member.index == speaker)?;
        }
        for member in &mut *members {
            member.hear(round)?;
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    members.iter_mut().try_for_each(Member::leave)
}

/// A frame as a server sends it, of a payload below 126 bytes.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

#[derive(Debug)]
struct Member {
    index: usize,
    stream: TcpStream,
    received: Vec<u8>,
}

impl Member {
    fn connect(address: SocketAddr, index: usize) -> Member {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let request = request("").replace("/path?query=1", BYSTANDER);
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        Member {
            index,
            stream,
            received: Vec::new(),
        }
    }

    fn echo(&self, round: usize) -> String {
        format!("bystander {} in round {round}", self.index)
    }

    fn say(&mut self, round: usize, is_speaker: bool) -> Result<(), String> {
        let mut bytes = frame(true, OpCode::Text, self.echo(round).as_bytes());
        for number in 0..if is_speaker { BROADCASTS } else { 0 } {
            bytes.extend(frame(
                true,
                OpCode::Text,
                broadcast(round, number).as_bytes(),
            ));
        }
        self.write(&bytes)
    }

    /// Hears the echo, and the broadcasts in their order, and nothing else.
    fn hear(&mut self, round: usize) -> Result<(), String> {
        let (mut echoes, mut broadcasts) = (0, 0);
        while echoes + broadcasts < 1 + BROADCASTS {
            let Frame { first, payload } = self.next_frame(round)?;
            if first == PING {
                self.write(&frame(true, OpCode::Pong, &payload))?;
            } else if first == TEXT && payload == self.echo(round).as_bytes() && echoes == 0 {
                echoes += 1;
            } else if first == TEXT && payload == broadcast(round, broadcasts).as_bytes() {
                broadcasts += 1;
            } else {
                let heard = String::from_utf8_lossy(&payload).into_owned();
                return Err(self.fault(round, &format!("heard {first:#x} {heard:?}")));
            }
        }
        Ok(())
    }

    /// Closes, and expects the answer and the end behind everything else that comes, which may be
    /// pings only.
    fn leave(&mut self) -> Result<(), String> {
        let close = 1000u16.to_be_bytes();
        self.write(&frame(true, OpCode::Close, &close))?;
        loop {
            match self.next_frame(usize::MAX)? {
                Frame { first: PING, .. } => {}
                Frame { first, payload } if first == CLOSE && payload == close => break,
                other => return Err(self.fault(usize::MAX, &format!("left, and heard {other:?}"))),
            }
        }
        let _ = self.stream.shutdown(Shutdown::Write);
        match self.stream.read(&mut [0; 16]) {
            Ok(0) if self.received.is_empty() => Ok(()),
            other => Err(self.fault(usize::MAX, &format!("left, and then {other:?}"))),
        }
    }

    fn next_frame(&mut self, round: usize) -> Result<Frame, String> {
        loop {
            if let [first, length, rest @ ..] = &*self.received
                && let Some(payload) = rest.get(..usize::from(*length))
            {
                let (first, payload) = (*first, payload.to_vec());
                self.received.drain(..2 + payload.len());
                return Ok(Frame { first, payload });
            }
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.fault(round, "saw the end of its stream")),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(self.fault(round, &error.to_string())),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| self.fault(usize::MAX, &error.to_string()))
    }

    fn fault(&self, round: usize, what: &str) -> String {
        format!("bystander {}, round {round}: {what}", self.index)
    }
}

fn broadcast(round: usize, number: usize) -> String {
    format!("#{round}.{number}")
}
