//! How much memory another process takes. Linux only.

use std::fs;
use std::io;

/// In KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All pages that are there, others' too.
    pub(crate) resident: u64,
    /// The same, but of a page that others have too only a share.
    pub(crate) proportional: u64,
    /// What it has written itself, and shares with no other process.
    pub(crate) dirty: u64,
}

/// # Errors
/// If the process is not there, or the kernel does not say.
pub(crate) fn of(pid: u32) -> io::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path)
        .map_err(|error| io::Error::other(format!("{path}: {error} (needs Linux)")))?;
    parse(&text).ok_or_else(|| io::Error::other(format!("{path} says {text:?}")))
}

fn parse(rollup: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory {
        resident: field("Rss:")?,
        proportional: field("Pss:")?,
        dirty: field("Private_Dirty:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_sums_are_found() {
        let text = "55-7f ---p 0 0 [rollup]\nRss:    4280 kB\nPss:    2871 kB\nPss_Dirty:  9 kB\n\
                    Private_Clean:  2364 kB\nPrivate_Dirty:  448 kB\n";
        let expected = Memory { resident: 4280, proportional: 2871, dirty: 448 };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("Rss: 1 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_some() {
        assert!(of(std::process::id()).unwrap().resident > 100);
        assert!(of(u32::MAX).is_err());
    }
}
