//! A service with one sequenced room, and its members.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use throng::{
    Accept, Config, Conn, ConnectionId, Engine, Handler, Message, Position, Reject, RoomOptions,
    Upgrade,
};

use super::{Client, Heard, PATIENCE, serve_with};

/// The sequenced room.
pub const ROOM: &str = "trades";

/// A message of the room, as it says itself: `@ SENDER NUMBER`, and its place if it carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trade {
    /// Who published it.
    pub sender: String,
    /// Its number among the sender's.
    pub number: u32,
    /// Its place, if it carries it.
    pub position: Option<Position>,
}

impl Trade {
    /// What is published.
    pub fn text(sender: &str, number: u32, position: Option<Position>) -> String {
        let place = position.map(|at| format!(" {} {}", at.epoch, at.offset));
        format!("@ {sender} {number}{}", place.unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Trade> {
        let words: Vec<&str> = text.strip_prefix("@ ")?.split(' ').collect();
        let place = |epoch: &str, offset: &str| Position {
            epoch: epoch.parse().unwrap(),
            offset: offset.parse().unwrap(),
        };
        let position = match words[2..] {
            [] => None,
            [epoch, offset] => Some(place(epoch, offset)),
            _ => panic!("{text}"),
        };
        Some(Trade {
            sender: words[0].to_owned(),
            number: words[1].parse().unwrap(),
            position,
        })
    }
}

/// What a handler's receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Members on the handler's shard.
    pub queued: usize,
    /// Shards it was handed to.
    pub forwarded: usize,
    /// Shards that could not take it.
    pub refused: usize,
    /// Its offset; 0 when there is none.
    pub offset: u64,
}

/// Obeys: `join`, `leave`, `hold` (its shard waits until told to go on), and `say SENDER NUMBER HOW`, which
/// publishes to the room, `plain`, `numbered`, `high` or `others` (all but itself).
struct Trades {
    held: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

/// An engine with the room, and the strings that its shards are held by.
#[derive(Debug)]
pub struct Market {
    /// The engine.
    pub engine: Engine,
    held: Receiver<()>,
    go_on: Sender<()>,
}

/// A connection to a [`Market`].
#[derive(Debug)]
pub struct Trader {
    /// The connection.
    pub client: Client,
    /// Its shard.
    pub shard: u64,
}

impl Handler for Trades {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        conn.send(&conn.id().to_u64().to_be_bytes());
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let words: Vec<&str> = message.as_text().unwrap().split(' ').collect();
        let answer = match words[..] {
            ["join"] => format!("joined {:?}", conn.join(ROOM)),
            ["leave"] => format!("left {}", conn.leave(ROOM)),
            ["hold"] => {
                self.held.send(()).unwrap();
                self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                return;
            }
            ["say", sender, number, how] => say(conn, sender, number.parse().unwrap(), how),
            _ => panic!("{words:?}?"),
        };
        conn.send(&*answer);
    }
}

fn say(conn: &mut Conn<'_, ()>, sender: &str, number: u32, how: &str) -> String {
    let to = conn.to(ROOM);
    let plain = Trade::text(sender, number, None);
    let publication = match how {
        "plain" => to.text(plain),
        "high" => to.high().text(plain),
        "others" => to.except_self().text(plain),
        "numbered" => {
            let sender = sender.to_owned();
            to.numbered(move |at| Trade::text(&sender, number, Some(at)))
        }
        _ => panic!("how is {how}?"),
    };
    let receipt = publication.publish();
    let offset = receipt.position.map_or(0, |position| position.offset);
    let (queued, forwarded) = (receipt.queued, receipt.forwarded);
    format!("said {queued} {forwarded} {} {offset}", receipt.refused)
}

impl Market {
    /// Opens it.
    pub fn open(config: Config) -> Market {
        let ((held, holds), (go_on, goes_on)) = (channel(), channel());
        let service = Trades {
            held,
            go_on: Mutex::new(goes_on),
        };
        let engine = serve_with(config, service);
        let options = RoomOptions::new().sequenced();
        engine.create_room(ROOM, options).unwrap();
        Market {
            engine,
            held: holds,
            go_on,
        }
    }

    /// A connection.
    pub fn connect(&self) -> Trader {
        Trader::connect(self.engine.local_addr().unwrap())
    }

    /// A connection to a shard for which `wanted` says so. The system deals them out as it likes.
    pub fn connect_where(&self, mut wanted: impl FnMut(&mut Trader) -> bool) -> Trader {
        let mut others = Vec::new();
        loop {
            let mut trader = self.connect();
            if wanted(&mut trader) {
                return trader;
            }
            others.push(trader);
            assert!(others.len() < 1000, "no such shard");
        }
    }

    /// Waits until a shard is held.
    pub fn until_held(&self) {
        self.held.recv_timeout(PATIENCE).unwrap();
    }

    /// Lets the shard go on.
    pub fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

impl Trader {
    /// A connection to a [`Market`] at that address.
    pub fn connect(address: std::net::SocketAddr) -> Trader {
        let mut client = Client::connect(address);
        let Heard::Binary(id) = client.hear() else {
            panic!("no id")
        };
        let id = ConnectionId::from_u64(u64::from_be_bytes(id.try_into().unwrap()));
        Trader {
            client,
            shard: id.to_u64() >> 55,
        }
    }

    /// Joins the room.
    pub fn join(&mut self) {
        self.client.text("join");
        assert_eq!(self.answer(&mut Vec::new()), "joined Ok(())");
    }

    /// Leaves the room; what came of it before is added to `heard`.
    pub fn leave(&mut self, heard: &mut Vec<Trade>) {
        self.client.text("leave");
        assert_eq!(self.answer(heard), "left true");
    }

    /// Publishes; what came of the room before the answer is added to `heard`.
    pub fn say(&mut self, sender: &str, number: u32, how: &str, heard: &mut Vec<Trade>) -> Told {
        self.client.text(&format!("say {sender} {number} {how}"));
        let answer = self.answer(heard);
        let numbers = answer.strip_prefix("said ").unwrap().split(' ');
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        Told {
            queued: numbers[0],
            forwarded: numbers[1],
            refused: numbers[2],
            offset: numbers[3] as u64,
        }
    }

    /// The next message of the room.
    pub fn hear(&mut self) -> Trade {
        match self.client.hear() {
            Heard::Text(text) => Trade::parse(&text).expect("a message of the room"),
            other => panic!("{other:?}"),
        }
    }

    /// The next thing that is no message of the room; those before it are added to `heard`.
    pub fn answer(&mut self, heard: &mut Vec<Trade>) -> String {
        loop {
            match self.client.hear() {
                Heard::Text(text) => match Trade::parse(&text) {
                    Some(trade) => heard.push(trade),
                    None => return text,
                },
                other => panic!("{other:?}"),
            }
        }
    }
}
