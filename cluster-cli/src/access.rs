//! Whether the workers' user can use the program, for `run --check`: a process becomes that user and tries.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use cluster_primary::Settings;
use rustix::fs::{Access, access};

use crate::args::CheckAccess;
use crate::config::Resolved;
use crate::listen;

/// The hidden verb.
const VERB: &str = "check-access";

/// Exit statuses above the largest `errno` that stands for itself.
const CANNOT_TELL: u8 = 255;

/// Asks for the program's file. Where it cannot be asked, nothing is said against it.
pub(crate) fn check(options: &Resolved) -> Result<(), String> {
    let privileges = &options.privileges;
    let changes = privileges.uid.is_some() || privileges.gid.is_some();
    if !changes || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some((file, is_script)) = file(options) else { return Ok(()) };
    let mut command = Command::new(listen::this_program());
    command.arg(VERB).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut option = |name: &str, value: u32| {
        command.arg(format!("--{name}={value}"));
    };
    privileges.uid.iter().for_each(|user| option("uid", user.id));
    privileges.gid.iter().for_each(|group| option("gid", group.id));
    privileges.groups.iter().for_each(|group| option("group", group.id));
    command.args((!is_script).then_some("--execute")).arg("--").arg(&file);
    let status = command.status().ok().and_then(|status| status.code());
    let Some(errno @ 1..255) = status else { return Ok(()) };
    let who = match (&privileges.uid, &privileges.gid) {
        (Some(user), _) => format!("the workers' user {user} (--uid)"),
        (None, Some(group)) => format!("the workers' group {group} (--gid)"),
        (None, None) => return Ok(()),
    };
    let verb = if is_script { "read the script" } else { "execute" };
    let error = io::Error::from_raw_os_error(errno);
    let file = file.display();
    Err(format!(
        "{who} cannot {verb} {file}: {error}; that user must also be able to enter each folder above it"
    ))
}

/// The file that a worker reads or executes, and whether it is read. None where `PATH` says which it is.
fn file(options: &Resolved) -> Option<(PathBuf, bool)> {
    let program = options.program.first()?;
    let is_script = options.exec_path.is_some() || Settings::new(program).runs_under_node();
    if !is_script && !program.as_bytes().contains(&b'/') {
        return None;
    }
    let folder = options.cwd.clone().unwrap_or_default().join(program);
    Some((std::path::absolute(folder).ok()?, is_script))
}

/// The answer: 0, or the error's number.
pub(crate) fn answer(asked: &CheckAccess) -> ExitCode {
    if become_user(asked).is_err() {
        return ExitCode::from(CANNOT_TELL);
    }
    let tried = match asked.execute {
        true => access(&asked.file, Access::EXEC_OK).map_err(io::Error::from),
        false => read(&asked.file),
    };
    let number = tried.err().map(|error| error.raw_os_error().and_then(|n| u8::try_from(n).ok()));
    ExitCode::from(number.map_or(0, |number| number.unwrap_or(CANNOT_TELL)))
}

/// What Node finds out of a script. (A pipe would make us wait.)
fn read(file: &Path) -> io::Result<()> {
    if !std::fs::metadata(file)?.is_file() {
        return Ok(());
    }
    File::open(file).map(drop)
}

/// In the same order as the workers: groups first, because only root may change them.
fn become_user(asked: &CheckAccess) -> nix::Result<()> {
    #[cfg(not(target_vendor = "apple"))]
    {
        let groups: Vec<_> =
            asked.group.iter().map(|group| nix::unistd::Gid::from_raw(*group)).collect();
        nix::unistd::setgroups(&groups)?;
    }
    // Workers cannot be given groups there.
    #[cfg(target_vendor = "apple")]
    let _ = &asked.group;
    if let Some(gid) = asked.gid {
        nix::unistd::setgid(gid.into())?;
    }
    if let Some(uid) = asked.uid {
        nix::unistd::setuid(uid.into())?;
    }
    Ok(())
}
