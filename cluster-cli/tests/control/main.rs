//! `cluster serve`, `cluster run --control` and `cluster ctl`, from outside.

#[path = "../support/client.rs"]
mod client;
mod clients;
mod ctl;
mod ending;
mod life;
#[cfg(target_os = "linux")]
mod limits;
mod messages;
mod settings;
mod socket;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use support::{Cluster, Folder, cluster};

fn serve(path: &Path, options: &[&str]) -> Cluster {
    let served = Cluster::start(cluster().arg("serve").arg("--control").arg(path).args(options));
    served.err.wait_for(1, |line| line.contains("ready"));
    served
}

/// A worker that echoes messages, and listens if it is told to.
fn worker(folder: &Folder) -> PathBuf {
    let path = folder.0.join("worker.cjs");
    let script = "
        const net = require('node:net');
        process.on('message', (message) => {
          if (message?.listen) {
            net.createServer((socket) => socket.end('hi')).listen(0, '127.0.0.1');
          } else if (message?.sendHandle) {
            const peer = net.connect(message.sendHandle);
            peer.on('connect', () => process.send('with a handle', peer));
          } else process.send({ echo: message, env: process.env.FROM_FORK ?? null });
        });
        console.log('printed');
    ";
    std::fs::write(&path, script).expect("a file");
    path
}
