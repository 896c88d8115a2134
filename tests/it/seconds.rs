//! Seconds of lag that a waiting step tells, beside the truth: how long ago the oldest order was acknowledged that the target
//! has not.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::is_soak;

/// A run that waits by heartbeat, and what it has told so far.
pub(crate) struct Seconds {
    child: Child,
    told: Receiver<(f64, Instant)>,
    reader: JoinHandle<()>,
    /// What was told, the last order at the target then, and when.
    samples: Vec<(f64, i64, Instant)>,
}

impl Seconds {
    /// Starts a run that says each look as a line of JSON.
    pub(crate) fn start(mut run: Command) -> Self {
        let mut child =
            run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (sent, told) = channel();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let seconds = seconds_in(&line);
                if seconds.is_some_and(|seconds| sent.send((seconds, Instant::now())).is_err()) {
                    break;
                }
            }
        });
        Self { child, told, reader, samples: Vec::new() }
    }

    /// Waits for the next look, and sees what is the last order at the target.
    pub(crate) fn look(&mut self, last: impl FnOnce() -> String) {
        let (seconds, at) = self.told.recv_timeout(Duration::from_mins(1)).expect("it tells");
        self.samples.push((seconds, last().parse().expect("a number"), at));
    }

    /// Ends the run and judges it; order `first` was acknowledged first.
    pub(crate) fn judge(mut self, first: i64, acknowledged: &[Instant]) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
        drop(self.told);
        self.reader.join().expect("it read");
        let truth = |last: i64, at: Instant| {
            let missing = usize::try_from(last + 1 - first).expect("positive");
            acknowledged
                .get(missing)
                .map_or(0.0, |oldest| at.saturating_duration_since(*oldest).as_secs_f64())
        };
        let samples = &self.samples;
        let errors: Vec<f64> =
            samples.iter().map(|(told, last, at)| (told - truth(*last, *at)).abs()).collect();
        let near = errors.iter().filter(|error| **error <= 0.5).count();
        let most = samples.iter().map(|(told, ..)| *told).fold(0.0, f64::max);
        let (all, tenths) = (errors.len(), near * 1000 / errors.len());
        println!(
            "{near} of {all} readings within 0.5 s of the truth ({}.{} %), up to {most:.1} s of lag, {} orders",
            tenths / 10,
            tenths % 10,
            acknowledged.len()
        );
        assert!(most > 1.0, "applying was never late");
        if is_soak() {
            assert!(near * 100 >= all * 95, "{errors:?}");
        }
    }
}

/// `lag of target by heartbeat 1.2345 s, …` in a line of progress.
fn seconds_in(line: &str) -> Option<f64> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = value["progress"]["text"].as_str()?;
    text.split_once("by heartbeat ")?.1.split_once(" s,")?.0.parse().ok()
}
