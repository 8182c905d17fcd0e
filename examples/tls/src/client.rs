//! A client that comes several times, and says at whom it arrived and whether its session was resumed.

use std::error::Error;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

pub(crate) fn run(address: &str, certificate: &Path) -> Result<(), Box<dyn Error>> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(certificate)?)?;
    // It remembers sessions.
    let config = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
    let config = Arc::new(config);
    for _ in 0..6 {
        let name = ServerName::try_from("localhost")?;
        let connection = ClientConnection::new(Arc::clone(&config), name)?;
        let mut tls = StreamOwned::new(connection, TcpStream::connect(address)?);
        let mut greeting = String::new();
        tls.read_to_string(&mut greeting)?;
        let how = match tls.conn.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            _ => "new",
        };
        println!("{}: {how}", greeting.trim_end());
    }
    Ok(())
}
