//! How many connections are under way to a worker: more while it keeps up, one when it does not.

#[path = "support/machine.rs"]
mod support;

use std::time::Duration;

use cluster_primary::machine::{Input, Output};
use cluster_primary::proto::{ClusterBody, Message, native};
use cluster_primary::{ConnId, Mono, PolicyName, ServerId, Settings, WorkerId};
use support::Cluster;

const MAX: u32 = 16;

fn two() -> (Cluster, [WorkerId; 2], ServerId) {
    let mut settings = Settings::new("app");
    settings.limits.max_window = MAX;
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.fork(), cluster.fork()];
    let server = cluster.serves(workers[0], 80);
    cluster.serves(workers[1], 80);
    (cluster, workers, server)
}

fn under_way(cluster: &Cluster, worker: WorkerId, answered: &[ConnId]) -> Vec<ConnId> {
    let sent = cluster.sent.iter().filter(|(_, (to, _))| *to == worker);
    sent.map(|(conn, _)| *conn).filter(|conn| !answered.contains(conn)).collect()
}

/// Lets both work through so many connections, each answered in its turn and at once.
fn warm_up(cluster: &mut Cluster, server: ServerId, connections: usize) -> Vec<ConnId> {
    let mut answered = Vec::new();
    let mut waiting: Vec<_> = (0..connections).map(|_| cluster.connects(server).0).collect();
    while !waiting.is_empty() {
        let (sent, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|conn| cluster.sent.contains_key(conn));
        assert!(!sent.is_empty(), "a worker is always asked");
        for conn in sent {
            cluster.takes(conn);
            answered.push(conn);
        }
        waiting = rest;
    }
    answered
}

#[test]
fn it_grows_while_a_worker_keeps_up() {
    let (mut cluster, workers, server) = two();
    let first: Vec<_> = (0..3).map(|_| cluster.connects(server).0).collect();
    let asked = |cluster: &Cluster| workers.map(|worker| under_way(cluster, worker, &[]).len());
    assert_eq!(asked(&cluster), [1, 1], "one each at first, and one waits");
    first.iter().for_each(|conn| drop(cluster.takes(*conn)));
    let mut answered = warm_up(&mut cluster, server, 200);
    answered.extend(first);
    for _ in 0..3 * MAX {
        cluster.connects(server);
    }
    let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
    assert_eq!(now, [MAX as usize; 2]);
}

fn given(cluster: &Cluster, worker: WorkerId) -> Vec<ConnId> {
    under_way(cluster, worker, &[])
}

/// The worker answers for all that it has been given, and is given for that; how often it answered.
fn answers_all(cluster: &mut Cluster, worker: WorkerId, mut answered: usize) -> usize {
    while let Some(&conn) = given(cluster, worker).get(answered) {
        cluster.takes(conn);
        answered += 1;
    }
    answered
}

/// The system runs one of them first.
#[test]
fn what_comes_at_once_is_dealt_evenly_though_one_worker_answers_before_the_others_do() {
    for policy in [PolicyName::RoundRobin, PolicyName::LeastConnections] {
        let mut settings = Settings::new("app");
        settings.policy = policy;
        let mut cluster = Cluster::with(settings);
        let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
        let server = workers.map(|worker| cluster.serves(worker, 80))[0];
        (0..90).for_each(|_| drop(cluster.connects(server)));
        // A worker is sent no more than it has shown that it can take.
        assert_eq!(workers.map(|worker| given(&cluster, worker).len()), [1; 3], "{policy}");
        for (worker, before) in workers.into_iter().zip([[1, 1], [30, 1], [30, 30]]) {
            let others = workers.into_iter().filter(|other| *other != worker);
            let theirs: Vec<_> = others.map(|other| given(&cluster, other).len()).collect();
            assert_eq!(theirs, before, "{policy}");
            assert_eq!(answers_all(&mut cluster, worker, 0), 30, "{policy}");
        }
    }
}

