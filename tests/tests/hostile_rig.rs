//! What a siege is there to notice, it notices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use throng_tests::engine::{Client, Heard, config};
use throng_tests::hostile::{Counting, Siege};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A siege in which an attacker says this once, and hears afterwards that it was handled.
fn siege_with(said: &str) -> Siege {
    let siege = Siege::begin(config());
    let mut client = Client::connect(siege.address());
    client.text(said);
    client.text("done");
    while client.hear() != Heard::Text("done".into()) {}
    siege
}

#[test]
fn nothing_amiss_passes() {
    siege_with("hello").withstood("nothing", "an echo", 0);
}

#[test]
#[should_panic = "a bystander suffered"]
fn a_message_too_many_is_noticed() {
    siege_with("!whisper").withstood("a whisper", "nothing", 0);
}

/// By nothing coming any more, which takes patience.
#[test]
#[should_panic = "a bystander suffered"]
fn a_message_lost_is_noticed() {
    siege_with("!swallow").withstood("a message swallowed", "nothing", 0);
}

#[test]
#[should_panic = "a bystander suffered"]
fn messages_out_of_order_are_noticed() {
    siege_with("!reorder").withstood("two messages reordered", "nothing", 0);
}

#[test]
#[should_panic = "a bystander suffered"]
fn a_bystander_closed_is_noticed() {
    siege_with("!expel").withstood("an expulsion", "nothing", 0);
}

#[test]
#[should_panic = "bytes more, of"]
fn memory_kept_is_noticed() {
    siege_with("!hoard").withstood("a hoard", "nothing", 0);
}

#[test]
fn what_attackers_come_to_is_told() {
    let siege = Siege::begin(config());
    let mut client = Client::connect(siege.address());
    client.close(4321, "enough");
    assert_eq!(client.hear(), Heard::Close(Some(4321), String::new()));
    siege.until_alone();
    assert_eq!(
        (siege.tally().opened(), siege.tally().causes().len()),
        (1, 1)
    );
    siege.withstood("a close", "4321", 0);
}
