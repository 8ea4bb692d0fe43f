//! What is measured, and how each is started.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

use crate::load::Load;
use crate::row::Row;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// A raw TCP loop that parses nothing
    Floor,
    /// The engine of this workspace
    Throng,
}

/// How a server is started. Its program takes `--scenario echo|room`, `--listen ADDR` and
/// `--cpu CORE`, and prints `listening on ADDR` as its first line.
struct Launch {
    /// The program's name, among the programs beside this one.
    program: &'static str,
    /// What it is told beyond that.
    arguments: &'static [&'static str],
    /// Whether it must be told the payload bytes of a message, with `--size`.
    takes_size: bool,
}

impl Engine {
    fn launch(self) -> Launch {
        match self {
            Self::Floor => Launch {
                program: "server",
                arguments: &["--engine", "floor"],
                takes_size: true,
            },
            Self::Throng => Launch {
                program: "server",
                arguments: &["--engine", "throng"],
                takes_size: false,
            },
        }
    }

    /// The name in tables and on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The command that serves `row` on core `cpu`; programs are looked for in `directory`.
    pub(crate) fn command(self, directory: &Path, row: &Row, cpu: usize) -> Command {
        let launch = self.launch();
        let mut command = Command::new(directory.join(launch.program));
        command.args(launch.arguments);
        command.args(["--scenario", row.scenario.name(), "--listen", "127.0.0.1:0"]);
        command.args(["--cpu", &cpu.to_string()]);
        if launch.takes_size {
            command.args(["--size", &row.size.to_string()]);
        }
        if row.load == Load::Idle {
            // With huge pages, memory comes in steps of 2 MiB: 200 bytes for each of ten
            // thousand connections, and several steps of them.
            command.env("MIMALLOC_ALLOW_THP", "0");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    fn arguments(engine: Engine, row: &str) -> String {
        let command = engine.command(Path::new("/programs"), &row::named(row).unwrap(), 3);
        assert_eq!(command.get_program(), "/programs/server");
        let arguments: Vec<_> = command
            .get_args()
            .map(|one| one.to_string_lossy())
            .collect();
        arguments.join(" ")
    }

    #[test]
    fn servers_are_told_what_they_need() {
        assert_eq!(
            arguments(Engine::Floor, "echo-100-16k"),
            "--engine floor --scenario echo --listen 127.0.0.1:0 --cpu 3 --size 16384"
        );
        assert_eq!(
            arguments(Engine::Throng, "room-1k-8"),
            "--engine throng --scenario room --listen 127.0.0.1:0 --cpu 3"
        );
    }
}
