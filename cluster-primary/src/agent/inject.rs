//! How a worker's command line and environment change so that Node loads the agent.
//!
//! | the program | how |
//! | --- | --- |
//! | `node … app.js` | `-r FILE`, before Node's other arguments |
//! | a script with `#!/usr/bin/env node` | `NODE_OPTIONS="-r FILE …"`; the agent restores it before the program runs |
//! | `bun … app.js`, or a script with `#!/usr/bin/env bun` | `BUN_OPTIONS="--preload=FILE …"`: the part for Bun, which restores it |
//! | `deno … app.js`, or a script with `#!/usr/bin/env -S deno run -A` | `NODE_OPTIONS="--require=FILE …"`: the part for Deno, which restores it |
//! | Node, where Node may not read `FILE` or there is none | `--import data:…` instead of `-r FILE`: a stub that reads the agent from a descriptor |
//!
//! `-r` keeps a CommonJS main as it is, where `--import` has the ESM loader run it: so it is preferred.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::STUB;
use crate::script::interpreter;
use crate::settings::SCRIPT_EXTENSIONS;

/// The numbers of the agent's pipes in the worker, for commands and for reports, each with its inode, by
/// which the agent knows that the descriptor is the one that was meant.
const PIPES: &str = "CLUSTER_AGENT_FD";
/// The number of the descriptor that the stub reads the agent from.
const SCRIPT: &str = "CLUSTER_AGENT_SCRIPT_FD";
/// What `NODE_OPTIONS` was: `-` if it was absent, else `=` and its value.
const OPTIONS_BEFORE: &str = "CLUSTER_AGENT_NODE_OPTIONS";

/// What `BUN_OPTIONS` was, as [`OPTIONS_BEFORE`].
const BUN_OPTIONS_BEFORE: &str = "CLUSTER_BUN_OPTIONS";

const BUN_OPTIONS: &str = "BUN_OPTIONS";
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// Under Node 20's permission model `-r` of a file that the program may not read is an error.
const PERMISSION: &str = "--experimental-permission";

/// Where a command line has room for Node's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the interpreter's own arguments.
    Interpreter,
    /// Before the program's arguments: the program is Node itself.
    Program,
    /// In `NODE_OPTIONS`: a script's first line names Node.
    Options,
}

/// What is to be started, as far as it matters here.
#[derive(Clone, Debug)]
pub(crate) struct Program<'a> {
    /// The interpreter in force.
    pub(crate) interpreter: Option<&'a Path>,
    /// Its arguments.
    pub(crate) exec_argv: &'a [OsString],
    pub(crate) exec: &'a Path,
    pub(crate) args: &'a [OsString],
    /// The words behind `#!` in the file of the interpreter, or else of the program, if it is a
    /// script.
    pub(crate) first_line: Vec<OsString>,
    /// What `NODE_OPTIONS` is without the agent.
    pub(crate) node_options: Option<OsString>,
}

impl Program<'_> {
    /// Where the agent goes; `None` if this is not seen to be Node.
    pub(crate) fn place(&self) -> Option<Place> {
        let place = match self.interpreter {
            Some(interpreter) if is_node(interpreter) => Place::Interpreter,
            None if is_node(self.exec) => Place::Program,
            _ => return names(&self.first_line, is_node).then_some(Place::Options),
        };
        // What NODE_OPTIONS preloads comes before what the command line does, and would see the agent.
        Some(if self.preloads() { Place::Options } else { place })
    }

    /// Which runtime with a script of its own this is seen to be.
    pub(crate) fn other_runtime(&self) -> Option<Other> {
        let program = self.interpreter.unwrap_or(self.exec);
        let is = |is_it: fn(&Path) -> bool| is_it(program) || names(&self.first_line, is_it);
        match () {
            () if is(is_bun) => Some(Other::Bun),
            () if is(is_deno) => Some(Other::Deno),
            () => None,
        }
    }

    /// Whether `NODE_OPTIONS` has modules loaded before the program.
    fn preloads(&self) -> bool {
        let flags = ["-r", "--require", "--import", "--experimental-loader", "--loader"];
        let names = |word: &str| flags.contains(&word.split('=').next().unwrap_or_default());
        let options = self.node_options.as_ref().map(|options| options.to_string_lossy());
        options.is_some_and(|options| options.split_whitespace().any(names))
    }

    /// Whether it is a script for JavaScript runtimes, whatever runs it.
    pub(crate) fn is_javascript(&self) -> bool {
        let extension = self.exec.extension().and_then(OsStr::to_str);
        let other = self.interpreter.is_some_and(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with("bun") || name.starts_with("deno")
        });
        extension.is_some_and(|extension| SCRIPT_EXTENSIONS.contains(&extension)) && !other
    }

    /// Whether Node would refuse to read a file that is not the program's.
    pub(crate) fn restricts_reading(&self) -> bool {
        let options = self.node_options.as_deref().unwrap_or_default();
        let options = options.as_bytes().split(u8::is_ascii_whitespace).map(OsStr::from_bytes);
        let words = self.exec_argv.iter().chain(&self.first_line).map(OsString::as_os_str);
        // Node's arguments end with the program's name.
        let own = self.args.iter().take_while(|word| word.as_bytes().starts_with(b"-"));
        let own = own.map(OsString::as_os_str).filter(|_| self.interpreter.is_none());
        options.chain(words).chain(own).any(|word| word == PERMISSION)
    }
}

