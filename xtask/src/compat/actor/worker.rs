//! The worker, on `cluster-worker`.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cluster_worker::{
    ListenError, ListenOptions, Listener, SendError, UdpOptions, UnixOptions, Worker,
};
use serde_json::{Value, json};

use super::errno_name;
use super::link::{Link, Order, error, tagged, untagged};
use super::sockets::Sockets;

pub(in crate::compat) fn run(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    super::abort_on_panic();
    let Some(worker) = Worker::from_env()? else {
        return Err("a primary starts this program".into());
    };
    let link = Arc::new(Link::open(&json!({ "hello": "worker", "id": worker.id() }))?);
    let sockets = Arc::new(Mutex::new(Sockets::new(format!("worker {}", worker.id()))));
    let killed = Arc::new(AtomicBool::new(false));
    let mut actor = Actor {
        worker: worker.clone(),
        link: Arc::clone(&link),
        sockets: Arc::clone(&sockets),
        servers: HashMap::new(),
        args: args.to_vec(),
        killed: Arc::clone(&killed),
    };
    let orders = link.orders()?;
    thread::spawn(move || {
        for order in orders {
            let n = order.n;
            match actor.obey(order) {
                Ok(Some(is)) => actor.link.answer(n, &is),
                Ok(None) => {}
                Err(failure) => actor.link.answer(n, &error(failure.to_string())),
            }
        }
    });
    while let Some(received) = worker.recv_message()? {
        let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = received.handle.map(|handle| sockets.receive(handle.socket().0));
        let message = tagged(&received.message);
        link.note("message", json!({ "message": message, "handle": handle }));
    }
    if killed.load(Ordering::Acquire) {
        // The process ends in the middle of `Worker::kill`.
        loop {
            thread::park();
        }
    }
    link.note("disconnect", json!({}));
    Ok(ExitCode::SUCCESS)
}

type Obeyed = Result<Option<Value>, Box<dyn Error>>;

struct Actor {
    worker: Worker,
    link: Arc<Link>,
    sockets: Arc<Mutex<Sockets>>,
    /// How to close what listens, by the name that the stage gave it.
    servers: HashMap<String, Box<dyn Fn() + Send>>,
    args: Vec<String>,
    /// It has been told to kill itself.
    killed: Arc<AtomicBool>,
}

