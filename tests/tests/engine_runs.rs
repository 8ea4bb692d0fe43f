//! What is published in one turn gathers and is handed out later: nobody can tell.

use throng::protocol::frame::OpCode;
use throng::{Config, Receipt};
use throng_tests::engine::{Client, Happening, Heard, Served, frame, serve};

/// What each client should hear of a script that one of them speaks, by a model that hands
/// everything out at once.
struct Model {
    /// Whether each client is in each of the rooms.
    rooms: [Vec<bool>; 2],
    heard: Vec<Vec<String>>,
    /// How many each publication is for.
    audiences: Vec<usize>,
}

const CLIENTS: usize = 6;
const ROOMS: [&str; 2] = ["tea", "ale"];
/// The client that speaks.
const SPEAKER: usize = 0;

impl Model {
    fn tell(&mut self, text: &str, to: impl Fn(&Model, usize) -> bool) {
        let audience: Vec<usize> = (0..CLIENTS).filter(|&client| to(self, client)).collect();
        for &client in &audience {
            self.heard[client].push(text.to_owned());
        }
        self.audiences.push(audience.len());
    }

    /// A random command, and what follows from it.
    fn command(&mut self, random: &mut fastrand::Rng, ids: &[String], text: &str) -> String {
        let room = random.usize(..2);
        let (name, other) = (ROOMS[room], ROOMS[1 - room]);
        match random.u8(..12) {
            0 | 1 => {
                self.tell(text, |model, client| model.rooms[room][client]);
                format!("!to {name} {text}")
            }
            2..=4 => {
                let others = |model: &Model, client| model.rooms[room][client] && client != SPEAKER;
                self.tell(text, others);
                format!("!others {name} {text}")
            }
            5 => {
                self.tell(text, |model, client| {
                    model.rooms.iter().any(|it| it[client])
                });
                format!("!union {name} {other} {text}")
            }
            6 => {
                let only = |model: &Model, client: usize| {
                    model.rooms[room][client] && !model.rooms[1 - room][client]
                };
                self.tell(text, only);
                format!("!minus {name} {other} {text}")
            }
            7 => {
                self.tell(text, |_, _| true);
                format!("!all {text}")
            }
            8 => {
                let client = random.usize(..CLIENTS);
                self.tell(text, |_, it| it == client);
                format!("!one {} {text}", ids[client])
            }
            9 => {
                self.heard[SPEAKER].push("Ok(())".to_owned());
                self.rooms[room][SPEAKER] = true;
                format!("!join {name}")
            }
            10 => {
                let was_member = std::mem::take(&mut self.rooms[room][SPEAKER]);
                self.heard[SPEAKER].push(was_member.to_string());
                format!("!leave {name}")
            }
            _ => {
                self.heard[SPEAKER].push(text.to_owned());
                text.to_owned()
            }
        }
    }
}

fn hear(client: &mut Client) -> String {
    match client.hear() {
        Heard::Text(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

fn published(served: &Served) -> Receipt {
    loop {
        if let Happening::Published(receipt) = served.next() {
            return receipt;
        }
    }
}

fn play(seed: u64) {
    let served = serve(Config::default().shards(1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    let ids: Vec<String> = clients.iter_mut().map(|it| it.ask("!id")).collect();
    let mut model = Model {
        rooms: [vec![false; CLIENTS], vec![false; CLIENTS]],
        heard: vec![Vec::new(); CLIENTS],
        audiences: Vec::new(),
    };
    for (room, name) in ROOMS.into_iter().enumerate() {
        for (index, client) in clients.iter_mut().enumerate() {
            if random.bool() {
                assert_eq!(client.ask(&format!("!join {name}")), "Ok(())");
                model.rooms[room][index] = true;
            }
        }
    }
    let mut script = Vec::new();
    for number in 0..random.usize(1..200) {
        let command = model.command(&mut random, &ids, &format!("{number}"));
        script.extend(frame(true, OpCode::Text, command.as_bytes()));
    }
    // In one write, most of which arrives in one turn.
    clients[SPEAKER].write(&script);
    for (number, audience) in model.audiences.iter().enumerate() {
        let receipt = published(&served);
        assert_eq!(
            receipt.queued, *audience,
            "seed {seed}, publication {number}: {receipt:?}"
        );
        assert_eq!(receipt.audience(), *audience);
    }
    for (index, (client, expected)) in clients.iter_mut().zip(&model.heard).enumerate() {
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(
                &hear(client),
                expected,
                "seed {seed}, client {index}, {number}"
            );
        }
        assert_eq!(
            client.ask("enough"),
            "enough",
            "seed {seed}, client {index}"
        );
    }
}

#[test]
fn whatever_is_mixed_arrives_as_if_sent_at_once() {
    (0..300).for_each(play);
}
