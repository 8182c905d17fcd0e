//! The ports of the workers' inspectors.

use std::ffi::{OsStr, OsString};

use crate::{InspectPort, Settings, WorkerId};

/// Node's own default; a worker's is one of the next.
const DEFAULT: u16 = 9229;
/// Below it only root may listen.
const LOWEST: u32 = 1024;
const HIGHEST: u32 = 65_535;

/// The port to tell a worker, if it is to be inspected at all.
pub(super) fn port(
    settings: &Settings,
    id: WorkerId,
    env: &[(OsString, Option<OsString>)],
) -> Option<u16> {
    let arguments = settings.exec_argv.iter().any(|argument| asks(argument));
    if !arguments && !node_options(settings, env).is_some_and(|options| asks(&options)) {
        return None;
    }
    Some(match &settings.inspect_port {
        InspectPort::Count => counted(base(settings), id),
        InspectPort::Fixed(port) => *port,
        InspectPort::With(port) => port(),
    })
}

/// Whether Node would inspect at that argument.
fn asks(argument: &OsStr) -> bool {
    let argument = argument.to_string_lossy();
    argument.contains("--inspect") || argument.contains("--debug-port")
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

/// The port that the arguments name: a Node primary would listen on it itself.
fn base(settings: &Settings) -> u16 {
    let named = |argument: &OsString| {
        let argument = argument.to_str()?;
        let value = ["--inspect=", "--inspect-brk=", "--inspect-port=", "--debug-port="]
            .iter()
            .find_map(|name| argument.strip_prefix(name))?;
        // `host:port`, `host` or `port`.
        value.rsplit(':').next()?.parse().ok()
    };
    settings.exec_argv.iter().rev().find_map(named).filter(|port| *port != 0).unwrap_or(DEFAULT)
}

/// Each worker its own, around at the end.
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