impl Actor {
    /// Its answer, unless that was given: what comes of some orders is noted after it, as in a
    /// program of one thread.
    fn obey(&mut self, Order { n, verb, members: order }: Order) -> Obeyed {
        let worker = self.worker.clone();
        Ok(Some(match verb.as_str() {
            "listen" if order["path"].is_string() => {
                let options = UnixOptions::new(order["path"].as_str().unwrap_or_default())
                    .exclusive(order["exclusive"] == true);
                let listener = worker.listen_unix(options);
                self.serve(&order, listener, |l| json!({ "path": l.path().to_str() }))
            }
            "listen" => {
                let listener = worker.listen(listen_options(&order)?);
                self.serve(&order, listener, |listener| {
                    listener.local_addr().map_or(Value::Null, address)
                })
            }
            "bind" => self.bind(&order)?,
            "close" => {
                if let Some(close) = self.servers.remove(id(&order)) {
                    close();
                }
                Value::Null
            }
            "send" => sent(worker.send(untagged(&order["message"]))),
            "sendHandle" => {
                let handle = self.sockets().take(&order)?;
                sent(worker.send_handle(untagged(&order["message"]), handle))
            }
            "make" => self.sockets().make(&order)?,
            "say" => {
                self.sockets().send(&order);
                Value::Null
            }
            "print" => {
                print!("{}", order["text"].as_str().unwrap_or_default());
                std::io::stdout().flush()?;
                Value::Null
            }
            "state" => json!({
                "id": worker.id(),
                "pid": std::process::id(),
                "connected": worker.is_connected(),
                "exitedAfterDisconnect": worker.exited_after_disconnect(),
            }),
            "start" => json!({
                "args": self.args,
                "cwd": env::current_dir()?,
                "greeting": env::var("COMPAT_GREETING").ok(),
                "uniqueId": env::var("NODE_UNIQUE_ID").ok(),
            }),
            "disconnect" => {
                self.link.answer(n, &Value::Null);
                worker.start_disconnect();
                return Ok(None);
            }
            "closeChannel" => {
                self.link.answer(n, &Value::Null);
                worker.close_channel();
                return Ok(None);
            }
            "kill" => {
                self.link.answer(n, &Value::Null);
                self.killed.store(true, Ordering::Release);
                worker.kill()
            }
            "exit" => {
                self.link.answer(n, &Value::Null);
                let code = order["code"].as_i64().and_then(|code| code.try_into().ok());
                std::process::exit(code.unwrap_or(1))
            }
            other => error(format!("an unknown order: {other}")),
        }))
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves in the background: a client is told which worker serves it, and the connection is closed.
    fn serve<S>(
        &mut self,
        order: &Value,
        listener: Result<Listener<S>, ListenError>,
        told: impl FnOnce(&Listener<S>) -> Value,
    ) -> Value
    where
        S: From<OwnedFd> + Read + Write + Send + 'static,
    {
        let listener = match listener {
            Ok(listener) => Arc::new(listener),
            Err(failure) => return refused(&failure),
        };
        let told = told(&listener);
        let closing = Arc::clone(&listener);
        self.servers.insert(id(order).to_owned(), Box::new(move || closing.close()));
        let words = self.words(order);
        thread::spawn(move || {
            while let Ok(Some(mut connection)) = listener.accept_tracked() {
                // A client that hangs up early is its own affair.
                let _ = connection.write_all(words.as_bytes());
            }
        });
        told
    }

    fn bind(&mut self, order: &Value) -> Result<Value, Box<dyn Error>> {
        let new = if order["type"] == "udp6" { UdpOptions::v6() } else { UdpOptions::new() };
        let mut options = new
            .port(port(order)?)
            .reuse_addr(order["reuseAddr"] == true)
            .exclusive(order["exclusive"] == true);
        if let Some(host) = order["host"].as_str() {
            options = options.host(host);
        }
        let socket = match self.worker.bind_udp(options) {
            Ok(socket) => Arc::new(socket),
            Err(failure) => return Ok(refused(&failure)),
        };
        let told = address(socket.local_addr()?);
        let closing = Arc::clone(&socket);
        self.servers.insert(id(order).to_owned(), Box::new(move || closing.close()));
        let words = self.words(order);
        thread::spawn(move || {
            let mut buf = [0; 100];
            while let Ok(Some((_, from))) = socket.recv_from(&mut buf) {
                let _ = socket.send_to(words.as_bytes(), from);
            }
        });
        Ok(told)
    }

    /// What clients are told.
    fn words(&self, order: &Value) -> String {
        format!("worker {}, {}\n", self.worker.id(), id(order))
    }
}

fn id(order: &Value) -> &str {
    order["id"].as_str().unwrap_or_default()
}

fn port(order: &Value) -> Result<u16, Box<dyn Error>> {
    Ok(order["port"].as_u64().unwrap_or(0).try_into()?)
}

fn listen_options(order: &Value) -> Result<ListenOptions, Box<dyn Error>> {
    let mut options = ListenOptions::new()
        .port(port(order)?)
        .ipv6_only(order["ipv6Only"] == true)
        .exclusive(order["exclusive"] == true);
    if let Some(host) = order["host"].as_str() {
        options = options.host(host);
    }
    if let Some(fd) = order["fd"].as_u64() {
        options = options.primary_fd(fd.try_into()?);
    }
    Ok(options)
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "address": address.ip().to_string(), "port": address.port() })
}

fn refused(failure: &ListenError) -> Value {
    error(failure.errno().map_or_else(|| failure.to_string(), errno_name))
}

fn sent<T>(sent: Result<T, SendError>) -> Value {
    match sent {
        Ok(_) => "written".into(),
        Err(SendError::Encode(_)) => error("ERR_INVALID_ARG_VALUE"),
        Err(SendError::Disconnected) => error("ERR_IPC_CHANNEL_CLOSED"),
        Err(failure) => error(failure.to_string()),
    }
}
