//! Every way in which an unmodified Node.js worker can ask to listen, under both placements.

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use cluster_primary::{Event, Object, Placement, Settings, Value, WorkerId};
use node::nodes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::{Cluster, Folder, LIMIT, placements, serve_from_any_worker};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// An address of this machine at which no other test takes a port, so that one that is let go can be had again. (Only Linux
/// has more than one.)
fn lonely() -> IpAddr {
    static TAKEN: AtomicU8 = AtomicU8::new(100);
    if !cfg!(target_os = "linux") {
        return V4;
    }
    let [.., a, b] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, TAKEN.fetch_add(1, Ordering::Relaxed), a, b).into()
}

/// One cluster for each Node and each placement.
fn each(test: impl Fn(&mut Asking)) {
    for node in nodes() {
        for placement in placements() {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/listens.cjs");
            let mut settings = Settings::new(script).placement(placement);
            settings.exec_path = Some(node.clone());
            let cluster = Cluster::with(settings);
            test(&mut Asking { cluster, placement, last: 0 });
        }
    }
}

struct Asking {
    cluster: Cluster,
    placement: Placement,
    last: u64,
}

impl Asking {
    fn fork(&mut self) -> WorkerId {
        self.cluster.fork()
    }

    /// Sends an order; what the worker says of it.
    fn order(&mut self, worker: WorkerId, order: Object) -> Value {
        self.cluster.primary.send(worker, order).expect("it is connected");
        let message = |e: &Event| matches!(e, Event::Message { worker: w, .. } if *w == worker);
        match self.cluster.until("answer", message) {
            Event::Message { message, .. } => message.value().expect("it can be decoded"),
            _ => unreachable!("it was asked for"),
        }
    }

    fn listen(&mut self, worker: WorkerId, options: Object) -> Value {
        self.last += 1;
        let order = Object::new().with("id", self.last).with("listen", options);
        self.order(worker, order)
    }

    fn bind(&mut self, worker: WorkerId, kind: &str, options: Object) -> Value {
        self.last += 1;
        let bind = Object::new().with("type", kind).with("options", options);
        self.order(worker, Object::new().with("id", self.last).with("bind", bind))
    }

    /// Closes what was made last but so many.
    fn close(&mut self, worker: WorkerId, id: u64) {
        let answer = self.order(worker, Object::new().with("close", id));
        assert_eq!(answer["closed"].as_u64(), Some(id));
    }

    /// Has it listen, and returns the port.
    fn port(&mut self, worker: WorkerId, options: Object) -> u16 {
        port(&self.listen(worker, options))
    }

    fn who_serves(&mut self, address: SocketAddr) -> WorkerId {
        self.cluster.served_by(address)
    }

    fn who_serves_path(&mut self, path: &Path) -> WorkerId {
        let path = path.to_owned();
        self.cluster
            .run(move || serve_from_any_worker(UnixStream::connect(path).expect("it listens")))
    }

    /// Whether connections are refused, now or soon: a process that another test has just forked has a copy of each socket until it
    /// executes its program.
    fn refused(&mut self, address: SocketAddr) -> bool {
        self.cluster.run(move || {
            let is_refused = || match TcpStream::connect(address) {
                Ok(_) => false,
                Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            };
            // About as long as anything may take.
            (0..1000).any(|_| {
                let refused = is_refused();
                if !refused {
                    thread::sleep(LIMIT / 2000);
                }
                refused
            })
        })
    }
}

fn port(answer: &Value) -> u16 {
    let port = answer["address"]["port"].as_u64();
    port.and_then(|port| port.try_into().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn tcp(host: &str, port: u16) -> Object {
    Object::new().with("host", host).with("port", port)
}

fn has_ipv6() -> bool {
    let there = TcpListener::bind((V6, 0)).is_ok();
    if !there {
        println!("left out: this machine has no IPv6");
    }
    there
}

#[test]
fn a_port_alone_is_served_on_both_families() {
    each(|asking| {
        let worker = asking.fork();
        let port = asking.port(worker, Object::new().with("port", 0));
        assert_eq!(asking.who_serves((V4, port).into()), worker);
        if has_ipv6() {
            assert_eq!(asking.who_serves((V6, port).into()), worker);
        }
    });
}

#[test]
fn ipv6_only_is_ipv6_only() {
    if !has_ipv6() {
        return;
    }
    each(|asking| {
        let worker = asking.fork();
        let port = asking.port(worker, tcp("::", 0).with("ipv6Only", true));
        assert_eq!(asking.who_serves((V6, port).into()), worker);
        // Another process may have the port of the other family: not this worker.
        assert!(asking.refused((V4, port).into()));
        let port = asking.port(worker, tcp("::1", 0));
        assert_eq!(asking.who_serves((V6, port).into()), worker);
    });
}

#[test]
fn any_port_is_the_same_in_all_workers_and_another_each_time() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let first = asking.port(one, tcp("127.0.0.1", 0));
        let second = asking.port(one, tcp("127.0.0.1", 0));
        assert_ne!(first, second);
        assert_eq!(asking.port(two, tcp("127.0.0.1", 0)), first);
        assert_eq!(asking.port(two, tcp("127.0.0.1", 0)), second);
    });
}

