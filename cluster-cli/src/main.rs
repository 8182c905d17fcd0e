//! The program `cluster`.
fn main() {}
