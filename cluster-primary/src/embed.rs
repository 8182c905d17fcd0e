//! For components that run in a primary's loop, as the control API does.
//!
//! Such a component goes by the same [`Clock`], closes descriptors of others by a [`Closer`], bounds
//! calls that a peer can make block by [`bounded_calls`], and hands its state over to the next image of
//! the process by the means of [`upgrade`](crate::upgrade).

pub use crate::driver::{
    Bounded, Clock, Closer, PausedClosing, PrivateSocket, SocketFile, bounded_calls, duplicate,
    for_clients, spawn_without_signals,
};
