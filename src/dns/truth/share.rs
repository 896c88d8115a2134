//! How the answers are spread over the servers, and how long an old one may live.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Server, Truth};
use crate::dns::record::RrSet;

impl Truth {
    /// `4 of 5 (80 %) 192.0.2.10; 1 of 5 (20 %) 192.0.2.7`, the most frequent first; TTLs do not tell answers apart.
    pub fn shares(&self) -> String {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for answer in &self.0 {
            let told = match answer.said.held() {
                Some(set) => set.shown_values(),
                None => "no usable answer".to_owned(),
            };
            *count.entry(told).or_default() += 1;
        }
        let all = self.0.len();
        let mut count: Vec<_> = count.into_iter().collect();
        count.sort_by_key(|(_, servers)| std::cmp::Reverse(*servers));
        let line = |(told, servers): &(String, usize)| {
            format!("{servers} of {all} ({} %) {told}", servers * 100 / all.max(1))
        };
        count.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The longest time that an answer which is not wanted may still be handed on; none where nobody gives one.
    pub fn worst(&self, wanted: impl Fn(&Server, &RrSet) -> bool) -> Option<Duration> {
        let old = self.0.iter().filter_map(|answer| {
            let set = answer.said.held()?;
            (!wanted(&answer.server, set)).then_some(set.ttl)
        });
        old.max().map(|seconds| Duration::from_secs(seconds.into()))
    }
}
