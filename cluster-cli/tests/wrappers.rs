//! Programs that start the server as a child process: `cluster run npm start` and the like.

mod support;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, get, nodes};

const PACKAGE: &str = r#"{"scripts": {
    "start": "node server.js",
    "dev": "nodemon server.js",
    "exec": "exec node server.js",
    "npx": "npx --yes tsx@4 app.ts",
    "built": "tsc && node dist/main.js"
}}"#;

const SERVER: &str = "require('node:http').createServer((_, response) => response.end('hi'))
    .listen(0, '127.0.0.1');";

fn package(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file("package.json", PACKAGE, 0o644);
    folder.file("server.js", SERVER, 0o644);
    folder
}

/// Runs to the end; the status, and what was printed.
fn fail(command: &mut Command) -> (Option<i32>, String) {
    let mut cluster = Cluster::start(command);
    let status = cluster.wait();
    (status.code(), cluster.err.all().join("\n"))
}

/// The words of the command that is recommended.
fn recommended(said: &str) -> Vec<String> {
    let (_, command) = said.split_once("Run the server itself: cluster ").expect(said);
    let ends = [" (", "; ", ". "].into_iter().filter_map(|end| command.find(end));
    let end = ends.min().expect("more follows");
    command[..end].split_whitespace().map(String::from).collect()
}

