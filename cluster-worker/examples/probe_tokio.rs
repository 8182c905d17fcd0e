//! The counterpart of `probe` on tokio: a worker that does what the Node primaries of the tests tell it.

use std::error::Error;
use std::time::Duration;

use cluster_worker::tokio::{TcpListener, UdpSocket, Worker};
use cluster_worker::{ListenError, Object, Received};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let worker = cluster_worker::tokio::worker()?.ok_or("a primary starts this program")?;
    let mut arguments = std::env::args().skip(2);
    let way = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_default();
    let talk = tokio::spawn(talk(worker.clone()));
    match way.as_str() {
        "tcp" | "evented" => match worker.listen(address.as_str()).await {
            Ok(listener) => {
                worker.send(Object::new().with("port", listener.local_addr()?.port()))?;
                serve(listener, worker.id()).await;
            }
            Err(error) => refused(&worker, &error)?,
        },
        "udp" => match worker.bind_udp(address.as_str()).await {
            Ok(socket) => {
                worker.send(Object::new().with("port", socket.local_addr()?.port()))?;
                tokio::select! {
                    result = datagrams(&socket, worker.id()) => result?,
                    () = worker.shutdown() => {}
                }
            }
            Err(error) => refused(&worker, &error)?,
        },
        _ => {
            worker.send("idle")?;
        }
    }
    talk.await?;
    worker.disconnect().await;
    Ok(())
}

fn refused(worker: &Worker, error: &ListenError) -> Result<(), Box<dyn Error>> {
    let report = Object::new().with("error", error.to_string()).with("errno", error.errno());
    worker.send(report)?;
    worker.start_disconnect();
    Ok(())
}

async fn serve(listener: TcpListener, id: u32) {
    while let Ok((mut connection, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if connection.read_buf(&mut request).await.is_ok_and(|length| length > 0) {
                    continue;
                }
                return;
            }
            let body = format!("worker {id}\n");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len());
            let answer = format!("{head}\r\nConnection: close\r\n\r\n{body}");
            // A client that hangs up early is its own affair.
            let _ = connection.write_all(answer.as_bytes()).await;
        });
    }
}

async fn datagrams(socket: &UdpSocket, id: u32) -> std::io::Result<()> {
    let mut buf = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buf).await?;
        let answer = format!("{id} {}", String::from_utf8_lossy(&buf[..length]));
        socket.send_to(answer.as_bytes(), from).await?;
    }
}

async fn talk(worker: Worker) {
    while let Some(received) = worker.recv().await.expect("the channel works") {
        let Received { message, request, .. } = received;
        match (request, message["do"].as_str()) {
            (Some(request), _) => drop(request.answer(message)),
            (None, Some("disconnect")) => worker.start_disconnect(),
            (None, Some("kill")) => worker.kill().await,
            (None, Some("exit")) => std::process::exit(7),
            (None, Some("ask")) => {
                let body = &("who is", 7);
                let answer = worker.request::<String>(body, Duration::from_secs(30)).await;
                let heard = answer.unwrap_or_else(|error| error.to_string());
                // It may have gone meanwhile.
                let _ = worker.send(Object::new().with("heard", heard));
            }
            _ => drop(worker.send(Object::new().with("echo", message))),
        }
    }
}
