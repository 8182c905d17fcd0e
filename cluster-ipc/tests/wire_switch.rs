//! Each direction changes its encoding behind a message that says so, answers included.

mod support;

use cluster_ipc::proto::{HandleKind, Message};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv, Wire, memory};
use support::{drain, user};

const MARKER: &str = "postcard from here";

fn native() -> Option<Outgoing<u8>> {
    Some(Outgoing::new(HandleKind::NetNative, 0))
}

#[test]
fn messages_and_answers_switch_at_the_marker() {
    let (a, b) = memory::pair::<u8>();
    let mut a = Channel::with_transport(a, ChannelConfig::default());
    let mut b = Channel::with_transport(b, ChannelConfig::default());

    // `a` has answers to write, and a message, a marker and another message behind them.
    b.send(&user("take this"), native()).unwrap();
    b.flush().unwrap();
    drain(&mut a);
    a.send(&user("old"), None).unwrap();
    a.send(&user(MARKER), None).unwrap();
    a.set_send_wire(Wire::Postcard);
    a.send(&user("new"), native()).unwrap();
    a.send(&user("newer"), None).unwrap();
    a.flush().unwrap();

    let mut seen = Vec::new();
    let mut read = |b: &mut Channel<_>| {
        while let Recv::Message(received) = b.recv().unwrap() {
            if received.message == user(MARKER) {
                b.set_recv_wire(Wire::Postcard);
            }
            seen.push((received.message, received.handle.is_some()));
        }
    };
    read(&mut b);
    assert!(b.handles_in_flight() == 0, "the answer was understood");
    b.flush().unwrap();
    drain(&mut a);
    // From here on `a` answers in postcard, though its marker is long gone.
    b.send(&user("and this"), native()).unwrap();
    b.flush().unwrap();
    assert_eq!(drain(&mut a).len(), 1);
    a.flush().unwrap();
    read(&mut b);
    assert!(a.is_idle() && b.is_idle());
    let expected: Vec<(Message, bool)> =
        [("old", false), (MARKER, false), ("new", true), ("newer", false)]
            .map(|(text, handle)| (user(text), handle))
            .into();
    assert_eq!(seen, expected);
}

/// The answer to a handle that arrives while the marker is half written.
#[test]
fn an_answer_behind_a_half_written_marker_is_in_the_new_encoding() {
    let (a, b) = memory::pair::<u8>();
    let mut a = Channel::with_transport(a, ChannelConfig::default());
    let mut b = Channel::with_transport(b, ChannelConfig::default());
    a.transport_mut().set_capacity(5);
    a.send(&user(MARKER), None).unwrap();
    a.set_send_wire(Wire::Postcard);
    a.flush().unwrap();
    b.send(&user(1), native()).unwrap();
    b.flush().unwrap();
    drain(&mut a);
    let mut switched = false;
    while !(a.is_idle() && b.is_idle()) {
        a.flush().unwrap();
        if let Recv::Message(received) = b.recv().unwrap() {
            assert_eq!(received.message, user(MARKER));
            b.set_recv_wire(Wire::Postcard);
            switched = true;
        }
    }
    assert!(switched);
}
