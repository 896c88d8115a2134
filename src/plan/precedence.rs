//! Which step of a plan surely ends before which other one starts.

use super::Plan;

/// Answers in constant time from lanes and barriers; asks the edges only when those do not tell.
#[derive(Debug)]
pub(super) struct Precedence<'p> {
    plan: &'p Plan,
    /// Barriers and beginnings of stages up to each step; two lanes meet only there.
    segment: Vec<usize>,
}

impl<'p> Precedence<'p> {
    /// Of a plan's steps in their order.
    pub(super) fn of(plan: &'p Plan) -> Self {
        let mut passed = 0;
        let mut previous = None;
        let segment = plan
            .steps
            .iter()
            .map(|step| {
                if step.workload.is_none() || previous.replace(step.stage) != Some(step.stage) {
                    passed += 1;
                }
                passed
            })
            .collect();
        Self { plan, segment }
    }

    /// Whether `a` has ended when `b` starts.
    pub(super) fn before(&self, a: usize, b: usize) -> bool {
        if a >= b {
            return false;
        }
        let (first, second) = (&self.plan.steps[a], &self.plan.steps[b]);
        first.workload.is_none()
            || first.workload == second.workload
            || self.segment[a] < self.segment[b]
            || self.reaches(a, b)
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        let mut open = vec![b];
        let mut seen = std::collections::HashSet::new();
        while let Some(at) = open.pop() {
            for &before in &self.plan.steps[at].after {
                if before == a {
                    return true;
                }
                if before > a && seen.insert(before) {
                    open.push(before);
                }
            }
        }
        false
    }
}
