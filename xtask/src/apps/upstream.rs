//! The service that workers call: a small HTTP server that keeps connections.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How long an answer takes.
const WORK: Duration = Duration::from_millis(5);

/// It serves until the process ends.
pub(crate) struct Upstream {
    url: String,
}

impl Upstream {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || serve(connection));
            }
        });
        Ok(Self { url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn serve(connection: TcpStream) -> io::Result<()> {
    let mut writer = connection.try_clone()?;
    for line in BufReader::new(connection).lines() {
        // The line that ends a request's head; there are no bodies.
        if line?.is_empty() {
            thread::sleep(WORK);
            writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nupstream\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Upstream;
    use crate::apps::load::{Load, Protocol, Target};

    #[test]
    fn it_answers_over_and_over_on_one_connection() {
        let upstream = Upstream::start().unwrap();
        let port = upstream.url().rsplit(':').next().unwrap().parse().unwrap();
        let target = Target { port, protocol: Protocol::Http1, path: "/" };
        let load = Load::start(target, 0, 1);
        load.wait_for(10).unwrap();
        let tally = load.quiesce().unwrap().finish();
        assert!(tally.kept.answered >= 10 && tally.kept.lost() == 0, "{tally:?}");
    }
}
