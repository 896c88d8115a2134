//! How far the trials of a rehearsal are: a bar on a terminal, elsewhere a line now and then.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::line::Line;
use super::output::Output;
use super::phrase::count;
use super::plain::HEARTBEAT;

/// See the module. Dropped, its bar is gone.
#[derive(Debug)]
pub struct Trials {
    name: &'static str,
    total: usize,
    tried: usize,
    deviated: usize,
    stopping: bool,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Bar(ProgressBar),
    Lines { output: Output, last: Instant },
    Silent,
}

impl Trials {
    /// A bar on standard error.
    pub fn bar(name: &'static str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        Self::new(name, total, Form::Bar(bar.with_style(style()).with_prefix(name)))
    }

    /// A line at each heartbeat.
    pub fn lines(name: &'static str, total: usize, output: Output) -> Self {
        Self::new(name, total, Form::Lines { output, last: Instant::now() })
    }

    /// Nothing: whoever reads does not want to be told.
    pub const fn silent(name: &'static str, total: usize) -> Self {
        Self::new(name, total, Form::Silent)
    }

    const fn new(name: &'static str, total: usize, form: Form) -> Self {
        Self { name, total, tried: 0, deviated: 0, stopping: false, form }
    }

    /// One more trial has ended.
    pub fn tried(&mut self, deviated: bool) {
        self.tried += 1;
        self.deviated += usize::from(deviated);
        if let Form::Bar(bar) = &self.form {
            bar.set_position(self.tried as u64);
            bar.set_message(count(self.deviated, "deviation"));
        }
    }

    /// Says once that it comes to an end before its time.
    pub fn stopping(&mut self, what: &str) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let line = format!("interrupted: {what}");
        match &mut self.form {
            Form::Bar(bar) => bar.println(line),
            Form::Lines { output, .. } => output.line(&Line::new().text(line)),
            Form::Silent => {}
        }
    }

    /// Some time has passed.
    pub fn tick(&mut self) {
        let line = self.line();
        match &mut self.form {
            Form::Bar(bar) => bar.tick(),
            Form::Lines { output, last } if last.elapsed() >= HEARTBEAT => {
                *last = Instant::now();
                output.line(&Line::new().text(line));
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    /// `crash matrix: 12 of 380 points, 0 deviations`.
    fn line(&self) -> String {
        let (total, deviated) = (count(self.total, "point"), count(self.deviated, "deviation"));
        format!("{}: {} of {total}, {deviated}", self.name, self.tried)
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("  {prefix} [{bar:24}] {pos}/{len} points, {msg} {elapsed}")
        .expect("a constant template")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_right() {
        let _ = style();
    }

    #[test]
    fn a_line_counts_points_and_deviations() {
        let mut trials = Trials::silent("crash matrix", 3);
        trials.tried(false);
        trials.tried(true);
        assert_eq!(trials.line(), "crash matrix: 2 of 3 points, 1 deviation");
    }
}
