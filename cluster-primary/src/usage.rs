//! What a process uses, where the system says so (Linux, by `/proc`).

use std::time::Duration;

/// What is known of one process; nothing where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of memory resident.
    pub resident: Option<u64>,
    /// CPU time, its own and the system's for it.
    pub cpu: Option<Duration>,
    /// Descriptors that it has open, if it may be asked.
    pub descriptors: Option<u64>,
}

/// Of that process.
pub fn of(pid: u32) -> Usage {
    system::of(&pid.to_string())
}

/// Of this process, with its descriptors.
pub fn own() -> Usage {
    let descriptors = system::descriptors();
    Usage { descriptors, ..system::of("self") }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::time::Duration;

    use super::Usage;

    pub(super) fn of(process: &str) -> Usage {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        Usage {
            resident: read("statm").and_then(|statm| resident(&statm)),
            cpu: read("stat").and_then(|stat| cpu(&stat)),
            descriptors: None,
        }
    }

    /// proc_pid_statm(5): the second number counts the pages that are resident.
    fn resident(statm: &str) -> Option<u64> {
        let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        pages.checked_mul(page)
    }

    /// proc_pid_stat(5): the 14th and 15th field are ticks; the second is a name in parentheses,
    /// which may hold anything.
    fn cpu(stat: &str) -> Option<Duration> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let ticks = ticks()?.checked_add(ticks()?)?;
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Duration::from_millis(ticks.checked_mul(1000)? / per_second.max(1)))
    }

    pub(super) fn descriptors() -> Option<u64> {
        // One is this listing's own.
        let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        u64::try_from(open).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn fields_are_found_whatever_the_name_is() {
            let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 99";
            let ticks = rustix::param::clock_ticks_per_second();
            assert_eq!(cpu(stat), Some(Duration::from_millis(200 * 1000 / ticks)));
            assert_eq!(cpu("7 (a) S 1"), None);
            assert_eq!(resident("10 x"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Usage;

    pub(super) fn of(_: &str) -> Usage {
        Usage::default()
    }

    pub(super) fn descriptors() -> Option<u64> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = own();
        assert!(usage.resident.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
        assert!(usage.cpu.is_some() && usage.descriptors.is_some_and(|open| open >= 3));
        assert_eq!(of(u32::MAX), Usage::default());
    }
}
