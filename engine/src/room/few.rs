//! Few numbers, in order, without a heap block.

/// Up to `N` (at most 255) different numbers in ascending order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few<const N: usize> {
    len: u8,
    numbers: [u32; N],
}

/// There are `N` numbers already, and this is none of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<const N: usize> Few<N> {
    pub(super) const NONE: Few<N> = {
        assert!(N <= u8::MAX as usize);
        Few {
            len: 0,
            numbers: [0; N],
        }
    };

    #[inline]
    pub(super) fn as_slice(&self) -> &[u32] {
        &self.numbers[..usize::from(self.len)]
    }

    /// Adds a number; returns whether it is new.
    ///
    /// # Errors
    /// When there is no room for it; then nothing has changed.
    pub(super) fn insert(&mut self, number: u32) -> Result<bool, Full> {
        let Err(at) = self.as_slice().binary_search(&number) else {
            return Ok(false);
        };
        let len = usize::from(self.len);
        if len == N {
            return Err(Full);
        }
        self.numbers.copy_within(at..len, at + 1);
        self.numbers[at] = number;
        self.len += 1;
        Ok(true)
    }

    /// Removes a number; returns whether it was there.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let Ok(at) = self.as_slice().binary_search(&number) else {
            return false;
        };
        self.numbers.copy_within(at + 1..usize::from(self.len), at);
        self.len -= 1;
        true
    }
}

/// The first `N` of the numbers, which must be different.
impl<const N: usize> FromIterator<u32> for Few<N> {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Few<N> {
        let mut few = Few::NONE;
        for number in numbers.into_iter().take(N) {
            let inserted = few.insert(number);
            debug_assert_eq!(inserted, Ok(true), "{number} came twice");
        }
        few
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_one_takes_no_other_and_knows_its_own() {
        let mut few: Few<3> = [7, 2, 5].into_iter().collect();
        assert_eq!(few.as_slice(), [2, 5, 7]);
        assert_eq!(few.insert(3), Err(Full));
        assert_eq!(few.insert(5), Ok(false));
        assert!(!few.remove(3) && few.remove(5));
        assert_eq!(few.insert(u32::MAX), Ok(true));
        assert_eq!(few.as_slice(), [2, 7, u32::MAX]);
    }
}
