//! The ports of the workers' inspectors.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::agent::is_node;
use crate::id::WorkerId;
use crate::settings::{InspectPort, Settings};

/// Node's own default; workers get the ports that follow.
const DEFAULT: u16 = 9229;
/// Ports below it are for root only.
const LOWEST: u32 = 1024;
const HIGHEST: u32 = 65_535;

/// Options that name a port, perhaps as the next argument.
const SEPARATE: [&str; 2] = ["--inspect-port", "--debug-port"];

/// The port to tell a worker, if it is to be inspected at all.
pub(super) fn port(
    settings: &Settings,
    id: WorkerId,
    env: &[(OsString, Option<OsString>)],
) -> Option<u16> {
    let arguments = node_arguments(settings);
    let options = node_options(settings, env);
    let options = words(options.as_deref().unwrap_or_default());
    if !arguments.iter().chain(&options).any(|word| asks(word)) {
        return None;
    }
    Some(match &settings.inspect_port {
        // The command line takes precedence over the environment.
        InspectPort::Count => match base(arguments).or_else(|| base(&options)) {
            // The system chooses a port for each.
            Some(0) => 0,
            base => counted(base.unwrap_or(DEFAULT), id),
        },
        InspectPort::Fixed(port) => *port,
        InspectPort::With(port) => port(),
    })
}

/// Node's own arguments that may name a port: those of the interpreter, or the first ones of a program
/// that is Node itself, up to the last that does. Another one can follow there, and takes precedence.
pub(super) fn node_arguments(settings: &Settings) -> &[OsString] {
    /// Options whose value may be the next argument.
    const WITH_VALUE: [&str; 6] =
        ["-r", "--require", "--import", "--loader", "--experimental-loader", "--env-file"];
    if settings.interpreter().is_some() {
        return &settings.exec_argv;
    }
    if !is_node(&settings.exec) {
        return &[];
    }
    let mut count = 0;
    let mut value_follows = false;
    for (argument, at) in settings.args.iter().zip(1..) {
        if !argument.as_bytes().starts_with(b"-") && !value_follows {
            break;
        }
        if asks(argument) && !SEPARATE.iter().any(|name| argument == name) {
            count = at;
        }
        value_follows = WITH_VALUE.iter().chain(&SEPARATE).any(|name| argument == name);
    }
    &settings.args[..count]
}

/// Whether Node would inspect at that argument.
fn asks(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    argument.contains("--inspect") || argument.contains("--debug-port")
}

/// The words of a `NODE_OPTIONS`, as Node splits it: at spaces, but not within double quotes, where a
/// backslash escapes the next character.
fn words(options: &OsStr) -> Vec<OsString> {
    let mut words = vec![Vec::new()];
    let mut quoted = false;
    let mut bytes = options.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b' ' if !quoted => words.push(Vec::new()),
            b'\\' if quoted => words.last_mut().expect("one").extend(bytes.next()),
            byte => words.last_mut().expect("one").push(byte),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).map(OsString::from_vec).collect()
}

/// What the worker will find in its environment.
pub(super) fn node_options(
    settings: &Settings,
    env: &[(OsString, Option<OsString>)],
) -> Option<OsString> {
    variable(settings, env, "NODE_OPTIONS")
}

/// The value of a variable that the worker will find in its environment.
pub(super) fn variable(
    settings: &Settings,
    env: &[(OsString, Option<OsString>)],
    name: &str,
) -> Option<OsString> {
    let laid_over = settings.env.iter().chain(env).rev().find(|(known, _)| known == name);
    match laid_over {
        Some((_, value)) => value.clone(),
        None => std::env::var_os(name),
    }
}

/// The port that the arguments name last: a Node primary would listen on it itself.
fn base(arguments: &[OsString]) -> Option<u16> {
    let mut named = None;
    let mut before = None;
    for argument in arguments.iter().map(|argument| argument.to_str()) {
        let value = argument.and_then(|argument| {
            ["--inspect=", "--inspect-brk=", "--inspect-wait=", "--inspect-port=", "--debug-port="]
                .iter()
                .find_map(|name| argument.strip_prefix(name))
                .or_else(|| before.is_some_and(|b| SEPARATE.contains(&b)).then_some(argument))
        });
        // `host:port`, `host` or `port`.
        let port = value.and_then(|value| value.rsplit(':').next()?.parse().ok());
        named = port.or(named);
        before = argument;
    }
    named
}

