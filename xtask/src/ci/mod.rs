//! `cargo xtask ci`: everything that CI checks, in stages.
//!
//! First the format is checked and the tests are built; a failure of either ends the run. Then queues of stages run side by
//! side. Some run programs, which mostly wait: the tests, the comparison with Node. The others compile: lints,
//! documentation, other targets. These have a lower priority, so that they use the processor time that the first leave, and
//! do not slow tests down. After a failed stage no further one is started, except that failed tests stop nothing.
//!
//! A stage's output is printed when the stage is over, and a test program's when that is over. The time of each stage and
//! the sum of the tests come last, where people look for them.

mod board;
mod measured;
mod stages;
mod table;
mod test_programs;

use std::io;
use std::process::ExitCode;
use std::thread;

use crate::tally::Tally;
use board::Board;
use stages::{COMPILING, COMPILING_APART, RUNNING, RUNNING_TOO, Stage};
use test_programs::TestProgram;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run these stages only, one after the other: those of the table that `cargo xtask ci` prints at its end
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    only: Vec<String>,
    /// Run so many test programs at a time [default: one more than there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

/// One stage, in a process of its own.
#[derive(clap::Args)]
pub(crate) struct StageArgs {
    name: String,
    /// Lets others have the processors first
    #[arg(long)]
    nice: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let jobs = args.jobs.map_or_else(test_programs::default_jobs, usize::from);
    let board = Board::new()?;
    let outcome = match args.only.as_slice() {
        [] => everything(&board, jobs),
        only => only.iter().try_for_each(|name| alone(&board, name, jobs)),
    };
    Ok(board.conclude(outcome))
}

fn everything(board: &Board, jobs: usize) -> io::Result<()> {
    board.in_front("fmt", stages::formatted)?;
    let programs = board.in_front("build", test_programs::build)?;
    thread::scope(|scope| {
        scope.spawn(|| board.reported_until_done());
        let compiling = [COMPILING, COMPILING_APART]
            .map(|stages| scope.spawn(|| play_all(board, stages, true)));
        tests(board, &programs, jobs);
        let running = scope.spawn(|| play_all(board, RUNNING_TOO, false));
        play_all(board, RUNNING, false);
        for queue in compiling.into_iter().chain([running]) {
            queue.join().expect("a queue does not panic");
        }
        board.done();
    });
    Ok(())
}

fn play_all(board: &Board, stages: &[Stage], nice: bool) {
    stages.iter().for_each(|stage| board.play(stage, nice));
}

/// One of the stages, with its output as it comes.
fn alone(board: &Board, name: &str, jobs: usize) -> io::Result<()> {
    match name {
        "fmt" => board.in_front(name, stages::formatted),
        "build" => board.in_front(name, || test_programs::build().map(drop)),
        "tests" => {
            let programs = board.in_front("build", test_programs::build)?;
            tests(board, &programs, jobs);
            Ok(())
        }
        _ => {
            let stage = Stage::named(name)?;
            let tally = board.in_front(name, stage.run)?;
            board.count(&tally);
            if tally.failed > 0 {
                board.note_failure(format!("stage {name}: {} failed", tally.failed));
            }
            Ok(())
        }
    }
}

fn tests(board: &Board, programs: &[TestProgram], jobs: usize) {
    board.many("tests", |board| test_programs::run(board, programs, jobs));
}

/// Runs one stage, and prints the sum of its tests, if it has any, as its last line.
pub(crate) fn stage(args: &StageArgs) -> io::Result<ExitCode> {
    if args.nice {
        // If that is not to be had, the stage runs all the same.
        let _ = rustix::process::nice(10);
    }
    let Tally { passed, failed } = (Stage::named(&args.name)?.run)()?;
    if passed + failed > 0 {
        println!("{passed} passed, {failed} failed");
    }
    Ok(ExitCode::SUCCESS)
}
