//! A service principal's certificate as a signed client assertion.
//!
//! The PEM file holds an RSA key (PKCS#8 or PKCS#1) and the certificate registered with the application. The JWT is
//! signed here with aws-lc-rs; key bytes never leave this file. (The identity library's own certificate credential
//! takes PKCS#12 and links OpenSSL.)

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::{Clock, advance};
use crate::diagnostic::redact::Redactor;

/// An assertion is used at once; this is slack for clocks.
const LIFETIME: Duration = Duration::from_mins(10);

/// A key with the name of its certificate.
pub(super) struct Certificate {
    key: RsaKeyPair,
    thumbprint: String,
    chain: Vec<String>,
    client_id: String,
    audience: String,
    clock: Clock,
    redactor: Redactor,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a PEM file that holds both certificate and private key, in any order.
    pub(super) fn read(
        pem: &[u8],
        client_id: String,
        audience: String,
        clock: Clock,
        redactor: Redactor,
    ) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("no certificate: {error}"))?;
        let leaf = chain.first().ok_or("the file holds no certificate")?;
        let key = match PrivateKeyDer::from_pem_slice(pem) {
            Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            Ok(_) => return Err("the private key is no RSA key".to_owned()),
            Err(error) => return Err(format!("no private key: {error}")),
        }
        .map_err(|_| "the private key is no usable RSA key".to_owned())?;
        Ok(Self {
            key,
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(leaf)),
            chain: chain
                .iter()
                .map(|der| base64::engine::general_purpose::STANDARD.encode(der))
                .collect(),
            client_id,
            audience,
            clock,
            redactor,
        })
    }

    fn sign(&self) -> Result<String, &'static str> {
        let now = self.clock.now();
        let header = json!({
            "alg": "RS256", "typ": "JWT", "x5t#S256": self.thumbprint, "x5c": self.chain,
        });
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": Uuid::new_v4().to_string(),
            "nbf": now.as_second(),
            "iat": now.as_second(),
            "exp": advance(now, LIFETIME).as_second(),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the certificate's key does not sign")?;
        let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        // The authority may quote it in a refusal.
        let _ = self.redactor.register(&SecretString::from(assertion.as_str()));
        Ok(assertion)
    }
}

#[async_trait]
impl ClientAssertion for Certificate {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.sign().map_err(|why| Error::with_message(ErrorKind::Credential, why))
    }
}
