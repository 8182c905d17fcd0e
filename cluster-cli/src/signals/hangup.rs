//! Tells the hang-up of the terminal from a request to reload: both are `SIGHUP`.
//!
//! When a terminal closes, the kernel signals the session's leader and the foreground process group. A
//! shell that leads the session sends `SIGHUP` to its jobs itself before it exits, also to those in the
//! background.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::Pid;
use signal_hook::consts::SIGHUP;

use super::origin::{Sender, is_ignored, session_leader};

/// What is known of the controlling terminal.
#[derive(Debug)]
pub(super) struct HangUps {
    had_terminal: bool,
    /// Whether this process was started by nohup(1), or the like.
    pub(super) ignored: bool,
}

impl HangUps {
    /// Looks at the terminal. `ignored` is what the image before this one found, if there was one: a
    /// disposition to ignore does not outlive a handler.
    pub(super) fn new(ignored: Option<bool>) -> Self {
        let ignored = ignored.unwrap_or_else(|| is_ignored(SIGHUP));
        Self { had_terminal: !terminal_is_gone(), ignored }
    }

    /// Whether a `SIGHUP` from there means that the terminal was closed.
    pub(super) fn is_one(&self, sender: Sender) -> bool {
        match sender {
            Sender::Kernel => true,
            // A person may reload by `kill` in that same shell: its terminal is still there.
            Sender::Process(pid) => {
                self.had_terminal && is_leader(pid, session_leader()) && terminal_is_gone()
            }
        }
    }
}

/// Where the kernel's signals cannot be told from others they name no process.
fn is_leader(sender: Option<Pid>, leader: Option<Pid>) -> bool {
    match sender {
        Some(_) => sender == leader,
        None => cfg!(not(target_os = "linux")),
    }
}

/// Whether there is no controlling terminal, or it has been hung up.
fn terminal_is_gone() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    matches!(open("/dev/tty", flags, Mode::empty()), Err(Errno::NXIO | Errno::IO | Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shell_that_leads_the_session_passes_on_a_hang_up() {
        let leader = Pid::from_raw(7);
        assert!(is_leader(leader, leader));
        assert!(!is_leader(Pid::from_raw(8), leader));
        if cfg!(target_os = "linux") {
            assert!(!is_leader(None, None), "a sender outside of the namespace is not the leader");
        }
    }

    #[test]
    fn the_kernel_sends_none_for_another_reason() {
        assert!(HangUps { had_terminal: false, ignored: false }.is_one(Sender::Kernel));
        let other = Sender::Process(Pid::from_raw(1));
        assert!(!HangUps { had_terminal: true, ignored: false }.is_one(other));
    }
}
