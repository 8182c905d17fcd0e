//! Whom the system lets run first: the thread of a primary, or its workers.
//!
//! A thread that sleeps until something comes interrupts, usually, the thread that runs where it wakes up. A
//! primary of busy workers is then woken for each connection and each answer, does a few
//! microseconds' work, and sleeps again: most of what it costs are the wakes. If it waits until
//! the running threads have paused, or have used up their time slice (1.4 to 2.8 ms on Linux 6.12 and
//! later), it finds more to do at once, and where a CPU is idle it runs at once as before. That is
//! what Linux has `SCHED_BATCH` for ([sched(7)]).
//!
//! It belongs to the thread, and so its owner decides: a program whose thread has
//! to answer others within less while all CPUs are busy had better not.
//!
//! ```
//! cluster_primary::scheduling::give_way(); // in the thread that will own the primary
//! ```
//!
//! [sched(7)]: https://man7.org/linux/man-pages/man7/sched.7.html

#[cfg(target_os = "linux")]
pub(crate) use linux::{gives_way, wait_for_no_process};

/// From now on the calling thread waits for the running threads, if it has the default scheduling policy
/// (`SCHED_OTHER`) and the system has that; whether it does wait. Workers that it forks do not:
/// they are scheduled as it was before.
///
/// Threads and other children that it starts are scheduled as it is, and it outlives `execve`: see
/// [`give_way_no_more`]. On Linux only.
pub fn give_way() -> bool {
    #[cfg(target_os = "linux")]
    return linux::give_way();
    #[cfg(not(target_os = "linux"))]
    false
}

/// Takes [`give_way`] back: the calling thread is scheduled as it was before.
pub fn give_way_no_more() {
    #[cfg(target_os = "linux")]
    linux::give_way_no_more();
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe library has these calls, and musl's functions do nothing")]
mod linux {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::io::Errno;

    /// Some thread of this process was asked to: one that is scheduled so was, or has it of one that
    /// was.
    static ASKED: AtomicBool = AtomicBool::new(false);

    pub(super) fn give_way() -> bool {
        if policy() == Some(libc::SCHED_OTHER) && set(libc::SCHED_BATCH).is_ok() {
            ASKED.store(true, Ordering::Relaxed);
        }
        gives_way()
    }

    pub(super) fn give_way_no_more() {
        if gives_way() {
            wait_for_no_process();
        }
    }

    /// Whether the calling thread waits for others because it, or the thread that started it, was asked
    /// to.
    pub(crate) fn gives_way() -> bool {
        ASKED.load(Ordering::Relaxed) && policy() == Some(libc::SCHED_BATCH)
    }

    /// The child of a thread that waits does not; for before its exec: it is a system call only.
    pub(crate) fn wait_for_no_process() {
        // A thread may always go back.
        let _ = set(libc::SCHED_OTHER);
    }

    /// The calling thread's policy.
    fn policy() -> Option<i32> {
        // SAFETY: it takes a number, and 0 is the calling thread.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        i32::try_from(policy).ok().filter(|policy| *policy >= 0)
    }

    fn set(policy: i32) -> Result<(), Errno> {
        // SAFETY: all zeros are one.
        let none: libc::sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: 0 is the calling thread, and the parameters live as long as the call.
        let done =
            unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const none) };
        if done == 0 { Ok(()) } else { Err(Errno::PERM) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_thread_gives_way_and_takes_it_back() {
            assert_eq!(policy(), Some(libc::SCHED_OTHER));
            give_way_no_more();
            for _ in 0..2 {
                assert!(give_way());
                assert_eq!(policy(), Some(libc::SCHED_BATCH));
                assert!(give_way(), "it does already");
            }
            // One that it starts is scheduled as it is, and can go back by itself.
            let started = std::thread::spawn(|| {
                assert!(gives_way());
                give_way_no_more();
                assert!(!gives_way());
                policy()
            });
            assert_eq!(started.join().expect("no panic"), Some(libc::SCHED_OTHER));
            assert_eq!(policy(), Some(libc::SCHED_BATCH));
            give_way_no_more();
            assert_eq!(policy(), Some(libc::SCHED_OTHER));
        }

        #[test]
        fn what_others_have_chosen_stays() {
            set(libc::SCHED_IDLE).expect("every process may");
            assert!(!give_way());
            give_way_no_more();
            assert_eq!(policy(), Some(libc::SCHED_IDLE));
        }
    }
}
