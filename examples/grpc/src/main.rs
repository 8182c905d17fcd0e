//! A gRPC server (tonic). Alone it is a server as any other; under `cluster run` it is a worker:
//!
//! ```sh
//! cargo build --release --package example-grpc
//! cargo run --release -p cluster-cli -- run target/release/example-grpc 127.0.0.1:8000
//! target/release/example-grpc client 127.0.0.1:8000 Ada        # in another terminal
//! ```
//!
//! gRPC keeps its connections, and calls go where the connection is: a program that has one client with many
//! calls wants it to connect several times. When a worker leaves, clients are told to connect again (HTTP/2's
//! GOAWAY), and calls that are under way are finished. A call that a client had not sent yet may fail there, by `CANCELLED`:
//! tonic's does not repeat it by itself, as other servers' ends would show too.

use std::env;
use std::error::Error;
use std::process;

use cluster_worker::tokio::{self as cluster, TcpListener}; // instead of tokio::net::TcpListener
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What `build.rs` makes of `proto/greeter.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "it is generated")]
mod proto {
    tonic::include_proto!("greeter");
}

use proto::greeter_client::GreeterClient;
use proto::greeter_server::{Greeter, GreeterServer};
use proto::{CountRequest, GreetReply, GreetRequest};

struct Host;

fn reply(message: String) -> GreetReply {
    GreetReply { message, process: process::id() }
}

#[tonic::async_trait]
impl Greeter for Host {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        Ok(Response::new(reply(format!("hello, {}", request.into_inner().name))))
    }

    type CountStream = tokio_stream::Iter<std::vec::IntoIter<Result<GreetReply, Status>>>;

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        let to = request.into_inner().to;
        if to > 10_000 {
            return Err(Status::invalid_argument("10000 are enough"));
        }
        let replies: Vec<_> = (1..=to).map(|n| Ok(reply(n.to_string()))).collect();
        Ok(Response::new(tokio_stream::iter(replies)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["client", address, name] => greet(address, name).await,
        [address] => serve(address).await,
        _ => Err("say: example-grpc ADDRESS, or example-grpc client ADDRESS NAME".into()),
    }
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let app = Routes::new(GreeterServer::new(Host)).into_axum_router();
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, app).with_graceful_shutdown(cluster::shutdown()).await?;
    cluster::disconnect().await;
    Ok(())
}

async fn greet(address: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let mut client = GreeterClient::connect(format!("http://{address}")).await?;
    let greeting = client.greet(GreetRequest { name: name.into() }).await?.into_inner();
    println!("{}, says process {}", greeting.message, greeting.process);
    let mut count = client.count(CountRequest { to: 3 }).await?.into_inner();
    while let Some(reply) = count.message().await? {
        println!("{}", reply.message);
    }
    Ok(())
}
