//! How the server of a database is written: libpq's `host=… dbname=… user=…`, or a URL. Pure.
//!
//! A password is never part of it; `password:` beside it names a secret. What is not written out is not guessed, but for the
//! port and for TLS, which is verified in full unless the server is on this machine. A key of libpq that this program would not
//! honour is refused rather than passed over.

use std::fmt;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::runbook::words;

/// A PostgreSQL server: `{postgres: "host=… dbname=… user=…", password: <secret>}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PostgresSystem")]
pub struct PostgresSystem {
    /// `host=10.0.0.5 port=5432 dbname=crm user=migrate sslmode=verify-full sslrootcert=ca.pem`, or a `postgresql://` URL.
    pub postgres: Endpoint,
    /// The secret under `secrets` that holds the password; none where the server asks for none.
    #[serde(default)]
    pub password: Option<String>,
}

/// A MySQL or MariaDB server: `{mysql: "host=… dbname=… user=…", password: <secret>}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MysqlSystem")]
pub struct MysqlSystem {
    /// The keys of `postgres:`, or a `mysql://` URL.
    pub mysql: Endpoint,
    /// The secret under `secrets` that holds the password; none where the server asks for none.
    #[serde(default)]
    pub password: Option<String>,
}

/// A SQL Server, an Azure SQL database or managed instance: `{sqlserver: "host=… dbname=… user=…", password: <secret>}`.
/// Protocol-simulated: tried against a server of the tests only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SqlserverSystem")]
pub struct SqlserverSystem {
    /// The keys of `postgres:` (`sslmode` is `verify-full` or `disable`), or a `sqlserver://` URL.
    #[serde(deserialize_with = "by_tcp")]
    pub sqlserver: Endpoint,
    /// The secret under `secrets` that holds the password; none where the server asks for none.
    #[serde(default)]
    pub password: Option<String>,
}

/// An endpoint of an engine that is reached by TCP alone, and whose driver checks a certificate in full or not at all.
fn by_tcp<'de, D: Deserializer<'de>>(from: D) -> Result<Endpoint, D::Error> {
    let endpoint = Endpoint::deserialize(from)?;
    if endpoint.host.starts_with('/') {
        return Err(D::Error::custom(
            "a SQL Server has no socket here; write its name or address as `host=`",
        ));
    }
    if endpoint.tls == Tls::VerifyCa {
        return Err(D::Error::custom("for a SQL Server `sslmode` is `verify-full` or `disable`"));
    }
    Ok(endpoint)
}

/// Where a database is and as whom it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Endpoint {
    /// A name, an address, or the folder of a socket.
    pub host: String,
    /// The engine's own when not written.
    pub port: Option<u16>,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// How the server proves who it is.
    pub tls: Tls,
    /// PEM file of the CA that signed the server's certificate, beside the runbook.
    pub root_certificate: Option<String>,
    /// How long connecting may take; 10 when not written.
    pub connect_timeout_seconds: u32,
}

/// How the server proves who it is. There is no encryption without proof: `require` of libpq checks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It does not, and what is said can be read on the way: for this machine, and for servers that can do no better.
    Off,
    /// By a certificate of a known CA, for whatever name.
    VerifyCa,
    /// By a certificate of a known CA for its own name.
    VerifyFull,
}

