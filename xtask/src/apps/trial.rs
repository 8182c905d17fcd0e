//! One app under one Node with one placement: started, reloaded twice under load, stopped.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::catalog::App;
use super::cluster::Cluster;
use super::load::{Load, Target};
use super::outcome::Outcome;
use super::packages::Installed;
use super::placement::Placement;
use super::shutdown_log::ShutdownLog;
use crate::node::Node;
use crate::step;

const WORKERS: u32 = 2;
const RELOADS: u32 = 2;

/// Clients that open a connection for each request, and clients that keep theirs.
const FRESH: u8 = 4;
const KEPT: u8 = 4;

/// Requests before the first reload and after each one.
const BETWEEN: u64 = 200;

pub(crate) struct Trial<'a> {
    pub(crate) app: &'a App,
    pub(crate) node: &'a Node,
    pub(crate) placement: Placement,
    pub(crate) installed: &'a Installed,
    /// Further options for `cluster run`.
    pub(crate) more: &'a [String],
    /// The service that some apps call.
    pub(crate) upstream: &'a str,
}

impl Trial<'_> {
    /// # Errors
    /// If the app does not start, a reload is aborted, or something takes far too long.
    pub(crate) fn run(&self) -> io::Result<Outcome> {
        let data = self.installed.folder.join("data").join(self.placement.to_string());
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&data)?,
        }
        let shutdown_log = data.join("shutdown.log");
        let control = std::env::temp_dir().join(format!("xtask-apps-{}.sock", std::process::id()));
        let mut command = self.command(&data, &shutdown_log, &control);
        let workers = WORKERS as usize;
        let events = data.join("cluster.log");
        let (cluster, port) = Cluster::start(&mut command, &control, workers, &events)?;

        let target = Target { port, protocol: self.app.protocol, path: self.app.path };
        let load = Load::start(target, FRESH, KEPT);
        load.wait_for(BETWEEN)?;
        let mut reloading = Duration::ZERO;
        for _ in 0..RELOADS {
            let begun = step::now();
            cluster.reload()?;
            reloading += begun.elapsed();
            load.wait_for(BETWEEN)?;
        }
        // Requests to a cluster that stops are refused, so there are none; kept connections stay open, as a
        // proxy's would, and must not hold up the stop.
        let clients = load.quiesce()?;
        let (status, seen) = cluster.stop()?;
        let tally = clients.finish();

        let log = ShutdownLog::parse(&fs::read_to_string(&shutdown_log).unwrap_or_default());
        Ok(Outcome { reloading, replaced: RELOADS * WORKERS, tally, log, seen, status })
    }

    fn command(&self, data: &Path, shutdown_log: &Path, control: &Path) -> Command {
        let mut command = Command::new(step::target_dir().join("debug/cluster"));
        command.args(["run", "--json", "-n", &WORKERS.to_string(), "--control"]).arg(control);
        // What is measured is how workers leave, and no fixed time before that.
        command.args(["--min-ready-time", "0"]);
        command.args(["--placement", &self.placement.to_string(), "--exec-path"]);
        command.arg(&self.node.path).args(self.more).arg(&self.installed.program);
        command.current_dir(&self.installed.folder);
        command.env("PORT", "0").env("UPSTREAM", self.upstream);
        command.env("DATA_DIR", data).env("SHUTDOWN_LOG", shutdown_log);
        command
    }
}
