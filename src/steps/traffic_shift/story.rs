//! What the journal says about earlier attempts: rounds, each forward through the percents and perhaps back. Pure.
//!
//! A round that went back is over; whoever tries again begins the next one, with effects of its own. A round that was cut
//! off in the middle is gone on with, in the direction that it had.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::gate::Shut;
use crate::azure::Weight;
use crate::run::RecordedEffect;

/// One of the two between which traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Where it comes from.
    From,
    /// Where it goes.
    To,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }
}

/// Why a round goes back: journalled before anything of it goes back, so that whoever takes it up knows the direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Why {
    pub(super) verdict: Shut,
    /// Where the gate shut.
    pub(super) percent: u8,
    pub(super) detail: String,
}

/// Which way an effect went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    Forward(u8),
    Back,
}

/// An effect's key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) round: u32,
    pub(super) leg: Leg,
    pub(super) side: Side,
}

impl Key {
    pub(super) fn text(self) -> String {
        let (round, side) = (self.round, self.side.name());
        match self.leg {
            Leg::Forward(percent) => format!("shift-{round}/{percent}/{side}"),
            Leg::Back => format!("back-{round}/{side}"),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (path, side) = text.rsplit_once('/')?;
        let side = [Side::From, Side::To].into_iter().find(|it| it.name() == side)?;
        if let Some(round) = path.strip_prefix("back-") {
            return Some(Self { round: round.parse().ok()?, leg: Leg::Back, side });
        }
        let (round, percent) = path.strip_prefix("shift-")?.split_once('/')?;
        let leg = Leg::Forward(percent.parse().ok()?);
        Some(Self { round: round.parse().ok()?, leg, side })
    }
}

/// What one side went through in a round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// Before the round; none while it is untouched.
    pub(super) original: Option<Weight>,
    /// As the last effect left it; two while nobody knows whether that one happened.
    pub(super) left: Vec<Weight>,
    /// Every state that some effect of the round saw or wanted.
    pub(super) known: Vec<Weight>,
    /// It is back where it was.
    pub(super) back: bool,
}

impl Track {
    /// An effect that is in place.
    pub(super) fn moved(&mut self, before: Weight, after: Weight) {
        self.original.get_or_insert(before);
        self.left = vec![after];
        self.known.extend([before, after]);
    }

    /// An effect of which nobody could tell whether it is in place.
    fn may_have_moved(&mut self, before: Weight, after: Weight) {
        self.moved(before, after);
        self.left.insert(0, before);
    }

    /// Whether its last effect has to be begun anew, if only to know.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.left.len() > 1
    }
}

/// `weight 10 or weight 50`.
pub(super) fn words(weights: &[Weight]) -> String {
    weights.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) number: u32,
    /// The last percent with an effect that is in place, or may be.
    pub(super) reached: Option<u8>,
    /// Set as soon as its gate has shut.
    pub(super) why: Option<Why>,
    pub(super) from: Track,
    pub(super) to: Track,
}

impl Round {
    pub(super) fn track(&self, side: Side) -> &Track {
        match side {
            Side::From => &self.from,
            Side::To => &self.to,
        }
    }

    pub(super) fn track_mut(&mut self, side: Side) -> &mut Track {
        match side {
            Side::From => &mut self.from,
            Side::To => &mut self.to,
        }
    }

    /// Everything that moved is back.
    pub(super) fn is_over(&self) -> bool {
        let settled = |track: &Track| track.back || track.original.is_none();
        self.why.is_some() && settled(&self.from) && settled(&self.to)
    }

    /// The round of that number, as recorded.
    pub(super) fn recorded(number: u32, effects: &[RecordedEffect]) -> Self {
        let (from, to) = (Track::default(), Track::default());
        let mut round = Self { number, reached: None, why: None, from, to };
        for effect in effects {
            if effect.intent.key == verdict_key(number) {
                round.why = Why::deserialize(&effect.intent.after).ok();
            }
            let Some(key) = Key::parse(&effect.intent.key).filter(|key| key.round == number) else {
                continue;
            };
            let state = |value: &Value| serde_json::from_value::<Weight>(value.clone()).ok();
            let (Some(before), Some(after)) =
                (state(&effect.intent.before), state(&effect.intent.after))
            else {
                continue;
            };
            let track = round.track_mut(key.side);
            if effect.done {
                track.moved(before, after);
            } else {
                track.may_have_moved(before, after);
            }
            match key.leg {
                Leg::Forward(percent) => round.reached = round.reached.max(Some(percent)),
                Leg::Back => track.back = effect.done,
            }
        }
        round
    }

