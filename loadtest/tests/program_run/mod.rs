//! Runs the program as an operator would.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use throng_loadtest::Report;

/// Settings of every run that does not have its own.
const BRIEF: [[&str; 2]; 4] = [
    ["--duration", "0.3"],
    ["--warmup", "0.05"],
    ["--patience", "0.5"],
    ["--seed", "11"],
];

/// Runs the program for a short while against `addr`.
pub(crate) fn loadtest(addr: SocketAddr, args: &[&str]) -> Output {
    let url = format!("ws://{addr}/");
    briefly(
        Command::new(program()).args(args).args(["--url", &url]),
        args,
    )
}

/// The program's path.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_loadtest")
}

/// Runs `command`, whose arguments for the program are `args`, for a short while.
pub(crate) fn briefly(command: &mut Command, args: &[&str]) -> Output {
    let defaults = BRIEF.iter().filter(|[name, _]| !args.contains(name));
    command.args(defaults.flatten()).output().unwrap()
}

/// Runs the program, which must find nothing wrong and say nothing; returns its table and its
/// report. `run` gets the name of the file for `--json`.
#[track_caller]
pub(crate) fn clean(run: impl FnOnce(&str) -> Output) -> (String, Report) {
    let file = json_file();
    let output = run(file.to_str().unwrap());
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    let report = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    (String::from_utf8(output.stdout).unwrap(), report)
}

fn json_file() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("loadtest-{}-{number}.json", std::process::id());
    std::env::temp_dir().join(name)
}

/// What it said on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn assert_says(complaint: &str, parts: &[&str]) {
    for part in parts {
        assert!(complaint.contains(part), "no {part:?} in: {complaint}");
    }
}
