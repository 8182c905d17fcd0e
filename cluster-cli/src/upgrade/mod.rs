//! The primary executes its program again, in the same process, without interrupting service.
//!
//! ```text
//!  old image                                  trial (a child)              new image
//!    │ state, copied ───────────────────────► reads it, and says: good
//!    │ … serves on meanwhile …                exits 0
//!    │ signals blocked, state and descriptors into memory that stays
//!    │ execve ─────────────────────────────────────────────────────────────► takes them up
//!    │                                                                       signals unblocked
//!    ▲ execve of the old program, by the descriptor that was kept ◄───────── if it cannot
//! ```
//!
//! What was tried is what is executed: the file is opened once, and both go by its descriptor. No shell is run
//! in its place (as `execvp` would, of a file that is no program).
//!
//! What is handed over is one JSON text in a memory file, whose descriptor the environment names, and
//! the descriptors that it speaks of, by their numbers. The new image takes duplicates of all of
//! them; the originals are closed only when everything stands. Until then it can go back.

mod candidate;
mod child;
mod execute;
mod handed;
mod opening;
mod trial;
mod variables;

pub(crate) use candidate::Candidate;
pub(crate) use execute::{
    Program, give_back, hand_over, hold_signals, release_signals, restore_name,
};
pub(crate) use handed::{FORMAT, Handed, HandedSocket, Inherited, Part, inherited};
pub(crate) use trial::{Progress, Trial, Verdict, on_trial};
pub(crate) use variables::VARIABLES;
