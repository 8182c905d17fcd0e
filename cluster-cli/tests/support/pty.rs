//! A pseudo-terminal for a child.
#![allow(unsafe_code, reason = "std has no safe way to give a child a terminal of its own")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;

pub struct Terminal {
    pub ours: File,
    pub theirs: OwnedFd,
}

impl Terminal {
    pub fn new() -> Self {
        #[allow(unused_mut, reason = "not every system has the flag")]
        let mut flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        // As long as a child had this end too, the terminal could not be closed.
        #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
        flags.insert(OpenptFlags::CLOEXEC);
        let ours = openpt(flags).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        Self { ours: ours.into(), theirs: theirs.into() }
    }

    /// How large it is.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.ours, size).unwrap();
    }

    /// Makes it the child's controlling terminal, as a shell's window would.
    pub fn give_to(&self, command: &mut Command) {
        let end = || Stdio::from(self.theirs.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: three system calls between fork and exec; nothing is allocated or locked.
        unsafe {
            command.pre_exec(|| {
                // Under `nohup` the tests ignore it, and their children would too.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin().as_fd())?;
                Ok(())
            });
        }
    }
}

/// The command as a shell runs it, which stays until a line is typed: when a session's leader ends,
/// the kernel discards what has not been read from the terminal yet.
pub fn in_a_shell(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap : INT; "$@"; echo "status $?"; read -r _"#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}
