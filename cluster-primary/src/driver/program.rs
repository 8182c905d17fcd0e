//! Finds a worker's program before it is executed, or explains why it could not be executed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Access;
use rustix::io::Errno;

use super::aside;
use crate::error::ForkError;
use crate::script::first_words;
use crate::settings::Settings;

/// Variables that override those of the settings.
type Env = [(OsString, Option<OsString>)];

impl Settings {
    /// Whether a worker's program, its interpreter and its working directory are there, as far as this
    /// process sees. (Whether the workers' user may execute it only [`Primary::fork`] finds out.)
    ///
    /// # Errors
    /// What [`Primary::fork`] would say.
    ///
    /// [`Primary::fork`]: crate::Primary::fork
    pub fn check_program(&self) -> Result<(), ForkError> {
        directory(self)?;
        script(self)?;
        findable(self, &[])
    }
}

/// The words of the first line of the worker's program, for its agent. Where something executes the
/// program later, which could report only to the terminal that it is missing, that is reported now. File systems
/// that do not answer in time are not waited for: then nothing is known.
pub(super) fn survey(settings: &Arc<Settings>, env: &Env) -> Result<Vec<OsString>, ForkError> {
    let is_launched = !settings.launcher.is_empty();
    if !is_launched && !settings.node_agent {
        return Ok(Vec::new());
    }
    let (settings, env) = (Arc::clone(settings), env.to_vec());
    let look = move || {
        if is_launched {
            directory(&settings)?;
            findable(&settings, &env)?;
        }
        Ok(if settings.node_agent { first_line(&settings, &env) } else { Vec::new() })
    };
    aside::ask(look).unwrap_or_else(|| Ok(Vec::new()))
}

/// Whether the working directory exists.
fn directory(settings: &Settings) -> Result<(), ForkError> {
    let Some(cwd) = &settings.cwd else { return Ok(()) };
    enterable(cwd).map_err(|error| ForkError::Cwd { cwd: cwd.clone(), error })
}

/// Whether a process can change to it; that needs no permission to read it.
fn enterable(folder: &Path) -> io::Result<()> {
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    Ok(rustix::fs::access(folder, Access::EXEC_OK)?)
}

/// Whether the script that Node will run exists.
fn script(settings: &Settings) -> Result<(), ForkError> {
    if !settings.is_script() {
        return Ok(());
    }
    let script = in_cwd(settings, &settings.exec);
    readable(&script).map_err(|error| ForkError::Script { script, error })
}

/// Whether it is a file that can be read. (A pipe would make us wait for its writer.)
fn readable(script: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(script)?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !kind.is_file() {
        return Err(Errno::INVAL.into());
    }
    File::open(script).map(drop)
}

/// Whether the worker's program will be found, and by which user it is run.
fn findable(settings: &Settings, env: &Env) -> Result<(), ForkError> {
    let program = settings.program();
    let file = find(settings, env, program)
        .map_err(|error| ForkError::Spawn { program: in_cwd(settings, program), error })?;
    match named_interpreter(&file) {
        Some(interpreter) if !in_cwd(settings, &interpreter).exists() => {
            Err(ForkError::DeadInterpreter { program: file, interpreter: Some(interpreter) })
        }
        _ => Ok(()),
    }
}

/// The script that Node will run, as a path relative to this process's directory.
pub(super) fn script_path(settings: &Settings) -> Option<PathBuf> {
    let runs_script = settings.is_script() && settings.interpreter().is_some();
    runs_script.then(|| in_cwd(settings, &settings.exec))
}

/// Explains what could not be executed, if the file system answers in time.
pub(super) fn explain(
    settings: &Arc<Settings>,
    env: &Env,
    program: &Path,
    error: io::Error,
) -> ForkError {
    let code = error.raw_os_error();
    let (known, env, program) = (Arc::clone(settings), env.to_vec(), program.to_owned());
    let name = in_cwd(settings, &program);
    aside::ask(move || explained(&known, &env, &program, error)).unwrap_or_else(|| {
        let error = io::Error::from_raw_os_error(code.unwrap_or(Errno::IO.raw_os_error()));
        ForkError::Spawn { program: name, error }
    })
}

fn explained(settings: &Settings, env: &Env, program: &Path, error: io::Error) -> ForkError {
    match (find(settings, env, program), error.kind()) {
        (Ok(file), ErrorKind::NotFound) => {
            let interpreter = named_interpreter(&file);
            ForkError::DeadInterpreter { program: file, interpreter }
        }
        // The system only says that it is not permitted.
        (Err(found), ErrorKind::PermissionDenied) if found.kind() == ErrorKind::IsADirectory => {
            ForkError::Spawn { program: in_cwd(settings, program), error: found }
        }
        _ => ForkError::Spawn { program: in_cwd(settings, program), error },
    }
}

