//! A branch or tag of a Git repository at the beginning of a freeze: what is deployed from it must not move.
//!
//! Asked is `git` itself, where the ref is: a local repository or a remote one, with whatever login `git` has. It is never
//! asked for a password, and nothing is fetched or written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Exception;
use super::list;
use crate::diagnostic::redact::Redactor;
use crate::process::Program;

/// How long `git` may take to tell a ref.
const PATIENCE: Duration = Duration::from_mins(1);

/// A ref that must not move.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitWatch {
    /// A folder, relative to the runbook, or the URL of a remote repository without a login in it.
    pub repository: String,
    /// A branch, or a whole name: `main`, `refs/tags/v3`.
    #[serde(rename = "ref")]
    pub reference: String,
}

impl GitWatch {
    /// Whether it is a URL, or `git@host:path`.
    pub fn is_remote(&self) -> bool {
        self.repository.contains("://")
            || self.repository.split('/').next().is_some_and(|it| it.contains(':'))
    }

    /// Says what is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        // The user of an ssh address is no secret; any other may be a token.
        let login = url::Url::parse(&self.repository).is_ok_and(|url| {
            let user = url.scheme() != "ssh" && !url.username().is_empty();
            user || url.password().is_some() || url.query().is_some()
        });
        if login {
            return Err("`repository` holds a login; leave it to git's own credentials".to_owned());
        }
        let odd = |text: &str| text.is_empty() || text.starts_with('-');
        if odd(&self.repository) || odd(&self.reference) {
            return Err("`git` needs a `repository` and a `ref`".to_owned());
        }
        Ok(())
    }

    fn whole_name(&self) -> String {
        if self.reference.starts_with("refs/") {
            self.reference.clone()
        } else {
            format!("refs/heads/{}", self.reference)
        }
    }
}

/// Where a ref was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitRef {
    /// A URL or an absolute path.
    repository: String,
    local: bool,
    reference: String,
    /// The commit it named.
    pub commit: String,
}

impl GitRef {
    /// Asks for it; `folder` is the repository's own, where it is one of this machine.
    pub async fn read(watch: &GitWatch, folder: PathBuf) -> Result<Self, String> {
        let local = !watch.is_remote();
        let repository =
            if local { folder.display().to_string() } else { watch.repository.clone() };
        let reference = watch.whole_name();
        match commit(&repository, &reference).await? {
            Some(commit) => Ok(Self { repository, local, reference, commit }),
            None => Err(format!("{repository} has no {reference}")),
        }
    }

    /// Whether it has moved, and by whose commits. `Err` when nobody could say.
    pub(super) async fn violations(
        &self,
        exceptions: &[Exception],
        now: Timestamp,
    ) -> Result<Vec<String>, String> {
        let found = commit(&self.repository, &self.reference).await?;
        let agreed = exceptions.iter().any(|it| it.covers("git", &self.reference, now));
        if found.as_ref() == Some(&self.commit) || agreed {
            return Ok(Vec::new());
        }
        let Some(found) = found else {
            return Ok(vec![format!("{} is gone from {}", self.reference, self.repository)]);
        };
        let moved = format!(
            "{} in {} moved from {} to {}",
            self.reference,
            self.repository,
            short(&self.commit),
            short(&found)
        );
        let commits = if self.local { self.commits(&found).await } else { Vec::new() };
        Ok(std::iter::once(moved).chain(commits).collect())
    }

