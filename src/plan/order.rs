//! Lanes, barriers and `after` as edges, and an order that respects them and otherwise stays as written.
//!
//! Within a stage a step waits for the last step of its lane, or for the last barrier; a barrier waits for the last step of
//! each lane. So there are about two edges a step, however many lanes there are. Between two stages every first step waits
//! for every last one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::run::Stage;

/// Most edges between two stages: a thousand lanes on either side.
const MAX_STAGE_EDGES: usize = 1_000_000;

/// What ordering needs to know of a step, in written order.
pub(super) struct Item<'s> {
    pub(super) stage: Stage,
    /// The lane; none is a barrier.
    pub(super) lane: Option<&'s str>,
    /// `after`, as positions in written order.
    pub(super) after: Vec<usize>,
}

/// Why there is no order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoOrder {
    /// These steps wait for each other in this order, the first one again after the last.
    Cycle(Vec<usize>),
    /// Too many lanes meet between this stage and the next.
    TooWide(Stage),
}

/// Steps in an order to run, each with the positions *in that order* of those it waits for.
pub(super) struct Ordered {
    /// Written position by position in the order.
    pub(super) written: Vec<usize>,
    /// Edges by position in the order; each list is sorted and free of repeats.
    pub(super) after: Vec<Vec<usize>>,
}

