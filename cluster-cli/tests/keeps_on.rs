//! What happens to one worker must not keep `cluster run` from anything, nor the others from serving.

mod support;

use rustix::process::Signal;
use support::{Cluster, Folder, cluster, eventually, get, kill};

#[test]
fn a_worker_that_talks_without_end_does_not_keep_the_end_from_coming() {
    let folder = Folder::new("talker");
    let program = folder.file("talker", "#!/bin/sh\nexec yes '\"on and on\"' >&3\n", 0o755);
    let mut cluster =
        Cluster::start(cluster().args(["run", "-n", "2", "--grace", "0"]).arg(program));
    cluster.err.wait_for(2, |l| l.ends_with(" started"));
    cluster.signal(Signal::TERM);
    let status = cluster.wait();
    assert_eq!(status.code(), Some(0), "{:#?}", cluster.err.all());
    support::assert_gone(&cluster.worker_pids());
}

#[test]
fn a_program_that_is_away_for_a_while_ends_nothing() {
    let demo = env!("CARGO_BIN_EXE_cluster");
    let text = format!("#!/bin/sh\nexec {demo} demo-worker 127.0.0.1:0\n");
    let folder = Folder::new("deployed");
    let program = folder.file("deployed", &text, 0o755);
    let away = program.with_extension("away");
    let cluster = Cluster::start(cluster().args(["run", "-n", "2"]).arg(&program));
    let address = cluster.listening(2);
    std::fs::rename(&program, &away).unwrap();
    kill(cluster.worker_pids()[0], Signal::KILL);
    cluster.err.wait_for(3, |l| l.contains("cannot execute") && l.contains("deployed"));
    get(address).expect("the other one serves on");
    std::fs::rename(&away, &program).unwrap();
    cluster.err.wait_for(3, |l| l.contains(" listens on "));
    eventually("both serve", || {
        let answers: Vec<_> = (0..4).map(|_| get(address).unwrap()).collect();
        (answers[0] != answers[1] && answers[0] == answers[2]).then_some(())
    });
    cluster.end();
}
