//! A supervised cluster in a tokio program, with real workers.

#[path = "../../cluster-primary/tests/support/process.rs"]
mod support;

use std::future::Future;
use std::net::TcpStream;
use std::time::Duration;

use cluster_primary::{Event, Gone, NoAnswer, Primary, SendError, WorkerId};
use cluster_supervisor::driver::{
    ClusterEvent, Config, Failure, Notice, Outcome, Ready, Supervised,
};
use cluster_supervisor::tokio::{
    AsyncSupervised, Ended, Handle, QueueLimits, ReloadError, RequestError,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use support::{LIMIT, puppet, serve_from_any_worker};

/// What hangs fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn config(workers: u32) -> Config {
    let mut config = Config::new(workers);
    config.ready = Ready::Online;
    config.min_ready_time = Duration::ZERO;
    config
}

fn supervised(config: Config) -> Supervised {
    Supervised::new(Primary::new(puppet()).expect("a poll"), config)
}

/// A cluster whose workers are ready.
async fn start(workers: u32) -> (AsyncSupervised, Handle) {
    let cluster = AsyncSupervised::start(supervised(config(workers))).expect("a runtime");
    let handle = cluster.handle();
    soon(handle.ready()).await.expect("it runs");
    (cluster, handle)
}

async fn workers(handle: &Handle) -> Vec<WorkerId> {
    soon(handle.call(|cluster| cluster.primary().workers())).await.expect("it runs")
}

/// What happens until the end.
async fn rest(cluster: &mut AsyncSupervised) -> Vec<ClusterEvent> {
    let mut rest = Vec::new();
    while let Some(happening) = soon(cluster.next()).await.expect("a poll") {
        rest.push(happening);
    }
    rest
}

#[tokio::test]
async fn a_reload_ends_with_its_outcome_and_so_does_one_that_fails() {
    let (mut cluster, handle) = start(2).await;
    let before = workers(&handle).await;
    let reload = tokio::spawn({
        let handle = handle.clone();
        async move { handle.reload().await }
    });
    let reloaded = soon(reload).await.expect("no panic").expect("new workers can be had");
    assert_eq!((reloaded.generation, reloaded.replaced), (1, 2));
    let after = workers(&handle).await;
    assert!(after.len() == 2 && after.iter().all(|worker| !before.contains(worker)), "{after:?}");

    let missing = |cluster: &mut Supervised| {
        cluster.primary_mut().setup(|settings| settings.exec = "/no/such/program".into());
    };
    soon(handle.call(missing)).await.expect("it runs");
    let error = soon(handle.reload()).await.expect_err("there is no such program");
    let ReloadError::Aborted { generation: 2, slot: 0, reason, replaced: 0, kept: 2, .. } = error
    else {
        panic!("{error:?}")
    };
    assert!(matches!(&reason, Failure::NotForked(why) if why.contains("/no/such/program")));
    assert_eq!(workers(&handle).await, after);

    assert_eq!(soon(handle.shutdown()).await, Ok(Outcome::AsAsked));
    let rest = rest(&mut cluster).await;
    let aborted =
        |h: &ClusterEvent| matches!(h, ClusterEvent::Notice(Notice::ReloadAborted { .. }));
    assert_eq!(rest.iter().filter(|happening| aborted(happening)).count(), 1);
}

/// Of two reloads at a time both calls end with the second.
#[tokio::test]
async fn reloads_at_a_time_end_together_and_the_end_of_the_cluster_ends_them() {
    let (_cluster, handle) = start(2).await;
    let (first, second) = tokio::join!(soon(handle.reload()), soon(handle.reload()));
    assert_eq!(first.expect("it completes").generation, 2);
    assert_eq!(second.expect("it completes").generation, 2);
    // Without a time for it a new worker never takes over.
    let slow = |cluster: &mut Supervised| {
        let mut config = cluster.supervisor().config().clone();
        config.min_ready_time = LIMIT * 10;
        cluster.supervisor_mut().configure(config);
    };
    soon(handle.call(slow)).await.expect("it runs");
    let end = async {
        let began = |cluster: &mut Supervised| cluster.supervisor().state().as_str();
        while soon(handle.call(began)).await.expect("it runs") != "reloading" {
            tokio::task::yield_now().await;
        }
        handle.shutdown().await
    };
    let (reload, outcome) = tokio::join!(soon(handle.reload()), soon(end));
    assert_eq!(reload, Err(ReloadError::Ended));
    assert_eq!(outcome, Ok(Outcome::AsAsked));
}

