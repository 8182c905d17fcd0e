//! `cluster run .`: a folder as the program, as `node .` runs it.

mod support;

use support::{Cluster, Folder, cluster, get, nodes};

const SERVER: &str = "require('node:http').createServer((_, response) => response.end('main'))
    .listen(0, '127.0.0.1');";

#[test]
fn the_main_file_of_a_folder_is_run() {
    if nodes().is_empty() {
        return;
    }
    for (package, file) in [
        (Some(r#"{"main": "lib/server.js"}"#), "lib/server.js"),
        (Some(r#"{"main": "lib/server"}"#), "lib/server.js"),
        (Some(r#"{"main": "lib"}"#), "lib/index.js"),
        (None, "index.js"),
    ] {
        let folder = Folder::new("main");
        std::fs::create_dir(folder.0.join("lib")).unwrap();
        if let Some(package) = package {
            folder.file("package.json", package, 0o644);
        }
        folder.file(file, SERVER, 0o644);
        let mut run = cluster();
        run.current_dir(&folder.0).args(["run", "-n", "1", "."]);
        let cluster = Cluster::start(&mut run);
        assert_eq!(get(cluster.listening(1)).unwrap(), "main", "{package:?}");
        cluster.end();
        // By a path, and from a configuration file.
        let config = folder.file("cluster.toml", "program = ['.']\nworkers = 1\n", 0o644);
        let mut run = cluster_at(&["run", "--config"]);
        let cluster = Cluster::start(run.arg(&config));
        assert_eq!(get(cluster.listening(1)).unwrap(), "main", "{package:?}");
        cluster.end();
    }
}

fn cluster_at(words: &[&str]) -> std::process::Command {
    let mut command = cluster();
    command.current_dir("/").args(words);
    command
}

#[test]
fn a_folder_without_a_main_file_is_an_error_that_names_the_file() {
    for (package, wanted) in [
        (
            r#"{"main": "gone.js", "scripts": {"start": "node dist/app.js"}}"#,
            "Name the file: cluster run -n 2 dist/app.js --port 80",
        ),
        (r#"{"bin": "./cli.js"}"#, "Name the file: cluster run cli.js"),
        (r#"{"bin": {"app": "bin/app.js"}}"#, "Name the file: cluster run bin/app.js"),
        ("{}", "Name the file: cluster run FILE"),
    ] {
        let folder = Folder::new("no-main");
        folder.file("package.json", package, 0o644);
        let mut run = cluster();
        run.current_dir(&folder.0).args(["run", "-n", "2", ".", "--port", "80"]);
        let output = run.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(". is a folder, and has no main file that node would run"), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}
