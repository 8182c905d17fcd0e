//! What processes use of the machine, as the system tells it: memory, processor time, descriptors.
//!
//! On Linux, from `/proc`. Elsewhere nothing is known.

use std::time::Duration;

/// What a process uses. What is not known, here or of that process, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Memory that is resident, in bytes; what it shares with others counts too.
    pub rss_bytes: Option<u64>,
    /// Processor time since its start, its own and the system's on its behalf. The system counts in
    /// ticks, most often of 10 ms.
    pub cpu: Option<Duration>,
    /// Open descriptors; only [`own`] tells.
    pub open_descriptors: Option<u64>,
    /// Whether it is stopped, by `SIGSTOP` say, and runs only when it gets `SIGCONT`.
    pub stopped: Option<bool>,
}

/// What the process of that id uses. Of a worker it is the worker's as long as the primary knows it:
/// until it is waited for its id is not reused.
pub fn of(pid: u32) -> Usage {
    let process = pid.to_string();
    let (cpu, stopped) = sys::cpu_and_stopped(&process).unzip();
    Usage { rss_bytes: sys::rss(&process), cpu, open_descriptors: None, stopped }
}

/// What this process uses.
pub fn own() -> Usage {
    let own = "self";
    let (cpu, stopped) = sys::cpu_and_stopped(own).unzip();
    Usage { rss_bytes: sys::rss(own), cpu, open_descriptors: sys::open_descriptors(), stopped }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::fs;
    use std::time::Duration;

    use rustix::param::{clock_ticks_per_second, page_size};

    pub(super) fn rss(process: &str) -> Option<u64> {
        let sizes = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
        pages.checked_mul(u64::try_from(page_size()).ok()?)
    }

    pub(super) fn cpu_and_stopped(process: &str) -> Option<(Duration, bool)> {
        // The program's name may be any bytes.
        let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
        let (ticks, state) = ticks_and_state(&String::from_utf8_lossy(&stat))?;
        let per_second = clock_ticks_per_second();
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
        // (One that a debugger has stopped is `t`.)
        Some((Duration::from_nanos(u64::try_from(nanos).ok()?), matches!(state, 'T' | 't')))
    }

    /// `utime` and `stime` of `proc_pid_stat(5)`, the 14th and 15th of all, and the state, the third. The
    /// second, in parentheses, is the program's name, with whatever it likes in it.
    pub(super) fn ticks_and_state(stat: &str) -> Option<(u64, char)> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut fields = fields.skip(10);
        let mut field = || fields.next()?.parse::<u64>().ok();
        Some((field()?.checked_add(field()?)?, state))
    }

    pub(super) fn open_descriptors() -> Option<u64> {
        const FOLDER: &str = "/proc/self/fd";
        // Since Linux 6.2 the folder's size is their number; to list many takes long.
        match fs::metadata(FOLDER).ok()?.len() {
            // The one that lists them is open as well.
            0 => u64::try_from(fs::read_dir(FOLDER).ok()?.count().saturating_sub(1)).ok(),
            open => Some(open),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::time::Duration;

    pub(super) fn rss(_process: &str) -> Option<u64> {
        None
    }

    pub(super) fn cpu_and_stopped(_process: &str) -> Option<(Duration, bool)> {
        None
    }

    pub(super) fn open_descriptors() -> Option<u64> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hint::black_box;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn memory_that_is_taken_is_seen() {
        const SIZE: usize = 64 << 20;
        let before = own().rss_bytes.unwrap();
        let memory = black_box(vec![1u8; SIZE]);
        let with = own().rss_bytes.unwrap();
        // Other tests may give some back meanwhile.
        assert!(with > before + (SIZE as u64) / 2, "{before} {with}");
        drop(memory);
    }

    #[test]
    fn time_that_is_spent_is_seen() {
        let before = own().cpu.unwrap();
        let mut spun = 0u64;
        while own().cpu.unwrap() < before + Duration::from_millis(30) {
            spun = black_box(spun + 1);
        }
        assert!(spun > 0);
    }

    #[test]
    fn descriptors_are_counted() {
        let nulls: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let with = own().open_descriptors.unwrap();
        assert!(with >= 500, "{with}");
        drop(nulls);
    }

    #[test]
    fn another_process_is_looked_at() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let usage = of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.rss_bytes.is_some_and(|rss| rss > 0), "{usage:?}");
        assert!(usage.cpu.is_some_and(|cpu| cpu < Duration::from_secs(5)), "{usage:?}");
        assert_eq!((usage.open_descriptors, usage.stopped), (None, Some(false)));
        assert_eq!(of(u32::MAX), Usage::default(), "no process has that id");
    }

    #[test]
    fn a_programs_name_may_be_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 70 7 0 0 20 0 1 0";
        for name in ["sh", "a) S 1 2 (b", "x y", ""] {
            assert_eq!(sys::ticks_and_state(&format!("12 ({name}) {rest}")), Some((77, 'S')));
        }
        for stat in ["", "12 (sh", "12 (sh) S 1", "12 (sh) S 1 2 3 4 5 6 7 8 9 10 x 7"] {
            assert_eq!(sys::ticks_and_state(stat), None, "{stat}");
        }
    }
}
