//! Building and installing the peers, beside what cargo builds.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use throng_bench::serve::Engine;

use crate::engine::name;
use crate::peers::{Installed, Lack};

/// The sources of the peers.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// Where Debian puts the sources of Go's packages.
const GOPATH: &str = "/usr/share/gocode";
const GORILLA: &str = "golang-github-gorilla-websocket-dev";
/// The first version whose standard library parses options.
const OLDEST_NODE: u32 = 18;

/// Installs peers, into a folder beside this program's own.
pub(crate) fn installer() -> impl FnMut(Engine) -> Result<Installed, Lack> {
    let rust = OnceCell::new();
    move |peer| {
        let folder = folder()?;
        match peer {
            Engine::Gorilla => gorilla(&folder.join("gorilla")),
            Engine::Ws => ws(&folder.join("ws")),
            // One program serves all of them.
            _ => {
                let program = rust
                    .get_or_init(|| build_rust(&folder.join("rust")))
                    .clone()?;
                rust_peer(peer, &program)
            }
        }
    }
}

fn folder() -> Result<PathBuf, Lack> {
    let program = std::env::current_exe().map_err(|error| Lack::Broken(error.to_string()))?;
    // Of a profile, which is in cargo's target folder.
    let target = program.ancestors().nth(2).unwrap_or(Path::new("."));
    Ok(target.join("peers"))
}

fn build_rust(target: &Path) -> Result<PathBuf, Lack> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&cargo);
        command.args(arguments).current_dir(SOURCES);
        command.env("CARGO_TARGET_DIR", target);
        // Its messages are progress, and reasons where it fails.
        command.stdout(Stdio::null()).status().map_or_else(
            |error| Err(Lack::Absent(format!("cargo does not run: {error}"))),
            |status| Ok(status.success()),
        )
    };
    // Apart, so that a lack of network is not taken for a crate that cannot be built.
    if !run(&["fetch", "--locked"])? {
        return Err(Lack::Absent("cargo could not fetch its crates".to_owned()));
    }
    if !run(&["build", "--release", "--locked", "--offline"])? {
        return Err(Lack::Broken("cargo could not build it".to_owned()));
    }
    Ok(target.join("release").join("throng-peers"))
}

fn rust_peer(peer: Engine, program: &Path) -> Result<Installed, Lack> {
    let lock = Path::new(SOURCES).join("Cargo.lock");
    let lock = fs::read_to_string(lock).map_err(|error| Lack::Broken(error.to_string()))?;
    let peer = name(peer);
    let Some(version) = locked(&lock, &peer) else {
        return Err(Lack::Broken("Cargo.lock does not have it".to_owned()));
    };
    Ok(Installed {
        command: vec![program.into(), "--peer".into(), peer.into()],
        environment: Vec::new(),
        version: version.to_owned(),
    })
}

/// The version of a package in a `Cargo.lock`.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    lines
        .next()?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

fn gorilla(program: &Path) -> Result<Installed, Lack> {
    let go = said(Command::new("go").args(["env", "GOVERSION"]), "go")?;
    if !Path::new(GOPATH)
        .join("src/github.com/gorilla/websocket")
        .is_dir()
    {
        return Err(Lack::Absent(format!("there is no package {GORILLA}")));
    }
    let version = ["--show", "--showformat=${Version}", GORILLA];
    let version = said(Command::new("dpkg-query").args(version), "dpkg-query")?;
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(program).arg("main.go");
    build.current_dir(Path::new(SOURCES).join("gorilla"));
    // By the old rules packages are found where Debian puts them, without a network.
    build.envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")]);
    said(&mut build, "go").map_err(|lack| match lack {
        Lack::Absent(reason) | Lack::Broken(reason) => Lack::Broken(reason),
    })?;
    Ok(Installed {
        command: vec![program.into()],
        environment: vec![("GOMAXPROCS", "1")],
        version: format!("{version} on {go}"),
    })
}

fn ws(folder: &Path) -> Result<Installed, Lack> {
    let node = said(
        Command::new("node").args(["-p", "process.versions.node"]),
        "node",
    )?;
    let major = node.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST_NODE) {
        return Err(Lack::Absent(format!(
            "Node {node} is older than {OLDEST_NODE}"
        )));
    }
    copy(&["package.json", "package-lock.json", "server.mjs"], folder)
        .map_err(|error| Lack::Broken(format!("{}: {error}", folder.display())))?;
    let quietly = [
        "ci",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ];
    said(Command::new("npm").args(quietly).current_dir(folder), "npm")?;
    let version = "require('ws/package.json').version";
    let version = said(
        Command::new("node")
            .args(["-p", version])
            .current_dir(folder),
        "node",
    )?;
    Ok(Installed {
        command: vec!["node".into(), folder.join("server.mjs").into()],
        environment: Vec::new(),
        version: format!("{version} on Node {node}"),
    })
}

fn copy(files: &[&str], folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let sources = Path::new(SOURCES).join("ws");
    for file in files {
        fs::copy(sources.join(file), folder.join(file))?;
    }
    Ok(())
}

/// What a command says when it succeeds.
fn said(command: &mut Command, program: impl AsRef<OsStr>) -> Result<String, Lack> {
    let program = program.as_ref().display();
    match command.stdin(Stdio::null()).output() {
        Ok(Output { status, stdout, .. }) if status.success() => {
            Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
        }
        Ok(Output { stderr, .. }) => {
            let reason = String::from_utf8_lossy(&stderr);
            let reason = reason.trim().lines().next().unwrap_or_default();
            Err(Lack::Absent(format!("{program} failed: {reason}")))
        }
        Err(error) => Err(Lack::Absent(format!("{program} does not run: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_locked() {
        let lock = "[[package]]\nname = \"yawc\"\nversion = \"0.5.0\"\n\n\
                    [[package]]\nname = \"yawc-more\"\nversion = \"7.0.0\"\n";
        assert_eq!(locked(lock, "yawc"), Some("0.5.0"));
        assert_eq!(locked(lock, "yaw"), None);
    }

    #[test]
    fn every_rust_peer_is_locked() {
        for peer in [
            Engine::TokioTungstenite,
            Engine::Fastwebsockets,
            Engine::SockudoWs,
            Engine::Yawc,
        ] {
            let installed = rust_peer(peer, Path::new("/peers")).unwrap();
            assert!(installed.version.contains('.'), "{installed:?}");
        }
    }

    #[test]
    fn what_does_not_run_is_absent() {
        let lack = said(&mut Command::new("/nowhere/go"), "go").unwrap_err();
        let Lack::Absent(reason) = lack else {
            panic!("{lack:?}");
        };
        assert!(reason.starts_with("go does not run: "), "{reason}");
        let lack = said(Command::new("false").arg("-"), "false").unwrap_err();
        assert_eq!(lack, Lack::Absent("false failed: ".to_owned()));
    }
}
