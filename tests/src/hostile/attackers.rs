//! What attacks have in common.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use super::memory;
use crate::engine::{Client, Heard, request, until};

/// Open files that a siege may need: both ends of 5,500 connections, and some.
const OPEN_FILES: u64 = 11_500;

/// Many connections, none of which ever waits for the engine.
#[derive(Debug)]
pub struct Attackers {
    streams: Vec<TcpStream>,
    heard: Vec<Vec<u8>>,
    ended: Vec<bool>,
}

impl Attackers {
    /// So many connections on which nothing has been said.
    pub fn connect(address: SocketAddr, count: usize) -> Attackers {
        let connect = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        Attackers {
            streams: (0..count).map(connect).collect(),
            heard: vec![Vec::new(); count],
            ended: vec![false; count],
        }
    }

    /// Has each write what there is room for, unless it has heard the end.
    pub fn write(&mut self, bytes: &[u8]) {
        for (mut stream, ended) in self.streams.iter().zip(&self.ended) {
            if !ended {
                // Where the engine is gone, what it said before may still be heard.
                let _ = stream.write(bytes);
            }
        }
    }

    /// Has each hear what there is; returns whether all have heard the end.
    pub fn have_heard_the_end(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let each = self
            .streams
            .iter()
            .zip(&mut self.heard)
            .zip(&mut self.ended);
        for ((mut stream, heard), ended) in each {
            while !*ended {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => heard.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => *ended = true,
                }
            }
        }
        self.ended.iter().all(|ended| *ended)
    }

    /// What each has heard, once all have heard the end.
    pub fn hear_the_end(mut self) -> Vec<Vec<u8>> {
        until("the attackers' end", || self.have_heard_the_end());
        self.heard
    }
}

/// Writes all this to a peer who may stop listening. Returns the first thing heard that is neither
/// message nor pong, behind which the end comes and nothing else.
pub fn end_of(client: &mut Client, pieces: &[&[u8]]) -> Heard {
    for piece in pieces {
        if client.try_write(piece).is_err() {
            break;
        }
    }
    let close = loop {
        match client.hear() {
            Heard::Text(_) | Heard::Binary(_) | Heard::Pong(_) => {}
            other => break other,
        }
    };
    client.finish();
    let end = client.hear();
    assert!(matches!(end, Heard::End | Heard::Reset), "{end:?}");
    close
}

/// A sound request for an upgrade with another path.
pub fn asking(path: &str) -> String {
    request("").replace("/path?query=1", path)
}

/// Has so many threads attack at once, each with its number; returns what they came to.
pub fn in_parallel<T: Send + Debug>(count: usize, attack: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let attack = &attack;
    thread::scope(|scope| {
        let begin = |number| {
            scope.spawn(move || {
                memory::count_no_more_here();
                attack(number)
            })
        };
        let attacks: Vec<_> = (0..count).map(begin).collect();
        attacks
            .into_iter()
            .map(|attack| attack.join().unwrap())
            .collect()
    })
}

/// Raises this process's limit on open files to what a siege needs.
pub fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let allowed = limit.maximum.unwrap_or(u64::MAX);
        assert!(
            allowed >= OPEN_FILES,
            "these tests need a hard limit on open files of {OPEN_FILES}; it is {allowed}"
        );
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
