//! TLS in workers. A client that comes again resumes its session at whichever worker it meets, for all
//! of them have the same key for session tickets: the first worker that listens makes one, and the primary gives
//! it to the others with its answer (`data`; Node's TLS servers do the same).
//!
//! ```sh
//! cargo build --release --package example-tls
//! target/release/example-tls certificate cert.pem key.pem      # self-signed
//! cargo run --release -p cluster-cli -- run target/release/example-tls serve 127.0.0.1:8443 cert.pem key.pem
//! target/release/example-tls client 127.0.0.1:8443 cert.pem    # in another terminal
//! ```
//!
//! The key is as old as the listener is in the primary: for a new one now and then (for forward
//! secrecy, and before some 2^32 tickets were made, as their nonces are random) has the primary send it, and
//! keeps the last one for tickets that are about.

mod client;
mod tickets;

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

use cluster_worker::tokio as cluster;
use cluster_worker::{ListenOptions, Value};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tickets::SharedKey;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A client that says nothing must not hold a worker that is to leave.
const HANDSHAKE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["certificate", certificate, key] => make(certificate.as_ref(), key.as_ref()),
        ["serve", address, certificate, key] => {
            serve(address, certificate.as_ref(), key.as_ref()).await
        }
        ["client", address, certificate] => client::run(address, certificate.as_ref()),
        _ => {
            Err("say: certificate CERT KEY, serve ADDRESS CERT KEY, or client ADDRESS CERT".into())
        }
    }
}

fn make(certificate: &Path, key: &Path) -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
    fs::write(certificate, made.cert.pem())?;
    // No other user may read it.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key)?;
    file.write_all(made.signing_key.serialize_pem().as_bytes())?;
    Ok(())
}

async fn serve(address: &str, certificate: &Path, key: &Path) -> Result<(), Box<dyn Error>> {
    let worker = cluster::worker()?.ok_or("run it by `cluster run`")?;
    // Our key counts only if no other process has offered one before.
    let offered = Value::encode(&SharedKey::random()?)?;
    let listener = worker.listen(ListenOptions::from(address).data(offered)).await?;
    let shared: SharedKey = listener.data().decode()?;

    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = Arc::new(shared);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let id = worker.id();
    loop {
        tokio::select! {
            // First: in the end nothing more is accepted.
            biased;
            () = cluster::shutdown() => break,
            accepted = listener.accept() => {
                let (connection, _client) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // No descriptor is left, say: others may accept meanwhile.
                        eprintln!("a connection was not accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let greeted: io::Result<()> = async {
                        let shaken = timeout(HANDSHAKE, acceptor.accept(connection));
                        let mut tls = shaken.await??;
                        tls.write_all(format!("worker {id}\n").as_bytes()).await?;
                        tls.shutdown().await
                    }
                    .await;
                    if let Err(error) = greeted {
                        eprintln!("a client was not greeted: {error}");
                    }
                });
            }
        }
    }
    drop(listener);
    cluster::disconnect().await;
    Ok(())
}