#[test]
fn what_is_kept_back_for_a_worker_that_does_not_answer_soon_goes_to_others() {
    let (mut cluster, [blocked, other], server) = two();
    (0..20).for_each(|_| drop(cluster.connects(server)));
    assert_eq!(answers_all(&mut cluster, other, 0), 10);
    cluster.wait(Duration::from_millis(9));
    assert_eq!(given(&cluster, other).len(), 10);
    cluster.wait(Duration::from_millis(1));
    assert_eq!(answers_all(&mut cluster, other, 10), 19, "all but the one that is there already");
    assert_eq!(given(&cluster, blocked).len(), 1);
    // It answers, but late: it is given what comes only when it has nothing else.
    cluster.wait(Duration::from_millis(1));
    let conn = given(&cluster, blocked)[0];
    cluster.takes(conn);
    (0..4).for_each(|_| drop(cluster.connects(server)));
    assert_eq!(given(&cluster, blocked).len(), 2);
    assert_eq!(answers_all(&mut cluster, other, 19), 22);
    // Now it is prompt again, and has its turns.
    let conn = given(&cluster, blocked)[1];
    cluster.takes(conn);
    (0..8).for_each(|_| drop(cluster.connects(server)));
    assert_eq!(answers_all(&mut cluster, other, 22), 26);
    assert_eq!(answers_all(&mut cluster, blocked, 2), 6);
}

/// All were blocked for a moment: the first that is back gets no more by turns than it takes.
#[test]
fn what_waits_is_not_assigned_to_one_worker() {
    let (mut cluster, [one, two], server) = two();
    (0..20).for_each(|_| drop(cluster.connects(server)));
    cluster.wait(Duration::from_millis(10));
    cluster.wait(Duration::from_millis(1));
    for answered in 0..3 {
        let conn = given(&cluster, one)[answered];
        cluster.takes(conn);
    }
    assert_eq!(answers_all(&mut cluster, two, 0), 20 - given(&cluster, one).len());
    assert!(given(&cluster, one).len() < 8, "{:?}", given(&cluster, one));
}

/// One that answers now and then gets a part of what is kept back for it, and the rest goes to others soon.
#[test]
fn nothing_is_kept_back_for_long() {
    let (mut cluster, [slow, other], server) = two();
    (0..32).for_each(|_| drop(cluster.connects(server)));
    assert_eq!(answers_all(&mut cluster, other, 0), 16);
    for answered in 0..3 {
        let conn = given(&cluster, slow)[answered];
        cluster.takes(conn);
        cluster.wait(Duration::from_millis(3));
    }
    assert_eq!(given(&cluster, other).len(), 16);
    cluster.wait(Duration::from_millis(1));
    answers_all(&mut cluster, other, 16);
    assert_eq!(given(&cluster, slow).len() + given(&cluster, other).len(), 32);
}

#[test]
fn what_is_kept_back_for_a_worker_that_leaves_goes_to_others() {
    for dies in [false, true] {
        let (mut cluster, [leaves, stays], server) = two();
        (0..10).for_each(|_| drop(cluster.connects(server)));
        if dies {
            cluster.closes_channel(leaves);
        } else {
            cluster.input(Input::Disconnect { worker: leaves });
        }
        let all = if dies { 10 } else { 9 };
        assert_eq!(answers_all(&mut cluster, stays, 0), all, "it dies: {dies}");
    }
}

/// A worker that serves several servers has a share of its window for each.
#[test]
fn what_comes_at_once_to_one_of_several_servers_is_dealt_evenly_too() {
    let (mut cluster, [quick, other], server) = two();
    let second = [quick, other].map(|worker| cluster.serves(worker, 81))[0];
    (0..12).for_each(|_| drop(cluster.connects(server)));
    let (elsewhere, _) = cluster.connects(second);
    assert!(cluster.sent.contains_key(&elsewhere), "the other server does not wait for this one");
    cluster.takes(elsewhere);
    answers_all(&mut cluster, quick, 0);
    answers_all(&mut cluster, other, 0);
    let of_first = |worker| given(&cluster, worker).iter().filter(|c| **c != elsewhere).count();
    assert_eq!([quick, other].map(of_first), [6, 6]);
}

