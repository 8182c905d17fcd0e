//! Programs that start the server as a process of their own: package managers, watchers, loaders.
//!
//! Node opens a worker's channel from a descriptor that it inherits, and passes it on to none of its own
//! children: under `npm start` the server is the worker's child, has no channel, and binds its port
//! itself. What the wrapper would start is looked up, so that it can be named.

mod npm;
mod own;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::{Ready, Resolved};
use crate::ecosystem;

/// How many wrappers may be nested: `npm start` that runs `cross-env … nodemon server.js`.
const DEPTH: usize = 8;

/// As much of a script as is read for its first line.
const FIRST_LINE: u64 = 256;

/// What a wrapper is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It runs something, and waits for it.
    Runner,
    /// It also restarts it when files change.
    Watcher,
}

/// A command that can be a worker, as `cluster run` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Command {
    /// Options of `cluster run` that were given.
    options: Vec<String>,
    /// The package that `npx` would fetch, with its version.
    package: Option<String>,
    /// The folder of the package, where it is not the current one.
    cwd: Option<String>,
    /// `NAME=value`, for the environment.
    env: Vec<String>,
    words: Vec<String>,
}

impl Command {
    fn of<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The same with other words.
    fn with(&self, words: &[String]) -> Self {
        Self { words: words.to_vec(), ..self.clone() }
    }

    /// The command of a shell, if it is a plain one: no pipes, variables, patterns or lists.
    fn parse(&self, text: &str) -> Option<Self> {
        if text.contains(|c| "|&;<>()$`\n*?[]{}~#!".contains(c)) {
            return None;
        }
        let mut command = self.with(&shlex::split(text)?);
        command.take_assignments();
        command.take_exec();
        Some(command)
    }

    /// A shell's `exec` is not a part of the command.
    fn take_exec(&mut self) {
        if let [exec, program, ..] = &self.words[..]
            && exec == "exec"
            && !program.starts_with('-')
        {
            self.words.remove(0);
        }
    }

    /// The name of a package in the place of the program (`tsx@4`), as `npx` takes it: mostly it has a
    /// program of the same name. Nothing where that cannot be told.
    fn of_package(mut self) -> Option<Self> {
        let program = self.words.first_mut()?;
        if program.contains(['/', ':']) {
            // A path, or a package with a scope.
            return (!program.starts_with('@') && !program.contains(':')).then_some(self);
        }
        let name = program.split('@').next().unwrap_or_default().to_owned();
        self.package = Some(std::mem::replace(program, name));
        Some(self)
    }

    /// Moves the assignments at its beginning to its environment.
    fn take_assignments(&mut self) {
        let is_assignment = |word: &&String| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
        };
        let count = self.words.iter().take_while(is_assignment).count();
        self.env.extend(self.words.drain(..count));
    }
}

/// As a command of a shell.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
        let quoted = |word: &str| match !word.is_empty() && word.chars().all(is_plain) {
            true => word.to_owned(),
            false => shlex::try_quote(word).map_or_else(|_| word.into(), String::from),
        };
        f.write_str("cluster run")?;
        self.options.iter().try_for_each(|word| write!(f, " {}", quoted(word)))?;
        if let Some(cwd) = &self.cwd {
            write!(f, " --cwd {}", quoted(cwd))?;
        }
        for variable in &self.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            write!(f, " --env {name}={}", quoted(value))?;
        }
        // A script runs under node anyway.
        let words = match &self.words[..] {
            [node, script, ..] if node == "node" && is_script(script) => &self.words[1..],
            words => words,
        };
        words.iter().try_for_each(|word| write!(f, " {}", quoted(word)))
    }
}

fn is_script(word: &str) -> bool {
    cluster_primary::Settings::new(word).runs_under_node()
}

/// A wrapper, and what to run instead.
#[derive(Debug, PartialEq, Eq)]
struct Wrapper {
    name: String,
    kind: Kind,
    instead: Option<Command>,
    /// The script of package.json that it runs, as it stands there.
    script: Option<npm::Script>,
    /// Why there is none.
    missing: Option<String>,
    /// What has to be installed before: nothing in particular where package.json lists it.
    install: Option<String>,
}

