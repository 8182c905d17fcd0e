//! Which slot a client belongs to: the table and the hash behind the policy `sticky`, usable alone.
//!
//! Two pure functions, with nothing of the scheduler in them, so that another implementation
//! (in the kernel, on another machine) sends a client to the same slot:
//!
//! ```text
//!  address ──client_of──► client: u32 ──bucket_of (% SIZE)──► bucket ──Buckets──► slot
//! ```
//!
//! A *slot* is a worker's stable place, which its successor inherits; worker ids are not stable.
//!
//! ```
//! use cluster_sched::sticky::{Buckets, client_of};
//!
//! let client = client_of("192.0.2.7".parse()?);
//! let all = Buckets::new(0..4);
//! let slot = all.slot_of(client).expect("there are slots");
//! // Whatever else comes or goes, most clients stay where they were.
//! let fewer = Buckets::new((0..4).filter(|&other| other != (slot + 1) % 4));
//! assert_eq!(fewer.slot_of(client), Some(slot));
//! # Ok::<(), core::net::AddrParseError>(())
//! ```

mod buckets;
pub(crate) mod client;

pub use buckets::{Buckets, SIZE, bucket_of};
pub use client::client_of;
