//! x
mod driver;
mod error;
pub mod event;
mod inherit;
mod listener;
pub mod machine;
mod options;
mod setup;
mod tracked;
mod udp;
mod worker;

pub use cluster_ipc::Pressure;
pub use cluster_proto::{Number, Object, Value};
pub use error::{ChannelProblem, ListenError, RecvError, SendError, StartError};
pub use inherit::{is_worker, scrub};
pub use listener::{Incoming, Listener, TcpListener, UnixListener};
pub use options::{ListenOptions, UdpOptions, UnixOptions};
pub use setup::Options;
pub use tracked::Tracked;
pub use udp::UdpSocket;
pub use worker::Worker;
