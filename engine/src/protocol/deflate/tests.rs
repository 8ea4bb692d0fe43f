use proptest::prelude::*;

use super::*;
use crate::protocol::fault::Fault;

const FAST: Strength = Strength {
    level: 1,
    memory_level: 1,
};
const USUAL: Strength = Strength {
    level: 6,
    memory_level: 8,
};

/// What a server answers to these lines: the response, or `None` when it declines every offer.
fn answer(lines: &[&str], wishes: &Params) -> Option<String> {
    let accepted = negotiate(lines.iter().map(|line| line.as_bytes()), wishes).unwrap();
    accepted.map(|accepted| {
        let read = check_response([accepted.response.as_bytes()], &Params::default());
        let (agreed, limits) = (accepted.params, read.unwrap().unwrap());
        assert_eq!(agreed, limits, "the client understands the same");
        accepted.response
    })
}

const fn windows(server_max_window_bits: u8, client_max_window_bits: u8) -> Params {
    Params {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits,
        client_max_window_bits,
    }
}

const ANY: Params = windows(15, 15);
const ALONE: Params = Params {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    ..ANY
};

const BOTH: &str = "; server_no_context_takeover; client_no_context_takeover";

/// Section of RFC 7692, parameters offered, our wishes, parameters of the answer.
const ANSWERS: [(&str, &str, Params, Option<&str>); 33] = [
    ("7.1", "", ANY, Some("")),
    ("7.1.1", "", ALONE, Some(BOTH)),
    (
        "7.1.1.1",
        "; server_no_context_takeover",
        ANY,
        Some("; server_no_context_takeover"),
    ),
    (
        "7.1.1.2",
        "; client_no_context_takeover",
        ANY,
        Some("; client_no_context_takeover"),
    ),
    (
        "7.1.1",
        "; client_no_context_takeover; server_no_context_takeover",
        ANY,
        Some(BOTH),
    ),
    (
        "7.1.2.1",
        "",
        windows(12, 15),
        Some("; server_max_window_bits=12"),
    ),
    (
        "7.1.2.1",
        "; server_max_window_bits=10",
        ANY,
        Some("; server_max_window_bits=10"),
    ),
    (
        "7.1.2.1",
        "; server_max_window_bits=\"10\"",
        ANY,
        Some("; server_max_window_bits=10"),
    ),
    (
        "7.1.2.1",
        "; server_max_window_bits=15",
        ANY,
        Some("; server_max_window_bits=15"),
    ),
    (
        "7.1.2.1",
        "; server_max_window_bits=14",
        windows(9, 15),
        Some("; server_max_window_bits=9"),
    ),
    (
        "7.1.2.1",
        "; server_max_window_bits=9",
        windows(14, 15),
        Some("; server_max_window_bits=9"),
    ),
    (
        "7.1.2.1: a window we cannot keep to",
        "; server_max_window_bits=8",
        ANY,
        None,
    ),
    ("7.1.2.2", "; client_max_window_bits", ANY, Some("")),
    (
        "7.1.2.2",
        "; client_max_window_bits",
        windows(15, 11),
        Some("; client_max_window_bits=11"),
    ),
    (
        "7.1.2.2",
        "; client_max_window_bits=13",
        windows(15, 11),
        Some("; client_max_window_bits=11"),
    ),
    (
        "7.1.2.2",
        "; client_max_window_bits=9",
        windows(15, 11),
        Some("; client_max_window_bits=9"),
    ),
    ("7.1.2.2", "; client_max_window_bits=15", ANY, Some("")),
    (
        "7.1.2.2: not offered, not to be named",
        "",
        windows(15, 11),
        None,
    ),
    ("7.1: unknown", "; server_window=10", ANY, None),
    ("7.1: unknown", "; Server_no_context_takeover", ANY, None),
    (
        "7.1.1.1: takes no value",
        "; server_no_context_takeover=1",
        ANY,
        None,
    ),
    (
        "7.1.1.2: takes no value",
        "; client_no_context_takeover=\"x\"",
        ANY,
        None,
    ),
    (
        "7.1.2.1: needs a value",
        "; server_max_window_bits",
        ANY,
        None,
    ),
    ("7.1.2.1: 8 to 15", "; server_max_window_bits=7", ANY, None),
    ("7.1.2.1: 8 to 15", "; server_max_window_bits=16", ANY, None),
    (
        "7.1.2.1: no leading zero",
        "; server_max_window_bits=09",
        ANY,
        None,
    ),
    ("7.1.2.1: decimal", "; server_max_window_bits=+9", ANY, None),
    ("7.1.2.2: 8 to 15", "; client_max_window_bits=0", ANY, None),
    ("7.1.2.2: decimal", "; client_max_window_bits=x", ANY, None),
    (
        "7.1: repeated",
        "; server_no_context_takeover; server_no_context_takeover",
        ANY,
        None,
    ),
    (
        "7.1: repeated",
        "; client_no_context_takeover; client_no_context_takeover",
        ANY,
        None,
    ),
    (
        "7.1: repeated",
        "; server_max_window_bits=9; server_max_window_bits=9",
        ANY,
        None,
    ),
    (
        "7.1: repeated",
        "; client_max_window_bits; client_max_window_bits=9",
        ANY,
        None,
    ),
];