/// Where Node finds the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In that file.
    File(PathBuf),
    /// In the worker's descriptor of that number.
    Descriptor(RawFd),
}

impl Source {
    /// The arguments that load it.
    pub(crate) fn arguments(&self) -> [OsString; 2] {
        match self {
            Self::File(path) => ["-r".into(), path.into()],
            Self::Descriptor(_) => ["--import".into(), stub_url().into()],
        }
    }

    /// The same as a prefix of `NODE_OPTIONS`.
    fn options(&self) -> OsString {
        let [flag, value] = self.arguments();
        let mut text = flag.into_vec();
        text.push(b' ');
        // Node unquotes a word in double quotes, in which a backslash escapes.
        let value = value.into_vec();
        let plain =
            !value.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\\'));
        if plain {
            text.extend(value);
        } else {
            text.push(b'"');
            for byte in value {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(byte);
            }
            text.push(b'"');
        }
        OsString::from_vec(text)
    }
}

/// The variables that a worker with an agent is started with. `pipes` are the numbers there of those for
/// commands and for reports, each with its inode.
pub(crate) fn variables(
    place: Place,
    source: &Source,
    pipes: [(RawFd, u64); 2],
    options_before: Option<&OsStr>,
) -> Vec<(OsString, OsString)> {
    let ends = pipes.map(|(number, inode)| format!("{number},{inode}"));
    let mut variables = vec![(PIPES.into(), ends.join(",").into())];
    if let Source::Descriptor(number) = source {
        variables.push((SCRIPT.into(), number.to_string().into()));
    }
    if place == Place::Options {
        let mut options = source.options();
        let mut before = OsString::from("-");
        if let Some(value) = options_before {
            before = "=".into();
            before.push(value);
            options.push(" ");
            options.push(value);
        }
        variables.push((NODE_OPTIONS.into(), options));
        variables.push((OPTIONS_BEFORE.into(), before));
    }
    variables
}

/// `node`, `nodejs`, `node20`, `node-20.1`, wherever it lies.
pub(crate) fn is_node(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let Some(rest) = name.strip_prefix("node") else { return false };
    let version = rest.strip_prefix('-').unwrap_or(rest);
    rest.is_empty()
        || rest == "js"
        || !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A runtime with a script of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Bun,
    Deno,
}

impl Other {
    /// The variable that it reads options from, what its value begins with, and where the script
    /// finds what the value was.
    const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Bun => [BUN_OPTIONS, "--preload=", BUN_OPTIONS_BEFORE],
            Self::Deno => [NODE_OPTIONS, "--require=", OPTIONS_BEFORE],
        }
    }

    /// The variable that it reads options from.
    pub(crate) const fn options(self) -> &'static str {
        self.names()[0]
    }

    /// The variables that a worker is started with, which have it load that file. `before` is what its
    /// variable for options was; none if the file's path has a blank, which that cannot say.
    pub(crate) fn variables(
        self,
        file: &Path,
        before: Option<&OsStr>,
    ) -> Option<Vec<(OsString, OsString)>> {
        if file.as_os_str().as_bytes().iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        let [variable, flag, was_in] = self.names();
        let mut options = OsString::from(flag);
        options.push(file);
        let mut was = OsString::from("-");
        if let Some(value) = before {
            was = "=".into();
            was.push(value);
            options.push(" ");
            options.push(value);
        }
        Some(vec![(variable.into(), options), (was_in.into(), was)])
    }
}

/// `bun`, wherever it lies.
fn is_bun(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("bun"))
}

/// `deno`, wherever it lies.
fn is_deno(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("deno"))
}

/// Whether a script's first line has such a runtime run it: `/usr/bin/node`, `/usr/bin/env node`,
/// `/usr/bin/env -S node --flag`.
fn names(first_line: &[OsString], is_it: fn(&Path) -> bool) -> bool {
    interpreter(first_line).is_some_and(|program| is_it(Path::new(program)))
}

