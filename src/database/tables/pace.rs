//! How hard a server may be driven.

use std::time::Duration;

/// The limits of one comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How long one statement should take: ranges grow and shrink towards it.
    pub aim: Duration,
    /// How long one may take at most.
    pub limit: Duration,
    /// Rest after each statement, in its own time: 0 is none, 1 leaves the server alone for half of the time.
    pub rest: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { aim: Duration::from_secs(1), limit: Duration::from_mins(1), rest: 0.0 }
    }
}

impl Pace {
    /// The size of the next range, after one of `size` took so long.
    pub(super) fn next(&self, size: u64, took: Duration) -> u64 {
        if took > self.aim {
            (size / 2).max(1)
        } else if took < self.aim / 2 {
            size.saturating_mul(2)
        } else {
            size
        }
    }

    /// Leaves the server alone after a statement that took so long.
    pub(super) async fn rest(&self, took: Duration) {
        if self.rest > 0.0 {
            tokio::time::sleep(took.mul_f64(self.rest)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_and_shrink_towards_the_aim() {
        let pace = Pace::default();
        assert_eq!(pace.next(100, Duration::from_millis(10)), 200);
        assert_eq!(pace.next(100, Duration::from_millis(700)), 100);
        assert_eq!(pace.next(100, Duration::from_secs(3)), 50);
        assert_eq!(pace.next(1, Duration::from_secs(3)), 1);
    }
}