#[test]
fn offers_are_answered_by_rfc_7692_7_1() {
    for (section, offered, wishes, expected) in ANSWERS {
        let offered = format!("{EXTENSION}{offered}");
        let expected = expected.map(|params| format!("{EXTENSION}{params}"));
        assert_eq!(
            answer(&[&offered], &wishes),
            expected,
            "§{section}: {offered}"
        );
    }
}

#[test]
fn a_client_may_limit_itself_to_8_bits_rfc_7692_7_1_2_2() {
    let line = b"permessage-deflate; client_max_window_bits=8";
    let accepted = negotiate([&line[..]], &Params::default()).unwrap().unwrap();
    assert_eq!(accepted.response.as_bytes(), line);
    assert_eq!(accepted.params.client_max_window_bits, 8);
}

#[test]
fn the_first_acceptable_offer_is_taken_rfc_7692_5() {
    let any = Params::default();
    let cases: [(&[&str], Option<&str>); 8] = [
        (&[], None),
        (&["x-webkit-deflate-frame"], None),
        (&["permessage-bzip2, permessage-deflate"], Some("")),
        (&["foo; bar=1", "permessage-deflate"], Some("")),
        (
            &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
            Some("; server_max_window_bits=10"),
        ),
        (
            &[
                "permessage-deflate; server_max_window_bits=8",
                "permessage-deflate",
            ],
            Some(""),
        ),
        (
            &["permessage-deflate; new, permessage-deflate; client_no_context_takeover"],
            Some("; client_no_context_takeover"),
        ),
        (&["permessage-deflate; a, permessage-deflate; b"], None),
    ];
    for (lines, expected) in cases {
        let expected = expected.map(|params| format!("{EXTENSION}{params}"));
        assert_eq!(answer(lines, &any), expected, "{lines:?}");
    }
}

#[test]
fn malformed_lines_are_refused_rfc_6455_9_1() {
    for line in [
        "permessage-deflate;",
        "permessage-deflate; x=\"",
        "permessage-deflate b",
    ] {
        let refusal = negotiate([line.as_bytes()], &Params::default()).unwrap_err();
        assert_eq!(refusal.status, 400, "{line}");
    }
}