/// What to say about a wrapper.
pub(crate) enum Complaint {
    /// It is not started.
    Error(String),
    /// It is started all the same, for these options insist.
    Hint(String),
}

/// What is wrong with the program of these options, if it is a wrapper.
pub(crate) fn complaint(options: &Resolved) -> Option<Complaint> {
    if let Some(error) = ecosystem::error(options) {
        return Some(Complaint::Error(error));
    }
    let folder = options.cwd.as_deref().unwrap_or(Path::new("."));
    let command = command(options)?;
    let program = command.words.first()?;
    if !is_manager(&name(program)) && belongs_to_another(program, folder) {
        return None;
    }
    let mut wrapper = find(command, folder)?;
    let elsewhere = wrapper.instead.as_ref().is_some_and(|instead| instead.cwd.is_some());
    let own = own::options(std::env::args_os(), &options.program, elsewhere);
    wrapper.instead.iter_mut().for_each(|instead| instead.options.clone_from(&own));
    let insists = options.reload.ready == Ready::Alive && options.listening.listen.is_empty();
    Some(match insists {
        true => Complaint::Hint(wrapper.hint()),
        false => Complaint::Error(wrapper.error()),
    })
}

fn is_manager(name: &str) -> bool {
    ["npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx"].contains(&name)
}

/// Whether a program has its name by chance: it is neither Node nor a shell, nor a script for Node.
fn belongs_to_another(program: &str, folder: &Path) -> bool {
    let executes = ["env", "sh", "bash", "dash"].contains(&&*name(program));
    if is_node(&name(program)) || executes {
        return false;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file = match program.contains('/') {
        true => Some(folder.join(program)),
        false => {
            std::env::split_paths(&path).map(|at| at.join(program)).find(|file| file.is_file())
        }
    };
    let mut head = Vec::new();
    let read = file.and_then(|file| File::open(file).ok());
    let read = read.and_then(|file| file.take(FIRST_LINE).read_to_end(&mut head).ok());
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read.is_some() && !(line.starts_with(b"#!") && line.windows(4).any(|word| word == b"node"))
}

/// The whole command line of a worker.
fn command(options: &Resolved) -> Option<Command> {
    let program = options.program.first()?;
    let mut words: Vec<OsString> = Vec::new();
    match &options.exec_path {
        Some(path) => words.push(path.into()),
        None if is_script(&program.to_string_lossy()) => words.push("node".into()),
        None => {}
    }
    if !words.is_empty() {
        words.extend(options.exec_arg.iter().cloned());
    }
    words.extend(options.program.iter().cloned());
    Some(Command::of(words.iter().map(|word| word.to_string_lossy())))
}

/// Whether that command is a wrapper; `folder` is where it runs.
fn find(command: Command, folder: &Path) -> Option<Wrapper> {
    let Step { name, kind, mut inner, mut script, mut missing } = unwrap(&command, folder)?;
    let mut kind = kind?;
    for _ in 0..DEPTH {
        let Some(step) = inner.as_ref().and_then(|inner| unwrap(inner, folder)) else { break };
        if step.kind == Some(Kind::Watcher) {
            kind = Kind::Watcher;
        }
        script = step.script.or(script);
        missing = step.missing.or(missing);
        inner = step.inner;
    }
    let instead = inner.filter(|inner| !inner.words.is_empty() && unwrap(inner, folder).is_none());
    let (instead, install) = match instead {
        Some(inner) => local(inner, folder, missing.is_some()),
        None => (None, None),
    };
    Some(Wrapper { name, kind, instead, script, missing, install })
}

/// A program that the package has of its own is named by its path. The second is what has to be installed
/// before that can run. (`guessed`: it may not be a program at all, and counts only if it is there.)
fn local(mut command: Command, folder: &Path, guessed: bool) -> (Option<Command>, Option<String>) {
    let package = folder.join(command.cwd.as_deref().unwrap_or_default());
    let of_package = |name: &str| command.package.clone().unwrap_or_else(|| name.to_owned());
    if let [node, import, loader, ..] = &command.words[..]
        && node == "node"
        && import == "--import"
        && loader == "tsx"
    {
        let here = std::path::absolute(&package).unwrap_or(package);
        let is_there = here.ancestors().any(|at| at.join("node_modules/tsx").exists());
        let install = (!is_there).then(|| of_package("tsx"));
        return (Some(command), install);
    }
    let Some(program) = command.words.first() else { return (None, None) };
    if program.contains('/') || is_node(program) {
        return (Some(command), None);
    }
    let bin = format!("node_modules/.bin/{program}");
    let is_local = package.join(&bin).exists();
    let is_there = is_local || on_path(program);
    if guessed && !is_there {
        return (None, None);
    }
    let install = (!is_there).then(|| command.package.clone().unwrap_or_default());
    if is_local || !is_there {
        command.words[0] = format!("./{bin}");
    }
    (Some(command), install)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|at| at.join(program).is_file())
}