impl Tls {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "disable",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Every key that is read.
const KEYS: [&str; 7] =
    ["host", "port", "dbname", "user", "sslmode", "sslrootcert", "connect_timeout"];
const CONNECT_TIMEOUT_SECONDS: u32 = 10;

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pairs = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['=', ' ', '\'']) => url(scheme, rest)?,
            _ => pairs(&text)?,
        };
        Self::of(pairs)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl Endpoint {
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut found: [Option<String>; KEYS.len()] = Default::default();
        for (key, value) in pairs {
            let Some(at) = KEYS.iter().position(|known| *known == key) else {
                return Err(unknown(&key));
            };
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(format!("`{key}` is empty or holds a control character"));
            }
            if found[at].replace(value).is_some() {
                return Err(format!("`{key}` is written twice"));
            }
        }
        let [host, port, database, user, mode, root_certificate, timeout] = found;
        let needed = |value: Option<String>, key: &str| {
            value
                .ok_or_else(|| format!("`{key}=` is missing; it is not taken from the environment"))
        };
        let number = |text: &String| text.parse::<u32>().ok().filter(|number| *number > 0);
        let host = needed(host, "host")?;
        let port = match &port {
            None => None,
            Some(text) => Some(
                number(text)
                    .and_then(|port| u16::try_from(port).ok())
                    .ok_or("`port` is a number from 1 to 65535")?,
            ),
        };
        let connect_timeout_seconds = match &timeout {
            None => CONNECT_TIMEOUT_SECONDS,
            Some(text) => number(text).ok_or("`connect_timeout` is a number of seconds above 0")?,
        };
        let tls = match mode.as_deref() {
            None if is_loopback(&host) => Tls::Off,
            None | Some("verify-full") => Tls::VerifyFull,
            Some("verify-ca") => Tls::VerifyCa,
            Some("disable") => Tls::Off,
            Some("allow" | "prefer" | "require") => {
                return Err("this `sslmode` does not check who answers; write `verify-full`, with the server's own CA as `sslrootcert`".to_owned());
            }
            Some(_) => {
                return Err("`sslmode` is `disable`, `verify-ca` or `verify-full`".to_owned());
            }
        };
        if tls != Tls::Off && host.starts_with('/') {
            return Err(
                "there is no TLS over a socket of this machine; leave `sslmode` out".to_owned()
            );
        }
        Ok(Self {
            host,
            port,
            database: needed(database, "dbname")?,
            user: needed(user, "user")?,
            tls,
            root_certificate,
            connect_timeout_seconds,
        })
    }

    /// `crm at 10.0.0.5:5432`, for messages.
    pub fn shown(&self, default_port: u16) -> String {
        let port = self.port.unwrap_or(default_port);
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{} at {host}:{port}", self.database)
    }
}

/// Never shows the value: it may be a password.
fn unknown(key: &str) -> String {
    match key {
        "password" | "passwd" | "pwd" | "passfile" => {
            "a password is not written here; name its secret: `password: <name under secrets>`"
                .to_owned()
        }
        "database" | "db" => "write the database as `dbname=`".to_owned(),
        "hostaddr" => "write the address as `host=`".to_owned(),
        "options" | "application_name" | "client_encoding" | "target_session_attrs" => {
            format!("`{key}` is set by this program; leave it out")
        }
        _ => format!("`{key}` is not known here; {}", words::suggest(key, KEYS.into_iter())),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.starts_with('/')
        || host.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `key=value` pairs as libpq reads them: quotes around a value, a backslash before a quote or a backslash, blanks around `=`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(
                "expected `key=value` pairs: `host=10.0.0.5 dbname=crm user=migrate`".to_owned()
            );
        };
        let (value, after) = value(after.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// One value, and what comes after it.
fn value(text: &str) -> Result<(String, &str), String> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok((value, "")) }
}

/// The same pairs out of `scheme://user@host:port/dbname?key=value`.
fn url(scheme: &str, rest: &str) -> Result<Vec<(String, String)>, String> {
    if !["postgres", "postgresql", "mysql", "sqlserver"].contains(&scheme) {
        return Err("a URL begins with `postgresql://`, `mysql://` or `sqlserver://`".to_owned());
    }
    // Which scheme it is makes no difference to how the rest is read.
    let url = url::Url::parse(&format!("postgresql://{rest}")).map_err(|why| why.to_string())?;
    if url.password().is_some() {
        return Err(unknown("password"));
    }
    let decoded = |text: &str| {
        percent_decoded(text)
            .ok_or_else(|| "a percent sign is not followed by a character".to_owned())
    };
    let mut pairs = Vec::new();
    if let Some(host) = url.host_str() {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        pairs.push(("host".to_owned(), decoded(host)?));
    }
    pairs.extend(url.port().map(|port| ("port".to_owned(), port.to_string())));
    if !url.username().is_empty() {
        pairs.push(("user".to_owned(), decoded(url.username())?));
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() {
        pairs.push(("dbname".to_owned(), decoded(database)?));
    }
    pairs.extend(url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())));
    Ok(pairs)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Endpoint {
    /// As `key=value` pairs that read back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host={}", quoted(&self.host))?;
        if let Some(port) = self.port {
            write!(f, " port={port}")?;
        }
        write!(f, " dbname={} user={}", quoted(&self.database), quoted(&self.user))?;
        if !self.host.starts_with('/') {
            write!(f, " sslmode={}", self.tls.as_str())?;
        }
        if let Some(file) = &self.root_certificate {
            write!(f, " sslrootcert={}", quoted(file))?;
        }
        write!(f, " connect_timeout={}", self.connect_timeout_seconds)
    }
}

fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Endpoint, String> {
        Endpoint::try_from(text.to_owned())
    }

    #[test]
    fn it_reads_as_libpq_does() {
        for text in [
            "host=10.0.0.5 port=5433 dbname=crm user=migrate",
            "  host = 10.0.0.5\tport='5433'  dbname = 'crm' user=migrate ",
            "user='migrate' host='10.0.0.5'port=5433 dbname=crm",
            "postgresql://migrate@10.0.0.5:5433/crm",
            "postgres://10.0.0.5:5433/%63rm?user=migrate&sslmode=verify-full",
            "mysql://migrate@10.0.0.5:5433/crm",
            "sqlserver://migrate@10.0.0.5:5433/crm",
        ] {
            let read = read(text).expect(text);
            assert_eq!((read.host.as_str(), read.port), ("10.0.0.5", Some(5433)), "{text}");
            assert_eq!((read.database.as_str(), read.user.as_str()), ("crm", "migrate"), "{text}");
            assert_eq!(read.tls, Tls::VerifyFull, "{text}");
        }
        let read = read(r"host=/run/pg dbname='it\'s \\ one' user=a\ b").expect("quotes");
        assert_eq!((read.database.as_str(), read.user.as_str()), (r"it's \ one", "a b"));
        assert_eq!(read.tls, Tls::Off);
    }

    #[test]
    fn what_proves_nothing_is_not_taken_for_tls() {
        let tls = |host: &str, mode: &str| {
            read(&format!("host={host} dbname=d user=u {mode}")).map(|read| read.tls)
        };
        for local in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(tls(local, ""), Ok(Tls::Off));
            assert_eq!(tls(local, "sslmode=verify-full"), Ok(Tls::VerifyFull));
        }
        assert_eq!(tls("db.contoso.example", ""), Ok(Tls::VerifyFull));
        assert_eq!(tls("127.0.0.1.contoso.example", ""), Ok(Tls::VerifyFull));
        for mode in ["require", "prefer", "allow", "on"] {
            assert!(tls("db", &format!("sslmode={mode}")).is_err(), "{mode}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_never_shows_a_password() {
        for (text, says) in [
            ("host=h dbname=d user=u password=hunter2", "name its secret"),
            ("postgresql://u:hunter2@h/d", "name its secret"),
            ("host=h dbname=d user=u pasword=hunter2", "`pasword` is not known"),
            ("host=h user=u", "`dbname=` is missing"),
            ("dbname=d user=u", "`host=` is missing"),
            ("host=h dbname=d", "`user=` is missing"),
            ("host=h host=i dbname=d user=u", "twice"),
            ("host=h dbname=d user=u port=70000", "from 1 to 65535"),
            ("host=h dbname=d user=u sslmod=disable", "`sslmode`"),
            ("host=h dbname=d user=u options='-c x=hunter2'", "leave it out"),
            ("host=h dbname=d user='u", "not closed"),
            ("just text", "key=value"),
            ("https://h/d", "postgresql://"),
            ("host='' dbname=d user=u", "is empty"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(says) && !why.contains("hunter2"), "{text}: {why}");
        }
    }

    #[test]
    fn a_sql_server_is_reached_by_tcp_and_proves_itself_in_full() {
        let read = |text: &str| {
            let system = serde_json::json!({ "sqlserver": text, "password": "crm_db" });
            serde_json::from_value::<SqlserverSystem>(system).map(|read| read.sqlserver.tls)
        };
        let rest = "dbname=crm user=migrate";
        assert_eq!(
            read(&format!("host=sql.contoso.example {rest}")).expect("one"),
            Tls::VerifyFull
        );
        assert_eq!(read(&format!("host=sql sslmode=disable {rest}")).expect("one"), Tls::Off);
        for text in ["host=sql sslmode=verify-ca", "host=/run/sql"] {
            assert!(read(&format!("{text} {rest}")).is_err(), "{text}");
        }
    }

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        let text = r"[^\p{C}]{1,12}";
        let tls = prop_oneof![Just(Tls::Off), Just(Tls::VerifyCa), Just(Tls::VerifyFull)];
        let options =
            (any::<Option<std::num::NonZeroU16>>(), proptest::option::of(text), 1_u32..9999);
        (text, text, text, tls, options).prop_map(
            |(host, database, user, tls, (port, root, timeout))| Endpoint {
                tls: if host.starts_with('/') { Tls::Off } else { tls },
                host,
                port: port.map(Into::into),
                database,
                user,
                root_certificate: root,
                connect_timeout_seconds: timeout,
            },
        )
    }

    proptest! {
        #[test]
        fn it_reads_back_what_it_writes(endpoint in endpoint()) {
            prop_assert_eq!(read(&endpoint.to_string()), Ok(endpoint));
        }

        #[test]
        fn no_text_makes_it_panic(text in r"(host|dbname|=|'|\\|://|@|%|\[| |[a-z]{0,3}|\PC)*") {
            let _ = read(&text);
        }
    }
}
