//! What is published in one turn gathers and is handed out later: nobody can tell.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use throng::protocol::frame::OpCode;

use throng::{Config, Receipt};
use throng_tests::engine::{Client, Happening, Heard, Served, config, frame, serve};

/// What each client should hear of a script that one of them speaks, by a model that hands
/// everything out at once.
struct Model {
    /// Whether each client is in each of the rooms.
    rooms: [Vec<bool>; 2],
    heard: Vec<Vec<String>>,
    /// By text, which rooms it was for: a bit for each, and [`DIRECT`].
    kinds: HashMap<String, u8>,
    /// How many each publication is for.
    audiences: Vec<usize>,
}

const CLIENTS: usize = 6;
const ROOMS: [&str; 2] = ["tea", "ale"];
/// The client that speaks.
const SPEAKER: usize = 0;
const BOTH: u8 = 0b011;
/// What a client alone was sent.
const DIRECT: u8 = 0b100;

impl Model {
    fn tell(&mut self, text: &str, kind: u8, to: impl Fn(&Model, usize) -> bool) {
        let audience: Vec<usize> = (0..CLIENTS).filter(|&client| to(self, client)).collect();
        for &client in &audience {
            self.heard[client].push(text.to_owned());
        }
        self.audiences.push(audience.len());
        self.kinds.insert(text.to_owned(), kind);
    }

    /// The texts that were for a room, or for one client alone. Between them there is an order.
    fn of_kind<'t>(&self, texts: &'t [String], kind: u8) -> Vec<&'t String> {
        let kind_of = |text: &String| self.kinds.get(text).copied().unwrap_or(DIRECT);
        texts
            .iter()
            .filter(|text| kind_of(text) & kind != 0)
            .collect()
    }

    /// A random command, and what follows from it.
    fn command(&mut self, random: &mut fastrand::Rng, ids: &[String], text: &str) -> String {
        let room = random.usize(..2);
        let (name, other) = (ROOMS[room], ROOMS[1 - room]);
        match random.u8(..12) {
            0 | 1 => {
                self.tell(text, 1 << room, |model, client| model.rooms[room][client]);
                format!("!to {name} {text}")
            }
            2..=4 => {
                let others = |model: &Model, client| model.rooms[room][client] && client != SPEAKER;
                self.tell(text, 1 << room, others);
                format!("!others {name} {text}")
            }
            5 => {
                self.tell(text, BOTH, |model, client| {
                    model.rooms.iter().any(|it| it[client])
                });
                format!("!union {name} {other} {text}")
            }
            6 => {
                let only = |model: &Model, client: usize| {
                    model.rooms[room][client] && !model.rooms[1 - room][client]
                };
                self.tell(text, 1 << room, only);
                format!("!minus {name} {other} {text}")
            }
            7 => {
                self.tell(text, BOTH, |_, _| true);
                format!("!all {text}")
            }
            8 => {
                let client = random.usize(..CLIENTS);
                self.tell(text, DIRECT, |_, it| it == client);
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

fn play(config: Config, seed: u64) {
    let has_window = config.batch_window.is_some();
    let served = serve(config.shards(1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    let ids: Vec<String> = clients.iter_mut().map(|it| it.ask("!id")).collect();
    let mut model = Model {
        rooms: [vec![false; CLIENTS], vec![false; CLIENTS]],
        heard: vec![Vec::new(); CLIENTS],
        audiences: Vec::new(),
        kinds: HashMap::new(),
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
        let heard: Vec<String> = expected.iter().map(|_| hear(client)).collect();
        assert_eq!(
            client.ask("enough"),
            "enough",
            "seed {seed}, client {index}"
        );
        if !has_window {
            assert_eq!(&heard, expected, "seed {seed}, client {index}");
        }
        for kind in [1, 2, DIRECT] {
            let (heard, expected) = (model.of_kind(&heard, kind), model.of_kind(expected, kind));
            assert_eq!(heard, expected, "seed {seed}, client {index}, kind {kind}");
        }
    }
}

#[test]
fn whatever_is_mixed_arrives_as_if_sent_at_once() {
    (0..300).for_each(|seed| play(config(), seed));
}

#[test]
fn a_window_changes_the_order_of_no_room() {
    for seed in 0..200 {
        let window = Duration::from_millis(1 + seed % 20);
        let messages = [1, 3, 64][usize::try_from(seed % 3).unwrap_or_default()];
        let settings = config().batch_window(window);
        play(settings.batch_messages(messages), seed);
    }
}

/// What is published waits for its window to be over, for company, or for the room to change.
#[test]
fn a_batch_goes_out_when_it_is_full_or_its_room_changes() {
    let window = Duration::from_secs(1);
    let settings = config().shards(1).batch_window(window);
    let served = serve(settings.batch_messages(3));
    let [mut ann, mut bob] = [(); 2].map(|()| served.connect());
    let began = Instant::now();
    assert_eq!(ann.ask("!join tea"), "Ok(())");
    ann.text("!to tea 1");
    ann.text("?");
    let first = hear(&mut ann);
    let waits = first == "?" || began.elapsed() >= window;
    assert!(waits, "{first} came at once");
    let mut rest = vec![first, hear(&mut ann)];
    rest.sort();
    assert_eq!(rest, ["1", "?"], "it comes without company");
    for text in ["!to tea 2", "!to tea 3", "!to tea 4", "!to tea 5"] {
        ann.text(text);
    }
    assert_eq!([(); 3].map(|()| hear(&mut ann)), ["2", "3", "4"]);
    assert_eq!(bob.ask("!join tea"), "Ok(())");
    assert_eq!(hear(&mut ann), "5");
    assert_eq!(bob.ask("nothing from before?"), "nothing from before?");
    ann.text("!to tea 6");
    ann.text("!close 1000 bye");
    assert_eq!(hear(&mut ann), "6", "before the close frame");
    assert_eq!(hear(&mut bob), "6");
}
