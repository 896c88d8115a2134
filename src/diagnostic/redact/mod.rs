//! The last net: no known secret passes a sink, in any usual encoding.
//!
//! [`Secrets`] resolves the runbook's references on first use. Whatever it resolves, its [`Redactor`] knows from then on,
//! and every sink writes through a [`RedactingWriter`]. Code above must still not format a secret: the net only knows
//! what was resolved in this process.

mod known;
mod parts;
mod pattern;
mod spelling;
mod writer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::crash;
use crate::plan::SecretRef;
use known::Known;
use parts::parts;
pub use writer::RedactingWriter;

/// What stands where a secret stood.
pub const MASK: &str = "[secret]";

/// Shorter values can not be told from ordinary text, so they are refused when they are resolved.
const SHORTEST: usize = 4;

/// How long a command may take to print a secret, in real time.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Where secrets behind `key_vault:` references are read.
#[async_trait]
pub trait Vault: std::fmt::Debug + Send + Sync {
    /// The value behind a URL; why not in words that hold no value.
    async fn read(&self, url: &str) -> Result<SecretString, String>;
}

/// Secrets of a run: resolved on first use, known to the redactor from then on.
#[derive(Debug, Default)]
pub struct Secrets {
    references: BTreeMap<String, SecretRef>,
    base: PathBuf,
    resolved: Mutex<BTreeMap<String, SecretString>>,
    vault: OnceLock<Box<dyn Vault>>,
    redactor: Redactor,
}

impl Secrets {
    /// Secrets behind the runbook's references.
    pub fn new(references: BTreeMap<String, SecretRef>) -> Self {
        Self { references, ..Self::default() }
    }

    /// Files of `file:` references start here.
    #[must_use]
    pub fn relative_to(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = base.into();
        self
    }

    /// Tells this redactor, which sinks already hold, instead of an own one.
    #[must_use]
    pub fn known_to(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// Knows every secret resolved so far and from now on. Cheap to clone.
    pub fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    /// Knows every secret that stands in the environment or in a file before anybody asks for it: an answer of a server
    /// may hold one that this process has not needed yet. What can not be read is said when it is asked for.
    pub fn look_ahead(&self) {
        for reference in self.references.values() {
            let value = match reference {
                SecretRef::Env(variable) => std::env::var(variable).ok(),
                SecretRef::File(path) => std::fs::read_to_string(self.base.join(path)).ok(),
                SecretRef::Command(_) | SecretRef::KeyVault(_) => None,
            };
            if let Some(value) = value {
                // Too short a value is refused when it is asked for.
                let _ = self.redactor.register(&SecretString::from(one_newline_less(value)));
            }
        }
    }

    /// Where `key_vault:` references are read from now on; the first one stays.
    pub fn open_vault(&self, vault: impl Vault + 'static) {
        // A second one would be of the same connection.
        let _ = self.vault.set(Box::new(vault));
    }

    /// The secret of that name. The error names the reference, never a value.
    pub async fn get(&self, name: &str) -> Result<SecretString, String> {
        if let Some(known) = self.resolved.lock().await.get(name) {
            return Ok(known.clone());
        }
        let failed = |why: String| format!("secret `{name}`: {why}");
        // Nothing is locked meanwhile: to open a vault takes a credential, which may be a secret itself.
        let secret = self.resolve(self.reference(name)?).await.map_err(failed)?;
        self.redactor.register(&secret).map_err(failed)?;
        // Two lanes may have asked at once; what the first was told stays.
        Ok(self.resolved.lock().await.entry(name.to_owned()).or_insert(secret).clone())
    }

    /// The same for a secret without which no vault can be opened.
    pub async fn get_without_vault(&self, name: &str) -> Result<SecretString, String> {
        match self.reference(name)? {
            SecretRef::KeyVault(_) => {
                Err(format!("secret `{name}`: it opens the vault, so it can not be kept there"))
            }
            _ => self.get(name).await,
        }
    }

    fn reference(&self, name: &str) -> Result<&SecretRef, String> {
        let declared = self.references.get(name);
        declared.ok_or_else(|| format!("secret `{name}` is not declared under `secrets`"))
    }

    /// The environment variables that hold secrets.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.references.values().filter_map(|reference| match reference {
            SecretRef::Env(variable) => Some(variable.as_str()),
            _ => None,
        })
    }

    async fn resolve(&self, reference: &SecretRef) -> Result<SecretString, String> {
        let value = match reference {
            SecretRef::Env(variable) => std::env::var(variable)
                .map_err(|_| format!("environment variable {variable} is not set, or not UTF-8"))?,
            SecretRef::File(path) => {
                let path = self.base.join(path);
                tokio::fs::read_to_string(&path)
                    .await
                    .map_err(|error| format!("file {} can not be read: {error}", path.display()))?
            }
            SecretRef::Command(argv) => printed_by(argv, self.variables()).await?,
            SecretRef::KeyVault(url) => {
                let vault = self.vault.get();
                let vault = vault.ok_or("a Key Vault needs an `azure` section")?;
                // What a vault holds is the secret, to its last newline.
                return vault.read(url).await;
            }
        };
        Ok(SecretString::from(one_newline_less(value)))
    }
}

