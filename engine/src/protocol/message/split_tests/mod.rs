//! However a stream is cut into reads, it means the same: the same events, then the same fault.
//!
//! The streams are those of [`streams`] and [`compressed_streams`], after the cases of Autobahn's testsuite, each cut at every
//! byte, and those that [`random`] makes up, cut anywhere. Each is read under all [`RULES`].

mod compressed_streams;
mod random;
mod streams;

use super::tests::Owned;
use super::*;
use streams::{Stream, Then};

/// What may be agreed on, on either side.
const RULES: [Rules; 6] = {
    const fn rules(role: Role, compression: Compression) -> Rules {
        Rules {
            role,
            compression,
            discards: false,
        }
    }
    [
        rules(Role::Server, Compression::Off),
        rules(Role::Server, Compression::Alone),
        rules(Role::Server, Compression::InContext),
        rules(Role::Client, Compression::Off),
        rules(Role::Client, Compression::Alone),
        rules(Role::Client, Compression::InContext),
    ]
};

/// A stream longer than this is cut at every byte of so many at either end, where its headers and
/// limits are, and now and then between.
const DENSE: usize = 1500;
/// A prime, so that the cuts fall on every offset within a mask and a character.
const SPARSE_STEP: usize = 1021;

/// The events of a stream, and the fault that ended it. Nothing is read behind a fault or a close.
type Outcome = (Vec<Owned>, Option<Fault>);

/// One side that reads streams, each by a decoder of its own. Its pool serves all of them, so that
/// what one stream left behind would show in the next.
struct Reader {
    rules: Rules,
    limits: MessageLimits,
    pool: Pool,
}

impl Reader {
    fn new(rules: Rules, limits: MessageLimits) -> Reader {
        let pool = Pool::new();
        Reader {
            rules,
            limits,
            pool,
        }
    }

    fn read<'s>(&mut self, pieces: impl IntoIterator<Item = &'s [u8]>) -> Outcome {
        let mut decoder = Decoder {
            assembly: None,
            rules: self.rules,
        };
        let mut events = Vec::new();
        let mut fault = None;
        for piece in pieces {
            let goes_on = self.read_piece(&mut decoder, piece, &mut events);
            fault = goes_on.err();
            if fault.is_some() || matches!(events.last(), Some(Owned::Close(_))) {
                break;
            }
        }
        decoder.release(&mut self.pool);
        (events, fault)
    }

    fn read_piece(
        &mut self,
        decoder: &mut Decoder,
        piece: &[u8],
        events: &mut Vec<Owned>,
    ) -> Result<(), Fault> {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        while let Some(event) = decoder.next(&mut input, &self.limits, &mut self.pool)? {
            events.extend(Owned::new(event));
            if matches!(events.last(), Some(Owned::Close(_))) {
                return Ok(());
            }
        }
        assert!(input.is_empty(), "what is not needed yet is kept");
        Ok(())
    }
}

/// Where a stream is cut in two.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (1..len).filter(move |cut| {
        len <= DENSE || *cut < DENSE / 2 || len - cut < DENSE / 2 || cut % SPARSE_STEP == 0
    })
}

/// Each stream means what it should in one read, in two at every byte, and in one for each byte.
fn assert_same_at_every_cut(rules: Rules, streams: Vec<Stream>) {
    let mut reader = Reader::new(rules, streams::LIMITS);
    for Stream {
        what,
        bytes,
        events,
        then,
    } in streams
    {
        let whole = reader.read([&bytes[..]]);
        let summary = (whole.0.len(), whole.1, whole.0.last());
        match then {
            Then::Fails(fault) => assert_eq!(summary.1, Some(fault), "{rules:?}, {what}"),
            Then::Closes => assert!(
                matches!(summary, (_, None, Some(Owned::Close(_)))),
                "{rules:?}, {what}: {summary:?}"
            ),
            Then::GoesOn => assert_eq!(summary.1, None, "{rules:?}, {what}"),
        }
        assert_eq!(summary.0, events, "{rules:?}, {what}");
        for cut in cuts(bytes.len()) {
            let (head, tail) = bytes.split_at(cut);
            let split = reader.read([head, tail]);
            assert!(
                split == whole,
                "{rules:?}, {what}, cut at {cut}: {split:?}\ninstead of {whole:?}"
            );
        }
        let bytewise = reader.read(bytes.chunks(1));
        assert!(
            bytewise == whole,
            "{rules:?}, {what}, byte by byte: {bytewise:?}\ninstead of {whole:?}"
        );
    }
}

#[test]
fn plain_streams_mean_the_same_at_every_cut() {
    for rules in RULES {
        assert_same_at_every_cut(rules, streams::plain(rules));
    }
}

#[test]
fn compressed_streams_mean_the_same_at_every_cut() {
    for rules in RULES {
        if rules.compression != Compression::Off {
            assert_same_at_every_cut(rules, compressed_streams::compressed(rules));
        }
    }
}
