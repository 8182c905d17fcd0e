//! What is played. Each scenario waits for what it brings about, and for no time to pass.

mod handles;
mod life;
mod listen;
mod messages;
mod steps;

pub(super) use steps::Scenario;

/// Every scenario.
pub(super) fn all() -> impl Iterator<Item = &'static Scenario> {
    [life::ALL, listen::ALL, messages::ALL, handles::ALL].into_iter().flatten()
}
