//! A fuzzer's bytes, as decisions. When they are used up every decision is 0.

/// The bytes that are left.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

#[allow(dead_code, reason = "each target takes what it needs")]
impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn next_u16(&mut self) -> u16 {
        u16::from_be_bytes([self.next(), self.next()])
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.next()))
    }

    /// One of these, if there is any.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let nth = usize::from(self.next());
        (!from.is_empty()).then(|| from[nth % from.len()])
    }

    /// The next bytes as they are, at most so many.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