#[test]
fn clients_offer_what_they_wish_for() {
    for (wishes, params) in [
        (Params::default(), "; client_max_window_bits"),
        (
            windows(10, 15),
            "; server_max_window_bits=10; client_max_window_bits",
        ),
        (windows(15, 9), "; client_max_window_bits=9"),
        (
            ALONE,
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
    ] {
        let offered = offer(&wishes);
        assert_eq!(offered, format!("{EXTENSION}{params}"));
        let accepted = negotiate([offered.as_bytes()], &Params::default()).unwrap();
        let accepted = accepted.unwrap();
        let settled = check_response([accepted.response.as_bytes()], &wishes);
        assert_eq!(settled, Ok(Some(accepted.params)), "{offered}");
    }
}

#[test]
fn answers_beyond_the_offer_fail_the_connection_rfc_7692_7_1() {
    use NegotiationError::{InvalidValue, NotMet, RepeatedParameter, UnknownParameter};
    let cases = [
        ("; x", ANY, UnknownParameter("x".to_owned())),
        (
            "; server_no_context_takeover=1",
            ANY,
            InvalidValue("server_no_context_takeover"),
        ),
        (
            "; client_no_context_takeover=x",
            ANY,
            InvalidValue("client_no_context_takeover"),
        ),
        (
            "; server_max_window_bits",
            ANY,
            InvalidValue("server_max_window_bits"),
        ),
        (
            "; server_max_window_bits=16",
            ANY,
            InvalidValue("server_max_window_bits"),
        ),
        (
            "; client_max_window_bits",
            ANY,
            InvalidValue("client_max_window_bits"),
        ),
        (
            "; client_max_window_bits=9; client_max_window_bits=9",
            ANY,
            RepeatedParameter("client_max_window_bits"),
        ),
        ("", ALONE, NotMet("server_no_context_takeover")),
        ("", windows(12, 15), NotMet("server_max_window_bits")),
        (
            "; server_max_window_bits=13",
            windows(12, 15),
            NotMet("server_max_window_bits"),
        ),
        (
            "; client_max_window_bits=13",
            windows(15, 12),
            NotMet("client_max_window_bits"),
        ),
        (
            "; client_max_window_bits=8",
            ANY,
            NotMet("client_max_window_bits"),
        ),
    ];
    for (params, wishes, expected) in cases {
        let line = format!("{EXTENSION}{params}");
        assert_eq!(
            check_response([line.as_bytes()], &wishes),
            Err(expected),
            "{line}"
        );
    }
}

#[test]
fn answers_that_were_not_asked_for_fail_the_connection_rfc_6455_4_1() {
    for (line, expected) in [
        ("a;", NegotiationError::Malformed),
        ("mux", NegotiationError::NotOffered("mux".to_owned())),
        (
            "permessage-deflate, permessage-deflate",
            NegotiationError::Repeated,
        ),
    ] {
        assert_eq!(check_response([line.as_bytes()], &ANY), Err(expected));
    }
    assert_eq!(check_response([], &ANY), Ok(None), "declined");
    let smaller = check_response([&b"permessage-deflate; server_max_window_bits=8"[..]], &ANY);
    assert_eq!(
        smaller,
        Ok(Some(windows(8, 15))),
        "inflating knows no bound"
    );
}

fn deflate(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa; 3];
    let len = deflater.deflate(message, &mut out);
    assert_eq!((out.len(), &out[..3]), (3 + len, &[0xaa; 3][..]));
    out.split_off(3)
}

/// Inflates one message, fed in pieces of `step` bytes.
fn inflate_by(inflater: &mut Inflater, payload: &[u8], step: usize) -> Result<Vec<u8>, Fault> {
    let (mut scratch, mut out) = ([0; 50], Vec::new());
    for piece in payload.chunks(step) {
        inflater.push(piece, &mut scratch, |part| {
            out.extend_from_slice(part);
            Ok(())
        })?;
    }
    inflater.finish(&mut scratch)?;
    Ok(out)
}