#[test]
fn who_blocks_gets_no_more_and_the_others_take_the_rest() {
    let (mut cluster, workers, server) = two();
    let mut answered = warm_up(&mut cluster, server, 200);
    // The first worker says nothing from now on.
    let conn = loop {
        let (conn, _) = cluster.connects(server);
        if cluster.sent[&conn].0 == workers[0] {
            break conn;
        }
        cluster.takes(conn);
        answered.push(conn);
    };
    cluster.wait(Duration::from_millis(51));
    for _ in 0..100 {
        let (conn, _) = cluster.connects(server);
        assert_eq!(cluster.sent.get(&conn).map(|sent| sent.0), Some(workers[1]));
        cluster.takes(conn);
    }
    // It is back.
    cluster.takes(conn);
    let next: Vec<_> = (0..4).map(|_| cluster.connects(server).0).collect();
    let sent = next.iter().filter_map(|conn| cluster.sent.get(conn));
    let to_first = sent.filter(|(worker, _)| *worker == workers[0]).count();
    assert_eq!(to_first, 1, "it has to show anew that it keeps up");
}

/// It took one connection and forgot it, say, and goes on with others.
#[test]
fn who_leaves_one_unanswered_is_given_no_more_for_its_answers_to_others() {
    let (mut cluster, workers, server) = two();
    warm_up(&mut cluster, server, 200);
    let sent_to_first = |cluster: &Cluster, conns: &[ConnId]| -> Vec<ConnId> {
        let to_first = |conn: &&ConnId| cluster.sent.get(conn).is_some_and(|s| s.0 == workers[0]);
        conns.iter().filter(to_first).copied().collect()
    };
    let conns: Vec<_> = (0..2).map(|_| cluster.connects(server).0).collect();
    let forgotten = sent_to_first(&cluster, &conns)[0];
    cluster.wait(Duration::from_millis(45));
    let conns: Vec<_> = (0..6).map(|_| cluster.connects(server).0).collect();
    let late = sent_to_first(&cluster, &conns);
    assert_eq!(late.len(), 3);
    cluster.wait(Duration::from_millis(6));
    let waiting: Vec<_> = (0..100).map(|_| cluster.connects(server).0).collect();
    // Prompt all the same.
    late.into_iter().for_each(|conn| drop(cluster.takes(conn)));
    assert_eq!(sent_to_first(&cluster, &waiting), [], "it has one, and that is all");
    cluster.takes(forgotten);
    assert_eq!(sent_to_first(&cluster, &waiting).len(), 1);
}

#[test]
fn a_slow_answer_counts_without_a_poll_in_between() {
    let (mut cluster, workers, server) = two();
    let mut answered = warm_up(&mut cluster, server, 200);
    let conns: Vec<_> = (0..6).map(|_| cluster.connects(server).0).collect();
    cluster.now += Duration::from_millis(60);
    for conn in conns {
        cluster.takes(conn);
        answered.push(conn);
    }
    for _ in 0..4 {
        cluster.connects(server);
    }
    let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
    assert_eq!(now, [1, 1]);
}

#[test]
fn all_windows_together_stay_within_the_descriptors() {
    let (mut cluster, workers, server) = two();
    cluster.machine.limit_descriptors(10);
    let answered = warm_up(&mut cluster, server, 200);
    for _ in 0..3 * MAX {
        cluster.connects(server);
    }
    let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
    assert_eq!(now, [5, 5]);
}

/// A worker's servers share its window.
#[test]
fn several_servers_stay_within_them_too() {
    let (mut cluster, workers, first) = two();
    let mut servers = vec![first];
    for port in [81, 82, 83] {
        servers.push(cluster.serves(workers[0], port));
        cluster.serves(workers[1], port);
    }
    for (limit, each) in [(usize::MAX, MAX as usize), (16, 8)] {
        cluster.machine.limit_descriptors(limit);
        let mut answered: Vec<_> = cluster.sent.keys().copied().collect();
        answered.iter().for_each(|conn| drop(cluster.takes(*conn)));
        for &server in &servers {
            answered.extend(warm_up(&mut cluster, server, 200));
        }
        for server in servers.iter().cycle().take(servers.len() * 3 * MAX as usize) {
            cluster.connects(*server);
        }
        let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
        assert_eq!(now, [each; 2], "at {limit}");
        // What waits is worked off.
        while cluster.machine.stats().waiting > 0 {
            for conn in cluster.sent.keys().copied().collect::<Vec<_>>() {
                cluster.takes(conn);
            }
        }
    }
}