#[test]
fn a_descriptor_of_the_primarys_is_listened_on() {
    each(|asking| {
        let worker = asking.fork();
        let ours = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = ours.local_addr().expect("it is bound");
        let fd = Object::new().with("fd", i64::from(asking.cluster.primary.lend(ours)));
        let answer = asking.listen(worker, fd);
        assert!(answer["error"].is_null(), "{answer:?}");
        assert_eq!(asking.who_serves(address), worker);
        let not_open = Object::new().with("fd", 4000);
        assert_eq!(asking.listen(worker, not_open)["error"].as_str(), Some("EINVAL"));
    });
}

#[test]
fn paths_are_served_with_the_access_that_was_asked_for() {
    each(|asking| {
        let folder = Folder::new(&format!("listen-path-{}", asking.placement));
        let worker = asking.fork();
        for (name, option, expected) in [
            ("plain", None, 0),
            ("r", Some("readableAll"), 0o444),
            ("w", Some("writableAll"), 0o222),
        ] {
            let path = folder.0.join(name);
            let mut options = Object::new().with("path", path.to_str());
            if let Some(option) = option {
                options = options.with(option, true);
            }
            let answer = asking.listen(worker, options);
            assert_eq!(answer["address"].as_str(), path.to_str(), "{answer:?}");
            assert_eq!(asking.who_serves_path(&path), worker);
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
            assert_eq!(mode & expected, expected, "{name}: {mode:o}");
        }
    });
}

/// All that can connect there while no process accepts.
fn fill(path: &Path) -> Vec<OwnedFd> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let address = SocketAddrUnix::new(path).expect("it fits");
    let mut connected = Vec::new();
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let client = client.expect("a socket");
        match connect(&client, &address) {
            Ok(()) => connected.push(client),
            Err(rustix::io::Errno::AGAIN) => return connected,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_queue_is_as_long_as_the_backlog_that_was_asked_for() {
    each(|asking| {
        let folder = Folder::new(&format!("listen-backlog-{}", asking.placement));
        let worker = asking.fork();
        let path = folder.0.join("short");
        let options = Object::new().with("path", path.to_str()).with("backlog", 3);
        let answer = asking.listen(worker, options);
        assert!(answer["error"].is_null(), "{answer:?}");
        // The primary accepts nothing while its events are not polled; a worker that shares the
        // socket must be kept from it.
        let pid = asking.cluster.primary.worker(worker).expect("it lives").pid();
        let stat = format!("/proc/{pid}/stat");
        asking.cluster.primary.kill(worker, "SIGSTOP".parse().unwrap()).expect("it may be sent");
        let stopped = || std::fs::read_to_string(&stat).expect("it lives").contains(") T ");
        while !stopped() {
            std::thread::yield_now();
        }
        // Linux lets in one more than the backlog says.
        let clients = fill(&path);
        assert_eq!(clients.len(), 3 + 1);
        asking.cluster.primary.kill(worker, "SIGCONT".parse().unwrap()).expect("it may be sent");
        assert_eq!(asking.who_serves_path(&path), worker);
        drop(clients);
    });
}

#[test]
fn a_relative_path_is_seen_from_the_worker() {
    each(|asking| {
        let folder = Folder::new(&format!("listen-relative-{}", asking.placement));
        let there = folder.0.clone();
        asking.cluster.primary.setup(|settings| settings.cwd = Some(there));
        let worker = asking.fork();
        let answer = asking.listen(worker, Object::new().with("path", "here"));
        assert!(answer["error"].is_null(), "{answer:?}");
        // Node 20 and later make it absolute in the worker.
        assert_eq!(asking.who_serves_path(&folder.0.join("here")), worker);
    });
}

#[test]
fn datagrams_are_received_on_either_family() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let families: &[_] = if has_ipv6() {
            &[("udp4", "127.0.0.1", V4), ("udp6", "::1", V6)]
        } else {
            &[("udp4", "127.0.0.1", V4)]
        };
        for (kind, host, ip) in families.iter().copied() {
            let at = || Object::new().with("address", host).with("port", 0);
            let bound = port(&asking.bind(one, kind, at()));
            assert_eq!(port(&asking.bind(two, kind, at())), bound, "they share it");
            let answer = asking.cluster.run(move || {
                let client = UdpSocket::bind((ip, 0)).expect("a port");
                client.send_to(b"who?", (ip, bound)).expect("loopback takes it");
                let mut answer = [0; 16];
                let (length, _) = client.recv_from(&mut answer).expect("an answer");
                String::from_utf8_lossy(&answer[..length]).into_owned()
            });
            assert!([one, two].iter().any(|worker| worker.to_string() == answer), "{answer}");
        }
    });
}

