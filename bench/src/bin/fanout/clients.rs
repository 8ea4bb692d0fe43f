//! Clients, on threads of their own: members who read what they are sent, and one who asks for echoes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

/// How soon members notice that they may leave.
const LEAVING: Duration = Duration::from_millis(20);
/// Compresses each message on its own, with the largest window.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
/// FIN and text; masked with zeros, which change nothing.
const TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;

/// An upgraded connection.
pub(crate) fn upgraded(address: SocketAddr, path: &str, further: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&head)))
    }
}

/// Sends a short text.
pub(crate) fn say(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let length = u8::try_from(text.len()).map_err(io::Error::other)?;
    let mut frame = vec![TEXT, MASKED | length, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    stream.write_all(&frame)
}

/// Members of the room, who read whatever comes.
pub(crate) struct Members {
    reading: JoinHandle<io::Result<()>>,
    may_leave: Arc<AtomicBool>,
}

impl Members {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> io::Result<Members> {
        let poll = Poll::new()?;
        let mut streams = Vec::new();
        for number in 0..count {
            let stream = upgraded(address, "/member", OFFER)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            let token = Token(number);
            poll.registry()
                .register(&mut stream, token, Interest::READABLE)?;
            streams.push(stream);
        }
        let may_leave = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&may_leave);
        let reading = thread::spawn(move || read_all(poll, &mut streams, &leaving));
        Ok(Members { reading, may_leave })
    }

    pub(crate) fn leave(self) {
        self.may_leave.store(true, Ordering::Relaxed);
        // What they failed in is of no interest any more.
        let _ = self.reading.join();
    }
}

fn read_all(
    mut poll: Poll,
    streams: &mut [mio::net::TcpStream],
    may_leave: &AtomicBool,
) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 256 * 1024];
    while !may_leave.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(LEAVING))?;
        for event in &events {
            loop {
                match streams[event.token().0].read(&mut scratch) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// One who is in no room and asks for an echo now and then.
pub(crate) struct Bystander(TcpStream);

impl Bystander {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Bystander> {
        upgraded(address, "/", "").map(Bystander)
    }

    /// Asks at fixed times, whether or not the last answer was late, and gives how long each took from
    /// when it was due.
    pub(crate) fn ask(
        self,
        every: Duration,
        how_long: Duration,
    ) -> JoinHandle<io::Result<Vec<Duration>>> {
        let Bystander(mut stream) = self;
        thread::spawn(move || {
            let (begun, mut taken) = (Instant::now(), Vec::new());
            let mut due = begun;
            let mut echo = [0; 6];
            while due < begun + how_long {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                say(&mut stream, "echo")?;
                stream.read_exact(&mut echo)?;
                taken.push(due.elapsed());
                due += every;
            }
            Ok(taken)
        })
    }
}
