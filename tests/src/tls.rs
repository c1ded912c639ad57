//! TLS before a stub on a loopback port, with a certificate made for the occasion.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running front.
#[derive(Debug)]
pub struct Front {
    /// Its endpoint, `https://localhost:…`.
    pub url: String,
    /// Its certificate in PEM, for those who shall trust it.
    pub certificate: String,
}

/// Puts TLS before the server at `address`, as far as it speaks HTTP with one answer to one request.
///
/// # Panics
///
/// When there is no free port.
pub fn front(address: String) -> Front {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![CertificateDer::from(cert.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (config, address) = (Arc::clone(&config), address.clone());
            // A client that disconnects is no error of the server.
            std::thread::spawn(move || carry(client, config, &address));
        }
    });
    Front { url, certificate: cert.pem() }
}

fn carry(client: TcpStream, config: Arc<ServerConfig>, address: &str) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, client);
    let mut server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    let mut buffer = [0; 16 * 1024];
    loop {
        // Small requests and answers, each of which comes in one piece.
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        server.write_all(&buffer[..length])?;
        let length = server.read(&mut buffer)?;
        client.write_all(&buffer[..length])?;
        client.flush()?;
    }
}
