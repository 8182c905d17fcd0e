//! By which host names clients may ask `--http`.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, PATIENCE, cluster, file};

/// The status of an answer to a request for that host.
fn ask(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}

fn shown(cluster: &Cluster) -> SocketAddr {
    let line = cluster.err.wait_for(1, |line| line.contains("status page: ")).remove(0);
    let at = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let port = at.rsplit(':').next().unwrap().parse().expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn start(options: &[&str]) -> Cluster {
    let mut command = cluster();
    command.args(["run", "-n", "1", "--demo-listen", "127.0.0.1:0"]).args(options);
    Cluster::start(&mut command)
}

#[test]
fn names_that_are_allowed_are_answered_to_also_after_an_upgrade() {
    let names = ["--http-host", "app.internal", "--http-host", "*.svc.cluster.local"];
    let cluster = start(&[&["--http", "0.0.0.0:0"][..], &names].concat());
    let address = shown(&cluster);
    for upgraded in [false, true] {
        if upgraded {
            cluster.signal(Signal::USR2);
            cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
        }
        for host in ["app.internal:9100", "APP.internal", "a.svc.cluster.local", "127.0.0.1"] {
            assert_eq!(ask(address, "/metrics", host).0, 200, "{host}, {upgraded}");
        }
        for host in ["evil.example", "app.internal.evil.example", "svc.cluster.local"] {
            let (status, answer) = ask(address, "/metrics", host);
            assert_eq!(status, 403, "{host}, {upgraded}");
            assert!(answer.contains("--http-host NAME allows one more"), "{answer}");
        }
    }
    cluster.end();
}

#[test]
fn a_star_allows_every_name() {
    let cluster = start(&["--http", "0", "--http-host", "*"]);
    let address = shown(&cluster);
    assert_eq!(ask(address, "/metrics", "anything.example").0, 200);
    cluster.end();
}

#[test]
fn a_name_without_a_server_is_a_mistake() {
    for (options, wanted) in [
        (&["--http-host", "app.internal"][..], "--http-host has no effect without --http"),
        (&["--http", "0", "--http-host", "app:80"], "a host name without a port"),
    ] {
        let output = cluster().arg("run").args(options).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

/// What the container's page prints is run as it stands there, but for ports and the program.
#[test]
fn the_container_of_the_manual_is_scraped_by_its_name() {
    let page = std::fs::read_to_string(file("docs/deploying.md")).expect("it is there");
    let line = page.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).expect("a line");
    let words: Vec<String> = serde_json::from_str(line).expect("the exec form");
    assert_eq!(words[0], "cluster");
    let words = words[1..].iter().map(|word| word.replace(":9100", ":0"));
    let mut command: Command = cluster();
    command.args(words).args(["-n", "1", "--demo-listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(&mut command);
    let address = shown(&cluster);
    cluster.listening(1);
    for host in ["app:9100", "app.default.svc.cluster.local:9100", "127.0.0.1:9100"] {
        assert_eq!(ask(address, "/metrics", host).0, 200, "{host}");
        assert_eq!(ask(address, "/healthz", host).0, 200, "{host}");
    }
    cluster.end();
}
