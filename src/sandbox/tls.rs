//! The sandbox's own certificate authority: made once per folder, kept, trusted by nobody unless told to.
//!
//! The authority's private key is never written: one leaf, for loopback and for the services that stand there, is all it
//! ever signs.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::error::SandboxError;
use super::{disk, forge};

/// The certificate file that clients are told to trust.
pub(super) const CA_FILE: &str = "ca.pem";
const LEAF_FILE: &str = "leaf.pem";
const KEY_FILE: &str = "leaf.key";

/// Makes the certificates unless they are there; the CA file is written last, so its presence means all three.
pub(super) fn ensure(dir: &Path) -> Result<(), SandboxError> {
    if dir.join(CA_FILE).exists() {
        return Ok(());
    }
    let (ca, leaf, key) = make().map_err(|error| SandboxError::Certificates(error.to_string()))?;
    disk::replace(&dir.join(KEY_FILE), key.as_bytes())?;
    disk::replace(&dir.join(LEAF_FILE), leaf.as_bytes())?;
    disk::replace(&dir.join(CA_FILE), ca.as_bytes())
}

fn make() -> Result<(String, String, String), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "migrate sandbox");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let leaf_key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1"].into_iter().chain(forge::HOSTS).map(str::to_owned);
    let mut leaf = CertificateParams::new(names.collect::<Vec<_>>())?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let leaf_pem = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?.pem();
    Ok((ca_pem, leaf_pem, leaf_key.serialize_pem()))
}

/// The server side of TLS, from the kept files.
pub(super) fn acceptor(dir: &Path) -> Result<TlsAcceptor, SandboxError> {
    let wrong = |error: &dyn std::fmt::Display| SandboxError::Certificates(error.to_string());
    let leaf = CertificateDer::from_pem_file(dir.join(LEAF_FILE)).map_err(|e| wrong(&e))?;
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY_FILE)).map_err(|e| wrong(&e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .map_err(|e| wrong(&e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
