//! A TLS handshake for reachability checks: the certificate is verified as the HTTP client would do it, nothing is sent.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Shakes hands with `host` over `stream`, trusting the system's authorities and `authorities`.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    authorities: &[CertificateDer<'static>],
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = authorities.iter().cloned();
    let verifier =
        Verifier::new_with_extra_roots(roots, provider.clone()).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous() // rustls' name for "a verifier given by hand"; this one is the platform's
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
