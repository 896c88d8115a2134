//! ARM's throttling: a bucket per class of operation, refilled by the sandbox's clock.

use std::sync::{Mutex, PoisonError};

use hyper::http::{Method, StatusCode};
use jiff::Timestamp;

use super::arm::ArmError;
use super::http::Reply;

/// Class, header, size of the bucket, tokens a second.
const CLASSES: [(&str, f64, f64); 3] = [
    ("x-ms-ratelimit-remaining-subscription-reads", 250.0, 25.0),
    ("x-ms-ratelimit-remaining-subscription-writes", 200.0, 10.0),
    ("x-ms-ratelimit-remaining-subscription-deletes", 200.0, 10.0),
];

/// The buckets; they are full when a process starts.
#[derive(Debug)]
pub(super) struct Throttle {
    buckets: Mutex<[(f64, Option<Timestamp>); 3]>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { buckets: Mutex::new(CLASSES.map(|(_, size, _)| (size, None))) }
    }
}

impl Throttle {
    /// Takes a token: the header that tells what is left, or the refusal.
    pub(super) fn take(
        &self,
        method: &Method,
        now: Timestamp,
    ) -> Result<(&'static str, String), Reply> {
        let class = match *method {
            Method::GET | Method::HEAD => 0,
            Method::DELETE => 2,
            _ => 1,
        };
        let (header, size, rate) = CLASSES[class];
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = &mut buckets[class];
        let passed = at.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
        *left = (*left + passed * rate).min(size);
        *at = Some(now);
        if *left >= 1.0 {
            *left -= 1.0;
            return Ok((header, left.floor().to_string()));
        }
        let refusal = ArmError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "SubscriptionRequestsThrottled",
            "Number of requests for subscription exceeded the limit for the time interval. Please try again later.",
        );
        Err(refusal.retry_after(1).reply().with(header, "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_empties_refuses_and_refills_with_time() {
        let throttle = Throttle::default();
        let start = Timestamp::UNIX_EPOCH;
        for left in (0..250).rev() {
            let taken = throttle.take(&Method::GET, start).expect("a token");
            assert_eq!(taken.1, left.to_string());
        }
        let refused = throttle.take(&Method::GET, start).expect_err("none is left");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(throttle.take(&Method::DELETE, start).is_ok(), "another bucket");
        let later = Timestamp::from_second(1).expect("a time");
        assert!(throttle.take(&Method::GET, later).is_ok());
    }
}
