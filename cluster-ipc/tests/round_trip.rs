//! Messages and descriptors over a real socket pair.

use std::fs::File;
use std::io::{Read, Write};

use cluster_ipc::proto::{HandleKind, Message, Value};
use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, Recv};

#[test]
fn a_message_and_a_descriptor_arrive() {
    let (mut a, b) = Channel::pair(ChannelConfig::default()).unwrap();
    let mut b = Channel::from_fd(b, ChannelConfig::default()).unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let fd: std::os::fd::OwnedFd = write.into();
    a.send(&Message::User("hello".into()), Some(Outgoing::new(HandleKind::NetNative, fd))).unwrap();
    a.send(&Message::User(Value::from(2)), None).unwrap();
    assert_eq!(a.flush().unwrap(), Flush::Done);
    let Recv::Message(first) = b.recv().unwrap() else { panic!("no message") };
    assert_eq!(first.message, Message::User("hello".into()));
    let handle = first.handle.unwrap();
    assert_eq!(handle.kind, HandleKind::NetNative);
    let mut write = File::from(handle.handle);
    write.write_all(b"x").unwrap();
    drop(write);
    let mut text = String::new();
    File::from(std::os::fd::OwnedFd::from(read)).read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
    assert!(matches!(b.recv().unwrap(), Recv::WouldBlock));
    b.flush().unwrap();
    assert!(matches!(a.recv().unwrap(), Recv::WouldBlock));
    a.flush().unwrap();
    let Recv::Message(second) = b.recv().unwrap() else { panic!("no message") };
    assert_eq!(second.message, Message::User(Value::from(2)));
    assert!(a.is_idle() && b.is_idle());
}