#[tokio::test]
async fn it_is_scaled_and_waits_until_all_are_ready() {
    let (_cluster, handle) = start(1).await;
    assert_eq!(soon(handle.scale(3)).await, Ok(1));
    soon(handle.ready()).await.expect("it runs");
    assert_eq!(workers(&handle).await.len(), 3);
    assert_eq!(soon(handle.scale(2)).await, Ok(3));
    assert_eq!(soon(handle.shutdown()).await, Ok(Outcome::AsAsked));
    assert_eq!(soon(handle.scale(3)).await, Err(Ended));
    assert_eq!(soon(handle.ready()).await, Err(Ended));
    assert_eq!(soon(handle.reload()).await, Err(ReloadError::Ended));
}

#[tokio::test]
async fn a_worker_is_asked_from_any_task() {
    let (mut cluster, handle) = start(2).await;
    for worker in workers(&handle).await {
        let ask = |what: &'static str| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.request::<(u32, String)>(worker, what, LIMIT).await })
        };
        let (one, other) = tokio::join!(soon(ask("one")), soon(ask("other")));
        assert_eq!(one.expect("no panic").expect("an answer"), (worker.0, "one".into()));
        assert_eq!(other.expect("no panic").expect("an answer"), (worker.0, "other".into()));
        let refused = soon(ask("refuse")).await.expect("no panic").expect_err("it refuses");
        let NoAnswer::Refused { reason } = (match refused {
            RequestError::NoAnswer(reason) => reason,
            other => panic!("{other:?}"),
        }) else {
            panic!("another reason")
        };
        assert_eq!(reason, "as told");
        let kind = handle.request::<u64>(worker, "text", LIMIT);
        assert!(matches!(soon(kind).await, Err(RequestError::Type { .. })));
        let late = handle.request::<u64>(worker, "keep", Duration::from_millis(1));
        let late = soon(late).await;
        assert!(matches!(late, Err(RequestError::NoAnswer(NoAnswer::TimedOut { .. }))), "{late:?}");
    }
    let none = handle.request::<u64>(WorkerId(99), "x", LIMIT);
    let none = soon(none).await;
    assert!(matches!(none, Err(RequestError::Send(SendError::Closed { .. }))), "{none:?}");
    soon(handle.shutdown()).await.expect("it ends");
    let answers = rest(&mut cluster).await;
    let told = |h: &&ClusterEvent| matches!(h, ClusterEvent::Event(Event::Answered { .. }));
    assert_eq!(answers.iter().find(told).map(|_| ()), None, "callers have them");
}

#[tokio::test]
async fn several_may_wait_for_one_end() {
    let (mut cluster, handle) = start(2).await;
    let ends = [(); 3].map(|()| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.shutdown().await })
    });
    let outcome = soon(handle.outcome()).await;
    assert_eq!(outcome, Ok(Outcome::AsAsked));
    for end in ends {
        assert_eq!(soon(end).await.expect("no panic"), outcome);
    }
    rest(&mut cluster).await;
    assert!(soon(cluster.next()).await.expect("it has ended").is_none());
    assert_eq!(soon(handle.call(|_| ())).await, Err(Gone));
    assert_eq!(soon(handle.shutdown()).await, outcome);
}

