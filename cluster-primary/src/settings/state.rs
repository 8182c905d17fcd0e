//! Settings, written down: descriptors as places in a list.

use std::ffi::OsString;

use cluster_proto::env::Serialization;
use cluster_sched::PolicyName;
use serde::{Deserialize, Serialize};

use super::{Affinity, InspectPort, Limits, Placement, Settings, Stdio};
use crate::socket_access::SocketAccess;
use crate::tree::EndDescendants;
use crate::upgrade::text::{self, Text};
use crate::upgrade::{Arriving, Leaving, StateError};

/// All of [`Settings`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SettingsState {
    exec: Text,
    args: Vec<Text>,
    exec_path: Option<Text>,
    exec_argv: Vec<Text>,
    #[serde(default)]
    launcher: Vec<Text>,
    cwd: Option<Text>,
    #[serde(with = "text::serialization")]
    serialization: Serialization,
    env: Vec<(Text, Option<Text>)>,
    silent: bool,
    stdio: Option<Vec<StdioState>>,
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<u32>>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    keep_capabilities: bool,
    #[serde(default)]
    no_new_privs: bool,
    affinity: Option<Named<Affinity>>,
    #[serde(default)]
    die_with_primary: bool,
    #[serde(default)]
    node_agent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_descendants: Option<EndDescendants>,
    inspect_port: InspectPortState,
    windows_hide: bool,
    #[serde(with = "text::name")]
    placement: Placement,
    #[serde(with = "text::name")]
    policy: PolicyName,
    #[serde(default)]
    keep_listeners: bool,
    #[serde(default)]
    report_connections: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    listen_as_worker: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    privileged_ports: Vec<u16>,
    #[serde(default, skip_serializing_if = "SocketAccess::is_default")]
    socket_access: SocketAccess,
    limits: Limits,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: std::fmt::Display",
    deserialize = "T: std::str::FromStr<Err: std::fmt::Display>"
))]
struct Named<T>(#[serde(with = "text::name")] T);

#[derive(Debug, Serialize, Deserialize)]
enum StdioState {
    Inherit,
    Ignore,
    Pipe,
    Fd(usize),
    Numbered(i32, usize),
    Ipc,
}

#[derive(Debug, Serialize, Deserialize)]
enum InspectPortState {
    Count,
    Fixed(u16),
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_true(value: &bool) -> bool {
    *value
}

impl SettingsState {
    pub(crate) fn of(settings: &Settings, leaving: &mut Leaving) -> Result<Self, StateError> {
        if let Some(policy) = &settings.custom_policy {
            return Err(StateError::CustomPolicy { name: policy.name().to_owned() });
        }
        let text = |text: &OsString| Text::from(text.as_os_str());
        let texts = |list: &[OsString]| list.iter().map(text).collect();
        let stdio = settings.stdio.as_ref().map(|stdio| {
            let state = |stdio: &Stdio| {
                Ok(match stdio {
                    Stdio::Inherit => StdioState::Inherit,
                    Stdio::Ignore => StdioState::Ignore,
                    Stdio::Pipe => StdioState::Pipe,
                    Stdio::Fd(fd) => StdioState::Fd(leaving.place(fd)?),
                    Stdio::Numbered { number, fd } => {
                        StdioState::Numbered(*number, leaving.place(fd)?)
                    }
                    Stdio::Ipc => StdioState::Ipc,
                })
            };
            stdio.iter().map(state).collect::<Result<Vec<_>, StateError>>()
        });
        Ok(Self {
            exec: settings.exec.as_path().into(),
            args: texts(&settings.args),
            exec_path: settings.exec_path.as_deref().map(Text::from),
            exec_argv: texts(&settings.exec_argv),
            launcher: texts(&settings.launcher),
            cwd: settings.cwd.as_deref().map(Text::from),
            serialization: settings.serialization,
            env: settings.env.iter().map(|(n, v)| (text(n), v.as_ref().map(text))).collect(),
            silent: settings.silent,
            stdio: stdio.transpose()?,
            uid: settings.uid,
            gid: settings.gid,
            groups: settings.groups.clone(),
            keep_capabilities: settings.keep_capabilities,
            no_new_privs: settings.no_new_privs,
            affinity: settings.affinity.clone().map(Named),
            die_with_primary: settings.die_with_primary,
            node_agent: settings.node_agent,
            end_descendants: settings.end_descendants,
            inspect_port: match settings.inspect_port {
                InspectPort::Count => InspectPortState::Count,
                InspectPort::Fixed(port) => InspectPortState::Fixed(port),
                InspectPort::With(_) => return Err(StateError::InspectPort),
            },
            windows_hide: settings.windows_hide,
            placement: settings.placement,
            policy: settings.policy,
            keep_listeners: settings.keep_listeners,
            report_connections: settings.report_connections,
            listen_as_worker: settings.listen_as_worker,
            privileged_ports: settings.privileged_ports.clone(),
            socket_access: settings.socket_access,
            limits: settings.limits,
        })
    }

    pub(crate) fn into_settings(self, arriving: &Arriving) -> Result<Settings, StateError> {
        let texts = |list: Vec<Text>| list.into_iter().map(OsString::from).collect();
        let stdio = self.stdio.map(|stdio| {
            let stdio = stdio.into_iter().map(|stdio| {
                Ok(match stdio {
                    StdioState::Inherit => Stdio::Inherit,
                    StdioState::Ignore => Stdio::Ignore,
                    StdioState::Pipe => Stdio::Pipe,
                    StdioState::Fd(place) => Stdio::Fd(arriving.share(place)?),
                    StdioState::Numbered(number, place) => {
                        Stdio::Numbered { number, fd: arriving.share(place)? }
                    }
                    StdioState::Ipc => Stdio::Ipc,
                })
            });
            stdio.collect::<Result<Vec<_>, StateError>>()
        });
        Ok(Settings {
            exec: self.exec.into(),
            args: texts(self.args),
            exec_path: self.exec_path.map(Into::into),
            exec_argv: texts(self.exec_argv),
            launcher: texts(self.launcher),
            cwd: self.cwd.map(Into::into),
            serialization: self.serialization,
            env: self.env.into_iter().map(|(n, v)| (n.into(), v.map(Into::into))).collect(),
            silent: self.silent,
            stdio: stdio.transpose()?,
            uid: self.uid,
            gid: self.gid,
            groups: self.groups,
            keep_capabilities: self.keep_capabilities,
            no_new_privs: self.no_new_privs,
            affinity: self.affinity.map(|Named(affinity)| affinity),
            die_with_primary: self.die_with_primary,
            node_agent: self.node_agent,
            end_descendants: self.end_descendants,
            inspect_port: match self.inspect_port {
                InspectPortState::Count => InspectPort::Count,
                InspectPortState::Fixed(port) => InspectPort::Fixed(port),
            },
            windows_hide: self.windows_hide,
            placement: self.placement,
            policy: self.policy,
            custom_policy: None,
            keep_listeners: self.keep_listeners,
            report_connections: self.report_connections,
            listen_as_worker: self.listen_as_worker,
            privileged_ports: self.privileged_ports,
            socket_access: self.socket_access,
            limits: self.limits,
        })
    }
}
