//! A worker of another user than root's gets no socket, and changes and removes no file, that its user could
//! not: not even while it swaps folders for links all the time.

#[path = "support/dropped.rs"]
mod dropped;
#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use dropped::{Stage, WORKER, is_root, open_to_all};
use hostile::UnderAttack;
use rustix::process::Signal;
use support::{Cluster, eventually};

/// How often the worker tries.
const TRIES: &str = "100";

/// Mode, owner and group.
fn found(path: &Path) -> (u32, u32, u32) {
    let found = std::fs::symlink_metadata(path).expect("it is there");
    (found.permissions().mode() & 0o777, found.uid(), found.gid())
}

/// Every socket below that folder is of the workers' user.
fn assert_no_socket_of_root(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
        let Ok(found) = std::fs::symlink_metadata(entry.path()) else { continue };
        if found.is_dir() {
            assert_no_socket_of_root(&entry.path());
        }
        let is_roots = found.file_type().is_socket() && found.uid() == 0;
        assert!(!is_roots, "{} is root's", entry.path().display());
    }
}

#[test]
fn a_worker_that_swaps_paths_changes_and_removes_nothing_of_roots() {
    if !is_root() {
        return;
    }
    let stage = Stage::new("paths");
    let own = stage.own("own");
    let secrets = stage.folder.0.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    open_to_all(&secrets);
    let precious = stage.folder.file("secrets/precious", "secret", 0o600);
    let socket = secrets.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
    let (own, roots) = (own.to_str().unwrap(), secrets.to_str().unwrap());
    let arguments = [own, roots, TRIES, "precious", "socket", "new"];
    let mut attack = stage.run(&[], "paths", &arguments);
    let trial = UnderAttack::of(Cluster::start(&mut attack));
    let line = trial.cluster.out.wait_for(1, |line| line.contains("tried "))[0].clone();
    assert!(!line.contains(": 0 sockets"), "it never came to a socket: {line}");
    trial.survived().end();
    assert!(precious.exists() && socket.exists(), "removed: {line}");
    assert_eq!(found(&precious), (0o600, 0, 0), "{line}");
    assert_eq!(found(&socket), (0o600, 0, 0), "{line}");
    assert_eq!(std::fs::read_dir(&secrets).unwrap().count(), 2, "something was added: {line}");
    assert_no_socket_of_root(Path::new(own));
}

#[test]
fn a_worker_gets_a_socket_where_its_user_could_make_one_and_nowhere_else() {
    if !is_root() {
        return;
    }
    let stage = Stage::new("rights");
    let own = stage.own("own");
    let roots = stage.folder.0.join("roots");
    std::fs::create_dir(&roots).unwrap();
    open_to_all(&roots);
    // What is there already: a file of root's, and a dead socket of root's in the worker's own folder.
    let precious = stage.folder.file("own/precious", "secret", 0o600);
    let dead = own.join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let at = |path: &Path| format!("unix:{}", path.display());
    let (mine, theirs) = (own.join("mine"), roots.join("theirs"));
    let asked =
        [at(&mine), at(&theirs), at(&precious), at(&dead), "abstract:cluster-rights".into()];
    let arguments: Vec<_> = asked.iter().map(String::as_str).collect();
    for placement in ["handoff", "shared", "kernel"] {
        let mut run = stage.run(&["--placement", placement], "asks", &arguments);
        let cluster = Cluster::start(&mut run);
        cluster.out.wait_for(1, |line| line.contains("asked for all"));
        let said = cluster.out.all();
        let has = |what: &str| said.iter().any(|line| line.ends_with(what));
        assert!(has(&format!("has {}", at(&mine))), "{said:?}");
        assert!(has(&format!("refused {}: -13", at(&theirs))), "{said:?}");
        assert!(has(&format!("refused {}: -98", at(&precious))), "{said:?}");
        assert!(has(&format!("refused {}: -98", at(&dead))), "{said:?}");
        assert!(has("has abstract:cluster-rights"), "{said:?}");
        assert_eq!(found(&mine), (0o777, WORKER, WORKER), "open to all, as it asked, and its own");
        assert!(!theirs.exists());
        cluster.err.wait_for(1, |line| line.contains("may that user write in the folder?"));
        if placement == "handoff" {
            drop(UnixStream::connect(&mine).expect("it listens"));
        }
        cluster.end();
        assert!(!mine.exists(), "it is removed at the end");
        assert!(dead.exists() && precious.exists());
    }
}

/// `--socket-owner` takes root's rights, which act on the very file that was made.
#[test]
fn a_socket_is_given_away_and_the_place_of_a_dead_one_is_taken() {
    if !is_root() {
        return;
    }
    let stage = Stage::new("given");
    let own = stage.own("own");
    let path = own.join("given");
    let at = format!("unix:{}", path.display());
    let options = ["--socket-owner", "65533:65532", "--socket-mode", "0640"];
    let given = (0o640, 65533, 65532);
    for _ in 0..2 {
        let mut cluster = Cluster::start(&mut stage.run(&options, "asks", &[&at]));
        cluster.out.wait_for(1, |line| line.ends_with(&format!("has {at}")));
        assert_eq!(found(&path), given);
        let workers = cluster.worker_pids();
        cluster.signal(Signal::KILL);
        cluster.wait();
        for worker in workers {
            eventually("its worker ends", || {
                matches!(support::state(worker), None | Some('Z')).then_some(())
            });
        }
        assert!(path.exists(), "a killed one leaves its file");
    }
    let cluster = Cluster::start(&mut stage.run(&options, "asks", &[&at]));
    cluster.out.wait_for(1, |line| line.ends_with(&format!("has {at}")));
    cluster.signal(Signal::USR2);
    cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
    assert_eq!(found(&path), given);
    cluster.end();
    assert!(!path.exists(), "also by the next image");
}

/// The folder of `--listen unix:` may be the workers' own.
#[test]
fn a_passed_socket_is_removed_by_its_folder_and_not_by_its_path() {
    if !is_root() {
        return;
    }
    let stage = Stage::new("passed");
    let own = stage.own("own");
    let secrets = stage.folder.0.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let path = own.join("app.sock");
    let at = format!("unix:{}", path.display());
    for upgrades in [0, 1] {
        let mut command = support::cluster();
        command.args(["run", "-n", "1", "--uid", "65534", "--gid", "65534", "--listen", &at]);
        let cluster = Cluster::start(command.args(["sleep", "600"]));
        cluster.err.wait_for(1, |line| line.contains(") started"));
        // A hard link has the identity of what is looked for.
        std::fs::hard_link(&path, secrets.join("app.sock")).unwrap();
        let aside = stage.folder.0.join("aside");
        std::fs::rename(&own, &aside).unwrap();
        std::os::unix::fs::symlink(&secrets, &own).unwrap();
        for _ in 0..upgrades {
            cluster.signal(Signal::USR2);
            cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
        }
        cluster.end();
        assert!(secrets.join("app.sock").exists(), "a link was followed");
        assert!(!aside.join("app.sock").exists(), "it is removed where it was made");
        std::fs::remove_file(secrets.join("app.sock")).unwrap();
        std::fs::remove_file(&own).unwrap();
        std::fs::rename(&aside, &own).unwrap();
    }
}