#[test]
fn an_address_is_shared_with_strangers_where_both_say_so() {
    each(|asking| {
        let worker = asking.fork();
        let theirs = || {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None);
            let socket = socket.expect("a socket");
            sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
            rustix::net::bind(&socket, &SocketAddr::from((V4, 0))).expect("a port");
            UdpSocket::from(socket)
        };
        // One for each question: whatever workers bind of one address is one socket.
        let (one, two) = (theirs(), theirs());
        let at = |socket: &UdpSocket| {
            let port = socket.local_addr().expect("it is bound").port();
            Object::new().with("address", "127.0.0.1").with("port", port)
        };
        let answer = asking.bind(worker, "udp4", at(&one).with("reuseAddr", true));
        assert_eq!(port(&answer), one.local_addr().expect("it is bound").port());
        let answer = asking.bind(worker, "udp4", at(&two).with("reuseAddr", false));
        assert_eq!(answer["error"].as_str(), Some("EADDRINUSE"), "{answer:?}");
    });
}

#[test]
fn datagrams_are_received_on_a_descriptor_of_the_primarys() {
    each(|asking| {
        let worker = asking.fork();
        let ours = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = ours.local_addr().expect("it is bound");
        let fd = asking.cluster.primary.lend(ours);
        let answer = asking.bind(worker, "udp4", Object::new().with("fd", fd));
        assert_eq!(port(&answer), at.port());
        let answer = asking.cluster.run(move || {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
            client.send_to(b"who?", at).expect("loopback takes it");
            let mut answer = [0; 16];
            let (length, _) = client.recv_from(&mut answer).expect("an answer");
            String::from_utf8_lossy(&answer[..length]).into_owned()
        });
        assert_eq!(answer, worker.to_string());
        // What listens receives no datagrams.
        let stream = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fd = asking.cluster.primary.lend(stream);
        let answer = asking.bind(worker, "udp4", Object::new().with("fd", fd));
        assert_eq!(answer["error"].as_str(), Some("EINVAL"), "{answer:?}");
    });
}

#[test]
fn a_path_too_long_for_a_socket_is_reached_from_where_the_primary_is() {
    // Cargo runs tests in the package's folder.
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("it is there");
    each(|asking| {
        let depth = 108usize.saturating_sub(here.as_os_str().len());
        let name = format!("way-{}-{}", std::process::id(), "x".repeat(depth.max(20)));
        let path = here.join(&name);
        if path.as_os_str().len() <= 107 || name.len() >= 107 {
            println!("skipped: no such path from {}", here.display());
            return;
        }
        let worker = asking.fork();
        let answer = asking.listen(worker, Object::new().with("path", path.to_str()));
        let served = answer["error"].is_null().then(|| asking.who_serves_path(Path::new(&name)));
        let id = asking.last;
        asking.close(worker, id);
        let left = std::fs::remove_file(&path).is_ok();
        assert_eq!(served, Some(worker), "{answer:?}");
        assert!(!left, "it goes with its server");
    });
}

/// A port that only a privileged primary may bind, where there is one.
fn privileged_port() -> Option<u16> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    first.trim().parse::<u16>().ok().filter(|first| *first > 1).map(|_| 1)
}

#[test]
fn a_port_that_the_primary_may_not_bind_is_refused() {
    let Some(privileged) = privileged_port() else {
        println!("left out: here every user may bind every port");
        return;
    };
    // This thread's alone, and the primaries are in it.
    let mut sets = capabilities(None).expect("they can be read");
    sets.effective.remove(CapabilitySet::NET_BIND_SERVICE);
    sets.permitted.remove(CapabilitySet::NET_BIND_SERVICE);
    set_capabilities(None, sets).expect("less is always granted");
    each(|asking| {
        let worker = asking.fork();
        for _ in 0..2 {
            let answer = asking.listen(worker, tcp("127.0.0.1", privileged));
            assert_eq!(answer["error"].as_str(), Some("EACCES"), "{answer:?}");
        }
        let bound = asking.port(worker, tcp("127.0.0.1", 0));
        assert_eq!(asking.who_serves((V4, bound).into()), worker, "it may try another");
    });
}

