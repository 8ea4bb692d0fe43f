//! Rules of RFC 6455 over real sockets that no other suite has for its subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use throng::protocol::frame::OpCode;
use throng_tests::engine::{Heard, config, frame, serve};

/// RFC 6455 §7.1.7
#[test]
fn what_follows_a_fault_is_not_processed() {
    let served = serve(config());
    for fault in [
        vec![0x81, 0x01, b'x'],
        frame(true, OpCode::Continuation, b"x"),
        frame(true, OpCode::Text, &[0xff]),
    ] {
        let mut client = served.connect();
        let after = frame(true, OpCode::Text, b"after");
        let ping = frame(true, OpCode::Ping, b"after");
        client.write(&[fault, after.clone(), ping].concat());
        assert!(matches!(client.hear(), Heard::Close(Some(1002 | 1007), _)));
        // The peer may be gone by now.
        let _ = client.try_write(&after);
        assert!(matches!(client.hear(), Heard::End | Heard::Reset));
        let (_, close) = served.next_close();
        assert_eq!(close.counts.messages_in, 0);
    }
}

/// RFC 6455 §5.5.1, §5.4: a message that is cut short by a close frame is none.
#[test]
fn a_close_frame_inside_a_fragmented_message_is_answered() {
    let served = serve(config());
    let mut client = served.connect();
    client.frame(false, OpCode::Text, b"never ");
    client.close(1000, "");
    assert_eq!(client.hear(), Heard::Close(Some(1000), String::new()));
    assert_eq!(client.hear(), Heard::End);
    assert_eq!(served.next_close().1.counts.messages_in, 0);
}

/// RFC 6455 §5.5.1: after its close frame a server sends nothing, whatever it is asked.
#[test]
fn nothing_is_sent_behind_a_close_frame() {
    let served = serve(config());
    let mut client = served.connect();
    assert_eq!(client.ask("!join tea"), "Ok(())");
    let mut friend = served.connect();
    client.text("!close 4000 enough");
    assert_eq!(client.hear(), Heard::Close(Some(4000), "enough".into()));
    client.frame(true, OpCode::Ping, b"there?");
    client.text("and this?");
    friend.text("!to tea anybody?");
    friend.text("!all anybody?");
    assert_eq!(friend.hear(), Heard::Text("anybody?".into()));
    client.close(4000, "");
    assert_eq!(client.hear(), Heard::End);
}
