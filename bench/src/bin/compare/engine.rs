//! What is measured, and how each is started.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

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
        command
    }
}
