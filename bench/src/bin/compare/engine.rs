//! How a server is started.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use throng_bench::serve::Engine;

use crate::contender::Contender;
use crate::load::Load;
use crate::peers::Peers;
use crate::row::Row;

/// The name in tables and on command lines.
pub(crate) fn name(value: impl ValueEnum + Copy) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The command that serves `row` on core `cpu`. It begins with this `program`, which is what
/// serves, as it was built, or what confines itself to the core and then becomes the peer.
///
/// # Panics
/// When that is a peer that is none of `peers`.
pub(crate) fn command(
    program: &Path,
    peers: &Peers,
    contender: Contender,
    row: &Row,
    cpu: usize,
) -> Command {
    let Contender { engine, backend } = contender;
    let mut command = Command::new(program);
    let (scenario, cpu) = (name(row.scenario), cpu.to_string());
    if engine.is_peer() {
        let peer = &peers[engine];
        command.args(["pinned", "--cpu", &cpu, "--"]);
        command.args(&peer.command).args(["--scenario", &scenario]);
        command.envs(peer.environment.iter().copied());
    } else {
        command.args(["serve", "--engine", &name(engine)]);
        command.args(["--backend", &backend.to_string()]);
        command.args(["--scenario", &scenario, "--cpu", &cpu]);
    }
    // Those of other languages choose their buffers themselves, and the engine has none to choose.
    if !matches!(engine, Engine::Throng | Engine::Gorilla | Engine::Ws) {
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
    use crate::peers::Installed;
    use crate::row;

    fn arguments(contender: &str, row: &str) -> String {
        let program = Path::new("/compare");
        let mut peers = Peers::default();
        peers.add(
            Engine::Gorilla,
            Installed {
                command: vec!["/gorilla".into()],
                environment: vec![("GOMAXPROCS", "1")],
                version: "1".to_owned(),
            },
        );
        let contender = contender.parse().unwrap();
        let command = command(program, &peers, contender, &row::named(row).unwrap(), 3);
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
            arguments("floor uring", "echo-100-16k"),
            "serve --engine floor --backend uring --scenario echo --cpu 3 --size 16384"
        );
        assert_eq!(
            arguments("throng", "room-1k-8"),
            "serve --engine throng --backend poll --scenario room --cpu 3"
        );
        assert_eq!(
            arguments("gorilla", "room-1k-8"),
            "pinned --cpu 3 -- /gorilla --scenario room"
        );
    }
}
