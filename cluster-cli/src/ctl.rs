//! `cluster ctl`: a client of the control API.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster_primary::{Object, Value};

use crate::args::{Ctl, Order};
use crate::place;

const FAILED: u8 = 1;

/// How long a cluster may take to answer what it can answer at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn ctl(args: Ctl) -> ExitCode {
    let json = args.json;
    let outcome = find(&args).and_then(|path| Client::connect(&path)).and_then(|mut client| {
        if let Order::Events { types } = &args.order {
            return client.events(types, json).map(|()| false);
        }
        let (method, params) = call(&args.order)?;
        let result = client.call(method, params)?;
        let text = if json { line(&result) } else { describe(&args.order, &result) };
        print(&text)?;
        Ok(matches!(args.order, Order::Kill { .. }) && result.as_bool() == Some(false))
    });
    match outcome {
        Ok(false) => ExitCode::SUCCESS,
        // Nobody was there to be signalled, which has been said.
        Ok(true) => ExitCode::from(FAILED),
        Err(Trouble::Said(what) | Trouble::Unreadable(what)) => {
            eprintln!("cluster ctl: {what}");
            ExitCode::from(FAILED)
        }
        // Whoever read this has gone.
        Err(Trouble::Unheard) => ExitCode::SUCCESS,
    }
}

/// Why it did not work.
enum Trouble {
    Said(String),
    /// A line that was not understood.
    Unreadable(String),
    Unheard,
}

fn trouble(what: impl Into<String>) -> Trouble {
    Trouble::Said(what.into())
}

fn print(text: &str) -> Result<(), Trouble> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Trouble::Unheard),
        Err(error) => Err(trouble(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// The socket that is meant.
fn find(args: &Ctl) -> Result<PathBuf, Trouble> {
    if let Some(path) = &args.control {
        return Ok(path.clone());
    }
    let folder = place::our_folder().map_err(|error| trouble(error.to_string()))?;
    if let Some(name) = &args.name {
        return Ok(place::of_name(&folder, &name.0));
    }
    let live = place::live(&folder);
    match &live[..] {
        [(_, path)] => Ok(path.clone()),
        [] => Err(trouble(format!(
            "no cluster is found: {} has no live socket. One that was started with --control is \
             found by that: cluster ctl --control PATH",
            folder.display()
        ))),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(trouble(format!(
                "several clusters are running; say which by --name: {}",
                names.join(", ")
            )))
        }
    }
}

struct Client {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Result<Self, Trouble> {
        let no_socket = std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket());
        let stream = place::connect(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; is the cluster running?",
                _ if no_socket => "; it is no socket",
                io::ErrorKind::ConnectionRefused => "; its cluster has gone",
                io::ErrorKind::PermissionDenied => "; it is another user's",
                _ => "",
            };
            trouble(format!("cannot connect to {}: {error}{hint}", path.display()))
        })?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| trouble(format!("cannot use {}: {error}", path.display())))?;
        Ok(Self { path: path.into(), lines: BufReader::new(stream) })
    }

    fn send(&mut self, method: &str, params: Object) -> Result<(), Trouble> {
        let request = Object::new()
            .with("jsonrpc", "2.0")
            .with("id", 1)
            .with("method", method)
            .with("params", params);
        let mut text = line(&request.into());
        text.push('\n');
        let sent = self.lines.get_mut().write_all(text.as_bytes());
        sent.map_err(|error| trouble(format!("cannot write to {}: {error}", self.path.display())))
    }

    /// The next line, or nothing when the primary has gone.
    fn receive(&mut self) -> Result<Option<Value>, Trouble> {
        let mut text = Vec::new();
        let read = self.lines.read_until(b'\n', &mut text);
        let path = || self.path.display();
        match read {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                Trouble::Unreadable(format!("{} said what cannot be read: {error}", path()))
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(trouble(format!("{} does not answer", path())))
            }
            Err(error) => Err(trouble(format!("cannot read from {}: {error}", path()))),
        }
    }

    /// From here on it may take as long as it takes.
    fn wait_for_ever(&self) -> Result<(), Trouble> {
        let set = self.lines.get_ref().set_read_timeout(None);
        set.map_err(|error| trouble(format!("cannot use {}: {error}", self.path.display())))
    }

    fn call(&mut self, method: &str, params: Object) -> Result<Value, Trouble> {
        if method == "disconnect" {
            self.wait_for_ever()?;
        }
        self.send(method, params)?;
        match self.receive()? {
            None => Err(trouble("the primary has hung up; is it another user's?")),
            Some(answer) if !answer["error"].is_null() => {
                let error = &answer["error"];
                let mut what = error["message"].as_str().unwrap_or("it failed").to_owned();
                if let Some(code) = error["data"]["code"].as_str() {
                    let _ = write!(what, " ({code})");
                }
                Err(Trouble::Said(what))
            }
            Some(answer) => Ok(answer["result"].clone()),
        }
    }

    fn events(&mut self, types: &[String], json: bool) -> Result<(), Trouble> {
        let mut params = Object::new();
        if !types.is_empty() {
            params.insert("events", types.iter().map(|t| t.as_str().into()).collect::<Vec<_>>());
        }
        self.call("subscribe", params)?;
        let mut names = BTreeMap::new();
        self.wait_for_ever()?;
        loop {
            let notification = match self.receive() {
                Ok(Some(notification)) => notification,
                Ok(None) => break,
                // One that cannot be read, for it nests too deep, is not the last.
                Err(Trouble::Unreadable(what)) => {
                    eprintln!("cluster ctl: an event was left out: {what}");
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let event = &notification["params"];
            print(&if json { line(event) } else { tell(event, &mut names) })?;
        }
        eprintln!("cluster ctl: the cluster has gone, or has hung up");
        Ok(())
    }
}

fn line(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The method that an order means.
fn call(order: &Order) -> Result<(&str, Object), Trouble> {
    let object = |text: &str, what: &str| match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(trouble(format!("{what} should be a JSON object: {{\"name\": …}}"))),
        Err(error) => Err(trouble(format!("{what} should be a JSON object: {error}"))),
    };
    let worker = |id: &u32| Object::new().with("worker", *id);
    Ok(match order {
        Order::Ls => ("workers", Object::new()),
        Order::Events { .. } => ("subscribe", Object::new()),
        Order::Send { worker: id, message, text } => {
            let message = match serde_json::from_str(message) {
                Ok(message) if !text => message,
                Err(error) if !text => {
                    return Err(trouble(format!(
                        "the message is no JSON ({error}); to send it as text say --text"
                    )));
                }
                _ => Value::from(message.as_str()),
            };
            ("send", worker(id).with("message", message))
        }
        Order::Kill { worker: id, signal } => {
            let signal = match signal.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(signal.as_str()),
            };
            ("kill", worker(id).with("signal", signal))
        }
        Order::Disconnect { worker: Some(id) } => ("disconnectWorker", worker(id)),
        Order::Disconnect { worker: None } => ("disconnect", Object::new()),
        Order::CloseChannel { worker: id } => ("closeChannel", worker(id)),
        Order::Fork { env } => {
            let mut variables = Object::new();
            for variable in env {
                match variable.split_once('=') {
                    Some((name, value)) => variables.insert(name, value),
                    None => variables.insert(variable.as_str(), Value::Null),
                }
            }
            ("fork", Object::new().with("env", variables))
        }
        Order::Setup { settings } => ("setupPrimary", object(settings, "the settings")?),
        Order::Settings => ("settings", Object::new()),
        Order::Stop => ("stop", Object::new()),
        Order::Version => ("version", Object::new()),
        Order::Call { method, params } => (method, object(params, "the parameters")?),
    })
}

