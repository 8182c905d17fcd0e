//! How a worker is asked to stop, by the runtime that it is: whether a program handles the signal is
//! known of Python and Bun from the system, and of others not at all: not of Deno, which catches `SIGTERM`
//! by itself. What Bun and Deno programs that listen are asked by is in `cluster-cli/tests/runtimes.rs`.
//!
//! Bun and Deno are sought as `CLUSTER_TEST_BUN` and `CLUSTER_TEST_DENO`.
#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cluster_primary::{Event, LeaveProgress, Settings, Signal, StopBy};
use support::Cluster;

/// A runtime, how it runs a file, and a program that says something on its channel, once it does or does
/// not handle `SIGTERM`.
struct Runtime {
    name: &'static str,
    program: OsString,
    arguments: &'static [&'static str],
    extension: &'static str,
    handles: &'static str,
    speaks: &'static str,
}

fn runtimes() -> Vec<Runtime> {
    let python = Runtime {
        name: "Python",
        program: "python3".into(),
        arguments: &[],
        extension: "py",
        handles: "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n",
        speaks: "import os, time\nos.write(int(os.environ['NODE_CHANNEL_FD']), b'\"here\"\\n')\n\
                 while True: time.sleep(60)\n",
    };
    let javascript = |name, variable, arguments| {
        let program = std::env::var_os(variable)?;
        Some(Runtime {
            name,
            program,
            arguments,
            extension: "mjs",
            handles: "process.on('SIGTERM', () => {});\n",
            speaks: "setInterval(() => {}, 60000);\nprocess.send('here');\n",
        })
    };
    let bun = javascript("Bun", "CLUSTER_TEST_BUN", &["run"][..]);
    let deno = javascript("Deno", "CLUSTER_TEST_DENO", &["run", "-A", "--quiet"][..]);
    for (name, there) in [("Bun", bun.is_some()), ("Deno", deno.is_some())] {
        if !there {
            println!("skipped: {name} is not named by CLUSTER_TEST_{}", name.to_uppercase());
        }
    }
    [Some(python), bun, deno].into_iter().flatten().collect()
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn asked(program: &Path, arguments: Vec<OsString>, speaks: bool) -> StopBy {
    let mut cluster = Cluster::with(Settings::new(program).args(arguments));
    let worker = cluster.primary.fork().expect("the program is there");
    if speaks {
        cluster.until("a message", |e| matches!(e, Event::Message { .. }));
    }
    cluster.primary.ask_stop(worker, Some(Signal::TERM), false);
    let stop = |e: &Event| matches!(e, Event::Leaving { progress: LeaveProgress::Stop(_), .. });
    let event = cluster.until("an answer", stop);
    let Event::Leaving { progress: LeaveProgress::Stop(by), .. } = event else { unreachable!() };
    assert!(cluster.primary.kill(worker, Signal::KILL).expect("it is ours"));
    cluster.until("its end", |e| matches!(e, Event::Exit { .. }));
    by
}

#[test]
fn runtimes_that_catch_a_signal_only_when_asked_to_are_known_to_handle_it() {
    let folder = std::env::temp_dir().join(format!("cluster-stop-signal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let folder = Folder(folder);
    for runtime in runtimes() {
        for handles in [true, false] {
            let file = folder.0.join(format!("{handles}.{}", runtime.extension));
            let text = format!("{}{}", if handles { runtime.handles } else { "" }, runtime.speaks);
            std::fs::write(&file, text).expect("it is written");
            let mut arguments: Vec<OsString> = runtime.arguments.iter().map(Into::into).collect();
            arguments.push(file.into());
            let by = asked(Path::new(&runtime.program), arguments, true);
            // What a Bun or Deno program serves that has never listened through its channel would not
            // be closed by `disconnect`.
            let expected = if handles || runtime.name != "Python" {
                StopBy::Signal
            } else {
                StopBy::Disconnect
            };
            assert_eq!(by, expected, "{}, handled: {handles}", runtime.name);
        }
    }
}

#[test]
fn a_program_that_never_spoke_is_sent_the_signal() {
    assert_eq!(asked(Path::new("sleep"), vec!["600".into()], false), StopBy::Signal);
}
