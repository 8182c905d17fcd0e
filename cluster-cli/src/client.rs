//! A client of the control API.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_primary::proto::Json;
use cluster_primary::{Object, Value};

use crate::args::Whose;
use crate::line::line;
use crate::place;

/// How long a cluster may take to answer what it can answer at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why it did not work.
pub(crate) enum ClientError {
    Said(String),
    /// A line that was not understood.
    Unreadable(String),
    /// What was given makes no sense.
    Usage(String),
    /// The reader of the result has gone.
    Unheard,
}

pub(crate) fn trouble(what: impl Into<String>) -> ClientError {
    ClientError::Said(what.into())
}

/// The socket that is meant.
fn find(whose: &Whose) -> Result<PathBuf, ClientError> {
    // clap sees a conflict only where both stand on the same side of a subcommand of `ctl`.
    if whose.control.is_some() && whose.name.is_some() {
        return Err(ClientError::Usage(
            "--control and --name both select the cluster: give one of them".into(),
        ));
    }
    if let Some(path) = &whose.control {
        return Ok(path.clone());
    }
    let folder = place::our_folder().map_err(|error| trouble(error.to_string()))?;
    let live = place::live(&folder);
    let names = |live: &[(String, PathBuf)]| {
        let names: Vec<_> = live.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    if let Some(name) = &whose.name {
        let path = place::of_name(&folder, &name.0);
        // A cluster without --name is called by its program and its process's number, which need not be typed.
        let is_meant = |live: &str| place::is_default_name(live, &name.0);
        let mut alike = live.iter().filter(|(name, _)| is_meant(name));
        if let (false, Some((_, only)), None) = (path.exists(), alike.next(), alike.next()) {
            return Ok(only.clone());
        }
        if !path.exists() {
            let there = match &live[..] {
                [] => "no cluster of this user is running there".to_owned(),
                live => format!("there are: {}", names(live)),
            };
            let folder = folder.display();
            return Err(trouble(format!("there is no cluster {name} in {folder}: {there}")));
        }
        return Ok(path);
    }
    match &live[..] {
        [(_, path)] => Ok(path.clone()),
        [] => Err(trouble(format!(
            "no running cluster was found: {} has no live socket. For a cluster started with --control, \
             give the same --control PATH; for another user's cluster, run this as that user; for one \
             with another XDG_RUNTIME_DIR, set the same",
            folder.display()
        ))),
        several => Err(trouble(format!(
            "several clusters are running; choose one with --name: {}",
            names(several)
        ))),
    }
}

/// A connection to a cluster, for one call at a time.
pub(crate) struct Client {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the cluster that is meant.
    pub(crate) fn of(whose: &Whose) -> Result<Self, ClientError> {
        find(whose).and_then(|path| Self::connect(&path))
    }

    fn connect(path: &Path) -> Result<Self, ClientError> {
        let no_socket = std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket());
        let stream = place::connect(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; is the cluster running?",
                _ if no_socket => "; not a socket",
                io::ErrorKind::ConnectionRefused => {
                    "; its cluster is gone, and the file was left behind"
                }
                io::ErrorKind::PermissionDenied => "; it belongs to another user",
                io::ErrorKind::InvalidInput => "; the path of a socket may have about 100 bytes",
                _ => "",
            };
            trouble(format!("cannot connect to {}: {error}{hint}", path.display()))
        })?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| trouble(format!("cannot use {}: {error}", path.display())))?;
        Ok(Self { path: path.into(), lines: BufReader::new(stream) })
    }

    fn send(&mut self, method: &str, params: Object) -> Result<(), ClientError> {
        let request = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", 1)
            .with("method", method)
            .with("params", params);
        let mut text = line(&request.into());
        text.push('\n');
        let sent = self.lines.get_mut().write_all(text.as_bytes());
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => self.hung_up(),
            _ => trouble(format!("cannot write to {}: {error}", self.path.display())),
        })
    }

    fn hung_up(&self) -> ClientError {
        let path = self.path.display();
        trouble(format!(
            "{path} closed the connection: its cluster has ended, or belongs to another user"
        ))
    }

    /// The next line, or nothing when the primary has gone.
    pub(crate) fn receive(&mut self) -> Result<Option<Value>, ClientError> {
        let mut text = Vec::new();
        let read = self.lines.read_until(b'\n', &mut text);
        let path = || self.path.display();
        match read {
            Ok(0) => Ok(None),
            Ok(_) if !text.ends_with(b"\n") => Err(trouble(format!(
                "{} closed the connection in the middle of a line: its cluster was killed",
                path()
            ))),
            Ok(_) => Json::value(&text).map(Some).map_err(|error| {
                ClientError::Unreadable(format!("{} said what cannot be read: {error}", path()))
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(trouble(format!(
                "{} has not answered for {PATIENCE:?}: either its cluster hangs, or this is not a control \
                 socket",
                path()
            ))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(self.hung_up()),
            Err(error) => Err(trouble(format!("cannot read from {}: {error}", path()))),
        }
    }

    /// From here on it may take as long as it takes.
    pub(crate) fn wait_for_ever(&self) -> Result<(), ClientError> {
        let set = self.lines.get_ref().set_read_timeout(None);
        set.map_err(|error| trouble(format!("cannot use {}: {error}", self.path.display())))
    }

    /// Calls a method; its result.
    pub(crate) fn call(&mut self, method: &str, params: Object) -> Result<Value, ClientError> {
        if method == "disconnect" {
            self.wait_for_ever()?;
        }
        self.send(method, params)?;
        match self.receive()? {
            None => Err(self.hung_up()),
            Some(answer) if !answer["error"].is_null() => {
                let error = &answer["error"];
                let mut what = error["message"].as_str().unwrap_or("it failed").to_owned();
                if let Some(code) = error["data"]["code"].as_str() {
                    let _ = write!(what, " ({code})");
                }
                Err(ClientError::Said(what))
            }
            Some(answer) => Ok(answer["result"].clone()),
        }
    }
}
