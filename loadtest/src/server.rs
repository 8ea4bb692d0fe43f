//! The server of `--spawn`: starting it in a process of its own, and being that process.

use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use throng_loadtest::{Error, machine};

use crate::args::{Kind, Serve};
use crate::serve;

/// A server process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    addr: SocketAddr,
}

impl Spawned {
    /// Starts this program as a server and waits until it listens.
    pub(crate) fn start(kind: Kind, shards: u16, cpu: Option<usize>) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--scenario",
            kind.name(),
            "--shards",
            &shards.to_string(),
        ]);
        if let Some(core) = cpu {
            command.args(["--cpu", &core.to_string()]);
        }
        // Huge pages round what is resident up to 2 MiB at a time, and would hide what a
        // connection costs.
        command.env("MIMALLOC_ALLOW_THP", "0");
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting the server"))?;
        // From here on a failure must not leave the process behind.
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut spawned = Self { child, addr };
        let mut line = String::new();
        if let Some(output) = spawned.child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(Error::io("reading the server's port"))?;
        }
        let port = line.trim().parse().map_err(|_| Error::Process {
            process: "server".into(),
            reason: "ended before it listened".into(),
        })?;
        spawned.addr.set_port(port);
        Ok(spawned)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends, that is, until the process that started this one
/// has no more use for it or is gone.
pub(crate) fn serve(settings: &Serve) -> Result<Vec<String>, Error> {
    if let Some(core) = settings.cpu {
        machine::pin("server-cpu", core)?;
    }
    serve::run(settings.scenario, settings.shards, |port| {
        let mut output = stdout();
        writeln!(output, "{port}")
            .and_then(|()| output.flush())
            .map_err(Error::io("telling the port"))?;
        let mut rest = Vec::new();
        stdin()
            .read_to_end(&mut rest)
            .map_err(Error::io("waiting for the end"))?;
        Ok(())
    })?;
    Ok(Vec::new())
}
