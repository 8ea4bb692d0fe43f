//! A service whose clients join and leave rooms, and publish to them, as they say.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use throng::{
    Accept, Config, Conn, ConnectionId, Engine, Handler, JoinError, Message, OwnedMessage,
    Position, PresenceChange, Recovery, Reject, RoomDeleted, Upgrade,
};

use super::{Client, Heard, PATIENCE, serve_with};

/// Obeys, and begins its answers with `= `:
///
/// | command | what it does |
/// |---|---|
/// | `join R`, `leave R`, `leave_all`, `rooms`, `info R` | answers with the outcome |
/// | `say R TEXT`, `others R TEXT` | publishes to a room, or to all but itself, and answers |
/// | `delete R`, `last_words R TEXT` | deletes a room, the latter once it has published to it |
/// | `from R EPOCH OFFSET`, `last R N` | joins with what was missed, or with the last messages |
/// | `number R TEXT` | publishes `TEXT EPOCH OFFSET`, and answers |
/// | `presence R` | answers who is there |
/// | `user NAME`, `user` | it is that user's from now on, or nobody's |
/// | `rejoin R` | leaves and joins again |
/// | `flood N BYTES` | sends itself that many binary messages |
/// | `hold` | its shard waits until it is told to go on |
///
/// Whose connection it is, the header `X-User` says.
struct Obeying {
    recoveries: Sender<Recovery>,
    held: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

/// An engine with the service, and the strings that its shards are held by.
#[derive(Debug)]
pub struct Hall {
    /// The engine.
    pub engine: Engine,
    /// What came of joining with what was missed.
    pub recoveries: Receiver<Recovery>,
    held: Receiver<()>,
    go_on: Sender<()>,
}

/// A connection to a [`Hall`].
#[derive(Debug)]
pub struct Guest {
    /// The connection.
    pub client: Client,
    /// Its name in the engine.
    pub id: ConnectionId,
    /// What it heard while it waited for answers.
    pub heard: Vec<String>,
}

impl Handler for Obeying {
    type State = ();

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        let accept = Accept::new(());
        Ok(match request.header("x-user") {
            Some(user) => accept.user_id(user),
            None => accept,
        })
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        conn.send(&*format!("= {}", conn.id().to_u64()));
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let text = message.as_text().unwrap();
        if text == "hold" {
            self.held.send(()).unwrap();
            self.go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            return;
        }
        let answer = match text.split(' ').collect::<Vec<_>>()[..] {
            ["from", room, epoch, offset] => {
                let (epoch, offset) = (epoch.parse().unwrap(), offset.parse().unwrap());
                self.tell(conn.join_from(room, position(epoch, offset)))
            }
            ["last", room, count] => {
                self.tell(conn.join_with_history(room, count.parse().unwrap()))
            }
            _ => obey(conn, text),
        };
        conn.send(&*format!("= {answer}"));
    }

    fn room_deleted(&self, deleted: &RoomDeleted<'_>) -> Option<OwnedMessage> {
        match deleted.room {
            "quiet" => None,
            "panics" => panic!("as told"),
            "own" => Some("no more".to_owned().into()),
            _ => Some(deleted.to_json()),
        }
    }

    fn presence_notice(&self, change: &PresenceChange<'_>) -> Option<OwnedMessage> {
        match change.room {
            "quiet" => None,
            "panics" => panic!("as told"),
            "own" => Some(format!("{:?} {:?}", change.joined, change.left).into()),
            _ => Some(change.to_json()),
        }
    }
}

impl Obeying {
    fn tell(&self, joined: Result<Recovery, JoinError>) -> String {
        match joined {
            Ok(recovery) => {
                let at = recovery.position;
                let _ = self.recoveries.send(recovery);
                let (recovered, messages) = (recovery.recovered, recovery.messages);
                format!("{recovered} {} {} {messages}", at.epoch, at.offset)
            }
            Err(error) => format!("{error:?}"),
        }
    }
}

