//! A worker for tests that attacks its primary: the worker of slot 1 carries out the
//! attack that is named by the first argument, all others serve HTTP.
//!
//! ```console
//! $ cluster run -n 2 --ready online target/debug/examples/hostile silent 127.0.0.1:0
//! ```
//!
//! Attacks write to the channel themselves, without `cluster-worker`, so that they can send anything. Each
//! kind has a file of its own beside this one.

mod acks;
mod asking;
mod channel;
mod descriptors;
#[cfg(target_os = "linux")]
mod in_flight;
mod listeners;
mod listens;
mod messages;
mod names;
mod paths;
mod privileges;
mod serve;
mod stops;

use std::error::Error;
use std::process::ExitCode;

use channel::RawChannel;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [attack, address, options @ ..] = arguments.as_slice() else {
        eprintln!("usage: hostile ATTACK ADDRESS [OPTION…]");
        return ExitCode::FAILURE;
    };
    let slot = std::env::var("CLUSTER_SLOT").unwrap_or_default();
    let outcome = match (slot.as_str(), attack.as_str()) {
        ("1", attack) => carry_out(attack, options),
        // Those that come later are stopped, and must not have connections by then.
        (slot, "stops") if slot != "0" => carry_out("silent", &[]),
        _ => serve::http(address),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile {attack}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out an attack; the process ends when it returns.
fn carry_out(attack: &str, options: &[String]) -> Outcome {
    let channel = RawChannel::open()?;
    if attack == "messages" {
        // In the encoding that it is about.
        return messages::send(&channel, options);
    }
    channel.say_online()?;
    if let Some(outcome) = descriptors::attack(attack, options, &channel) {
        return outcome;
    }
    match attack {
        // The control run: it does nothing until the primary closes the channel.
        "silent" => channel.read_to_end(),
        "blocking-listener" => listeners::blocking(&channel),
        "acks" => acks::stray(&channel, option(options)?),
        "listens" => listens::and_die(&channel),
        "hoard" => listens::hoard(&channel),
        "handles" => listens::handles(&channel),
        #[cfg(target_os = "linux")]
        "peek" => in_flight::peek(&channel),
        #[cfg(target_os = "linux")]
        "own-sockets" => in_flight::own_sockets(&channel, option(options)?.as_ref()),
        "names" => names::names(&channel, option(options)?),
        "asks" => asking::listen_on_each(channel, options),
        "paths" => paths::swap(channel, options),
        "stops" => stops::stop_all(channel, option(options)?),
        "privileges" => privileges::report(channel),
        unknown => Err(format!("there is no attack {unknown:?}").into()),
    }
}

fn option(options: &[String]) -> Result<&str, Box<dyn Error>> {
    Ok(options.first().ok_or("this attack takes an argument")?)
}
