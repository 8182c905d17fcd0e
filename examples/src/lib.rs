//! Whole programs that are workers of a cluster: `cargo run --example axum`, or under `cluster run`.
