//! What keeps writers out of a server, whatever its engine: logins that are closed, a setting that refuses, and sessions that
//! are ended.
//!
//! The setting alone is advice: a session may set it back, or a restart forgets it. What holds is that nobody who may write can
//! log in, and that nobody who could is left.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DatabaseError;
use super::preflight::{Accepted, Finding};
use super::replication::{Marked, Replication};
use crate::journal::EffectPermit;

/// Somebody who may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The role, or the account with its host.
    pub name: String,
    /// It may log in.
    pub login: bool,
    /// The target comes in by it: without its login it could not come back after a broken link.
    pub replicates: bool,
    /// The server lets this program's user open and close its login.
    pub alterable: bool,
    /// Client sessions it has in this database.
    pub sessions: u64,
    /// Other databases in which it has sessions: a login is of the whole server.
    pub elsewhere: Vec<String>,
}

/// Another session in the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Its process.
    pub pid: i64,
    /// Whose it is; none for a worker of the server.
    pub user: Option<String>,
    /// A client, and not a worker of the server.
    pub client: bool,
    /// It has written in its open transaction.
    pub writes: bool,
    /// It may be ended: this program's user has the right, and nothing is lost by it.
    pub can_be_ended: bool,
}

/// What may still be written by what began before the wall stood.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unfinished {
    /// Sessions that are being opened: whether they are let in, no view tells yet.
    pub opening: Vec<i64>,
    /// Other sessions.
    pub sessions: Vec<Session>,
    /// Prepared transactions, by their ids.
    pub prepared: Vec<String>,
}

impl Unfinished {
    /// What could still change something: prepared transactions, sessions of users whose login is `closed`, whoever has written,
    /// is about to appear, or works for somebody (an apply worker, a job). In words; empty where there is none of it.
    pub fn writing(&self, closed: &[String]) -> Vec<String> {
        let prepared = self.prepared.iter().map(|id| format!("prepared transaction {id}"));
        let opening = self.opening.iter().map(|pid| format!("session {pid} that is being opened"));
        let sessions = self.sessions.iter().filter(|it| it.may_write(closed)).map(|it| {
            let user = it.user.as_deref().unwrap_or("the server itself");
            format!("session {} of {user}", it.pid)
        });
        prepared.chain(opening).chain(sessions).collect()
    }
}

impl Unfinished {
    /// What of it came through a wall that stood at an `earlier` look, too: who was seen twice, or has written. A login that is
    /// refused shows as a session while it ends, and is gone by the next look.
    #[must_use]
    pub fn through(mut self, earlier: Self) -> Self {
        let is_among = |all: &[Session], it: &Session| all.iter().any(|other| other.pid == it.pid);
        self.sessions.retain(|it| it.writes || is_among(&earlier.sessions, it));
        for it in earlier.sessions {
            if it.writes && !is_among(&self.sessions, &it) {
                self.sessions.push(it);
            }
        }
        self
    }
}

impl Session {
    /// It has written, belongs to a user whose login is `closed`, or is no client and works for a user.
    pub fn may_write(&self, closed: &[String]) -> bool {
        let user = self.user.as_ref();
        let is_closed = user.is_some_and(|user| closed.contains(user));
        self.writes || is_closed || !self.client && user.is_some()
    }
}

/// The words of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// What may log in.
    pub role: &'static str,
    /// How one is called that may.
    pub open: &'static str,
    /// And one that may not.
    pub closed: &'static str,
    /// The setting that refuses writes.
    pub setting: &'static str,
    /// Its value where it refuses.
    pub refuses: &'static str,
    /// Its value where it never did; none where it is then not set at all.
    pub accepts: Option<&'static str>,
}

/// What a server answers, or why it did not.
type Answer<T> = Result<T, DatabaseError>;

/// A server that can be closed to writers. Reads in one session, changes in another that is opened when it is needed.
pub trait Wall: Send {
    /// It and the server that follows it.
    type Pair: Marked;
    /// How this engine calls things.
    const WORDS: Words;
    /// The setting is of the database and lasts, and who has a session keeps the old one: it is set first, and every session
    /// ended. Otherwise it is of the running server and also refuses the end of what is open: it is set last, and again after
    /// a restart.
    const SETTING_LASTS: bool;
    /// Between two looks: some views are not made anew for each.
    const BETWEEN: Duration;

    /// Database and address.
    fn at(&self) -> &str;
    /// Whose setting it is, for messages.
    fn setting_of(&self) -> String;
    /// The name by which a session shows whose it is.
    fn user_of(role: &str) -> &str;

