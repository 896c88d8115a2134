//! TLS as TDS 7 has it: the handshake travels in packets of the prelogin, and only what comes after it is plain TLS. Up to
//! version 1.2, as SQL Server does here.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS12;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::tds;

/// A session that is encrypted throughout.
pub(crate) type Encrypted = StreamOwned<ServerConnection, Wrapped>;

/// How a server proves who it is, from a certificate and its key in PEM.
pub(crate) fn identity(certificate: &str, key: &str) -> Arc<ServerConfig> {
    let certificate =
        CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .expect("the version is known")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.expect("they belong together"))
}

/// Shakes hands on a stream whose prelogin has been answered.
pub(crate) fn encrypt(stream: TcpStream, identity: Arc<ServerConfig>) -> io::Result<Encrypted> {
    let mut wrapped = Wrapped { stream, received: Vec::new(), to_send: Some(Vec::new()) };
    let mut connection = ServerConnection::new(identity).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut wrapped)?;
    }
    wrapped.flush()?;
    wrapped.to_send = None;
    Ok(StreamOwned::new(connection, wrapped))
}

/// A stream whose bytes are put into packets and taken out of them, until the handshake is over.
pub(crate) struct Wrapped {
    stream: TcpStream,
    received: Vec<u8>,
    /// None once nothing is wrapped any more.
    to_send: Option<Vec<u8>>,
}

impl Read for Wrapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_send.is_some() && self.received.is_empty() {
            let message = tds::read(&mut self.stream)?;
            self.received = message.map(|(_, message)| message).unwrap_or_default();
        }
        if self.received.is_empty() && self.to_send.is_none() {
            return self.stream.read(buffer);
        }
        let length = self.received.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.received[..length]);
        self.received.drain(..length);
        Ok(length)
    }
}

impl Write for Wrapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to_send {
            Some(to_send) => {
                to_send.extend(bytes);
                Ok(bytes.len())
            }
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to_send {
            Some(to_send) if !to_send.is_empty() => {
                tds::send_as(tds::PRELOGIN, &mut self.stream, &std::mem::take(to_send), None)
            }
            _ => self.stream.flush(),
        }
    }
}