/// Standard output of a command; its standard error is not shown, it may quote the secret. It gets the environment but
/// for what holds other secrets.
async fn printed_by(
    argv: &[String],
    without: impl Iterator<Item = &str>,
) -> Result<String, String> {
    let [program, arguments @ ..] = argv else {
        return Err("`command` is an empty list".to_owned());
    };
    let mut command = tokio::process::Command::new(program);
    for variable in without {
        command.env_remove(variable);
    }
    let call = crash::call(|| format!("start {program}"));
    let child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_LIMIT, child)
        .await
        .map_err(|_| format!("`{program}` printed nothing within {} s", COMMAND_LIMIT.as_secs()))?
        .map_err(|error| format!("`{program}` can not be started: {error}"))?;
    call.made();
    if !output.status.success() {
        return Err(format!("`{program}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{program}` printed no UTF-8"))
}

/// Files and commands end in a newline that is not part of the secret; a second one is.
fn one_newline_less(mut value: String) -> String {
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    value
}

/// Replaces every known secret by [`MASK`]. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Arc<RwLock<Known>>);

impl Redactor {
    /// Knows this value from now on. A value too short to be told from ordinary text is an error.
    pub fn register(&self, secret: &SecretString) -> Result<(), String> {
        let value = secret.expose_secret();
        if value.chars().count() < SHORTEST {
            return Err(format!(
                "is shorter than {SHORTEST} characters and could not be kept off the screen"
            ));
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for part in parts(value) {
            known.add(&part);
        }
        Ok(())
    }

    /// The text without any known secret.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The same for bytes of any encoding.
    pub fn redact_bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let hidden = known.found(text);
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut clean, mut copied) = (Vec::with_capacity(text.len()), 0);
        for hit in hidden {
            clean.extend_from_slice(&text[copied..hit.start]);
            clean.extend_from_slice(MASK.as_bytes());
            copied = hit.end;
        }
        clean.extend_from_slice(&text[copied..]);
        Cow::Owned(clean)
    }

    /// How many bytes of text the longest secret may take in its longest spelling. What is cut out of a longer text
    /// must be read so much further, or half a secret is left that nothing recognises.
    pub fn reach(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).reach()
    }

    /// What may be shown of the beginning of a text that was cut off behind it: [`Self::reach`] bytes less, and no half of
    /// a secret at its end.
    pub fn beginning<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let end = text.len().saturating_sub(known.reach());
        let across = known.found(text).into_iter().find(|it| it.start < end && end < it.end);
        &text[..across.map_or(end, |secret| secret.start)]
    }

    /// The same of the end of a text that was cut off before it.
    pub fn ending<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let start = text.len().min(known.reach());
        let across = known.found(text).into_iter().find(|it| it.start < start && start < it.end);
        &text[across.map_or(start, |secret| secret.end)..]
    }
}

#[cfg(test)]
mod tests;