/// How the package in that folder starts, as `cluster run` takes it, if its package.json says so by a plain
/// command. The folder is the `program`, which has arguments.
pub(crate) fn start_command(folder: &Path, program: &[OsString]) -> Option<String> {
    let mut start = find(Command::of(["npm", "start"]), folder)?.instead?;
    let is_here = folder == Path::new(".");
    start.cwd = start.cwd.or_else(|| (!is_here).then(|| folder.display().to_string()));
    start.options = own::options(std::env::args_os(), program, start.cwd.is_some());
    start.words.extend(program[1..].iter().map(|word| word.to_string_lossy().into_owned()));
    Some(start.to_string())
}

/// One wrapper taken off a command.
struct Step {
    name: String,
    /// Nothing where the wrapper executes the command in its own process: no harm is done by it.
    kind: Option<Kind>,
    /// What it runs, if that can be told.
    inner: Option<Command>,
    script: Option<npm::Script>,
    /// Why the script is not known.
    missing: Option<String>,
}

/// The name of a program, or of a script that is known under that name.
fn name(word: &str) -> String {
    let path = Path::new(word);
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match &*file {
        "npm-cli.js" | "npx-cli.js" | "yarn.js" | "nodemon.js" | "pnpm.cjs" => {
            file.split(['.', '-']).next().unwrap_or_default().into()
        }
        "cli.mjs" if word.ends_with("tsx/dist/cli.mjs") => "tsx".into(),
        _ => file,
    }
}

fn unwrap(command: &Command, folder: &Path) -> Option<Step> {
    let (program, rest) = command.words.split_first()?;
    let name = name(program);
    let step = |kind, inner: Option<Command>| {
        Some(Step { name: name.clone(), kind: Some(kind), inner, script: None, missing: None })
    };
    match &*name {
        "npm" | "yarn" | "yarnpkg" | "pnpm" => {
            let found = npm::run(&name, rest, command, folder);
            Some(found.step(name))
        }
        "npx" | "pnpx" => {
            let rest = npm::after_flags(rest).and_then(|rest| command.with(rest).of_package());
            step(Kind::Runner, rest)
        }
        "corepack" => step(Kind::Runner, Some(command.with(rest))),
        "cross-env" => {
            let mut inner = command.with(rest);
            inner.take_assignments();
            step(Kind::Runner, Some(inner))
        }
        "env-cmd" | "dotenv" => step(Kind::Runner, None),
        "nodemon" => step(Kind::Watcher, watched(command, rest)),
        "tsx" => {
            let watches = rest.first().is_some_and(|word| word == "watch");
            let rest = &rest[usize::from(watches)..];
            let kind = if watches { Kind::Watcher } else { Kind::Runner };
            let plain = rest.first().filter(|word| !word.starts_with('-'));
            let words = ["node", "--import", "tsx"].map(String::from);
            let words: Vec<_> = words.into_iter().chain(rest.iter().cloned()).collect();
            step(kind, plain.map(|_| command.with(&words)))
        }
        "node-dev" | "ts-node-dev" | "tsnd" | "forever" | "pm2" | "pm2-runtime" => {
            step(Kind::Watcher, None)
        }
        "env" | "sh" | "bash" | "dash" => unwrap_executed(&name, rest, command, folder),
        _ if is_node(&name) => node(name, command, rest, folder),
        _ => None,
    }
}

