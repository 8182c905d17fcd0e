//! The wire protocol of `node:cluster`, without I/O.
//!
//! A primary process and its workers exchange messages over a Unix stream socket: frames of JSON (or
//! another encoding), some of them with a descriptor. This crate contains everything about them that needs
//! no socket:
//!
//! - [`Message`] and its parts: every message of a Node.js cluster, typed;
//! - [`Codec`]: messages to bytes and back, as [`Json`] (Node's encoding) or [`Postcard`];
//! - [`Deframer`]: splits a byte stream into frames, within limits;
//! - [`FrameReader`], [`UserMessage`]: user messages of a peer that may be hostile, kept in their encoding;
//! - [`Gate`]: decides what may be sent while a descriptor is not acknowledged;
//! - [`Value::encode`], [`IntoMessage`]: messages of the application's own types (feature `serde`);
//! - [`Exchange`], [`Requests`]: requests with answers, on top of messages;
//! - [`ServerKey`]: the name of a server; [`mod@env`]: the environment variables of a worker.
//!
//! It does no I/O, reads no clock, has no unsafe code, and is `no_std`. The crate `cluster-ipc` carries the
//! messages over a socket; `cluster-primary` and `cluster-worker` build a cluster from them.
//!
//! # A worker's life on the wire
//! ```text
//! worker                                                     primary
//!   │ {cmd:"NODE_CLUSTER",act:"online",seq:0}                   │
//!   ├──────────────────────────────────────────────────────────►│
//!   │ {…act:"queryServer",address:"0.0.0.0",port:80,…,seq:1}    │
//!   ├──────────────────────────────────────────────────────────►│ bind
//!   │ {…ack:1,errno:null,key:"0.0.0.0:80:4:undefined",…}        │
//!   │◄──────────────────────────────────────────────────────────┤
//!   │ {…act:"listening",…}                                      │
//!   ├──────────────────────────────────────────────────────────►│
//!   │ {cmd:"NODE_HANDLE",type:"net.Native",                     │ accept
//!   │  msg:{…act:"newconn",key:…,seq:7}}  + descriptor          │
//!   │◄──────────────────────────────────────────────────────────┤
//!   │ {cmd:"NODE_HANDLE_ACK"}                                   │
//!   ├──────────────────────────────────────────────────────────►│
//!   │ {…ack:7,accepted:true}                                    │
//!   ├──────────────────────────────────────────────────────────►│ close its copy
//!   │ {…act:"disconnect"}                                       │
//!   │◄──────────────────────────────────────────────────────────┤
//!   │ {…act:"close",key:…}                     end of the stream│
//!   ├──────────────────────────────────────────────────────────►│
//! ```
//!
//! # Example
//! ```
//! use cluster_proto::{ClusterBody, Codec, Deframer, Json, Message, Object};
//!
//! // What a worker writes…
//! let mut stream = Vec::new();
//! Json.encode(&Message::cluster(0, None, ClusterBody::Online), &mut stream)?;
//! Json.encode(&Message::User(Object::new().with("hello", 1).into()), &mut stream)?;
//! assert!(stream.starts_with(br#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#));
//!
//! // …a primary reads, however the bytes were cut.
//! let mut deframer = Deframer::new(Json.framing());
//! let mut seen = Vec::new();
//! for byte in stream {
//!     deframer.extend(&[byte]);
//!     while let Some(frame) = deframer.next_frame()? {
//!         seen.push(Json.decode(frame.payload)?);
//!     }
//! }
//! assert_eq!(seen[0], Message::cluster(0, None, ClusterBody::Online));
//! assert!(matches!(&seen[1], Message::User(value) if value["hello"].as_u64() == Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Moving to another process
//! [`Deframer`], [`Gate`] and [`Requests`] can continue in another process: `state()` returns their state as
//! plain data, and `from_state()` restores it and rejects inconsistent data. With the feature `serde` states
//! can be serialized (in text, bytes are hexadecimal digits: [`hex`]); unknown fields are ignored.
//!
//! # Features
//! | feature | brings | default |
//! | --- | --- | --- |
//! | `json` | [`Json`] (and `serde`) | yes |
//! | `advanced` | [`Advanced`]: V8's structured clone, without another crate | yes |
//! | `postcard` | [`Postcard`], and the wire between two Rust ends, [`native`] (and `serde`) | yes |
//! | `tagged` | [`Value::to_tagged`]: what JSON cannot say, in JSON | yes |
//! | `serde` | serde's traits on [`Value`], the parts of messages and the states; [`Value::encode`] and [`Value::decode`] | with `json` or `postcard` |

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg_attr(
    not(all(feature = "json", feature = "advanced", feature = "postcard")),
    allow(
        dead_code,
        unused_imports,
        reason = "parts are for `FrameReader`, which has all encodings"
    )
)]
mod codec;
mod deframe;
#[cfg_attr(
    not(all(feature = "json", feature = "advanced", feature = "postcard")),
    allow(
        dead_code,
        unused_imports,
        reason = "parts are for `FrameReader`, which has all encodings"
    )
)]
mod encoding;
pub mod env;
mod error;
mod field;
#[cfg(all(feature = "json", feature = "advanced", feature = "postcard"))]
mod frame_reader;
mod gate;
#[cfg(feature = "serde")]
pub mod hex;
mod internal;
mod key;
mod listen;
mod message;
#[cfg(feature = "postcard")]
pub mod native;
mod object;
mod request;
#[cfg(any(feature = "json", feature = "advanced", feature = "postcard"))]
#[cfg_attr(
    not(all(feature = "json", feature = "advanced", feature = "postcard")),
    allow(
        dead_code,
        unused_imports,
        reason = "parts are for `FrameReader`, which has all encodings"
    )
)]
mod scan;
mod socket_counts;
mod structured_clone;
#[cfg(feature = "serde")]
mod structured_clone_serde;
#[cfg(feature = "tagged")]
mod tagged;
#[cfg(feature = "serde")]
mod typed;
#[cfg_attr(
    not(all(feature = "json", feature = "advanced", feature = "postcard")),
    allow(
        dead_code,
        unused_imports,
        reason = "parts are for `FrameReader`, which has all encodings"
    )
)]
mod user_message;
mod value;
#[cfg(feature = "serde")]
mod value_serde;

