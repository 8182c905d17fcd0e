//! The steps between a worker's fork and its program, and how their errors are reported.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::program;
use crate::error::ForkError;
use crate::settings::Settings;

/// What a child does before its program runs; `Exec` is the execution itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Exec = 0,
    Descriptors,
    Script,
    Cwd,
    Group,
    Affinity,
    Groups,
    Gid,
    Uid,
    Capabilities,
    NoNewPrivs,
    DieWithPrimary,
}

const STEPS: [Step; 12] = [
    Step::Exec,
    Step::Descriptors,
    Step::Script,
    Step::Cwd,
    Step::Group,
    Step::Affinity,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::Capabilities,
    Step::NoNewPrivs,
    Step::DieWithPrimary,
];

/// The length of a child's report, in bytes.
pub(super) const REPORT: usize = 8;

impl Step {
    /// The report that goes through the pipe.
    pub(super) fn report(self, errno: Errno) -> [u8; REPORT] {
        let mut report = [0; REPORT];
        report[..4].copy_from_slice(&(self as i32).to_ne_bytes());
        report[4..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
        report
    }

    /// The step that failed, and its error; `None` if this is not a report.
    pub(super) fn read(report: [u8; REPORT]) -> Option<(Self, Errno)> {
        let [a, b, c, d, e, f, g, h] = report;
        let number = i32::from_ne_bytes([a, b, c, d]);
        let step = STEPS.into_iter().find(|step| *step as i32 == number)?;
        Some((step, Errno::from_raw_os_error(i32::from_ne_bytes([e, f, g, h]))))
    }
}

pub(super) fn failed_cwd(settings: &Settings, error: io::Error) -> ForkError {
    ForkError::Cwd { cwd: settings.cwd.clone().unwrap_or_default(), error }
}

/// The error for a worker whose settings could not be applied, or whose program could not be executed.
pub(super) fn failure(settings: &Settings, step: Step, program: &Path, errno: Errno) -> ForkError {
    let error = io::Error::from(errno);
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    let (setting, value) = match step {
        Step::Exec => return ForkError::Spawn { program: program.to_owned(), error },
        Step::Descriptors => return ForkError::Resources { what: "place for a descriptor", error },
        Step::Group => return ForkError::Resources { what: "process group", error },
        Step::Script => {
            let script = program::script_path(settings).unwrap_or_else(|| program.to_owned());
            return ForkError::Script { script, error };
        }
        Step::Cwd => return failed_cwd(settings, error),
        Step::Affinity => {
            ("affinity", settings.affinity.as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Step::Groups => ("groups", format!("{:?}", settings.groups.as_deref().unwrap_or_default())),
        Step::Gid => ("gid", number(settings.gid)),
        Step::Uid => ("uid", number(settings.uid)),
        Step::Capabilities => ("keep_capabilities", false.to_string()),
        Step::NoNewPrivs => ("no_new_privs", true.to_string()),
        Step::DieWithPrimary => ("die_with_primary", true.to_string()),
    };
    ForkError::Setting { setting, value, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_comes_back_with_why() {
        for step in STEPS {
            for errno in [Errno::PERM, Errno::INVAL, Errno::from_raw_os_error(4095)] {
                assert_eq!(Step::read(step.report(errno)), Some((step, errno)));
            }
        }
        assert_eq!(Step::read([0xff; REPORT]), None);
    }
}