#[test]
fn errors_reach_the_worker_that_asked_and_another_may_try_again() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let address = lonely();
        let theirs = TcpListener::bind((address, 0)).expect("a port");
        let taken = theirs.local_addr().expect("it is bound").port();
        let in_use = |asking: &mut Asking, worker| {
            let answer = asking.listen(worker, tcp(&address.to_string(), taken));
            assert_eq!(answer["error"].as_str(), Some("EADDRINUSE"), "{answer:?}");
        };
        in_use(asking, one);
        in_use(asking, two);
        // An address of the documentation: no machine has it.
        let answer = asking.listen(one, tcp("192.0.2.1", 0));
        assert_eq!(answer["error"].as_str(), Some("EADDRNOTAVAIL"), "{answer:?}");
        drop(theirs);
        assert_eq!(asking.port(two, tcp(&address.to_string(), taken)), taken);
        assert_eq!(
            asking.port(one, tcp(&address.to_string(), taken)),
            taken,
            "and so may the first"
        );
    });
}

/// With shared sockets a Node worker of today dies of it under Node's own primary.
#[test]
fn the_same_listen_twice_is_an_error_and_no_end() {
    each(|asking| {
        let worker = asking.fork();
        let port = asking.port(worker, tcp("127.0.0.1", 0));
        for _ in 0..2 {
            let answer = asking.listen(worker, tcp("127.0.0.1", port));
            assert_eq!(answer["error"].as_str(), Some("EADDRINUSE"), "{answer:?}");
        }
        let options = tcp("127.0.0.1", 0);
        assert_ne!(asking.port(worker, options), port, "it lives on");
    });
}

#[test]
fn a_path_in_use_or_nowhere_is_said() {
    each(|asking| {
        let folder = Folder::new(&format!("listen-in-use-{}", asking.placement));
        let path = folder.0.join("taken");
        let theirs = UnixListener::bind(&path).expect("a socket");
        let worker = asking.fork();
        let at = |path: &Path| Object::new().with("path", path.to_str());
        assert_eq!(asking.listen(worker, at(&path))["error"].as_str(), Some("EADDRINUSE"));
        let nowhere = folder.0.join("no/such/folder");
        assert_eq!(asking.listen(worker, at(&nowhere))["error"].as_str(), Some("EACCES"));
        drop(OwnedFd::from(theirs));
        // What is left there is abandoned.
        let answer = asking.listen(worker, at(&path));
        assert!(answer["error"].is_null(), "{answer:?}");
        assert_eq!(asking.who_serves_path(&path), worker);
    });
}

#[test]
fn closed_and_listened_on_again() {
    each(|asking| {
        let worker = asking.fork();
        let address = lonely();
        let at = |port| tcp(&address.to_string(), port);
        let port = asking.port(worker, at(0));
        for _ in 0..3 {
            let id = asking.last;
            asking.close(worker, id);
            assert!(asking.refused((address, port).into()));
            assert_eq!(asking.port(worker, at(port)), port);
            assert_eq!(asking.who_serves((address, port).into()), worker);
        }
    });
}

#[test]
fn one_closes_while_others_listen() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let port = asking.port(one, tcp("127.0.0.1", 0));
        let first = asking.last;
        assert_eq!(asking.port(two, tcp("127.0.0.1", 0)), port);
        asking.close(one, first);
        for _ in 0..4 {
            assert_eq!(asking.who_serves((V4, port).into()), two);
        }
        let second = asking.last;
        asking.close(two, second);
        assert!(asking.refused((V4, port).into()), "the last one closes the socket");
    });
}

#[test]
fn a_server_that_closes_under_hand_offs_loses_none_that_another_can_take() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let port = asking.port(one, tcp("127.0.0.1", 0));
        let first = asking.last;
        assert_eq!(asking.port(two, tcp("127.0.0.1", 0)), port);
        if asking.placement == Placement::Shared {
            // What waits in the first one's own hands is its own affair.
            return;
        }
        let clients = std::thread::spawn(move || {
            let serve =
                |_| serve_from_any_worker(TcpStream::connect((V4, port)).expect("it listens"));
            (0..200).map(serve).collect::<Vec<_>>()
        });
        asking.close(one, first);
        let served = asking.cluster.run(move || clients.join().expect("every client is served"));
        assert_eq!(served.len(), 200);
        assert_eq!(served.last(), Some(&two));
    });
}

#[test]
fn what_is_exclusive_is_the_workers_own() {
    each(|asking| {
        let (one, two) = (asking.fork(), asking.fork());
        let exclusive = || tcp("127.0.0.1", 0).with("exclusive", true);
        let (first, second) = (asking.port(one, exclusive()), asking.port(two, exclusive()));
        assert_ne!(first, second);
        assert_eq!(asking.who_serves((V4, first).into()), one);
        assert_eq!(asking.who_serves((V4, second).into()), two);
        let told = asking.cluster.rest();
        let listening = told.iter().any(|e| matches!(e, Event::Listening { .. }));
        assert!(!listening, "the primary knows nothing of it: {told:?}");
    });
}
