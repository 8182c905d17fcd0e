//! Channels in a tokio program.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::tokio::AsyncChannel;
use cluster_ipc::{Channel, ChannelConfig, Outgoing};

const LIMIT: Duration = Duration::from_secs(30);

fn pair() -> (AsyncChannel, AsyncChannel) {
    let config = ChannelConfig::default();
    let (a, b) = Channel::pair(config.clone()).unwrap();
    let b = Channel::from_fd(b, config).unwrap();
    (AsyncChannel::new(a).unwrap(), AsyncChannel::new(b).unwrap())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn text(size: usize) -> Message {
    Message::User("x".repeat(size).into())
}

/// More than a socket holds, with descriptors that hold back what is behind them.
#[tokio::test]
async fn large_messages_and_descriptors_arrive_in_order() {
    let (mut a, mut b) = pair();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (reader, writer) = std::io::pipe().unwrap();
        readers.push(reader);
        let outgoing = Outgoing::new(HandleKind::NetNative, OwnedFd::from(writer));
        a.send(&text(2 << 20), Some(outgoing)).unwrap();
        a.send(&text(10), None).unwrap();
    }
    let receives = async {
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let received = b.recv().await.unwrap().expect("it is open");
            let Message::User(said) = received.message else { panic!("only users speak") };
            kinds.push((said.as_str().map(str::len), received.handle.is_some()));
        }
        (b, kinds)
    };
    // Its answers let the other go on.
    let answers = async {
        let nothing = a.recv().await.unwrap();
        assert!(nothing.is_none(), "{nothing:?}");
    };
    let receives = async {
        let (b, kinds) = receives.await;
        drop(b);
        kinds
    };
    let (kinds, ()) = tokio::join!(soon(receives), soon(answers));
    assert_eq!(kinds, [(Some(2 << 20), true), (Some(10), false)].repeat(3));
    for mut reader in readers {
        let mut rest = Vec::new();
        // The last copy was closed with its receiver.
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn futures_that_are_dropped_lose_and_repeat_nothing() {
    let (mut a, mut b) = pair();
    let sends = tokio::spawn(async move {
        for n in 0..2000u64 {
            a.send(&Message::User(n.into()), None).unwrap();
            let _ = tokio::time::timeout(Duration::ZERO, a.flush()).await;
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        a.flush().await.unwrap();
        a
    });
    let mut next = 0;
    while next < 2000 {
        let received = tokio::time::timeout(Duration::from_micros(5), b.recv()).await;
        let Ok(received) = received else {
            tokio::task::yield_now().await;
            continue;
        };
        let message = received.unwrap().expect("it is open").message;
        assert_eq!(message, Message::User(next.into()));
        next += 1;
    }
    drop(soon(sends).await.unwrap());
    assert!(soon(b.recv()).await.unwrap().is_none());
}
