//! How many connections may be in flight to a worker.

use crate::mono::Mono;
use crate::scheduler::PROMPT;

/// One that takes longer than this is busy, or stuck: it is given one at a time.
pub(crate) const SLOW: Mono = Mono::from_millis(50);

/// The window of one worker, which its servers share: one at first, one more with each prompt answer
/// while other connections wait, and one again as soon as an answer is slow.
///
/// So a worker is ahead by no more than what it takes in some [`PROMPT`], and one whose event loop
/// blocks is left with what was on its way.
///
/// ```text
/// answer within 10 ms, connections wait     +1, up to the limit
/// answer within 50 ms, or none waits        as it was
/// answer, but an older one is due           as it was
/// none for 50 ms                            1
/// all answered, less than half was used     what was used
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Window {
    size: u32,
    /// The most that was in use since it was last idle.
    used: u32,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self { size: 1, used: 0 }
    }

    pub(crate) const fn size(self) -> u32 {
        self.size
    }

    /// So much of it is in use now.
    pub(crate) fn sent(&mut self, used: u32) {
        self.used = self.used.max(used);
    }

    /// An answer came after that time; `may_grow` says whether other connections wait for a worker,
    /// and none that it has had for [`SLOW`] waits for its answer. `limit` is at least one.
    pub(crate) fn answered(&mut self, after: Mono, may_grow: bool, limit: u32) {
        if after > SLOW {
            self.slow();
        } else if after <= PROMPT && may_grow && self.size < limit {
            self.size += 1;
        }
        self.limit(limit);
    }

    /// It may be no larger than that any more, which is at least one.
    pub(crate) fn limit(&mut self, limit: u32) {
        self.size = self.size.min(limit);
    }

    /// An answer does not come.
    pub(crate) const fn slow(&mut self) {
        self.size = 1;
    }

    /// All have been answered.
    pub(crate) fn idle(&mut self) {
        if self.used < self.size / 2 {
            self.size = self.used.max(1);
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Mono = Mono::from_millis(1);

    #[test]
    fn it_grows_while_answers_are_prompt_and_others_wait() {
        let mut window = Window::new();
        window.answered(QUICK, false, 8);
        assert_eq!(window.size(), 1);
        for _ in 0..20 {
            window.answered(QUICK, true, 8);
        }
        assert_eq!(window.size(), 8);
        window.answered(Mono::from_millis(30), true, 9);
        assert_eq!(window.size(), 8);
        window.answered(Mono::from_millis(51), true, 8);
        assert_eq!(window.size(), 1);
    }

    #[test]
    fn what_is_not_used_is_given_back() {
        let mut window = Window::new();
        (0..20).for_each(|_| window.answered(QUICK, true, 16));
        window.sent(9);
        window.idle();
        assert_eq!(window.size(), 16);
        window.sent(3);
        window.idle();
        assert_eq!(window.size(), 3);
    }

    #[test]
    fn a_limit_that_falls_holds_at_once() {
        let mut window = Window::new();
        (0..20).for_each(|_| window.answered(QUICK, true, 16));
        window.answered(QUICK, true, 4);
        assert_eq!(window.size(), 4);
    }
}