#[cfg(feature = "advanced")]
pub use codec::Advanced;
pub use codec::Codec;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
#[cfg(feature = "json")]
pub use codec::{BunJson, Json};
pub use deframe::{DEFAULT_MAX_FRAME, Deframer, DeframerState, Frame, FrameError, Framing};
pub use error::{DecodeError, EncodeError, StateError};
pub use field::Field;
#[cfg(all(feature = "json", feature = "advanced", feature = "postcard"))]
pub use frame_reader::{Encoding, FrameReader, MAX_INTERNAL};
pub use gate::{FrameClass, Gate, GateOutput, GateState, UnderWay, UnexpectedAnswer};
pub use internal::is_internal;
pub use key::ServerKey;
pub use listen::{
    AddressType, Backlog, DEFAULT_BACKLOG, Family, ListenQuery, ListenReply, SockName,
    abstract_name, flags,
};
pub use message::{
    ClusterBody, ClusterMessage, DgramType, HandleKind, HandleMessage, Message, SocketList,
};
pub use request::{Exchange, NoAnswer, OpenRequest, Requests, RequestsState};
pub use socket_counts::SocketCounts;
pub use structured_clone::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
#[cfg(feature = "tagged")]
pub use tagged::TaggedError;
#[cfg(feature = "serde")]
pub use typed::{IntoMessage, TypeError};
pub use user_message::UserMessage;
pub use value::{Number, Object, Value};

#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../README.md")]
struct Readme;
