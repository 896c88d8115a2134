//! Lag from a command that prints it: a number of seconds, or `{"lag_seconds": n, "at": "2026-12-05T22:00:00Z"}`.
//!
//! The child gets a bare environment, no input, and half a minute. What it prints is read, never run.

use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::gate::Reading;
use crate::clock::age;
use crate::crash;

/// Real time for one run of the command.
const WAIT: Duration = Duration::from_secs(30);
/// Output that is read.
const OUTPUT_MAX: u64 = 64 * 1024;
/// Variables that a child gets.
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "TMPDIR", "SystemRoot", "TEMP"];

#[derive(Deserialize)]
#[serde(untagged)]
enum Printed {
    Number(f64),
    Object { lag_seconds: Option<f64>, at: Option<Timestamp> },
}

/// Runs the command once. Everything that goes wrong is an unknown reading.
pub(super) async fn read(argv: &[String], folder: &std::path::Path, now: Timestamp) -> Reading {
    match tokio::time::timeout(WAIT, run(argv, folder)).await {
        Ok(Ok(output)) => parse(&output, now),
        Ok(Err(why)) => Reading::Unknown(format!("`{}` {why}", argv[0])),
        Err(_elapsed) => {
            Reading::Unknown(format!("`{}` ran longer than {} s", argv[0], WAIT.as_secs()))
        }
    }
}

async fn run(argv: &[String], folder: &std::path::Path) -> Result<String, String> {
    let kept = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let call = crash::call(|| format!("start {}", argv[0]));
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(folder)
        .env_clear()
        .envs(kept)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
    let mut output = Vec::new();
    let stdout = child.stdout.take().expect("standard output is piped");
    let read = stdout.take(OUTPUT_MAX).read_to_end(&mut output).await;
    read.map_err(|error| format!("could not be read: {error}"))?;
    let status = child.wait().await.map_err(|error| format!("was lost: {error}"))?;
    call.made();
    if !status.success() {
        return Err(format!("failed with {status}"));
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn parse(output: &str, now: Timestamp) -> Reading {
    let (lag, at) = match serde_json::from_str(output.trim()) {
        Ok(Printed::Number(lag)) => (Some(lag), None),
        Ok(Printed::Object { lag_seconds, at }) => (lag_seconds, at),
        Err(_) => {
            return Reading::Unknown("the command printed no lag that can be read".to_owned());
        }
    };
    let Some(age) = at.map_or(Some(Duration::ZERO), |at| age(at, now)) else {
        let why = "the command's reading is from the future; one of two clocks is wrong";
        return Reading::Unknown(why.to_owned());
    };
    // A negative lag is clock skew; a number that is none, or beyond all time, is unknown.
    match lag.map(|lag| Duration::try_from_secs_f64(lag.max(0.0))) {
        Some(Ok(duration)) if lag.is_some_and(f64::is_finite) => {
            Reading::Lag { lag: duration, age }
        }
        Some(_) => Reading::Unknown("the command printed a lag that is no number".to_owned()),
        None => Reading::Unknown("the command printed no lag (null)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_objects_are_lag_and_everything_else_is_unknown() {
        let now = Timestamp::from_second(100).expect("a time");
        let lag = |seconds, age| Reading::Lag {
            lag: Duration::from_secs(seconds),
            age: Duration::from_secs(age),
        };
        assert_eq!(parse(" 12\n", now), lag(12, 0));
        assert_eq!(parse("-3.5", now), lag(0, 0));
        assert_eq!(parse(r#"{"lag_seconds": 4, "at": "1970-01-01T00:01:30Z"}"#, now), lag(4, 10));
        let ahead = r#"{"lag_seconds": 0, "at": "1970-01-01T01:00:00Z"}"#;
        for unknown in [ahead, "", "null", "soon", r#"{"lag_seconds": null}"#, "{}", "1e300", "[1]"]
        {
            assert!(matches!(parse(unknown, now), Reading::Unknown(_)), "{unknown}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_failing_or_missing_command_is_unknown_and_sees_no_secret() {
        let now = Timestamp::UNIX_EPOCH;
        let sh = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned);
        let run = async |argv: &[String]| read(argv, std::path::Path::new("/"), now).await;
        assert!(matches!(run(&sh("echo 1; exit 3")).await, Reading::Unknown(_)));
        assert!(matches!(run(&["/no/such/program".to_owned()]).await, Reading::Unknown(_)));
        let variables = run(&sh("test -z \"$CARGO_MANIFEST_DIR\" && echo 7")).await;
        assert_eq!(variables, Reading::Lag { lag: Duration::from_secs(7), age: Duration::ZERO });
    }
}