/// The stub as a URL, without its comments.
fn stub_url() -> String {
    let code = STUB.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let code = code.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let mut url = String::from("data:text/javascript,");
    for byte in code.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(Into::into).collect()
    }

    fn program<'a>(interpreter: Option<&'a str>, exec: &'a str, first_line: &str) -> Program<'a> {
        Program {
            interpreter: interpreter.map(Path::new),
            exec_argv: &[],
            exec: Path::new(exec),
            args: &[],
            first_line: words(first_line),
            node_options: None,
        }
    }

    #[test]
    fn bun_and_deno_load_scripts_of_their_own_by_variables() {
        let of = |interpreter: Option<&str>, first_line: &str| {
            let program = Program {
                interpreter: interpreter.map(Path::new),
                exec_argv: &[],
                exec: Path::new("app"),
                args: &[],
                first_line: first_line.split_whitespace().map(OsString::from).collect(),
                node_options: None,
            };
            program.other_runtime()
        };
        assert_eq!(of(Some("/opt/bun"), ""), Some(Other::Bun));
        assert_eq!(of(None, "/usr/bin/env bun"), Some(Other::Bun));
        assert_eq!(of(None, "/usr/bin/env -S deno run -A"), Some(Other::Deno));
        assert_eq!((of(Some("node"), ""), of(None, "/bin/sh")), (None, None));
        let before = Some(OsStr::new("--smol"));
        let variables = Other::Bun.variables(Path::new("/run/b.cjs"), before).expect("no blank");
        assert_eq!(variables[0], ("BUN_OPTIONS".into(), "--preload=/run/b.cjs --smol".into()));
        assert_eq!(variables[1], ("CLUSTER_BUN_OPTIONS".into(), "=--smol".into()));
        let variables = Other::Deno.variables(Path::new("/run/d.cjs"), None).expect("no blank");
        assert_eq!(variables[0], ("NODE_OPTIONS".into(), "--require=/run/d.cjs".into()));
        assert_eq!(variables[1].1, "-");
        assert_eq!(Other::Bun.variables(Path::new("/a b/c.cjs"), None), None);
    }

    #[test]
    fn node_is_recognized() {
        let place = |i, exec, line| program(i, exec, line).place();
        for node in ["node", "/usr/bin/nodejs", "/opt/node20", "./node-20.1"] {
            assert_eq!(place(Some(node), "app.js", ""), Some(Place::Interpreter), "{node}");
            assert_eq!(place(None, node, ""), Some(Place::Program), "{node}");
        }
        for line in
            ["/usr/bin/node", "/usr/bin/env node", "/bin/env -S node --flag", "env A=b node"]
        {
            assert_eq!(place(None, "app", line), Some(Place::Options), "{line}");
        }
        assert_eq!(place(Some("tsx"), "app.ts", "/usr/bin/env node"), Some(Place::Options));
        for (interpreter, exec, line) in [
            (Some("bun"), "app.js", ""),
            (Some("python3"), "app", ""),
            (None, "node-red", "/bin/sh"),
            (None, "nodemon", ""),
            (None, "app", "/usr/bin/env python3"),
            (None, "app", "/usr/bin/env"),
            (None, "gunicorn", ""),
        ] {
            assert_eq!(place(interpreter, exec, line), None, "{interpreter:?} {exec} {line}");
        }
        for options in ["-r ./a.js", "--max-old-space-size=9 --import=x", "--require ./b.js"] {
            let options = Some(options.into());
            let program = Program { node_options: options, ..program(Some("node"), "app.js", "") };
            assert_eq!(program.place(), Some(Place::Options));
        }
        // A version manager's own `node` is a script, and passes its arguments on.
        assert_eq!(place(None, "/shims/node", "/usr/bin/env bash"), Some(Place::Program));
    }

    #[test]
    fn a_permission_model_is_seen_wherever_it_is_asked_for() {
        let flags = words(PERMISSION);
        let plain = program(Some("node"), "app.js", "");
        assert!(!plain.restricts_reading());
        assert!(Program { exec_argv: &flags, ..plain.clone() }.restricts_reading());
        let options = Some("--x  --experimental-permission".into());
        assert!(Program { node_options: options, ..plain.clone() }.restricts_reading());
        let line = program(None, "app", "/usr/bin/env -S node --experimental-permission");
        assert!(line.restricts_reading());
        let own = words("--x --experimental-permission app.js");
        assert!(Program { args: &own, ..program(None, "node", "") }.restricts_reading());
        let programs = words("app.js --experimental-permission");
        assert!(!Program { args: &programs, ..program(None, "node", "") }.restricts_reading());
    }

    #[test]
    fn what_node_options_was_is_told() {
        let source = Source::File("/run/a b/agent.cjs".into());
        let set = |before: Option<&str>| {
            let before = before.map(OsStr::new);
            variables(Place::Options, &source, [(4, 77), (5, 78)], before)
                .into_iter()
                .collect::<Vec<_>>()
        };
        let absent = set(None);
        assert_eq!(absent[0], (PIPES.into(), "4,77,5,78".into()));
        assert_eq!(absent[1], (NODE_OPTIONS.into(), "-r \"/run/a b/agent.cjs\"".into()));
        assert_eq!(absent[2], (OPTIONS_BEFORE.into(), "-".into()));
        let empty = set(Some(""));
        assert_eq!(empty[2].1, "=");
        let some = set(Some("--max-old-space-size=64"));
        assert_eq!(some[1].1, "-r \"/run/a b/agent.cjs\" --max-old-space-size=64");
        assert_eq!(some[2].1, "=--max-old-space-size=64");
    }

    #[test]
    fn the_stub_is_a_short_url() {
        let [flag, url] = Source::Descriptor(5).arguments();
        assert_eq!(flag, "--import");
        let url = url.into_string().expect("it is ASCII");
        assert!(url.starts_with("data:text/javascript,") && !url.contains(' '), "{url}");
        assert!(url.len() < 4096, "{}", url.len());
    }
}
