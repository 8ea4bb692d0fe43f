//! Bytes that can be told apart: a stream known by its seed, recognised wherever it is cut.

/// A small seeded generator (SplitMix64): the suite must draw the same numbers in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that always draws the same for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low + 1) as u64;
        let drawn = usize::try_from(self.next_u64() % span).unwrap_or(usize::MAX);
        low + drawn
    }
}

/// The random bytes of a seed.
pub struct Bytes;

impl Bytes {
    /// `len` bytes that no other seed shares.
    pub fn of(seed: u64, len: usize) -> Vec<u8> {
        let mut random = Random::new(seed);
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Panics where `actual` is not what `expected` begins with, saying where they part
    /// instead of printing both.
    pub fn assert_prefix(actual: &[u8], expected: &[u8], what: &str) {
        assert!(
            actual.len() <= expected.len(),
            "{what}: {} bytes of {}",
            actual.len(),
            expected.len()
        );
        let differs = actual.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{what}: the first byte that differs");
    }

    /// Panics where the two differ, saying where.
    pub fn assert_same(actual: &[u8], expected: &[u8], what: &str) {
        Bytes::assert_prefix(actual, expected, what);
        assert_eq!(actual.len(), expected.len(), "{what}: bytes in total");
    }
}
