//! Which peers are measured, and which are not, and why.

use std::ffi::OsString;
use std::fmt;
use std::ops::Index;

use clap::ValueEnum;
use throng_bench::serve::Engine;

use crate::Error;
use crate::engine::name;

/// A peer that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The program and its arguments, to which those of a row are added.
    pub(crate) command: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    /// Of the peer, and of what runs it.
    pub(crate) version: String,
}

/// Why a peer cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The machine lacks something that it needs.
    Absent(String),
    /// All that it needs is there, and yet it cannot be built.
    Broken(String),
}

/// The peers that can be started, and those that are left out.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    installed: Vec<(Engine, Installed)>,
    left_out: Vec<(Engine, String)>,
}

/// The engines to be measured, and what starts the peers of them: the `named` ones, then, if `all`
/// are wanted, those other peers that can be had.
///
/// # Errors
/// When a peer that was named is absent, or any is broken.
pub(crate) fn gather(
    named: &[Engine],
    all: bool,
    mut install: impl FnMut(Engine) -> Result<Installed, Lack>,
) -> Result<(Vec<Engine>, Peers), Error> {
    let mut engines = named.to_vec();
    let mut peers = Peers::default();
    let others = Engine::value_variants().iter().filter(|_| all);
    let others = others.filter(|engine| engine.is_peer() && !named.contains(engine));
    for &peer in named.iter().filter(|engine| engine.is_peer()) {
        match install(peer) {
            Ok(installed) => peers.add(peer, installed),
            Err(Lack::Absent(reason) | Lack::Broken(reason)) => {
                return Err(Error::child(name(peer), reason));
            }
        }
    }
    for &peer in others {
        match install(peer) {
            Ok(installed) => {
                engines.push(peer);
                peers.add(peer, installed);
            }
            Err(Lack::Absent(reason)) => peers.left_out.push((peer, reason)),
            Err(Lack::Broken(reason)) => return Err(Error::child(name(peer), reason)),
        }
    }
    Ok((engines, peers))
}

impl Peers {
    /// Adds a peer that can be started.
    pub(crate) fn add(&mut self, peer: Engine, installed: Installed) {
        self.installed.push((peer, installed));
    }
}

/// What starts that peer.
impl Index<Engine> for Peers {
    type Output = Installed;

    /// # Panics
    /// When it was not added.
    fn index(&self, peer: Engine) -> &Installed {
        let mut installed = self.installed.iter();
        match installed.find(|(engine, _)| *engine == peer) {
            Some((_, installed)) => installed,
            None => panic!("{peer:?} was not gathered"),
        }
    }
}

/// The versions of those measured, and the reasons for leaving others out: paragraphs
/// below a table; nothing if there is nothing to be said.
impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.installed.is_empty() {
            let versions = self.installed.iter();
            let versions = versions.map(|(peer, one)| format!("{} {}", name(*peer), one.version));
            let versions: Vec<_> = versions.collect();
            write!(f, "\nPeers: {}.\n", versions.join(", "))?;
        }
        for lacking in self.left_out.chunk_by(|one, next| one.1 == next.1) {
            let names: Vec<_> = lacking.iter().map(|(peer, _)| name(*peer)).collect();
            let reason = &lacking[0].1;
            write!(f, "\nLeft out: {} ({reason}).\n", names.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(version: &str) -> Installed {
        Installed {
            command: vec!["serve".into()],
            environment: Vec::new(),
            version: version.to_owned(),
        }
    }

    /// A machine that has Rust and Node, and no Go.
    fn without_go(peer: Engine) -> Result<Installed, Lack> {
        match peer {
            Engine::Gorilla => Err(Lack::Absent("there is no go".to_owned())),
            Engine::Ws => Ok(installed("8 on Node 20")),
            _ => Ok(installed("1")),
        }
    }

    #[test]
    fn without_being_asked_for_no_peer_is_touched() {
        let own = [Engine::Floor, Engine::Throng];
        let (engines, peers) = gather(&own, false, |_| panic!("installs something")).unwrap();
        assert_eq!(engines, own);
        assert_eq!(peers.to_string(), "");
    }

    #[test]
    fn what_cannot_be_had_is_left_out_and_named() {
        let (engines, peers) = gather(&[Engine::Floor, Engine::Yawc], true, without_go).unwrap();
        let expected = [
            Engine::Floor,
            Engine::Yawc,
            Engine::TokioTungstenite,
            Engine::Fastwebsockets,
            Engine::SockudoWs,
            Engine::Ws,
        ];
        assert_eq!(engines, expected);
        assert_eq!(peers[Engine::Ws], installed("8 on Node 20"));
        assert_eq!(
            peers.to_string(),
            "\nPeers: yawc 1, tokio-tungstenite 1, fastwebsockets 1, sockudo-ws 1, ws 8 on Node 20.\n\
             \nLeft out: gorilla (there is no go).\n"
        );
    }

    #[test]
    fn what_is_named_must_be_there() {
        let error = gather(&[Engine::Gorilla], true, without_go).unwrap_err();
        assert_eq!(error.to_string(), "gorilla: there is no go");
    }

    #[test]
    fn what_is_broken_is_not_left_out() {
        let broken = |_| Err(Lack::Broken("does not compile".to_owned()));
        let error = gather(&[Engine::Floor], true, broken).unwrap_err();
        assert_eq!(error.to_string(), "tokio-tungstenite: does not compile");
    }
}
