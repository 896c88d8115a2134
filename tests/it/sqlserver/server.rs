//! A SQL Server that is none: it speaks the protocol on loopback, lets one user in, and answers each question with what comes
//! next in the first of its scripts that is about it. The last answer stays.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use migrate::database::Named;
use rustls::ServerConfig;

use super::tds::{self, Login};
use super::tls;

pub(crate) const USER: &str = "migrate";
pub(crate) const PASSWORD: &str = "loopback-only-Xy7";

/// What a question is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Rows(Vec<Named>),
    /// An error, by its number.
    Error(u32, &'static str),
    /// Rows, of which the last breaks off in the middle, and so does the connection.
    BrokenOff(Vec<Named>),
    /// Nothing, for as long as the client stays.
    Nothing,
    /// Nothing, until the client gives the question up; the session goes on.
    TooSlow,
}

/// How a login is answered.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// By the password.
    Open,
    /// It is sent to another port.
    Elsewhere(u16),
    /// Not at all.
    Deaf,
    /// By the password, and by nobody who does not encrypt.
    Encrypted(Arc<ServerConfig>),
}

/// What batches that hold a text are answered with, one after the other.
pub(crate) type Script = (&'static str, VecDeque<Answer>);

#[derive(Debug)]
struct State {
    scripts: Vec<Script>,
    door: Door,
    logins: Vec<Login>,
    batches: Vec<String>,
    ended: bool,
}

/// See the module. It ends with the test.
pub(crate) struct SqlServer {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        self.state().ended = true;
        // Whoever accepts looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl SqlServer {
    pub(crate) fn start(answers: impl Into<VecDeque<Answer>>) -> Self {
        Self::behind(Door::Open, answers)
    }

    pub(crate) fn behind(door: Door, answers: impl Into<VecDeque<Answer>>) -> Self {
        Self::scripted(door, vec![("select", answers.into())])
    }

    pub(crate) fn scripted(door: Door, scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (logins, batches) = (Vec::new(), Vec::new());
        let state = State { scripts, door, logins, batches, ended: false };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if lock(&shared).ended {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                // A client that goes away in the middle is its own business.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { port, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Who logged in so far.
    pub(crate) fn logins(&self) -> Vec<Login> {
        self.state().logins.clone()
    }

    /// What was asked so far.
    pub(crate) fn batches(&self) -> Vec<String> {
        self.state().batches.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test has failed in it")
}

/// One session, from its prelogin on.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let Some((tds::PRELOGIN, _)) = tds::read(&mut stream)? else { return Ok(()) };
    let door = lock(state).door.clone();
    let is_encrypted = matches!(door, Door::Encrypted(_));
    tds::send(&mut stream, &tds::prelogin(is_encrypted), None)?;
    match door {
        Door::Encrypted(identity) => {
            let mut stream = tls::encrypt(stream, identity)?;
            let ended = after_prelogin(&mut stream, state, &Door::Open);
            stream.conn.send_close_notify();
            ended.and(stream.flush())
        }
        door => after_prelogin(&mut stream, state, &door),
    }
}

fn after_prelogin<S: Read + Write>(
    stream: &mut S,
    state: &Mutex<State>,
    door: &Door,
) -> io::Result<()> {
    while let Some((kind, message)) = tds::read(stream)? {
        let goes_on = match kind {
            tds::LOGIN => let_in(stream, Login::read(&message), state, door)?,
            tds::BATCH => {
                let batch = tds::batch(&message);
                lock(state).batches.push(batch.clone());
                answer(stream, &batch, state)?
            }
            _ => false,
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Answers a login; false where the connection ends with it.
fn let_in<S: Read + Write>(
    stream: &mut S,
    login: Login,
    state: &Mutex<State>,
    door: &Door,
) -> io::Result<bool> {
    let is_known = login.user == USER && login.password == PASSWORD;
    let database = login.database.clone();
    lock(state).logins.push(login);
    let (answer, goes_on) = match door {
        Door::Deaf => {
            until_gone(stream)?;
            return Ok(false);
        }
        Door::Elsewhere(port) => (tds::elsewhere(*port), true),
        Door::Open | Door::Encrypted(_) if is_known => (tds::welcome(&database), true),
        Door::Open | Door::Encrypted(_) => (tds::error(18456, "Login failed for user."), false),
    };
    tds::send(stream, &answer, None)?;
    Ok(goes_on)
}

/// Answers a batch; false where the connection ends with it.
fn answer<S: Read + Write>(stream: &mut S, batch: &str, state: &Mutex<State>) -> io::Result<bool> {
    let next = |(_, answers): &mut Script| {
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.expect("a script is never empty")
    };
    let answer = lock(state).scripts.iter_mut().find(|it| batch.contains(it.0)).map(next);
    // Settings of a session change nothing here.
    let Some(answer) = answer else {
        tds::send(stream, &tds::done(0), None)?;
        return Ok(true);
    };
    let in_full = |rows: &[Named]| {
        if batch.contains("exec sys.") { tds::called(rows) } else { tds::rows(rows) }
    };
    match answer {
        Answer::Rows(rows) => tds::send(stream, &in_full(&rows), None)?,
        Answer::Error(number, message) => tds::send(stream, &tds::error(number, message), None)?,
        Answer::BrokenOff(rows) => {
            let message = in_full(&rows);
            tds::send(stream, &message, Some(message.len() - tds::BEHIND_ROWS))?;
            return Ok(false);
        }
        Answer::Nothing => until_gone(stream)?,
        Answer::TooSlow => match tds::read(stream)? {
            Some((tds::ATTENTION, _)) => tds::send(stream, &tds::done(tds::GIVEN_UP), None)?,
            _ => return Ok(false),
        },
    }
    Ok(true)
}

fn until_gone(stream: &mut impl Read) -> io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}
