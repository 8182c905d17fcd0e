//! A client in a terminal: what is typed is said, what is said is shown.

use std::error::Error;
use std::net::SocketAddr;
use std::{io, thread};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// Connects from an address of this machine, if one is given: to the cluster it is another client then.
pub(crate) async fn run(
    address: &str,
    who: &str,
    from: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from.parse()?, 0))?;
    }
    let stream = socket.connect(address.parse()?).await?;
    let (mut socket, _) = client_async(format!("ws://{address}/chat/{who}"), stream).await?;
    // In a thread of its own, which is not joined.
    let (type_in, mut typed) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if type_in.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        tokio::select! {
            line = typed.recv() => match line {
                Some(line) => socket.send(Message::text(line)).await?,
                None => break,
            },
            heard = socket.next() => match heard.transpose()? {
                Some(Message::Text(text)) => println!("{text}"),
                Some(Message::Close(_)) | None => break,
                Some(_) => {}
            },
        }
    }
    Ok(socket.close(None).await?)
}
