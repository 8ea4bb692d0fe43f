//! What waits for a peer that does not read takes about as much memory as it has bytes.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use throng_tests::engine::{Client, Heard, config, serve};

const MIB: usize = 1 << 20;

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() * 1024
}

#[test]
fn small_messages_that_wait_keep_nothing_else_in_memory() {
    const MESSAGES: usize = 1000;
    let config = config()
        .send_queue_messages(2 * MESSAGES)
        .send_queue_bytes(256 * MIB)
        .write_timeout(Duration::from_secs(3600));
    let served = serve(config);
    let mut slow = Client::connect_small(served.address());
    let id = slow.ask("!id");
    slow.text(&format!("!flood 1 {}", 16 * MIB));
    let mut busy = served.connect();
    let others = "z".repeat(24 * 1024);
    let mut send = |count: usize| {
        for number in 0..count {
            busy.text(&format!("!one {id} {number}"));
            for _ in 0..3 {
                assert_eq!(busy.ask(&others), others, "traffic of others");
            }
        }
    };
    send(MESSAGES / 10);
    let before = resident();
    send(MESSAGES);
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 8 * MIB,
        "{grown} bytes for {MESSAGES} small messages"
    );
    assert!(matches!(slow.hear(), Heard::Binary(_)));
    for number in (0..MESSAGES / 10).chain(0..MESSAGES) {
        assert_eq!(slow.hear(), Heard::Text(number.to_string()));
    }
}
