//! Two ends that wait for readiness by mio and nothing else.

mod support;

use cluster_ipc::{Channel, ChannelConfig, Flush, Recv};
use mio::{Events, Interest, Poll, Token};
use support::{tracer, user};

const COUNT: usize = 300;

/// Sends what it has, and reads until the peer's are all there.
fn run(mut channel: Channel) -> usize {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    poll.registry()
        .register(&mut channel, Token(0), Interest::READABLE | Interest::WRITABLE)
        .unwrap();
    for n in 0..COUNT {
        let handle = if n % 20 == 0 { support::native(tracer().1) } else { None };
        channel.send(&user("x".repeat(n * 20)), handle).unwrap();
    }
    let (mut received, mut blocked) = (0, 0);
    while received < COUNT || !channel.is_idle() {
        blocked += usize::from(channel.flush().unwrap() == Flush::Blocked);
        poll.poll(&mut events, None).unwrap();
        loop {
            match channel.recv().unwrap() {
                Recv::Message(message) => {
                    assert_eq!(message.message, user("x".repeat(received * 20)));
                    assert_eq!(message.handle.is_some(), received % 20 == 0);
                    received += 1;
                }
                Recv::WouldBlock => break,
                Recv::Closed if received == COUNT => break,
                Recv::Closed => panic!("it closed after {received} messages"),
            }
        }
        channel.flush().unwrap();
    }
    poll.registry().deregister(&mut channel).unwrap();
    // The peer may still wait for something: until its end closes.
    rustix::net::shutdown(&channel, rustix::net::Shutdown::Write).unwrap();
    loop {
        match channel.recv().unwrap() {
            Recv::Closed => return blocked,
            Recv::WouldBlock => support::wait_readable(&channel),
            Recv::Message(message) => panic!("{message:?}"),
        }
    }
}

#[test]
fn every_wake_that_is_needed_comes() {
    let (a, b) = Channel::pair(ChannelConfig::default()).unwrap();
    let b = Channel::from_fd(b, ChannelConfig::default()).unwrap();
    let other = std::thread::spawn(move || run(b));
    run(a);
    other.join().unwrap();
}
