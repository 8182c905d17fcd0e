//! A worker that does what its primary's messages say, and answers each with one: for tests.
//!
//! `tcp 127.0.0.1:0` listens and answers `listening PORT` or `failed ERRNO`; whoever connects is
//! told the worker's id. The other words are below.

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::time::Duration;
use std::{env, process, thread};

use cluster_worker::{
    ListenError, ListenOptions, Listener, Object, Received, UnixOptions, Value, Worker,
};
use rustix::process::{Resource, getgid, getpgrp, getrlimit, getuid};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(worker) = Worker::from_env()? else {
        return Err("a primary starts this program".into());
    };
    // Those that are not to be answered.
    let mut kept = Vec::new();
    while let Some(Received { message, request, .. }) = worker.recv_message()? {
        if let Some(request) = request {
            match message.as_str() {
                Some("keep") => kept.push(request),
                Some("forget") => drop(request),
                Some("refuse") => drop(request.refuse("as told")?),
                _ => drop(request.answer(&(worker.id(), &message))?),
            }
            continue;
        }
        let Some(order) = message.as_str() else {
            worker.send(Object::new().with("echo", message))?;
            continue;
        };
        if let Some(answer) = obey(&worker, order) {
            // One that is to disconnect has nothing more to say.
            let _sent = worker.send(answer);
        }
    }
    Ok(())
}

fn obey(worker: &Worker, order: &str) -> Option<Value> {
    let (word, rest) = order.split_once(' ').unwrap_or((order, ""));
    let answer = match word {
        "tcp" => {
            let (address, max) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut options = ListenOptions::from(address);
            if let Ok(max) = max.parse() {
                options = options.max_connections(max);
            }
            listening(worker, worker.listen(options), |l| l.local_addr().map_or(0, |a| a.port()))
        }
        "fd" => {
            let options = ListenOptions::new().primary_fd(rest.parse().ok()?);
            listening(worker, worker.listen(options), |l| l.local_addr().map_or(0, |a| a.port()))
        }
        "unix" => {
            let (path, open) = rest.split_once(' ').unwrap_or((rest, ""));
            let options = UnixOptions::new(path)
                .readable_all(open.contains('r'))
                .writable_all(open.contains('w'));
            listening(worker, worker.listen_unix(options), |_| 0)
        }
        "udp" => match worker.bind_udp(rest) {
            Ok(socket) => {
                let port = socket.local_addr().map_or(0, |a| a.port());
                let id = worker.id();
                thread::spawn(move || {
                    let mut buf = [0; 100];
                    while let Ok(Some((_, from))) = socket.recv_from(&mut buf) {
                        let _sent = socket.send_to(id.to_string().as_bytes(), from);
                    }
                });
                format!("listening {port}")
            }
            Err(error) => failed(&error),
        },
        "ask" => {
            let (patience, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let patience = Duration::from_millis(patience.parse().unwrap_or_default());
            match worker.request::<String>(body, patience) {
                Ok(answer) => format!("answer {answer}"),
                Err(error) => error.to_string(),
            }
        }
        "env" => env::var(rest).unwrap_or_else(|_| "(unset)".into()),
        "slot" => worker.slot().map_or("(none)".into(), |slot| slot.to_string()),
        "status" => status(rest),
        "args" => env::args().skip(1).collect::<Vec<_>>().join("|"),
        "cwd" => env::current_dir().map_or_else(|e| e.to_string(), |d| d.display().to_string()),
        "ids" => format!("{} {}", getuid().as_raw(), getgid().as_raw()),
        "group" => (getpgrp().as_raw_nonzero().get().unsigned_abs() == process::id()).to_string(),
        "nofile" => getrlimit(Resource::Nofile).current.map_or("none".into(), |n| n.to_string()),
        "print" => {
            println!("{rest}");
            "printed".into()
        }
        // The last words of a process.
        "die" => {
            print!("{}", "o".repeat(50_000));
            eprint!("{}", "e".repeat(50_000));
            let _sent = worker.send("last words");
            let _written = worker.flush();
            process::exit(rest.parse().unwrap_or_default())
        }
        "flood" => {
            for n in 0..rest.parse().unwrap_or(0) {
                let _sent = worker.send(n);
            }
            "flooded".into()
        }
        "become" => {
            let error = process::Command::new("sh").args(["-c", rest]).exec();
            error.to_string()
        }
        "disconnect" => {
            worker.start_disconnect();
            return None;
        }
        "kill" => worker.kill(),
        "panic" => panic!("as told"),
        _ => return Some(Value::from(Object::new().with("echo", order))),
    };
    Some(answer.into())
}

/// What `proc(5)` says of this process.
fn status(name: &str) -> String {
    let all = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("(unknown)").trim().to_owned()
}

fn failed(error: &ListenError) -> String {
    format!("failed {}", error.errno().unwrap_or_default())
}

/// Serves in the background: a client is told the worker's id, and hung up on; one that says
/// something first is not before it hangs up itself.
fn listening<S>(
    worker: &Worker,
    listener: Result<Listener<S>, ListenError>,
    port: fn(&Listener<S>) -> u16,
) -> String
where
    S: From<OwnedFd> + Read + Write + Send + 'static,
{
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return failed(&error),
    };
    let (port, id) = (port(&listener), worker.id());
    thread::spawn(move || {
        while let Ok(Some(mut connection)) = listener.accept_tracked() {
            thread::spawn(move || {
                let mut request = [0; 1];
                // A client that hangs up early is its own affair.
                let _gone = writeln!(connection, "{id}");
                let _gone = connection.read(&mut request);
            });
        }
    });
    format!("listening {port}")
}
