//! Asks the cluster, in threads of their own: nothing of it keeps the keys waiting.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use cluster_primary::Object;

use super::Heard;
use super::screen::Command;
use crate::args::Whose;
use crate::client::{Client, ClientError};
use crate::status::Status;

/// Asks for the status again and again. A cluster that goes away is looked for until it is there
/// again.
pub(super) fn watch(whose: Whose, interval: Duration, heard: Sender<Heard>) {
    let mut client = None;
    loop {
        let news = match look(&mut client, &whose) {
            Ok(status) => Heard::Status(Box::new(status)),
            Err(why) => {
                client = None;
                Heard::Lost(why)
            }
        };
        if heard.send(news).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

fn look(client: &mut Option<Client>, whose: &Whose) -> Result<Status, String> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::of(whose).map_err(said)?),
    };
    client.call("status", Object::new()).and_then(|value| Status::read(&value)).map_err(said)
}

/// Asks for something, by a connection of its own: it may take as long as it takes.
pub(super) fn ask(whose: Whose, command: Command, heard: Sender<Heard>) {
    let (method, params) = match command {
        Command::Reload => ("reload", Object::new()),
        Command::Scale(workers) => ("scale", Object::new().with("workers", workers)),
    };
    let outcome = Client::of(&whose).and_then(|mut client| {
        client.wait_for_ever()?;
        client.call(method, params)
    });
    let _ = heard.send(Heard::Answered(command, outcome.map(drop).map_err(said)));
}

fn said(trouble: ClientError) -> String {
    match trouble {
        ClientError::Said(what) | ClientError::Unreadable(what) | ClientError::Usage(what) => what,
        ClientError::Unheard => "no cluster answers".into(),
    }
}