/// A place in a sequenced room.
pub fn position(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

fn obey(conn: &mut Conn<'_, ()>, text: &str) -> String {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (room, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "join" => format!("{:?}", conn.join(room)),
        "leave" => conn.leave(room).to_string(),
        "leave_all" => {
            conn.leave_all();
            String::new()
        }
        "rooms" => conn.rooms().collect::<Vec<_>>().join(","),
        "info" => format!("{:?}", conn.room_info(room)),
        "say" => format!("{:?}", conn.to(room).text(rest).publish()),
        "others" => format!("{:?}", conn.to(room).except_self().text(rest).publish()),
        "number" => {
            let text = rest.to_owned();
            let numbered = move |at: Position| format!("{text} {} {}", at.epoch, at.offset);
            format!("{:?}", conn.to(room).numbered(numbered).publish())
        }
        "presence" => format!("{:?}", conn.engine().presence(room)),
        "user" => {
            conn.set_user_id((!room.is_empty()).then_some(room));
            String::new()
        }
        "rejoin" => {
            let left = conn.leave(room);
            format!("{left} {:?}", conn.join(room))
        }
        "flood" => {
            let message = vec![0; rest.parse().unwrap()];
            for _ in 0..room.parse().unwrap() {
                conn.send(&message);
            }
            String::new()
        }
        "delete" => conn.engine().delete_room(room).to_string(),
        "last_words" => {
            conn.to(room).text(rest).publish();
            conn.engine().delete_room(room).to_string()
        }
        _ => panic!("what is {verb}?"),
    }
}

impl Hall {
    /// Opens it.
    pub fn open(config: Config) -> Hall {
        let ((held, holds), (go_on, goes_on)) = (channel(), channel());
        let (recoveries, recovered) = channel();
        let service = Obeying {
            recoveries,
            held,
            go_on: Mutex::new(goes_on),
        };
        Hall {
            engine: serve_with(config, service),
            recoveries: recovered,
            held: holds,
            go_on,
        }
    }

    /// A connection of nobody in particular.
    pub fn enter(&self) -> Guest {
        self.enter_with("")
    }

    /// A connection of a user's.
    pub fn enter_as(&self, user: &str) -> Guest {
        self.enter_with(&format!("X-User: {user}\r\n"))
    }

    fn enter_with(&self, headers: &str) -> Guest {
        let address = self.engine.local_addr().unwrap();
        Guest::over(Client::connect_with(address, headers))
    }

    /// Connections to that many shards, one to each. The system deals them out as it likes.
    pub fn enter_each(&self, shards: usize) -> Vec<Guest> {
        let mut each: Vec<Guest> = Vec::new();
        let mut others = Vec::new();
        while each.len() < shards {
            let guest = self.enter();
            if each.iter().any(|known| known.shard() == guest.shard()) {
                others.push(guest);
            } else {
                each.push(guest);
            }
            assert!(others.len() < 1000, "fewer shards than that");
        }
        each
    }

    /// Has the guest's shard wait, and returns when it does.
    pub fn hold(&self, guest: &mut Guest) {
        guest.client.text("hold");
        self.until_held();
    }

    /// Returns when a shard waits.
    pub fn until_held(&self) {
        self.held.recv_timeout(PATIENCE).unwrap();
    }

    /// Lets a shard that waits go on.
    pub fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

impl Guest {
    /// The guest that has this connection.
    pub fn over(client: Client) -> Guest {
        let mut guest = Guest {
            client,
            id: ConnectionId::from_u64(0),
            heard: Vec::new(),
        };
        guest.id = ConnectionId::from_u64(guest.answer().parse().unwrap());
        guest
    }

    /// Its shard.
    pub fn shard(&self) -> u64 {
        self.id.to_u64() >> 55
    }

    /// Asks, and returns the answer; what comes before it is added to `heard`.
    pub fn ask(&mut self, command: &str) -> String {
        self.client.text(command);
        self.answer()
    }

    /// Joins a room.
    pub fn join(&mut self, room: &str) {
        assert_eq!(self.ask(&format!("join {room}")), "Ok(())");
    }

    /// The next answer; what comes before it is added to `heard`.
    pub fn answer(&mut self) -> String {
        loop {
            let text = self.hear();
            match text.strip_prefix("= ") {
                Some(answer) => return answer.to_owned(),
                None => self.heard.push(text),
            }
        }
    }

    /// The next text.
    pub fn hear(&mut self) -> String {
        match self.client.hear() {
            Heard::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// What it has heard, with all that is on its way to it.
    pub fn all_heard(&mut self) -> Vec<String> {
        self.ask("rooms");
        std::mem::take(&mut self.heard)
    }
}