/// The file that is executed under that name: the path itself, or the first match in `PATH`.
fn find(settings: &Settings, env: &Env, program: &Path) -> io::Result<PathBuf> {
    if has_slash(program) {
        let file = in_cwd(settings, program);
        return executable(&file).map(|()| file);
    }
    let laid_over = settings.env.iter().chain(env).rev().find(|(name, _)| name == "PATH");
    let path = laid_over.map_or_else(|| std::env::var_os("PATH"), |(_, value)| value.clone());
    let mut why = Errno::NOENT;
    for folder in std::env::split_paths(&path.unwrap_or_default()) {
        let file = settings.cwd.as_deref().unwrap_or(Path::new("")).join(folder).join(program);
        match executable(&file) {
            Ok(()) => return Ok(file),
            // Like the system: a later folder may have another one.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => why = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(why.into())
}

fn executable(file: &Path) -> io::Result<()> {
    let kind = std::fs::metadata(file)?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    // As the system says it. (A pipe would make us wait, when we read its first line.)
    if !kind.is_file() {
        return Err(Errno::ACCESS.into());
    }
    Ok(rustix::fs::access(file, Access::EXEC_OK)?)
}

/// Whether it is a path, and not a name that is sought along `PATH`.
fn has_slash(program: &Path) -> bool {
    program.as_os_str().as_bytes().contains(&b'/')
}

/// Where the worker sees that path, or that script.
fn in_cwd(settings: &Settings, path: &Path) -> PathBuf {
    match &settings.cwd {
        Some(cwd) if has_slash(path) || settings.exec == path && settings.is_script() => {
            cwd.join(path)
        }
        _ => path.to_owned(),
    }
}

/// The interpreter that a script's first line names.
fn named_interpreter(file: &Path) -> Option<PathBuf> {
    first_words(file).into_iter().next().map(PathBuf::from)
}

/// The words of the first line of the interpreter's file, or else of the program's, if it is a script.
fn first_line(settings: &Settings, env: &Env) -> Vec<OsString> {
    find(settings, env, settings.program()).map_or_else(|_| Vec::new(), |file| first_words(&file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cluster-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("it is written");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("it is ours");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn wrong(settings: &Settings) -> String {
        settings.check_program().expect_err("it cannot be run").to_string()
    }

    #[test]
    fn what_is_there_is_found() {
        let folder = Folder::new("found");
        folder.file("run", "#!/bin/sh\n", 0o755);
        folder.file("app.js", "", 0o644);
        for exec in ["sh", "/bin/sh"] {
            Settings::new(exec).check_program().expect(exec);
        }
        let mut here = Settings::new("./run");
        here.cwd = Some(folder.0.clone());
        here.check_program().expect("it is there, seen from the working directory");
        let mut script = Settings::new("app.js");
        script.cwd = Some(folder.0.clone());
        script.exec_path = Some("sh".into());
        script.check_program().expect("a script need not be executable");
    }

    #[test]
    fn who_is_to_run_a_script_is_named_if_it_is_not_there() {
        let folder = Folder::new("named");
        let dead = folder.file("dead", "#! /no/such/interpreter -x\n", 0o755);
        let said = wrong(&Settings::new(&dead));
        assert!(
            said.contains(
                "the interpreter in its first line, /no/such/interpreter, does not exist"
            ),
            "{said}"
        );
        let windows = folder.file("windows", "#!/bin/sh\r\necho\r\n", 0o755);
        let said = wrong(&Settings::new(&windows));
        assert!(said.contains("as on Windows"), "{said}");
        folder.file("sh", "", 0o644);
        let mut denied = Settings::new("sh");
        denied.env.push(("PATH".into(), Some(folder.0.clone().into())));
        let said = wrong(&denied);
        assert!(said.contains("Permission denied") && said.contains("chmod +x"), "{said}");
    }

    #[test]
    fn a_script_that_is_not_executable_is_advised_about() {
        let folder = Folder::new("advised");
        let node = folder.file("server", "require('http')\n", 0o644);
        let said = wrong(&Settings::new(&node));
        assert!(said.contains("--exec-path node") && !said.contains("chmod"), "{said}");
        let python = folder.file("app", "#!/usr/bin/env -S python3 -u\n", 0o644);
        let said = wrong(&Settings::new(&python));
        assert!(said.contains("chmod +x") && said.contains("--exec-path python3"), "{said}");
        let binary = folder.file("binary", "\x7fELF\0", 0o644);
        let said = wrong(&Settings::new(&binary));
        assert!(said.contains("chmod +x") && !said.contains("--exec-path"), "{said}");
        folder.file("main.js", "", 0o644);
        let said = wrong(&Settings::new(folder.0.join("main")));
        assert!(said.contains("main.js?"), "{said}");
        folder.file("package.json", r#"{"main": "lib/start.js"}"#, 0o644);
        let said = wrong(&Settings::new(&folder.0));
        assert!(said.contains("lib/start.js"), "{said}");
    }

    #[test]
    fn folders_are_no_programs() {
        let folder = Folder::new("folders.js");
        assert!(wrong(&Settings::new(&folder.0)).contains("Is a directory"));
        let plain = folder.file("plain", "", 0o644);
        let mut program = Settings::new("sh");
        program.cwd = Some(plain);
        assert!(wrong(&program).contains("Not a directory"));
        program.cwd = None;
        program.exec_path = Some(folder.0.clone());
        assert!(wrong(&program).contains("Is a directory"));
        let pipe = folder.0.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o755.into(), 0)
            .expect("every process may");
        program.exec_path = Some(pipe);
        assert!(wrong(&program).contains("Permission denied"), "and it is not waited for");
    }
}
