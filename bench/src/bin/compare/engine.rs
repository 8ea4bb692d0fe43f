//! How a server is started.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use throng_bench::serve::Engine;

use crate::load::Load;
use crate::row::Row;

/// The name in tables and on command lines.
pub(crate) fn name(value: impl ValueEnum + Copy) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The command that serves `row` on core `cpu`. It is this `program`: what is measured is what it
/// was built from.
pub(crate) fn command(program: &Path, engine: Engine, row: &Row, cpu: usize) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--engine", &name(engine)]);
    command.args(["--scenario", &name(row.scenario), "--cpu", &cpu.to_string()]);
    if engine == Engine::Floor {
        command.args(["--size", &row.size.to_string()]);
    }
    if row.load == Load::Idle {
        // With huge pages, memory comes in steps of 2 MiB: 200 bytes for each of ten
        // thousand connections, and several steps of them.
        command.env("MIMALLOC_ALLOW_THP", "0");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    fn arguments(engine: Engine, row: &str) -> String {
        let program = Path::new("/compare");
        let command = command(program, engine, &row::named(row).unwrap(), 3);
        assert_eq!(command.get_program(), program);
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
            "serve --engine floor --scenario echo --cpu 3 --size 16384"
        );
        assert_eq!(
            arguments(Engine::Throng, "room-1k-8"),
            "serve --engine throng --scenario room --cpu 3"
        );
    }
}
