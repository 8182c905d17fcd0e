//! The policies as programs for the Linux kernel, which then places connections by itself.
//!
//! Of several listening sockets on one address (`SO_REUSEPORT`, a *group*) the kernel asks a program
//! which one gets a new connection. This module makes that program, and the table that it reads; it
//! loads nothing, and knows no descriptor but as a number.
//!
//! ```text
//!                      ┌ rr      a counter, one up for each connection ┐
//!  connection ──► index│ random  a random number                       │ % count ──► table[index]
//!                      └ sticky  the hash of the client's address      ┘                │
//!                                                                                     place
//!  a socket for each place:  0 the waiting room │ 1 │ 2 │ 3 │ …  ◄──────────────────────┘
//! ```
//!
//! All three differ only in how they come to an index: what is on and what is off, and what share
//! each has, is the [`Table`]'s affair, which is written again whenever that changes while the
//! program runs. A *slot* is a worker's stable number; a *place* is where its socket stands in the
//! group.
//!
//! | | needs | in turns | at random | by client | switching |
//! | --- | --- | --- | --- | --- | --- |
//! | [`program`] | `CAP_BPF` | exactly | yes | as [`Buckets`](crate::sticky::Buckets) | write the [`Table`] |
//! | [`classic`] | nothing | at random instead | yes | as [`rendezvous`] | attach another program |
//!
//! ```
//! use cluster_sched::kernel::{Choice, Maps, Table, program};
//!
//! let choice = Choice::RoundRobin;
//! // Slots 0 and 2 are on; their sockets stand at places 1 and 3.
//! let table = Table::of(choice, [(0, 1), (2, 3)]);
//! assert_eq!(table.entries(), [1, 3]);
//! // The numbers are the descriptors of the maps.
//! let program = program(choice, Maps { table: 5, counter: 6, sockets: 7 });
//! assert!(program.len() < 64);
//! ```

mod assemble;
mod choice;
mod classic;
mod insn;
mod program;
mod table;

pub use choice::{Choice, NotInKernel};
pub use classic::{ClassicInsn, classic, max_classic, rendezvous};
pub use insn::Insn;
pub use program::program;
pub use table::{MAX_PLACES, MapKind, MapSpec, Maps, ROOM, Table};
