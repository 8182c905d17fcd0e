//! `cluster ctl`: the control API for the shell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster_primary::printable::{self, one_line};
use cluster_primary::proto::{Json, abstract_name};
use cluster_primary::{Object, Value};

use crate::args::{Ctl, CtlCommand};
use crate::client::{Client, ClientError, trouble};

use crate::exit_status::{FAILED, USAGE};
use crate::line::line;

pub(crate) fn ctl(args: Ctl) -> ExitCode {
    let json = args.json;
    // A mistake in the arguments is reported whether a cluster runs or not.
    let call = call(&args.command);
    let outcome = call.and_then(|call| Ok((call, Client::of(&args.whose)?)));
    let outcome = outcome.and_then(|((method, params), mut client)| {
        if let CtlCommand::Events { types } = &args.command {
            return events(&mut client, types, json).map(|()| false);
        }
        let result = client.call(method, params)?;
        let text = if json { line(&result) } else { describe(&args.command, &result) };
        print(&text)?;
        Ok(matches!(args.command, CtlCommand::Kill { .. }) && result.as_bool() == Some(false))
    });
    match outcome {
        Ok(false) => ExitCode::SUCCESS,
        // There was no process to signal, which has been reported.
        Ok(true) => ExitCode::from(FAILED),
        Err(trouble) => complain("ctl", trouble),
    }
}

/// Says what went wrong with that verb; the status to exit with.
pub(crate) fn complain(verb: &str, trouble: ClientError) -> ExitCode {
    match trouble {
        ClientError::Said(what) | ClientError::Unreadable(what) => {
            eprintln!("cluster {verb}: {}", printable::lines(&what));
            ExitCode::from(FAILED)
        }
        ClientError::Usage(what) => {
            eprintln!("cluster {verb}: {what}");
            ExitCode::from(USAGE)
        }
        // The reader has gone.
        ClientError::Unheard => ExitCode::SUCCESS,
    }
}

pub(crate) fn print(text: &str) -> Result<(), ClientError> {
    match writeln!(io::stdout().lock(), "{}", printable::lines(text)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClientError::Unheard),
        Err(error) => Err(trouble(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints events, for as long as there are any.
fn events(client: &mut Client, types: &[String], json: bool) -> Result<(), ClientError> {
    let mut params = Object::new();
    if !types.is_empty() {
        params.insert("events", types.iter().map(|t| t.as_str().into()).collect::<Vec<_>>());
    }
    client.call("subscribe", params)?;
    let mut names = BTreeMap::new();
    client.wait_for_ever()?;
    loop {
        let notification = match client.receive() {
            Ok(Some(notification)) => notification,
            Ok(None) => break,
            // One that cannot be read, for it nests too deep, is not the last.
            Err(ClientError::Unreadable(what)) => {
                eprintln!("cluster ctl: an event was skipped: {what}");
                continue;
            }
            Err(trouble) => return Err(trouble),
        };
        let event = &notification["params"];
        if event["type"].as_str() == Some("cutOff") {
            let why = event["message"].as_str().unwrap_or_default();
            return Err(trouble(format!("the cluster has cut off this client: {why}")));
        }
        print(&if json { line(event) } else { described(event, &mut names) })?;
    }
    eprintln!("cluster ctl: the cluster closed the connection");
    Ok(())
}

/// The method that a command means.
fn call(command: &CtlCommand) -> Result<(&str, Object), ClientError> {
    let object = |text: &str, what: &str| match Json::value(text.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => {
            Err(ClientError::Usage(format!("{what} should be a JSON object: {{\"name\": …}}")))
        }
        Err(error) => Err(ClientError::Usage(format!("{what} should be a JSON object: {error}"))),
    };
    let worker = |id: &u32| Object::new().with("worker", *id);
    Ok(match command {
        CtlCommand::Ls => ("workers", Object::new()),
        CtlCommand::Events { .. } => ("subscribe", Object::new()),
        CtlCommand::Send { worker: id, message, text } => {
            let message = match Json::value(message.as_bytes()) {
                Ok(message) if !text => message,
                Err(error) if !text => {
                    let error = error.to_string();
                    let why = error.strip_prefix("the frame is not JSON: ").unwrap_or(&error);
                    return Err(ClientError::Usage(format!(
                        "the message is not JSON ({why}); to send it as text use --text"
                    )));
                }
                _ => Value::from(message.as_str()),
            };
            ("send", worker(id).with("message", message))
        }
        CtlCommand::Kill { worker: id, signal } => {
            let signal = match signal.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(signal.as_str()),
            };
            ("kill", worker(id).with("signal", signal))
        }
        CtlCommand::Disconnect { worker: Some(id) } => ("disconnectWorker", worker(id)),
        CtlCommand::Disconnect { worker: None } => ("disconnect", Object::new()),
        CtlCommand::CloseChannel { worker: id } => ("closeChannel", worker(id)),
        CtlCommand::Fork { env } => {
            let mut variables = Object::new();
            for variable in env {
                match variable.split_once('=') {
                    Some((name, value)) => variables.insert(name, value),
                    None => variables.insert(variable.as_str(), Value::Null),
                }
            }
            ("fork", Object::new().with("env", variables))
        }
        CtlCommand::Setup { settings } => ("setupPrimary", object(settings, "the settings")?),
        CtlCommand::Settings => ("settings", Object::new()),
        CtlCommand::Stop => ("stop", Object::new()),
        CtlCommand::Version => ("version", Object::new()),
        CtlCommand::Call { method, params } => (method, object(params, "the parameters")?),
    })
}

/// The result in a person's words.
fn describe(command: &CtlCommand, result: &Value) -> String {
    let yes = result.as_bool() == Some(true);
    match command {
        CtlCommand::Ls => table(result.as_array().unwrap_or_default()),
        CtlCommand::Send { .. } if yes => "sent".into(),
        CtlCommand::Send { .. } => {
            "sent; but many messages are queued for it: wait before sending more".into()
        }
        CtlCommand::Kill { .. } if yes => "signalled".into(),
        CtlCommand::Kill { worker, .. } => {
            format!("there is no worker {worker}, or its process has exited")
        }
        CtlCommand::Disconnect { worker: None } => "all workers have disconnected".into(),
        CtlCommand::Disconnect { .. } => "asked to disconnect".into(),
        CtlCommand::CloseChannel { .. } => "closed".into(),
        CtlCommand::Stop => "stopping".into(),
        CtlCommand::Fork { .. } => {
            format!("worker {} (pid {})", line(&result["worker"]), line(&result["pid"]))
        }
        CtlCommand::Version => format!(
            "{} {}, protocol {}",
            result["program"].as_str().unwrap_or_default(),
            result["version"].as_str().unwrap_or_default(),
            line(&result["protocol"])
        ),
        _ => {
            printable::json(&serde_json::to_string_pretty(result).unwrap_or_default()).into_owned()
        }
    }
}

fn address(at: &Value) -> String {
    let port = at["port"].as_i64();
    match (at["address"].as_str(), port, at["fd"].as_i64()) {
        (Some(path), Some(..0), _) => match abstract_name(path) {
            Some(name) => format!("@{}", one_line(name)),
            None => one_line(path).into_owned(),
        },
        (Some(ip), Some(port), _) if ip.contains(':') => format!("[{}]:{port}", one_line(ip)),
        (Some(ip), Some(port), _) => format!("{}:{port}", one_line(ip)),
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
fn described(event: &Value, pids: &mut BTreeMap<u64, String>) -> String {
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
        "error" => one_line(event["message"].as_str().unwrap_or_default()).into_owned(),
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