/// The result in a person's words.
fn describe(order: &Order, result: &Value) -> String {
    let yes = result.as_bool() == Some(true);
    match order {
        Order::Ls => table(result.as_array().unwrap_or_default()),
        Order::Send { .. } if yes => "sent".into(),
        Order::Send { .. } => "sent; but it has much unread, and more should wait".into(),
        Order::Kill { .. } if yes => "signalled".into(),
        Order::Kill { .. } => "there is no such process any more".into(),
        Order::Disconnect { worker: None } => "all workers have disconnected".into(),
        Order::Disconnect { .. } => "told to disconnect".into(),
        Order::CloseChannel { .. } => "closed".into(),
        Order::Stop => "ending".into(),
        Order::Fork { .. } => {
            format!("worker {} (pid {})", line(&result["worker"]), line(&result["pid"]))
        }
        Order::Version => format!(
            "{} {}, protocol {}",
            result["program"].as_str().unwrap_or_default(),
            result["version"].as_str().unwrap_or_default(),
            line(&result["protocol"])
        ),
        _ => serde_json::to_string_pretty(result).unwrap_or_default(),
    }
}

fn address(at: &Value) -> String {
    let port = at["port"].as_i64();
    match (at["address"].as_str(), port, at["fd"].as_i64()) {
        (Some(path), Some(..0), _) => path.into(),
        (Some(ip), Some(port), _) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), Some(port), _) => format!("{ip}:{port}"),
        (None, Some(port), _) => format!("*:{port}"),
        (_, _, Some(fd)) => format!("fd {fd}"),
        _ => "?".into(),
    }
}

fn table(workers: &[Value]) -> String {
    if workers.is_empty() {
        return "no workers".into();
    }
    let heads = ["WORKER", "PID", "STATE", "CONNECTIONS", "LISTENING"];
    let mut rows = vec![heads.map(String::from)];
    for worker in workers {
        let listening = worker["listening"].as_array().unwrap_or_default();
        let listening: Vec<_> = listening.iter().map(address).collect();
        rows.push([
            line(&worker["id"]),
            line(&worker["pid"]),
            worker["state"].as_str().unwrap_or_default().into(),
            line(&worker["connections"]),
            listening.join(" "),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An event in a person's words.
fn tell(event: &Value, pids: &mut BTreeMap<u64, String>) -> String {
    let kind = event["type"].as_str().unwrap_or_default();
    let Some(worker) = event["worker"].as_u64() else { return kind.into() };
    if kind == "fork" {
        pids.insert(worker, line(&event["pid"]));
    }
    let mut text = format!("worker {worker}");
    if let Some(pid) = pids.get(&worker) {
        let _ = write!(text, " (pid {pid})");
    }
    let _ = write!(text, " {kind}");
    let more = match kind {
        "listening" => address(&event["address"]),
        "message" => line(&event["message"]),
        "stdio" => {
            let data = BASE64.decode(event["data"].as_str().unwrap_or_default());
            let text = String::from_utf8_lossy(&data.unwrap_or_default()).into_owned();
            format!("{}: {}", line(&event["fd"]), line(&text.trim_end().into()))
        }
        "error" => event["message"].as_str().unwrap_or_default().into(),
        "exit" => match event["signal"].as_str() {
            Some(signal) => format!("signal {signal}"),
            None => format!("code {}", line(&event["code"])),
        },
        _ => String::new(),
    };
    if !more.is_empty() {
        let _ = write!(text, ": {more}");
    }
    text
}