fn inflate(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, Fault> {
    inflate_by(inflater, payload, payload.len().max(1))
}

#[test]
fn the_examples_of_rfc_7692_7_2_3_inflate() {
    let cases: [(&str, &[&[u8]]); 6] = [
        ("7.2.3.1", &[b"\xf2\x48\xcd\xc9\xc9\x07\x00"]),
        (
            "7.2.3.2",
            &[b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00"],
        ),
        (
            "7.2.3.2",
            &[
                b"\xf2\x48\xcd\xc9\xc9\x07\x00",
                b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            ],
        ),
        (
            "7.2.3.3",
            &[b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"],
        ),
        ("7.2.3.4", &[&b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"[..]; 3]),
        (
            "7.2.3.5",
            &[b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"],
        ),
    ];
    for (section, messages) in cases {
        for step in [1, 3, 100] {
            let mut inflater = Inflater::new();
            for message in messages {
                let text = inflate_by(&mut inflater, message, step);
                assert_eq!(text, Ok(b"Hello".to_vec()), "§{section} by {step}");
            }
        }
    }
    assert_eq!(
        inflate(&mut Inflater::new(), b"\x00"),
        Ok(vec![]),
        "§7.2.3.6"
    );
}

#[test]
fn the_examples_of_rfc_7692_7_2_3_are_what_is_sent() {
    let (mut alone, mut linked) = (
        Deflater::new(USUAL, 15, true),
        Deflater::new(USUAL, 15, false),
    );
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for _ in 0..2 {
        assert_eq!(deflate(&mut alone, b"Hello"), hello, "§7.2.3.1");
        assert_eq!(deflate(&mut alone, b""), b"\x00", "§7.2.3.6");
    }
    assert_eq!(deflate(&mut linked, b"Hello"), hello);
    assert_eq!(deflate(&mut linked, b""), b"\x00");
    assert_eq!(deflate(&mut linked, b""), b"\x00");
    assert_eq!(
        deflate(&mut linked, b"Hello"),
        b"\xf2\x00\x11\x00\x00",
        "§7.2.3.2"
    );
    linked.forget();
    assert_eq!(deflate(&mut linked, b"Hello"), hello);
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

#[test]
fn a_window_bounds_how_far_back_a_message_refers_rfc_7692_7_1_2() {
    for bits in DEFLATE_WINDOW_BITS {
        let window = 1 << bits;
        let once = noise(100, 1);
        let twice = |apart: usize| [&once[..], &vec![0; apart], &once].concat();
        let mut deflater = Deflater::new(USUAL, bits, true);
        let within = deflate(&mut deflater, &twice(window / 4)).len();
        let beyond = deflate(&mut deflater, &twice(window)).len();
        assert!(within < 180 && beyond >= 200, "{bits}: {within}, {beyond}");
    }
}

#[test]
fn a_peer_follows_although_others_compressed_for_it_in_between() {
    let (mut own, mut shared) = (
        Deflater::new(USUAL, 15, false),
        Deflater::new(USUAL, 9, true),
    );
    let mut inflater = Inflater::new();
    let line = b"a line that comes again and again";
    for round in 0..5 {
        assert_eq!(
            inflate(&mut inflater, &deflate(&mut own, line)),
            Ok(line.to_vec())
        );
        let broadcast = noise(1000 * round, 3);
        let payload = deflate(&mut shared, &broadcast);
        assert_eq!(inflate(&mut inflater, &payload), Ok(broadcast));
        own.forget();
    }
}

#[test]
fn what_is_not_compressed_data_is_a_fault() {
    for payload in [
        &b"\x07"[..],
        b"\xff\xff\xff\xff",
        b"\x01\x05\x00\x00\x00",
        b"\xf2\x00\x11\x00\x00",
    ] {
        let mut inflater = Inflater::new();
        assert_eq!(
            inflate(&mut inflater, payload),
            Err(Fault::InvalidDeflate),
            "{payload:x?}"
        );
        inflater.forget();
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(
            inflate(&mut inflater, hello),
            Ok(b"Hello".to_vec()),
            "ready for another"
        );
    }
}

#[test]
fn a_sink_that_refuses_ends_the_inflating() {
    let bomb = deflate(&mut Deflater::new(USUAL, 15, true), &vec![0; 1 << 20]);
    assert!(bomb.len() < 1200);
    let (mut taken, mut scratch) = (0, [0; 1024]);
    let mut inflater = Inflater::new();
    let result = inflater.push(&bomb, &mut scratch, |part| {
        taken += part.len();
        match taken {
            0..=5000 => Ok(()),
            _ => Err(Fault::MessageTooBig { max: 5000 }),
        }
    });
    assert_eq!(result, Err(Fault::MessageTooBig { max: 5000 }));
    assert!(taken <= 5000 + scratch.len());
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "[a-e ]{0,400}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..2000),
        (0..70_000_usize, any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
        (0..200_000_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_deflated_inflates_at_any_split(
        messages in prop::collection::vec(any_message(), 1..5),
        bits in DEFLATE_WINDOW_BITS,
        level in 1..=9_u8,
        memory_level in 1..=9_u8,
        alone in any::<bool>(),
        step in prop_oneof![1..9_usize, 1..5000_usize],
    ) {
        let mut deflater = Deflater::new(Strength { level, memory_level }, bits, alone);
        let mut inflater = Inflater::new();
        for message in &messages {
            let payload = deflate(&mut deflater, message);
            let inflated = inflate_by(&mut inflater, &payload, step);
            prop_assert_eq!(inflated.as_ref(), Ok(message));
            if alone {
                inflater.forget();
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_stall(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        step in 1..300_usize,
    ) {
        let whole = inflate(&mut Inflater::new(), &payload);
        prop_assert_eq!(inflate_by(&mut Inflater::new(), &payload, step), whole);
    }
}

#[test]
fn strength_out_of_bounds_is_forced_into_them() {
    let strong = Strength {
        level: 99,
        memory_level: 0,
    };
    let payload = deflate(&mut Deflater::new(strong, 0, true), b"Hello");
    assert_eq!(
        inflate(&mut Inflater::new(), &payload),
        Ok(b"Hello".to_vec())
    );
    assert!(deflate(&mut Deflater::new(FAST, 99, true), &[7; 1000]).len() < 50);
}
