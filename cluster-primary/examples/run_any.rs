//! Runs any program as a cluster, with this crate alone, and prints what happens.
//!
//! ```console
//! $ cargo run -p cluster-primary --example run_any -- 2 server.js
//! ```

use cluster_primary::{Event, Primary, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let workers: u32 = args.next().and_then(|n| n.to_str()?.parse().ok()).ok_or(USAGE)?;
    let program = args.next().ok_or(USAGE)?;

    let mut primary = Primary::new(Settings::new(program).args(args))?;
    for _ in 0..workers {
        primary.fork()?;
    }
    while let Some(event) = primary.next_event()? {
        println!("{event:?}");
        if let Event::Exit { exited_after_disconnect: false, .. } = event {
            primary.disconnect();
        }
    }
    Ok(())
}

const USAGE: &str = "usage: run_any WORKERS PROGRAM [ARGS...]";