#[test]
fn a_package_manager_fails_at_the_start_and_the_server_is_named() {
    let folder = package("manager");
    let run = |words: &[&str]| {
        let mut command = cluster();
        command.current_dir(&folder.0).arg("run").args(words);
        let (status, said) = fail(&mut command);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.starts_with("cluster: error: "), "nothing comes before it: {said}");
        assert!(!said.contains("started"), "no worker was started: {said}");
        said
    };
    for (words, name, wanted) in [
        (
            &["npm", "start"][..],
            "npm",
            "cluster run server.js (package.json: \"start\": \"node server.js\")",
        ),
        (
            &["yarn", "start"],
            "yarn",
            "cluster run server.js (package.json: \"start\": \"node server.js\")",
        ),
        (&["pnpm", "start"], "pnpm", "cluster run server.js ("),
        (
            &["npx", "nodemon", "server.js"],
            "npx",
            "cluster run server.js; after a change, cluster reload replaces",
        ),
        (
            &["npm", "run", "dev"],
            "npm",
            "cluster run server.js (package.json: \"dev\": \"nodemon server.js\"); after a change",
        ),
        (
            &["npm", "run", "built"],
            "npm",
            "cluster run FILE (package.json: \"built\": \"tsc && node dist/main.js\")",
        ),
        (
            &["node", "--watch", "server.js"],
            "node --watch",
            "cluster run server.js; after a change",
        ),
        (
            &["--exec-arg", "--watch", "server.js"],
            "node --watch",
            "cluster run server.js; after a change",
        ),
        (
            &["--listen", "127.0.0.1:0", "npm", "start"],
            "npm",
            "cluster run --listen 127.0.0.1:0 server.js (",
        ),
        // The cluster's own options stay, and what a shell or npx has in front does not.
        (
            &["-n", "4", "--grace=3s", "npm", "start"],
            "npm",
            "cluster run -n 4 --grace=3s server.js (",
        ),
        (
            &["npm", "run", "exec"],
            "npm",
            "cluster run server.js (package.json: \"exec\": \"exec node",
        ),
        (
            &["-n", "2", "npm", "run", "npx"],
            "npm",
            "cluster run -n 2 node --import tsx app.ts (package.json: \"npx\": \"npx --yes tsx@4 app.ts\"); \
             install it in the package first: npm install tsx@4. ",
        ),
        (
            &["npx", "--yes", "no-such-server@14", "start"],
            "npx",
            "cluster run ./node_modules/.bin/no-such-server start; install it in the package first: npm \
             install no-such-server@14. ",
        ),
        (&["sh", "-c", "npm start"], "npm", "cluster run server.js ("),
    ] {
        let said = run(words);
        assert!(said.contains(&format!("error: {name} cannot be a worker: ")), "{words:?}: {said}");
        assert!(said.contains(&format!("Run the server itself: {wanted}")), "{words:?}: {said}");
        assert!(said.contains("--ready alive"), "{said}");
    }
    // The same is told by a check.
    let (status, said) =
        fail(cluster().current_dir(&folder.0).args(["run", "--check", "npm", "start"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("npm cannot be a worker"), "{said}");
}

/// What is not there is said, and nothing is proposed in its place.
#[test]
fn scripts_that_are_not_there_are_named() {
    let folder = package("missing");
    let path = folder.0.join("package.json");
    for (words, name) in [
        (&["npm", "run", "prod"][..], "prod"),
        (&["yarn", "prod"], "prod"),
        (&["node", "--run", "prod"], "prod"),
    ] {
        let mut command = cluster();
        let (status, said) = fail(command.current_dir(&folder.0).arg("run").args(words));
        assert_eq!(status, Some(1), "{said}");
        let wanted = format!(
            "{} has no script {name:?} (it has \"built\", \"dev\", \"exec\", \"npx\", \"start\")",
            path.display()
        );
        assert!(said.contains(&wanted), "{said}");
        assert!(!said.contains("FILE"), "{said}");
    }
    let empty = Folder::new("no-package");
    let (_, said) = fail(cluster().current_dir(&empty.0).args(["run", "npm", "start"]));
    assert!(said.contains("there is no package.json in "), "{said}");
    assert!(!said.contains("FILE"), "{said}");
}

/// A package in a folder above, and options that name a folder.
#[test]
fn the_folder_is_named_once() {
    let folder = package("folder");
    let inside = folder.0.join("src");
    std::fs::create_dir(&inside).expect("a folder");
    let mut command = cluster();
    command.current_dir(&folder.0).args(["run", "--cwd", "src", "-n", "3", "npm", "start"]);
    let (_, said) = fail(&mut command);
    let wanted = format!("cluster run -n 3 --cwd {} server.js (", folder.0.display());
    assert!(said.contains(&wanted), "{said}");
    let mut command = cluster();
    command.current_dir("/").args(["run", "--cwd"]).arg(&folder.0).args(["npm", "start"]);
    let (_, said) = fail(&mut command);
    let wanted = format!("cluster run --cwd {} server.js (", folder.0.display());
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn what_is_recommended_serves() {
    if nodes().is_empty() {
        return;
    }
    let folder = package("recommended");
    let (_, said) = fail(cluster().current_dir(&folder.0).args(["run", "npm", "start"]));
    let mut words = recommended(&said);
    assert_eq!(words, ["run", "server.js"]);
    words.splice(1..1, ["-n".into(), "1".into()]);
    let cluster = Cluster::start(cluster().current_dir(&folder.0).args(words));
    assert_eq!(get(cluster.listening(1)).expect("it serves"), "hi");
    cluster.end();
}

/// tsx is installed where `AGENT_TEST_TSX` says.
#[test]
fn tsx_is_replaced_by_its_loader() {
    let folder = package("tsx");
    folder.file("app.ts", &format!("const answer: number = 1;\n{SERVER}"), 0o644);
    std::fs::create_dir(folder.0.join("bin")).expect("a folder");
    folder.file("bin/tsx", "#!/usr/bin/env node\n", 0o755);
    let run = |words: &[&str]| fail(cluster().current_dir(&folder.0).arg("run").args(words)).1;
    let said = run(&["bin/tsx", "app.ts"]);
    assert!(said.contains("tsx cannot be a worker"), "{said}");
    let words = recommended(&said);
    assert_eq!(words, ["run", "node", "--import", "tsx", "app.ts"]);
    assert_eq!(recommended(&run(&["--exec-path", "bin/tsx", "app.ts"])), words);
    let said = run(&["bin/tsx", "watch", "app.ts"]);
    assert!(said.contains("node --import tsx app.ts; after a change, cluster reload"), "{said}");
    let Some(tsx) = std::env::var_os("AGENT_TEST_TSX") else {
        println!("skipped: AGENT_TEST_TSX is not set");
        return;
    };
    std::os::unix::fs::symlink(Path::new(&tsx).join("node_modules"), folder.0.join("node_modules"))
        .expect("a link");
    let cluster = Cluster::start(cluster().current_dir(&folder.0).args(words).args(["x"]));
    assert_eq!(get(cluster.listening(1)).expect("it serves"), "hi");
    cluster.end();
}

#[test]
fn a_program_that_only_has_such_a_name_runs() {
    let folder = Folder::new("names");
    folder.file("tsx", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let cluster = Cluster::start(
        cluster().current_dir(&folder.0).args(["run", "-n", "1", "--ready", "alive", "./tsx"]),
    );
    let lines = cluster.err.wait_for(1, |line| line.ends_with("started"));
    assert_eq!(lines.len(), 1);
    assert!(!cluster.err.all().iter().any(|line| line.contains("child process")));
    cluster.end();
}

#[test]
fn one_who_insists_gets_a_hint() {
    let folder = package("insists");
    let npm = folder.file("npm", "#!/bin/sh\necho \"npm $1\"\nexec sleep 1000\n", 0o755);
    let mut command = cluster();
    command.current_dir(&folder.0).args(["run", "-n", "1", "--ready", "alive"]).arg(npm);
    let cluster = Cluster::start(command.arg("start"));
    cluster.out.wait_for(1, |line| line == "[0] npm start");
    let hints = cluster.err.wait_for(1, |line| line.starts_with("cluster: hint: npm starts the"));
    assert!(hints[0].contains("Run the server itself: cluster run -n 1 server.js"), "{hints:?}");
    cluster.end();
}

#[test]
fn a_reload_that_would_run_a_wrapper_is_refused() {
    if nodes().is_empty() {
        return;
    }
    let folder = package("reload");
    let config = folder.file("cluster.toml", "program = ['server.js']\nworkers = 1\n", 0o644);
    let name = format!("wrapper-{}", std::process::id());
    let mut run = cluster();
    run.current_dir(&folder.0).args(["run", "--name", &name, "--config"]).arg(&config);
    let cluster = Cluster::start(&mut run);
    let address = cluster.listening(1);
    folder.file("cluster.toml", "program = ['npm', 'start']\nworkers = 1\n", 0o644);
    cluster.signal(Signal::HUP);
    let said = cluster.err.wait_for(1, |line| line.contains("nothing is reloaded"));
    assert!(said[0].contains("npm cannot be a worker"), "{said:?}");
    let status = support::cluster().args(["status", "--json", "--name", &name]).output();
    let status = String::from_utf8(status.expect("it starts").stdout).expect("it is text");
    assert!(status.contains(r#""reason":"npm cannot be a worker"#), "{status}");
    assert_eq!(get(address).expect("the old worker serves"), "hi");
    cluster.end();
}
