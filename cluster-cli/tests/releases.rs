//! Deployments whose folder `current` is a link to a release: a reload starts the release that the link
//! leads to now, however the cluster was told where the program is.

mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, get, kill, nodes};

/// `releases/1`, `releases/2`, …, and the link.
struct Deployment(Folder);

impl Deployment {
    fn new(name: &str) -> Self {
        let deployment = Self(Folder::new(name));
        deployment.release(1);
        deployment.release(2);
        deployment.switch(1);
        deployment
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    fn current(&self) -> PathBuf {
        self.path("current")
    }

    fn release(&self, number: u32) {
        let folder = self.path(&format!("releases/{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let app = "require('node:http').createServer((req, res) => res.end(\
                   require('./release.cjs') + ' in ' + process.cwd())).listen(0, '127.0.0.1')";
        std::fs::write(folder.join("app.cjs"), app).unwrap();
        let said = format!("module.exports = 'release {number}'");
        std::fs::write(folder.join("release.cjs"), said).unwrap();
        std::fs::write(folder.join("cluster.toml"), "program = ['app.cjs']\nworkers = 1\n")
            .unwrap();
    }

    /// As `ln -sfn` and Capistrano do it: the link is replaced at once.
    fn switch(&self, number: u32) {
        let new = self.path("current.new");
        symlink(format!("releases/{number}"), &new).unwrap();
        std::fs::rename(&new, self.current()).unwrap();
    }

    fn remove(&self, number: u32) {
        std::fs::remove_dir_all(self.path(&format!("releases/{number}"))).unwrap();
    }

    /// `cd current && cluster run …`: as the shell does it, with the folder's name in `PWD`.
    fn run(&self, node: &Path, words: &[&str]) -> Cluster {
        let mut command = self.command(node, words);
        command.current_dir(self.current()).env("PWD", self.current());
        Cluster::start(&mut command)
    }

    fn command(&self, node: &Path, words: &[&str]) -> Command {
        let mut command = cluster();
        command.args(["run", "-n", "1", "--exec-path"]).arg(node).args(words);
        command
    }

    /// What the worker answers, once so many have listened.
    #[track_caller]
    fn answer(&self, cluster: &Cluster, count: usize) -> String {
        let lines = cluster.err.wait_for(count, |line| line.contains(" listens on "));
        let address = lines[count - 1].rsplit(' ').next().unwrap();
        get(address.parse().unwrap()).expect("it serves")
    }

    fn expected(&self, number: u32) -> String {
        let folder = self.path(&format!("releases/{number}")).canonicalize().unwrap();
        format!("release {number} in {}", folder.display())
    }
}

#[track_caller]
fn reload(cluster: &Cluster, number: u32) {
    cluster.signal(Signal::HUP);
    let over = [format!("reload {number} done"), format!("reload {number} was aborted")];
    let lines = cluster.err.wait_for(1, |line| over.iter().any(|over| line.contains(over)));
    assert!(lines[0].contains(" done: "), "{:#?}", cluster.err.all());
}

fn each(test: impl Fn(&Path)) {
    // What Node does with links does not differ from version to version.
    nodes().first().into_iter().for_each(|node| test(node));
}

#[test]
fn a_reload_starts_the_release_that_the_link_leads_to() {
    each(|node| {
        for words in [&["app.cjs"][..], &["./app.cjs"], &["--config", "cluster.toml"]] {
            let deployment = Deployment::new("releases");
            let cluster = deployment.run(node, words);
            assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1), "{words:?}");
            deployment.switch(2);
            // A worker that dies is replaced by one of the same release, until the reload.
            kill(cluster.worker_pids()[0], Signal::KILL);
            assert_eq!(deployment.answer(&cluster, 2), deployment.expected(1), "{words:?}");
            reload(&cluster, 1);
            assert_eq!(deployment.answer(&cluster, 3), deployment.expected(2), "{words:?}");
            // And back.
            deployment.switch(1);
            reload(&cluster, 2);
            assert_eq!(deployment.answer(&cluster, 4), deployment.expected(1), "{words:?}");
            cluster.end();
        }
    });
}

#[test]
fn the_old_release_may_be_removed_before() {
    each(|node| {
        for words in [&["app.cjs"][..], &["--config", "cluster.toml"]] {
            let deployment = Deployment::new("removed");
            let cluster = deployment.run(node, words);
            assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1), "{words:?}");
            deployment.switch(2);
            deployment.remove(1);
            reload(&cluster, 1);
            assert_eq!(deployment.answer(&cluster, 2), deployment.expected(2), "{words:?}");
            cluster.end();
        }
    });
}

