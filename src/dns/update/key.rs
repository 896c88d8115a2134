//! The key that updates are signed with (TSIG, RFC 8945).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::tsig::{Algorithm, Key};
use secrecy::{ExposeSecret as _, SecretString};

use crate::plan::TsigAlgorithm;

/// A shared key. Its secret is never shown: not by `Debug`, not in an error.
#[derive(Debug, Clone)]
pub struct TsigKey(pub(super) Arc<Key>);

impl TsigKey {
    /// The key of that name; `secret` is in base64, as `tsig-keygen` writes it.
    pub fn new(
        name: &str,
        algorithm: TsigAlgorithm,
        secret: &SecretString,
    ) -> Result<Self, String> {
        let algorithm = match algorithm {
            TsigAlgorithm::HmacSha1 => Algorithm::Sha1,
            TsigAlgorithm::HmacSha256 => Algorithm::Sha256,
            TsigAlgorithm::HmacSha384 => Algorithm::Sha384,
            TsigAlgorithm::HmacSha512 => Algorithm::Sha512,
        };
        let named = name.parse().map_err(|_| format!("`{name}` is not the name of a key"))?;
        let bytes = BASE64_STANDARD
            .decode(secret.expose_secret().trim())
            .map_err(|_| format!("the secret of the key {name} is not in base64"))?;
        let key = Key::new(algorithm, &bytes, named, None, None);
        key.map(|key| Self(Arc::new(key))).map_err(|why| why.to_string())
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        self.0.name().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_its_name_and_nothing_of_its_secret() {
        let secret = SecretString::from("aHVudGVyMmh1bnRlcjJodW50ZXIy");
        let key = TsigKey::new("mig-key", TsigAlgorithm::HmacSha256, &secret).expect("a key");
        let shown = format!("{key:?} {}", key.name());
        assert!(shown.ends_with("mig-key"), "{shown}");
        for hidden in ["aHVudGVy", "hunter2", "104, 117"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let secret = SecretString::from("hunter2!");
        for (name, says) in [("mig-key", "base64"), ("..", "name of a key")] {
            let algorithm = TsigAlgorithm::default();
            let why = TsigKey::new(name, algorithm, &secret).expect_err("wrong");
            assert!(why.contains(says) && !why.contains("hunter2"), "{why}");
        }
    }
}