/// A port for each worker; after the last one they start again.
fn counted(base: u16, id: WorkerId) -> u16 {
    let span = HIGHEST - LOWEST + 1;
    let above = (u32::from(base).max(LOWEST) - LOWEST + id.0 % span) % span;
    u16::try_from(LOWEST + above).unwrap_or(DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspecting(argument: &str) -> Settings {
        let mut settings = Settings::new("app.js");
        settings.exec_argv = vec![argument.into()];
        // Whatever the environment of the tests says.
        settings.env = vec![("NODE_OPTIONS".into(), None)];
        settings
    }

    #[test]
    fn each_worker_has_a_port_of_its_own_if_it_is_inspected() {
        assert_eq!(port(&inspecting("--trace-warnings"), WorkerId(1), &[]), None);
        let settings = inspecting("--inspect");
        assert_eq!(port(&settings, WorkerId(1), &[]), Some(9230));
        assert_eq!(port(&settings, WorkerId(2), &[]), Some(9231));
        assert_eq!(port(&inspecting("--inspect-brk=[::1]:9300"), WorkerId(1), &[]), Some(9301));
        assert_eq!(port(&inspecting("--inspect=localhost"), WorkerId(3), &[]), Some(9232));
    }

    #[test]
    fn the_environment_can_ask_for_it_too() {
        let env = [("NODE_OPTIONS".into(), Some("--max-old-space-size=64 --inspect".into()))];
        assert_eq!(port(&inspecting(""), WorkerId(1), &env), Some(9230));
        assert_eq!(port(&inspecting(""), WorkerId(1), &[]), None);
    }

    #[test]
    fn the_environment_names_the_port_where_the_command_line_does_not() {
        let at = |exec_argv: &[&str], options: &str| {
            let mut settings = inspecting("");
            settings.exec_argv = exec_argv.iter().map(Into::into).collect();
            port(&settings, WorkerId(2), &[("NODE_OPTIONS".into(), Some(options.into()))])
        };
        assert_eq!(at(&[], "--inspect=9500"), Some(9502));
        assert_eq!(at(&[], "--inspect-wait=[::1]:9500 --inspect=9600"), Some(9602));
        assert_eq!(at(&[], "--inspect-port 9500  --inspect"), Some(9502));
        assert_eq!(at(&[], r#""--inspect=127.0.0.1:9500""#), Some(9502));
        assert_eq!(at(&[], "--inspect"), Some(9231));
        assert_eq!(at(&[], "--inspect=0"), Some(0), "the system chooses");
        assert_eq!(at(&["--inspect=9300"], "--inspect=9500"), Some(9302));
        assert_eq!(at(&["--inspect"], "--inspect-port=9500"), Some(9502));
        assert_eq!(at(&["--inspect-port", "9300"], "--inspect=9500"), Some(9302));
        assert_eq!(at(&[], "--max-old-space-size=64"), None);
    }

    #[test]
    fn a_program_that_is_node_has_its_options_among_its_arguments() {
        let at = |args: &[&str], options: Option<&str>| {
            let settings = Settings::new("/usr/bin/node").args(args);
            port(&settings, WorkerId(1), &[("NODE_OPTIONS".into(), options.map(Into::into))])
        };
        assert_eq!(at(&["--inspect=9300", "app.js"], None), Some(9301));
        assert_eq!(at(&["-r", "./x", "--inspect=9300", "app.js"], None), Some(9301));
        assert_eq!(at(&["-r", "./x", "app.js"], Some("--inspect=9500")), Some(9501));
        assert_eq!(at(&["app.js", "--inspect=9300"], None), None, "the program's own");
        let other = Settings::new("python3").args(["--inspect"]);
        assert_eq!(port(&other, WorkerId(1), &[("NODE_OPTIONS".into(), None)]), None);
    }

    #[test]
    fn options_are_split_as_node_splits_them() {
        let split = |text: &str| words(OsStr::new(text));
        assert_eq!(split(r#" -r "./a \"b\".js"  --x "#), ["-r", r#"./a "b".js"#, "--x"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn ports_go_around_at_the_end() {
        assert_eq!(counted(65_534, WorkerId(1)), 65_535);
        assert_eq!(counted(65_534, WorkerId(2)), 1024);
        assert_eq!(counted(9229, WorkerId(64_512)), 9229);
    }

    #[test]
    fn the_setting_decides() {
        let mut settings = inspecting("--inspect");
        settings.inspect_port = InspectPort::Fixed(0);
        assert_eq!(port(&settings, WorkerId(7), &[]), Some(0));
        settings.inspect_port = InspectPort::With(std::sync::Arc::new(|| 5000));
        assert_eq!(port(&settings, WorkerId(7), &[]), Some(5000));
    }
}
