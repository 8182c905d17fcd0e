//! A worker: its clients' WebSockets.

use std::error::Error;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::{Html, Response};
use axum::routing::get;
use cluster_worker::tokio::{self as cluster, Worker};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast;

use crate::said::Said;

/// How many messages a client may be behind before it misses some.
const BEHIND: usize = 1024;

#[derive(Clone)]
struct Room {
    worker: Worker,
    said: broadcast::Sender<Said>,
}

pub(crate) async fn run(worker: Worker, address: &str) -> Result<(), Box<dyn Error>> {
    let (said, _) = broadcast::channel(BEHIND);
    let room = Room { worker: worker.clone(), said: said.clone() };
    let listener = worker.listen(address).await?;
    let hear = async {
        // What the primary tells all workers, until there is nothing more.
        while let Some(heard) = worker.recv_as::<Said>().await? {
            // Without guests there are no receivers.
            let _ = said.send(heard);
        }
        Ok::<(), Box<dyn Error>>(())
    };
    let app = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/chat/{who}", get(enter))
        .with_state(room);
    let serve = async {
        axum::serve(listener, app).with_graceful_shutdown(cluster::shutdown()).await?;
        cluster::disconnect().await;
        Ok(())
    };
    tokio::try_join!(hear, serve)?;
    Ok(())
}

async fn enter(
    State(room): State<Room>,
    Path(who): Path<String>,
    up: WebSocketUpgrade,
) -> Response {
    up.on_upgrade(|socket| async move {
        // A client that hangs up in the middle of a word is its own affair.
        let _ = chat(socket, room, who).await;
    })
}

async fn chat(mut socket: WebSocket, room: Room, who: String) -> Result<(), Box<dyn Error>> {
    let mut heard = room.said.subscribe();
    let by = room.worker.id();
    let welcome = format!("you are at worker {by}");
    socket.send(Message::text(welcome)).await?;
    loop {
        tokio::select! {
            said = heard.recv() => match said {
                Ok(Said { who, what, by }) => {
                    socket.send(Message::text(format!("{who} (worker {by}): {what}"))).await?;
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    socket.send(Message::text(format!("{missed} messages were missed"))).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            came = socket.next() => match came.transpose()? {
                Some(Message::Text(what)) => {
                    room.worker.send(&Said { who: who.clone(), what: what.to_string(), by })?;
                }
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => {}
            },
            // The client comes again, and meets the successor.
            () = cluster::shutdown() => {
                socket.send(Message::text("the worker leaves: come again")).await?;
                return Ok(socket.close().await?);
            }
        }
    }
}
