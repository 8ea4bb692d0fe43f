//! What servers are measured at.

use serde::{Deserialize, Serialize};
use throng_bench::serve::Scenario;

use crate::load::Load;

/// One scenario, a row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The name on the command line.
    pub(crate) name: String,
    /// What the server does with a message.
    pub(crate) scenario: Scenario,
    /// Connections; without the room's, if they are bystanders of one.
    pub(crate) connections: u32,
    /// Payload bytes of a message.
    pub(crate) size: usize,
    pub(crate) load: Load,
}

/// What a row is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Bytes of a connection.
    Memory,
    /// CPU time of a message, as many as the server can take.
    Cost,
    /// The time a message takes, at a fixed rate.
    Delay,
    /// What a room's deliveries add to the time that the messages of others take.
    Bystanders,
}

impl Row {
    /// What it is measured for.
    pub(crate) fn figure(&self) -> Figure {
        match self.load {
            Load::Idle => Figure::Memory,
            Load::Echo { .. } | Load::Room { .. } => Figure::Cost,
            Load::EchoAt { .. } | Load::RoomAt { .. } => Figure::Delay,
            Load::Bystanders { .. } => Figure::Bystanders,
        }
    }

    /// Sets how many messages a second go to the room, if its connections are bystanders of one.
    pub(crate) fn set_room_rate(&mut self, rate: u32) {
        if let Load::Bystanders { room_rate, .. } = &mut self.load {
            *room_rate = rate;
        }
    }

    /// What a cost is per.
    pub(crate) fn unit(&self) -> &'static str {
        match self.scenario {
            Scenario::Echo | Scenario::Mixed => "message",
            Scenario::Room => "delivery",
        }
    }

    /// The row in words.
    pub(crate) fn title(&self) -> String {
        let (connections, size) = (self.connections, bytes(self.size));
        match (self.load, self.scenario) {
            (Load::Echo { depth }, _) => format!("echo {size} × {connections}, depth {depth}"),
            (Load::Room { in_flight }, _) => {
                format!("room {size} × {connections} members, {in_flight} in flight")
            }
            (Load::EchoAt { rate }, _) => format!("echo {size} × {connections}, {rate}/s in all"),
            (Load::RoomAt { rate }, _) => {
                format!("room {size} × {connections} members, {rate}/s")
            }
            (
                Load::Bystanders {
                    rate,
                    members,
                    room_rate,
                },
                _,
            ) => {
                let room = format!("a room of {members} at {room_rate}/s");
                format!("echo {size} × {connections}, {rate}/s in all, beside {room}")
            }
            (Load::Idle, Scenario::Room) => format!("idle × {connections}, in one room"),
            (Load::Idle, _) => format!("idle × {connections}, outside rooms"),
        }
    }
}

fn bytes(size: usize) -> String {
    if size >= 1024 && size.is_multiple_of(1024) {
        format!("{} KiB", size / 1024)
    } else {
        format!("{size} B")
    }
}

/// Twenty echoes a second of each bystander, beside a room of ten thousand.
const BYSTANDERS: Load = Load::Bystanders {
    rate: 2000,
    members: 10_000,
    room_rate: 20,
};

/// All rows, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = Row> {
    let echo = |name: &str, connections, size, depth| Row {
        name: name.to_owned(),
        scenario: Scenario::Echo,
        connections,
        size,
        load: Load::Echo { depth },
    };
    let room = |members: u32, in_flight: u32| Row {
        name: format!("room-{}k-{in_flight}", members / 1000),
        scenario: Scenario::Room,
        connections: members,
        size: 64,
        load: Load::Room { in_flight },
    };
    let paced = |name: &str, scenario, connections, size, load| Row {
        name: name.to_owned(),
        scenario,
        connections,
        size,
        load,
    };
    let idle = |name: &str, scenario| Row {
        name: name.to_owned(),
        scenario,
        connections: 10_000,
        size: 64,
        load: Load::Idle,
    };
    [
        echo("echo-100", 100, 20, 1),
        echo("echo-1k", 1000, 20, 1),
        echo("echo-10k", 10_000, 20, 1),
        echo("echo-100-d16", 100, 20, 16),
        echo("echo-100-16k", 100, 16 * 1024, 1),
        room(1000, 1),
        room(1000, 8),
        room(1000, 32),
        room(10_000, 1),
        room(10_000, 8),
        room(10_000, 32),
        paced(
            "echo-1k-rate",
            Scenario::Echo,
            1000,
            20,
            Load::EchoAt { rate: 50_000 },
        ),
        paced(
            "room-10k-rate8",
            Scenario::Room,
            10_000,
            64,
            Load::RoomAt { rate: 8 },
        ),
        paced("bystanders", Scenario::Mixed, 100, 20, BYSTANDERS),
        idle("idle-10k", Scenario::Echo),
        idle("idle-10k-room", Scenario::Room),
    ]
    .into_iter()
}

/// The row of that name.
pub(crate) fn named(name: &str) -> Result<Row, String> {
    all().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<_> = all().map(|row| row.name).collect();
        format!("no such row; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_are_found_by_their_names() {
        let names: HashSet<_> = all().map(|row| row.name).collect();
        assert_eq!(names.len(), all().count());
        for row in all() {
            assert_eq!(named(&row.name), Ok(row));
        }
        assert!(named("room-1k").unwrap_err().contains("room-1k-32"));
    }

    #[test]
    fn titles_say_what_is_measured() {
        let title = |name| named(name).unwrap().title();
        assert_eq!(title("echo-100-16k"), "echo 16 KiB × 100, depth 1");
        assert_eq!(
            title("room-1k-32"),
            "room 64 B × 1000 members, 32 in flight"
        );
        assert_eq!(title("idle-10k-room"), "idle × 10000, in one room");
        assert_eq!(title("room-10k-rate8"), "room 64 B × 10000 members, 8/s");
        assert_eq!(
            title("bystanders"),
            "echo 20 B × 100, 2000/s in all, beside a room of 10000 at 20/s"
        );
    }
}