    /// The last round on record, or the first one.
    pub(super) fn last(effects: &[RecordedEffect]) -> Self {
        let numbers = effects.iter().filter_map(|effect| Key::parse(&effect.intent.key));
        Self::recorded(numbers.map(|key| key.round).max().unwrap_or(1), effects)
    }
}

/// What is done when a gate shuts: its verdict is kept.
pub(super) const VERDICT: &str = "baseline";

/// Key of the verdict that ends a round.
pub(super) fn verdict_key(round: u32) -> String {
    format!("shut-{round}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::{Intent, Repeat, Undo};

    fn weight(weight: u16) -> Weight {
        Weight { weight, enabled: true }
    }

    fn effect(key: Key, before: u16, after: &Value) -> RecordedEffect {
        let classes = (Repeat::Repeatable, Undo::Restores);
        let before = json!(weight(before));
        let intent = Intent::new(key.text(), "target", "weigh", classes, before, after.clone());
        RecordedEffect { intent, sent: None, observed: None, done: true }
    }

    fn verdict(round: u32, why: &Why) -> RecordedEffect {
        let classes = (Repeat::Repeatable, Undo::LeavesInPlace);
        let key = verdict_key(round);
        let intent = Intent::new(key, "target", VERDICT, classes, Value::Null, json!(why));
        RecordedEffect { intent, sent: None, observed: None, done: true }
    }

    const fn key(round: u32, leg: Leg, side: Side) -> Key {
        Key { round, leg, side }
    }

    #[test]
    fn keys_come_back_as_they_were() {
        for key in [key(1, Leg::Forward(10), Side::To), key(12, Leg::Back, Side::From)] {
            assert_eq!(Key::parse(&key.text()), Some(key));
        }
        for other in ["undo:x", "shift-1/to", "shift-a/1/to", "back-1/both", "shut-1"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_round_remembers_where_it_began_and_how_far_it_is() {
        let effects = [
            effect(key(1, Leg::Forward(10), Side::To), 1, &json!(weight(10))),
            effect(key(1, Leg::Forward(10), Side::From), 100, &json!(weight(90))),
            effect(key(1, Leg::Forward(50), Side::To), 10, &json!(weight(50))),
        ];
        let round = Round::last(&effects);
        assert_eq!((round.number, round.reached, round.is_over()), (1, Some(50), false));
        assert_eq!((round.to.original, round.to.left), (Some(weight(1)), vec![weight(50)]));
        assert_eq!((round.from.original, round.from.left), (Some(weight(100)), vec![weight(90)]));
    }

    #[test]
    fn what_nobody_could_tell_about_is_remembered_as_both() {
        let in_doubt = |mut effect: RecordedEffect| {
            effect.done = false;
            effect
        };
        let first = in_doubt(effect(key(1, Leg::Forward(10), Side::To), 1, &json!(weight(10))));
        let round = Round::last(&[first]);
        assert_eq!((round.reached, round.to.original), (Some(10), Some(weight(1))));
        assert_eq!((&round.to.left, round.to.is_in_doubt()), (&vec![weight(1), weight(10)], true));
        let why = Why { verdict: Shut::Failure, percent: 10, detail: "down".to_owned() };
        let mut effects = vec![
            effect(key(1, Leg::Forward(10), Side::To), 1, &json!(weight(10))),
            verdict(1, &why),
            in_doubt(effect(key(1, Leg::Back, Side::To), 10, &json!(weight(1)))),
        ];
        let going = Round::last(&effects);
        assert_eq!(
            (going.to.original, going.to.back, going.is_over()),
            (Some(weight(1)), false, false)
        );
        effects[2].done = true;
        assert!(Round::last(&effects).is_over());
    }

    #[test]
    fn a_round_is_over_only_when_both_are_back_and_the_reason_stays() {
        let why = Why { verdict: Shut::Failure, percent: 10, detail: "down".to_owned() };
        let mut effects = vec![
            effect(key(1, Leg::Forward(10), Side::To), 1, &json!(weight(10))),
            effect(key(1, Leg::Forward(10), Side::From), 100, &json!(weight(90))),
            verdict(1, &why),
        ];
        let shut = Round::last(&effects);
        assert_eq!((shut.why.as_ref(), shut.is_over()), (Some(&why), false));
        effects.push(effect(key(1, Leg::Back, Side::From), 90, &json!(weight(100))));
        assert!(!Round::last(&effects).is_over());
        effects.push(effect(key(1, Leg::Back, Side::To), 10, &json!(weight(1))));
        assert!(Round::last(&effects).is_over());
        effects.push(effect(key(2, Leg::Forward(10), Side::To), 1, &json!(weight(10))));
        let second = Round::last(&effects);
        assert_eq!((second.number, second.why.as_ref(), second.from.original), (2, None, None));
    }
}