#[test]
fn a_further_server_has_its_share_of_the_window_at_once() {
    let (mut cluster, workers, server) = two();
    let answered = warm_up(&mut cluster, server, 200);
    for port in [81, 82, 83] {
        cluster.serves(workers[0], port);
    }
    for _ in 0..3 * MAX {
        cluster.connects(server);
    }
    let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
    assert_eq!(now, [MAX as usize / 4, MAX as usize]);
}

#[test]
fn a_further_worker_has_its_share_of_the_descriptors_at_once() {
    let (mut cluster, workers, server) = two();
    cluster.machine.limit_descriptors(32);
    let answered = warm_up(&mut cluster, server, 200);
    cluster.fork();
    cluster.fork();
    for _ in 0..3 * MAX {
        cluster.connects(server);
    }
    let now = workers.map(|worker| under_way(&cluster, worker, &answered).len());
    assert_eq!(now, [8, 8]);
}

#[test]
fn the_machine_wakes_only_when_a_worker_may_have_become_slow() {
    let (mut cluster, _, server) = two();
    assert_eq!(cluster.machine.poll_timeout(), None);
    let (one, _) = cluster.connects(server);
    cluster.now = Mono::from_millis(7);
    let (two, _) = cluster.connects(server);
    assert_eq!(cluster.machine.poll_timeout(), Some(Mono::from_millis(50)));
    cluster.takes(one);
    assert_eq!(cluster.machine.poll_timeout(), Some(Mono::from_millis(57)));
    cluster.now = Mono::from_millis(57);
    cluster.wait(Duration::ZERO);
    assert_eq!(cluster.machine.poll_timeout(), None, "that it is slow is said once");
    cluster.takes(two);
    assert_eq!(cluster.machine.poll_timeout(), None);
}

#[test]
fn a_worker_that_offers_the_native_wire_gets_it() {
    let mut cluster = Cluster::new();
    let worker = cluster.machine.next_worker();
    cluster.input(Input::Forked { worker, pid: 1, slot: None });
    let Message::Cluster(mut online) = Message::cluster(0, None, ClusterBody::Online) else {
        unreachable!()
    };
    assert!(!cluster.machine.worker(worker).unwrap().native);
    native::offer(&mut online);
    let message = Message::Cluster(online);
    cluster
        .machine
        .handle_input(Mono::ZERO, Input::Received { worker, message, handle: None, arrived: true });
    let first = cluster.machine.poll_output();
    assert!(
        matches!(first, Some(Output::Negotiate { worker: to, offered: 1 }) if to == worker),
        "{first:?}"
    );
    assert!(cluster.machine.worker(worker).unwrap().native);
}

#[test]
fn where_loads_count_a_native_worker_is_asked_for_its_own() {
    let mut settings = Settings::new("app").policy(PolicyName::LeastConnections);
    settings.limits.max_window = 1;
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.machine.next_worker(), cluster.machine.next_worker()];
    for worker in workers {
        cluster.input(Input::Forked { worker, pid: 1, slot: None });
        let Message::Cluster(mut online) = Message::cluster(0, None, ClusterBody::Online) else {
            unreachable!()
        };
        native::offer(&mut online);
        let message = Message::Cluster(online);
        cluster.machine.handle_input(
            cluster.now,
            Input::Received { worker, message, handle: None, arrived: true },
        );
        let mut asked = 0;
        while let Some(output) = cluster.machine.poll_output() {
            asked += usize::from(
                matches!(output, Output::Send { message, .. } if native::asks_held(&message)),
            );
        }
        assert_eq!(asked, 1);
    }
    for (worker, held) in workers.into_iter().zip([3, 0]) {
        let message = native::held(held);
        cluster.input(Input::Received { worker, message, handle: None, arrived: true });
    }
    let server = cluster.serves(workers[0], 80);
    cluster.serves(workers[1], 80);
    for _ in 0..3 {
        let (conn, _) = cluster.connects(server);
        assert_eq!(cluster.sent[&conn].0, workers[1]);
        cluster.takes(conn);
    }
    // Both hold three now, and the first has waited longer.
    let (conn, _) = cluster.connects(server);
    assert_eq!(cluster.sent[&conn].0, workers[0]);
}