    /// The roles that are meant by names in a runbook; a name that means none stays as it is.
    fn meant(&mut self, names: &[String]) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// Those of these names, or whoever may write when none is named.
    fn writers(
        &mut self,
        named: &[String],
        pair: Option<&mut Self::Pair>,
    ) -> impl Future<Output = Answer<Vec<Role>>> + Send;
    /// What this program's user may do, and who else is there.
    fn rights(
        &mut self,
        accepted: &[Accepted],
    ) -> impl Future<Output = Answer<Vec<Finding>>> + Send;
    /// What is in the source that the target would not get.
    fn contents(
        &mut self,
        pair: &mut Self::Pair,
        accepted: &[Accepted],
    ) -> impl Future<Output = Answer<Vec<Finding>>> + Send;

    /// Why nobody could write there even if it were opened; none where they could.
    fn takes_no_writes(&mut self) -> impl Future<Output = Answer<Option<String>>> + Send;
    /// Whether a role may log in; none where there is no such role.
    fn login(&mut self, role: &str) -> impl Future<Output = Answer<Option<bool>>> + Send;
    /// Those of these roles that may log in.
    fn open(&mut self, roles: &[String]) -> impl Future<Output = Answer<Vec<String>>> + Send;
    /// The setting; none where it is not set.
    fn setting(&mut self) -> impl Future<Output = Answer<Option<String>>> + Send;
    /// What began before and has not ended.
    fn unfinished(&mut self) -> impl Future<Output = Answer<Unfinished>> + Send;
    /// Where the history of the server ends now.
    fn position(
        &mut self,
    ) -> impl Future<Output = Answer<<Self::Pair as Replication>::Position>> + Send;

    /// Opens or closes a role's login.
    fn set_login(
        &mut self,
        permit: &EffectPermit,
        role: &str,
        login: bool,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Sets the setting, or removes it.
    fn set_setting(
        &mut self,
        permit: &EffectPermit,
        value: Option<&str>,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Asks sessions to end; their open transactions are rolled back, prepared ones stay.
    fn end_sessions(
        &mut self,
        permit: &EffectPermit,
        pids: &[i64],
    ) -> impl Future<Output = Answer<()>> + Send;
    /// Ends both sessions in order.
    fn close(self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_still_write_is_waited_for_and_who_only_looks_is_not() {
        let session = |client, writes| Session {
            pid: 7,
            user: Some("app".to_owned()),
            client,
            writes,
            can_be_ended: true,
        };
        let left = |prepared: &[&str], opening: &[i64], sessions: &[Session]| Unfinished {
            prepared: prepared.iter().map(|&id| id.to_owned()).collect(),
            opening: opening.to_vec(),
            sessions: sessions.to_vec(),
        };
        let (closed, nobody) = (["app".to_owned()], []);
        let of_the_server = Session { user: None, ..session(false, false) };
        assert!(left(&[], &[], &[of_the_server]).writing(&closed).is_empty());
        assert!(left(&[], &[], &[session(true, false)]).writing(&nobody).is_empty());
        for some in [
            left(&["a"], &[], &[]),
            left(&[], &[8], &[]),
            left(&[], &[], &[session(true, false)]),
            left(&[], &[], &[session(false, false)]),
            left(&[], &[], &[session(false, true)]),
        ] {
            assert_eq!(some.writing(&closed).len(), 1);
        }
    }

    #[test]
    fn who_is_gone_by_the_next_look_came_through_only_if_it_has_written() {
        let session = |pid, writes| Session {
            pid,
            user: Some("app".to_owned()),
            client: true,
            writes,
            can_be_ended: true,
        };
        let there = |sessions: &[Session]| Unfinished {
            prepared: Vec::new(),
            opening: Vec::new(),
            sessions: sessions.to_vec(),
        };
        let pids = |earlier: &[Session], later: &[Session]| -> Vec<i64> {
            there(later).through(there(earlier)).sessions.iter().map(|it| it.pid).collect()
        };
        assert_eq!(pids(&[session(7, false)], &[session(8, false)]), [0_i64; 0]);
        assert_eq!(pids(&[session(7, false)], &[session(7, false), session(8, false)]), [7]);
        assert_eq!(pids(&[session(7, true)], &[session(8, true)]), [8, 7]);
        assert_eq!(pids(&[session(7, true)], &[session(7, false)]), [7]);
    }
}