#[test]
fn a_worker_that_dies_before_the_reload_is_missed_and_the_log_says_why() {
    each(|node| {
        let deployment = Deployment::new("missed");
        let cluster = deployment.run(node, &["app.cjs"]);
        assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1));
        deployment.switch(2);
        deployment.remove(1);
        kill(cluster.worker_pids()[0], Signal::KILL);
        cluster.err.wait_for(1, |line| line.contains("is relative to has been removed"));
        reload(&cluster, 1);
        assert_eq!(deployment.answer(&cluster, 2), deployment.expected(2));
    });
}

/// No shell says the folder's name there: the configuration file's does.
#[test]
fn a_configuration_file_is_found_by_its_absolute_name() {
    each(|node| {
        let deployment = Deployment::new("absolute");
        let config = deployment.current().join("cluster.toml");
        let words = ["--config", config.to_str().unwrap()];
        let cluster = deployment.run(node, &words);
        assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1));
        deployment.switch(2);
        deployment.remove(1);
        reload(&cluster, 1);
        assert_eq!(deployment.answer(&cluster, 2), deployment.expected(2));
        cluster.end();
        // From elsewhere, as a service manager starts it.
        let mut command = deployment.command(node, &words);
        let cluster = Cluster::start(command.current_dir("/").env_remove("PWD"));
        assert!(deployment.answer(&cluster, 1).starts_with("release 2 in /"));
        deployment.release(3);
        deployment.switch(3);
        reload(&cluster, 1);
        assert!(deployment.answer(&cluster, 2).starts_with("release 3 in /"));
        cluster.end();
    });
}

#[test]
fn an_upgrade_in_place_keeps_the_folders_name() {
    each(|node| {
        let deployment = Deployment::new("upgraded");
        let cluster = deployment.run(node, &["--config", "cluster.toml"]);
        assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1));
        deployment.switch(2);
        deployment.remove(1);
        // The new image finds neither its folder nor its file where they were.
        cluster.signal(Signal::USR2);
        cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
        reload(&cluster, 1);
        assert_eq!(deployment.answer(&cluster, 2), deployment.expected(2));
        cluster.end();
    });
}

/// Without a link: the folder's name stands for another one by now.
#[test]
fn a_folder_that_was_replaced_is_followed() {
    each(|node| {
        let deployment = Deployment::new("replaced");
        let app = deployment.path("app");
        std::fs::rename(deployment.path("releases/1"), &app).unwrap();
        let mut command = deployment.command(node, &["app.cjs"]);
        let cluster = Cluster::start(command.current_dir(&app).env_remove("PWD"));
        assert!(deployment.answer(&cluster, 1).starts_with("release 1 in "));
        std::fs::remove_dir_all(&app).unwrap();
        std::fs::rename(deployment.path("releases/2"), &app).unwrap();
        reload(&cluster, 1);
        assert!(deployment.answer(&cluster, 2).starts_with("release 2 in "));
        cluster.end();
    });
}

/// `PWD` may say anything: only where it names the same folder it is believed.
#[test]
fn a_variable_that_names_another_folder_is_not_believed() {
    each(|node| {
        let deployment = Deployment::new("elsewhere");
        let mut command = deployment.command(node, &["app.cjs"]);
        command.current_dir(deployment.current()).env("PWD", deployment.path("releases/2"));
        let cluster = Cluster::start(&mut command);
        assert_eq!(deployment.answer(&cluster, 1), deployment.expected(1));
        reload(&cluster, 1);
        assert_eq!(deployment.answer(&cluster, 2), deployment.expected(1));
        eventually("one is left", || (cluster.worker_pids().len() == 2).then_some(()));
        cluster.end();
    });
}