/// The program takes no event, and connections are served all the same.
#[tokio::test]
async fn a_slow_program_delays_no_connection_and_no_replacement() {
    let (mut cluster, handle) = start(1).await;
    let worker = workers(&handle).await[0];
    let listen =
        move |cluster: &mut Supervised| cluster.primary_mut().send(worker, "tcp 127.0.0.1:0");
    soon(handle.call(listen)).await.expect("it runs").expect("it is connected");
    let address = soon(async {
        loop {
            let listening = handle.call(move |cluster| cluster.primary().listening(worker)).await;
            match listening.expect("it runs").first() {
                Some(address) => break address.to_string(),
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    for _ in 0..20 {
        let address = address.clone();
        let client = tokio::task::spawn_blocking(move || {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
            serve_from_any_worker(stream)
        });
        assert_eq!(soon(client).await.expect("no panic"), worker);
    }
    let kill = move |cluster: &mut Supervised| {
        cluster.primary_mut().kill(worker, cluster_primary::Signal::KILL)
    };
    assert!(soon(handle.call(kill)).await.expect("it runs").expect("it is ours"));
    soon(async {
        while workers(&handle).await.first().is_none_or(|now| *now == worker) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(handle.shutdown()).await.expect("it ends");
    let events = rest(&mut cluster).await;
    let is_exit = |h: &&ClusterEvent| matches!(h, ClusterEvent::Event(Event::Exit { .. }));
    assert_eq!(events.iter().filter(is_exit).count(), 2, "events have waited");
}

#[tokio::test]
async fn events_beyond_the_limit_are_lost_counted_and_their_workers_told() {
    const FLOOD: u64 = 1000;
    let limits = QueueLimits::new().events(10);
    let cluster = AsyncSupervised::start_with(supervised(config(1)), limits);
    let mut cluster = cluster.expect("a runtime");
    let handle = cluster.handle();
    soon(handle.ready()).await.expect("it runs");
    let worker = workers(&handle).await[0];
    let send = |what: &'static str| {
        let send = move |cluster: &mut Supervised| cluster.primary_mut().send(worker, what);
        let said = handle.call(send);
        async { soon(said).await.expect("it runs").expect("it is connected") }
    };
    send("flood 1000").await;
    // The worker answers when it has sent everything.
    let answer = soon(handle.request::<(u32, String)>(worker, "done", LIMIT)).await;
    assert_eq!(answer.expect("an answer"), (worker.0, "done".into()));
    // It would wait for ten minutes, and does nothing else meanwhile: but its request is refused.
    send("ask 600000 anything").await;
    soon(handle.request::<(u32, String)>(worker, "done", LIMIT)).await.expect("an answer");

    soon(handle.shutdown()).await.expect("it ends");
    let (mut queued, mut lost) = (0, 0);
    for happening in rest(&mut cluster).await {
        match happening {
            ClusterEvent::Lost { events } => lost += events,
            _ => queued += 1,
        }
    }
    assert!(queued <= 10, "{queued}");
    assert!(queued + lost > FLOOD, "{queued} were queued, {lost} lost");
}

/// What comes faster than it is taken waits in the channels, not in memory, and holds nothing up.
#[tokio::test]
async fn workers_that_talk_without_end_hold_up_no_replacement() {
    let limits = QueueLimits::new().events(10);
    let cluster = AsyncSupervised::start_with(supervised(config(3)), limits);
    let cluster = cluster.expect("a runtime");
    let handle = cluster.handle();
    soon(handle.ready()).await.expect("it runs");
    let talking = workers(&handle).await;
    for worker in talking.clone() {
        let flood = move |cluster: &mut Supervised| {
            cluster.primary_mut().send(worker, "flood 100000000").map(drop)
        };
        soon(handle.call(flood)).await.expect("it runs").expect("it is connected");
    }
    let victim = talking[0];
    for _ in 0..100 {
        soon(handle.call(|_| ())).await.expect("it runs");
    }
    let kill = move |cluster: &mut Supervised| {
        cluster.primary_mut().kill(victim, cluster_primary::Signal::KILL)
    };
    assert!(soon(handle.call(kill)).await.expect("it runs").expect("it is ours"));
    soon(async {
        loop {
            let now = workers(&handle).await;
            if now.len() == 3 && !now.contains(&victim) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(handle.shutdown_now()).await.expect("it ends");
}

/// As when a `Supervised` is dropped.
#[tokio::test]
async fn workers_exit_when_neither_cluster_nor_handle_is_left() {
    let (mut cluster, handle) = start(1).await;
    let pid = loop {
        match soon(cluster.next()).await.expect("a poll") {
            Some(ClusterEvent::Event(Event::Fork { pid, .. })) => break pid,
            Some(_) => {}
            None => panic!("it ends"),
        }
    };
    drop(cluster);
    assert_eq!(workers(&handle).await.len(), 1, "a handle keeps it");
    drop(handle);
    let pid = Pid::from_raw(pid.cast_signed());
    let exit = tokio::task::spawn_blocking(move || waitpid(pid, WaitOptions::empty()));
    let (_, status) = soon(exit).await.expect("no panic").expect("it is our child").expect("over");
    assert_eq!(status.exit_status(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_keeps_no_workers_is_a_primary() {
    let mut config = config(0);
    config.keep = false;
    let cluster = AsyncSupervised::start(supervised(config)).expect("a runtime");
    let handle = cluster.handle();
    let fork = |cluster: &mut Supervised| cluster.primary_mut().fork();
    let worker = soon(handle.call(fork)).await.expect("it runs").expect("it is there");
    let answer = soon(handle.request::<(u32, String)>(worker, "hello", LIMIT)).await;
    assert_eq!(answer.expect("an answer"), (worker.0, "hello".into()));
    assert_eq!(soon(handle.reload()).await, Err(ReloadError::Ended));
    assert_eq!(soon(handle.shutdown()).await, Ok(Outcome::AsAsked));
}

#[tokio::test]
async fn after_a_call_that_panics_all_learn_that_it_is_over() {
    let (mut cluster, handle) = start(1).await;
    let outcome = tokio::spawn({
        let handle = handle.clone();
        async move { handle.outcome().await }
    });
    let panics: Result<(), Gone> = soon(handle.call(|_| panic!("on purpose"))).await;
    assert_eq!(panics, Err(Gone));
    assert_eq!(soon(outcome).await.expect("no panic"), Err(Gone));
    assert_eq!(soon(handle.reload()).await, Err(ReloadError::Ended));
    let end = loop {
        match soon(cluster.next()).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err_and(|error| error.to_string().contains("has ended")));
}
