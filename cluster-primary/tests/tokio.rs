//! A primary in a tokio program, with real workers.

#[path = "support/process.rs"]
mod support;

use std::net::TcpStream;
use std::time::Duration;

use cluster_primary::tokio::AsyncPrimary;
use cluster_primary::{Event, ExitStatus, Primary};
use support::{LIMIT, puppet, serve_from_any_worker};

async fn until(primary: &mut AsyncPrimary, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    let event = async {
        loop {
            match primary.next_event().await.expect("a poll") {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => panic!("nothing more happens"),
            }
        }
    };
    tokio::time::timeout(LIMIT, event).await.expect("in time")
}

fn start() -> AsyncPrimary {
    let mut primary = Primary::new(puppet()).expect("a poll");
    primary.fork().expect("it is there");
    AsyncPrimary::new(primary).expect("a runtime")
}

#[tokio::test]
async fn connections_are_handed_out_while_events_are_awaited() {
    let mut primary = start();
    let Event::Online { worker } = until(&mut primary, |e| matches!(e, Event::Online { .. })).await
    else {
        unreachable!()
    };
    primary.send(worker, "tcp 127.0.0.1:0").expect("it is connected");
    let listening = until(&mut primary, |e| matches!(e, Event::Message { .. })).await;
    let Event::Message { message, .. } = listening else { unreachable!() };
    let port: u16 = message.as_str().and_then(|said| said.split(' ').nth(1)?.parse().ok()).unwrap();
    for _ in 0..20 {
        let client = tokio::task::spawn_blocking(move || {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
            serve_from_any_worker(stream)
        });
        // The wait for an event is given up when the client has been served.
        let who = tokio::select! {
            who = client => who.expect("no panic"),
            event = until(&mut primary, |_| false) => unreachable!("{event:?}"),
        };
        assert_eq!(who, worker);
    }
    primary.disconnect();
    until(&mut primary, |e| matches!(e, Event::Disconnected)).await;
    let exit = until(&mut primary, |e| matches!(e, Event::Exit { .. })).await;
    assert!(matches!(exit, Event::Exit { status: ExitStatus::Code(0), .. }), "{exit:?}");
    let over = primary.next_event().await.expect("a poll");
    assert!(over.is_none(), "{over:?}");
}

/// However short the waits are that are given up: nothing is lost, and all gets on.
#[tokio::test]
async fn waits_that_are_given_up_lose_nothing() {
    let mut primary = start();
    let mut seen = Vec::new();
    let mut asked = false;
    while !matches!(seen.last(), Some(Event::Exit { .. })) {
        let event = tokio::time::timeout(Duration::from_micros(10), primary.next_event()).await;
        let Ok(event) = event else { continue };
        seen.extend(event.expect("a poll"));
        if let (false, Some(Event::Online { worker })) = (asked, seen.last()) {
            asked = true;
            for n in 0..100 {
                primary.send(*worker, n).expect("it is connected");
            }
            primary.send(*worker, "die 3").expect("it is connected");
        }
    }
    let echoes: Vec<_> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Message { message, .. } => message.value().ok()?["echo"].as_u64(),
            _ => None,
        })
        .collect();
    assert_eq!(echoes, (0..100).collect::<Vec<_>>());
}

/// As `tokio::spawn` wants it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_a_task_of_its_own_and_be_called_from_others() {
    let mut primary = start();
    let remote = primary.remote();
    let task = tokio::spawn(async move {
        while let Some(event) = primary.next_event().await.expect("a poll") {
            if let Event::Exit { status, .. } = event {
                return status;
            }
        }
        unreachable!("it exits first")
    });
    let told = tokio::task::spawn_blocking(move || remote.disconnect());
    told.await.expect("no panic").expect("the primary is there");
    let status = tokio::time::timeout(LIMIT, task).await.expect("in time").expect("no panic");
    assert_eq!(status, ExitStatus::Code(0));
}