pub(super) fn order(items: &[Item<'_>]) -> Result<Ordered, NoOrder> {
    let before = edges(items)?;
    let mut open: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut followers = vec![Vec::new(); items.len()];
    for (at, befores) in before.iter().enumerate() {
        for &other in befores {
            followers[other].push(at);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..items.len()).filter(|&at| open[at] == 0).map(Reverse).collect();
    let mut written = Vec::with_capacity(items.len());
    let mut position = vec![usize::MAX; items.len()];
    while let Some(Reverse(at)) = ready.pop() {
        position[at] = written.len();
        written.push(at);
        for &follower in &followers[at] {
            open[follower] -= 1;
            if open[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    if written.len() < items.len() {
        return Err(NoOrder::Cycle(cycle(&before, &position)));
    }
    let after = written
        .iter()
        .map(|&at| {
            let mut positions: Vec<usize> =
                before[at].iter().map(|&other| position[other]).collect();
            positions.sort_unstable();
            positions
        })
        .collect();
    Ok(Ordered { written, after })
}

fn edges(items: &[Item<'_>]) -> Result<Vec<Vec<usize>>, NoOrder> {
    let mut before = vec![Vec::new(); items.len()];
    let mut ends: Vec<usize> = Vec::new();
    let mut from = 0;
    while from < items.len() {
        let stage = items[from].stage;
        let to = from + items[from..].iter().take_while(|item| item.stage == stage).count();
        let mut starts = 0;
        let mut barrier: Option<usize> = None;
        let mut tails: BTreeMap<&str, usize> = BTreeMap::new();
        for at in from..to {
            let own = &mut before[at];
            match items[at].lane {
                Some(lane) => own.extend(tails.insert(lane, at).or(barrier)),
                None if tails.is_empty() => own.extend(barrier),
                None => own.extend(tails.values().copied()),
            }
            if items[at].lane.is_none() {
                barrier = Some(at);
                tails.clear();
            }
            if own.is_empty() {
                starts += 1;
                if starts * ends.len() > MAX_STAGE_EDGES {
                    return Err(NoOrder::TooWide(items[from - 1].stage));
                }
                own.extend(&ends);
            }
        }
        ends = if tails.is_empty() {
            barrier.into_iter().collect()
        } else {
            tails.into_values().collect()
        };
        from = to;
    }
    for (own, item) in before.iter_mut().zip(items) {
        own.extend(&item.after);
        own.sort_unstable();
        own.dedup();
    }
    Ok(before)
}

/// One cycle among the steps without a position, each waiting for the next.
fn cycle(before: &[Vec<usize>], position: &[usize]) -> Vec<usize> {
    let stuck = |at: &usize| position[*at] == usize::MAX;
    let mut at = (0..before.len()).find(stuck).expect("a step is stuck");
    let mut seen_at = vec![usize::MAX; before.len()];
    let mut path = Vec::new();
    // Every stuck step waits for another stuck one, so the walk must come back to where it was.
    while seen_at[at] == usize::MAX {
        seen_at[at] = path.len();
        path.push(at);
        at = *before[at].iter().find(|other| stuck(other)).expect("a stuck step waits for one");
    }
    let mut cycle = path.split_off(seen_at[at]);
    // Begin with the step written first, so that the same runbook always gets the same message.
    let first = cycle.iter().enumerate().min_by_key(|&(_, step)| step).map_or(0, |(at, _)| at);
    cycle.rotate_left(first);
    cycle
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(stage: Stage, lane: Option<&'static str>, after: &[usize]) -> Item<'static> {
        Item { stage, lane, after: after.to_vec() }
    }

    fn edges_of(items: &[Item<'_>]) -> Vec<Vec<usize>> {
        edges(items).expect("not too wide")
    }

    #[test]
    fn lanes_run_side_by_side_between_barriers() {
        use Stage::Prepare;
        let items = [
            item(Prepare, None, &[]),
            item(Prepare, Some("a"), &[]),
            item(Prepare, Some("b"), &[]),
            item(Prepare, Some("a"), &[]),
            item(Prepare, None, &[]),
            item(Prepare, None, &[]),
            item(Prepare, Some("b"), &[]),
        ];
        assert_eq!(
            edges_of(&items),
            [vec![], vec![0], vec![0], vec![1], vec![2, 3], vec![4], vec![5]]
        );
    }

    #[test]
    fn a_stage_waits_for_every_end_of_the_one_before() {
        let items = [
            item(Stage::Assess, Some("a"), &[]),
            item(Stage::Assess, Some("b"), &[]),
            item(Stage::Release, Some("b"), &[]),
            item(Stage::Release, Some("a"), &[]),
            item(Stage::Release, Some("a"), &[]),
        ];
        assert_eq!(edges_of(&items), [vec![], vec![], vec![0, 1], vec![0, 1], vec![3]]);
    }

    #[test]
    fn after_may_point_down_the_page() {
        let items = [
            item(Stage::Deploy, Some("a"), &[1]),
            item(Stage::Deploy, Some("b"), &[]),
            item(Stage::Deploy, Some("c"), &[]),
        ];
        let ordered = order(&items).expect("an order");
        assert_eq!(ordered.written, [1, 0, 2]);
        assert_eq!(ordered.after, [vec![], vec![0], vec![]]);
    }

    #[test]
    fn a_cycle_is_shown_from_its_first_step() {
        let items = [
            item(Stage::Deploy, Some("a"), &[]),
            item(Stage::Deploy, Some("b"), &[2]),
            item(Stage::Deploy, Some("c"), &[1]),
        ];
        assert_eq!(order(&items).err(), Some(NoOrder::Cycle(vec![1, 2])));
        let itself = [item(Stage::Deploy, None, &[0])];
        assert_eq!(order(&itself).err(), Some(NoOrder::Cycle(vec![0])));
    }

    #[test]
    fn edges_grow_with_the_steps_and_not_with_their_square() {
        let names: Vec<String> = (0..500).map(|n| format!("w{n}")).collect();
        let mut items = Vec::new();
        for _ in 0..20 {
            items.push(item(Stage::Deploy, None, &[]));
            items.extend(names.iter().map(|name| Item {
                stage: Stage::Deploy,
                lane: Some(name),
                after: Vec::new(),
            }));
        }
        let count: usize = edges_of(&items).iter().map(Vec::len).sum();
        assert!(count < 2 * items.len(), "{count} edges for {} steps", items.len());
    }

    proptest! {
        #[test]
        fn every_edge_points_back_and_order_stays_as_written_where_it_may(
            steps in proptest::collection::vec((0usize..4, proptest::option::of(0usize..4), proptest::option::of(0usize..30)), 1..40)
        ) {
            let lanes = ["a", "b", "c", "d"];
            let mut steps = steps;
            steps.sort_by_key(|&(stage, ..)| stage);
            let count = steps.len();
            let items: Vec<Item<'_>> = steps
                .iter()
                .map(|&(stage, lane, after)| Item {
                    stage: Stage::ALL[stage],
                    lane: lane.map(|lane| lanes[lane]),
                    after: after.filter(|&after| after < count).into_iter().collect(),
                })
                .collect();
            match order(&items) {
                Ok(ordered) => {
                    let mut all = ordered.written.clone();
                    all.sort_unstable();
                    prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
                    for (at, after) in ordered.after.iter().enumerate() {
                        prop_assert!(after.iter().all(|&before| before < at));
                    }
                    for pair in ordered.written.windows(2) {
                        prop_assert!(items[pair[0]].stage <= items[pair[1]].stage);
                    }
                }
                Err(NoOrder::Cycle(cycle)) => {
                    let before = edges(&items).expect("not too wide");
                    for (at, &step) in cycle.iter().enumerate() {
                        let next = cycle[(at + 1) % cycle.len()];
                        prop_assert!(before[step].contains(&next));
                    }
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
