//! Has a worker start with its agent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use super::folder::{AgentFile, AgentFolder};
use super::pipes::AgentPipes;
use crate::agent::inject::{self, Other, Place, Program, Source};
use crate::driver::inspect;
use crate::settings::Settings;

/// What a worker is started with for its agent's sake.
pub(in super::super) struct Prepared {
    /// Before the interpreter's own arguments.
    pub(in super::super) exec_argv: Vec<OsString>,
    /// Before the program's.
    pub(in super::super) args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    /// Descriptors, the first of them at the number that was asked for, and so on.
    fds: Vec<OwnedFd>,
    /// The primary's ends.
    pub(in super::super) pipes: Option<AgentPipes>,
}

impl Prepared {
    /// Its variables and descriptors, which the worker gets.
    pub(in super::super) fn take(&mut self) -> (Vec<(OsString, OsString)>, Vec<OwnedFd>) {
        (std::mem::take(&mut self.env), std::mem::take(&mut self.fds))
    }

    /// Prepares the agent of a worker whose descriptors from `first` on are free, and whose program has
    /// that first line; `Ok(None)` if its program is not Node.
    ///
    /// # Errors
    /// Why a worker that is Node starts without.
    pub(in super::super) fn new(
        settings: &Settings,
        env: &[(OsString, Option<OsString>)],
        first: RawFd,
        first_line: Vec<OsString>,
        folder: &mut Option<AgentFolder>,
    ) -> Result<Option<Self>, String> {
        let program = Program {
            interpreter: settings.interpreter(),
            exec_argv: &settings.exec_argv,
            exec: &settings.exec,
            args: &settings.args,
            first_line,
            node_options: inspect::node_options(settings, env),
        };
        if let Some(runtime) = program.other_runtime() {
            return Self::for_other(runtime, settings, env, folder).map(Some);
        }
        let Some(place) = program.place() else {
            return match program.is_javascript() {
                true => Err("its interpreter is not known to be Node".into()),
                false => Ok(None),
            };
        };
        let no = |what| move |error: io::Error| format!("no {what}: {error}");
        let (pipes, ends) = AgentPipes::new().map_err(no("pipe"))?;
        let inode = |end: &OwnedFd| match rustix::fs::fstat(end) {
            Ok(found) => Ok(found.st_ino),
            Err(errno) => Err(no("pipe")(errno.into())),
        };
        let inodes = [inode(&ends.commands)?, inode(&ends.reports)?];
        let (source, script) = source(settings, &program, first + 2, folder)?;
        let env = inject::variables(
            place,
            &source,
            [(first, inodes[0]), (first + 1, inodes[1])],
            program.node_options.as_deref().map(OsStr::new),
        );
        let arguments = source.arguments().to_vec();
        let (exec_argv, args) = match place {
            Place::Interpreter => (arguments, Vec::new()),
            Place::Program => (Vec::new(), arguments),
            Place::Options => (Vec::new(), Vec::new()),
        };
        let fds = [Some(ends.commands), Some(ends.reports), script].into_iter().flatten().collect();
        Ok(Some(Self { exec_argv, args, env, fds, pipes: Some(pipes) }))
    }

    /// What has `node:http` of Bun and Deno behave as Node's does; nothing is reported by it, or asked of
    /// it.
    fn for_other(
        runtime: Other,
        settings: &Settings,
        env: &[(OsString, Option<OsString>)],
        folder: &mut Option<AgentFolder>,
    ) -> Result<Self, String> {
        let which = match runtime {
            Other::Bun => AgentFile::Bun,
            Other::Deno => AgentFile::Deno,
        };
        let file = file(settings, folder, which).map_err(|error| error.to_string())?;
        let before = inspect::variable(settings, env, runtime.options());
        let env = runtime
            .variables(&file, before.as_deref())
            .ok_or_else(|| format!("there is a blank in {}", file.display()))?;
        Ok(Self { exec_argv: Vec::new(), args: Vec::new(), env, fds: Vec::new(), pipes: None })
    }
}

/// Where Node is to read the agent from, with the descriptor for that, if it is one.
fn source(
    settings: &Settings,
    program: &Program<'_>,
    number: RawFd,
    folder: &mut Option<AgentFolder>,
) -> Result<(Source, Option<OwnedFd>), String> {
    let file = if program.restricts_reading() {
        Err("Node may not read files that are not the program's".to_owned())
    } else {
        file(settings, folder, AgentFile::Node).map_err(|error| error.to_string())
    };
    match file {
        Ok(file) => Ok((Source::File(file), None)),
        Err(no_file) => match script_descriptor() {
            Ok(script) => Ok((Source::Descriptor(number), Some(script))),
            Err(error) => Err(format!(
                "there is neither a file ({no_file}) nor a descriptor ({error}) for it"
            )),
        },
    }
}

fn file(
    settings: &Settings,
    folder: &mut Option<AgentFolder>,
    which: AgentFile,
) -> io::Result<std::path::PathBuf> {
    if let Some(path) = folder.as_mut().and_then(|folder| folder.file(which).ok()) {
        return Ok(path);
    }
    let other_user = settings.uid.is_some() || settings.gid.is_some();
    folder.insert(AgentFolder::make(other_user)?).file(which)
}

/// A descriptor with the agent's text, this worker's own.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn script_descriptor() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, memfd_create};
    let file = memfd_create("cluster-agent", MemfdFlags::CLOEXEC)?;
    let mut text = crate::agent::SCRIPT.as_bytes();
    while !text.is_empty() {
        let written = rustix::io::write(file.as_fd(), text)?;
        text = &text[written..];
    }
    Ok(file)
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn script_descriptor() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