    /// Who did what and when, newest first. What git does not say is not said.
    async fn commits(&self, until: &str) -> Vec<String> {
        let range = format!("{}..{until}", self.commit);
        let format = "--format=%h by %an at %cI: %s";
        let told = git(Path::new(&self.repository), &["log", format, &range]).await;
        let told = told.map(|(_, text)| text).unwrap_or_default();
        list::named(told.lines().map(str::to_owned), "commits")
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// The commit that a ref names; none where there is no such ref.
async fn commit(repository: &str, reference: &str) -> Result<Option<String>, String> {
    let (code, text) =
        git(&std::env::temp_dir(), &["ls-remote", "--exit-code", "--", repository, reference])
            .await?;
    match code {
        0 => {
            let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
            let found = lines.find(|(_, name)| *name == reference);
            Ok(found.map(|(commit, _)| commit.to_owned()))
        }
        // By --exit-code: the repository was read, and has no such ref.
        2 => Ok(None),
        _ => Err(format!("git can not read {repository}")),
    }
}

/// Exit code and standard output. What git says on standard error may hold a login, and is not told.
async fn git(folder: &Path, arguments: &[&str]) -> Result<(i32, String), String> {
    let quiet = [
        ("GIT_TERMINAL_PROMPT", "0"),
        // ssh asks at the terminal itself, whatever git is told.
        ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("LC_ALL", "C"),
    ];
    let agent = std::env::var("SSH_AUTH_SOCK").map(|socket| ("SSH_AUTH_SOCK".to_owned(), socket));
    let program = Program {
        argv: std::iter::once("git").chain(arguments.iter().copied()).map(str::to_owned).collect(),
        env: quiet
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .chain(agent)
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect(),
        folder: folder.to_owned(),
        redactor: Redactor::default(),
    };
    let cancel = CancellationToken::new();
    // In real time: git does not live in a sandbox's clock.
    let ended = tokio::time::timeout(PATIENCE, program.read(&cancel)).await;
    let ended = ended.map_err(|_| format!("git said nothing within {} s", PATIENCE.as_secs()))?;
    let ended = ended.map_err(|error| error.to_string())?;
    Ok((ended.code.unwrap_or(-1), ended.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one commit on `main`.
    async fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        told(&folder, &["init", "-q", "-b", "main"]).await;
        change(&folder, "first").await;
        folder
    }

    async fn told(folder: &tempfile::TempDir, arguments: &[&str]) {
        let (code, _) = git(folder.path(), arguments).await.expect("git runs");
        assert_eq!(code, 0, "git {arguments:?}");
    }

    async fn change(folder: &tempfile::TempDir, subject: &str) {
        let author = ["-c", "user.name=Eve", "-c", "user.email=eve@contoso.example"];
        let commit = ["commit", "-q", "--allow-empty", "-m", subject];
        told(folder, &[&author[..], &commit].concat()).await;
    }

    fn watch(repository: &str, reference: &str) -> GitWatch {
        GitWatch { repository: repository.to_owned(), reference: reference.to_owned() }
    }

    #[tokio::test]
    async fn a_branch_that_moves_is_told_with_its_commits_and_an_agreed_one_is_not() {
        let folder = repository().await;
        let frozen = GitRef::read(&watch("app", "main"), folder.path().to_owned()).await;
        let frozen = frozen.expect("a branch");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(frozen.violations(&[], now).await, Ok(Vec::new()));
        change(&folder, "a fix that could not wait").await;
        let found = frozen.violations(&[], now).await.expect("it can be read");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("refs/heads/main in "), "{found:?}");
        assert!(
            found[1].contains("by Eve at ") && found[1].ends_with("could not wait"),
            "{found:?}"
        );
        let agreed = Exception {
            operation: "git".to_owned(),
            resource: "main".to_owned(),
            approver: "ops".to_owned(),
            until: Timestamp::MAX,
        };
        assert_eq!(frozen.violations(&[agreed], now).await, Ok(Vec::new()));
        told(&folder, &["checkout", "-q", "--detach"]).await;
        told(&folder, &["branch", "-D", "main"]).await;
        let gone = frozen.violations(&[], now).await.expect("it can be read");
        assert!(gone[0].starts_with("refs/heads/main is gone from "), "{gone:?}");
        std::fs::remove_dir_all(folder.path().join(".git")).expect("removed");
        assert!(frozen.violations(&[], now).await.is_err(), "unknown is not unchanged");
    }

    #[tokio::test]
    async fn a_remote_repository_is_asked_and_a_ref_that_is_not_there_refused() {
        let folder = repository().await;
        let url = format!("file://{}", folder.path().display());
        let frozen = GitRef::read(&watch(&url, "main"), PathBuf::new()).await.expect("a branch");
        change(&folder, "second").await;
        let found = frozen.violations(&[], Timestamp::UNIX_EPOCH).await.expect("it can be read");
        assert_eq!(found.len(), 1, "who did it is not known of a remote one: {found:?}");
        let missing = GitRef::read(&watch(&url, "release"), PathBuf::new()).await;
        assert!(missing.is_err_and(|why| why.ends_with("has no refs/heads/release")));
    }

    #[test]
    fn a_login_in_the_address_is_refused() {
        let said = |repository: &str| watch(repository, "main").check();
        assert!(said("https://eve:hush@git.contoso.example/crm").is_err());
        assert!(said("https://ghp_hush@github.com/contoso/crm").is_err());
        assert!(said("https://git.contoso.example/crm?token=hush").is_err());
        assert!(said("ssh://git:hush@git.contoso.example/crm").is_err());
        assert_eq!(said("ssh://git@git.contoso.example/crm"), Ok(()));
        assert!(said("--upload-pack=touch x").is_err());
        assert_eq!(said("https://git.contoso.example/crm"), Ok(()));
        assert_eq!(said("git@git.contoso.example:crm/app"), Ok(()));
    }
}
