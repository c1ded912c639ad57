//! The registry's host by the name that AWS gives it: an HTTP proxy on a loopback port that leads every host to the
//! emulator, for clients that push to a repository's URI as it is.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use crate::LocalError;

/// A running proxy; it ends with the program.
#[derive(Debug, Clone, Copy)]
pub struct Proxy {
    port: u16,
}

impl Proxy {
    /// Starts a proxy to the emulator on `emulator_port`.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub fn start(emulator_port: u16) -> Result<Self, LocalError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(LocalError::io("a port for the registry"))?;
        let port = listener.local_addr().map_err(LocalError::io("a port for the registry"))?.port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that disconnects is no error.
                std::thread::spawn(move || carry(client, emulator_port));
            }
        });
        Ok(Self { port })
    }

    /// The URL of the proxy, for `HTTP_PROXY`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Carries one request and its answer. The emulator knows paths only, not whole URLs, and closes afterwards, so that
/// there is no second request to look into.
fn carry(client: TcpStream, emulator_port: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, emulator_port))?;
    let mut words = line.split_whitespace();
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    write!(server, "{method} {path} HTTP/1.1\r\nConnection: close\r\n")?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim_end().is_empty() {
            break;
        }
        let name = header.split(':').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("proxy-connection") {
            server.write_all(header.as_bytes())?;
        }
    }
    server.write_all(b"\r\n")?;
    let (mut upstream, mut client_out) = (server.try_clone()?, client);
    std::thread::spawn(move || copy(&mut reader, &mut upstream));
    copy(&mut server, &mut client_out)?;
    client_out.shutdown(Shutdown::Both)
}