/// `env A=B program`, `sh -c 'program'`: harmless by themselves.
fn unwrap_executed(name: &str, rest: &[String], command: &Command, folder: &Path) -> Option<Step> {
    let inner = match (name, rest) {
        ("env", rest) => {
            let mut inner = command.with(rest);
            inner.take_assignments();
            inner
        }
        (_, [flag, text]) if flag == "-c" => {
            command.parse(text.strip_prefix("exec ").unwrap_or(text))?
        }
        _ => return None,
    };
    let step = unwrap(&inner, folder)?;
    step.kind.is_some().then_some(step)
}

/// What a watcher is to run, where only that is named.
fn watched(command: &Command, rest: &[String]) -> Option<Command> {
    let script = rest.first().filter(|word| !word.starts_with('-'))?;
    let node = is_script(script).then(|| String::from("node"));
    let words: Vec<_> = node.into_iter().chain(rest.iter().cloned()).collect();
    Some(command.with(&words))
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("node").is_some_and(|rest| {
        rest.is_empty() || rest.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b))
    })
}

/// Node that starts another Node (`--watch`), runs a script of package.json (`--run`), or one of the
/// wrappers by its file.
fn node(program: String, command: &Command, rest: &[String], folder: &Path) -> Option<Step> {
    let is_watch = |word: &String| word == "--watch" || word.starts_with("--watch-");
    let options = rest.iter().take_while(|word| word.starts_with('-')).count();
    if let Some(at) = rest[..options].iter().position(|word| word.starts_with("--run")) {
        let name = match rest[at].strip_prefix("--run=") {
            Some(name) => Some(name),
            None => rest.get(at + 1).map(String::as_str),
        };
        let found = npm::script(name?, &[], command, folder);
        return Some(found.step(format!("{program} --run")));
    }
    if let Some(flag) = rest[..options].iter().find(|word| is_watch(word)) {
        let name = flag.split('=').next().unwrap_or_default();
        // `--watch-path` may have its value behind it.
        let plain = !rest.iter().any(|word| word == "--watch-path");
        let first = command.words.first().cloned();
        let others = rest.iter().filter(|word| !is_watch(word)).cloned();
        let inner = command.with(&first.into_iter().chain(others).collect::<Vec<_>>());
        return Some(Step {
            name: format!("{program} {name}"),
            kind: Some(Kind::Watcher),
            inner: plain.then_some(inner),
            script: None,
            missing: None,
        });
    }
    let installed = rest.get(options).is_some_and(|script| script.contains("node_modules/"));
    if installed { unwrap(&command.with(&rest[options..]), folder) } else { None }
}

impl Wrapper {
    fn error(&self) -> String {
        format!(
            "{} cannot be a worker: it starts the server as a child process, which gets neither the \
             worker's channel nor the sockets of --listen. {}. To run it all the same, as a program that \
             shares no port: --ready alive",
            self.name,
            self.instead()
        )
    }

    fn hint(&self) -> String {
        format!(
            "{} starts the server as a child process, which does not get the worker's channel: it \
             shares no port, and takes part in no graceful stop. {}",
            self.name,
            self.instead()
        )
    }

    fn instead(&self) -> String {
        let mut text = match (&self.instead, &self.missing) {
            (Some(command), _) => format!("Run the server itself: {command}"),
            (None, Some(missing)) => {
                format!("Run the server itself (its command is unknown: {missing})")
            }
            (None, None) => "Run the server itself: cluster run FILE".into(),
        };
        if let Some(script) = &self.script {
            text.push_str(&format!(" ({script})"));
        }
        if self.kind == Kind::Watcher {
            text.push_str("; after a change, cluster reload replaces the workers");
        }
        match self.install.as_deref() {
            None => {}
            Some("") => text.push_str("; install the package's dependencies first: npm install"),
            Some(package) => {
                text.push_str(&format!("; install it in the package first: npm install {package}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
