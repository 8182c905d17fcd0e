//! How much processor time others have used. Linux only.

use std::fs;
use std::io;
use std::time::Duration;

/// What a process has used so far, all its living threads together.
///
/// # Errors
/// If it is not there, or the kernel does not say.
pub(crate) fn used(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|error| io::Error::other(format!("process {pid}: {error} (needs Linux)")))?
    {
        // One that ended since it was listed has nothing to say.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += on_processor(&text)
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}: schedstat says {text:?}")))?;
    }
    if nanoseconds == 0 {
        return Err(io::Error::other(format!("/proc/{pid}: this kernel has no schedstat")));
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// What these have used together.
pub(crate) fn used_by_all(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| used(*pid)).sum()
}

/// The first of the three numbers: nanoseconds spent on a processor.
fn on_processor(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn time_used_grows() {
        let me = std::process::id();
        let before = super::used(me).unwrap();
        let mut sum = 0_u64;
        while super::used(me).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(super::used(u32::MAX).is_err());
    }
}
