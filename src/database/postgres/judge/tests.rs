//! Every reading that must not be taken for ready, one at a time: a healthy pair with one thing wrong.

use super::*;

fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position")
}

fn tables() -> Vec<String> {
    vec!["public.a".to_owned(), "public.b".to_owned()]
}

fn publisher() -> Publisher {
    let slot = Slot {
        active: Some(true),
        wal_status: Some("reserved".to_owned()),
        confirmed: Some(lsn("0/20")),
    };
    let publication = Publication { name: "mig".to_owned(), everything: Some(true) };
    Publisher {
        in_recovery: Some(false),
        slot: Some(slot),
        tables: Some(tables()),
        partial: Some(Vec::new()),
        publications: Some(vec![publication]),
    }
}

fn subscriber() -> Subscriber {
    Subscriber {
        enabled: Some(true),
        publications: Some(vec!["mig".to_owned()]),
        worker: Some(7),
        tables: Some(tables()),
        copying: Some(Vec::new()),
        errors: Some(3),
        counts_errors: Some(true),
    }
}

fn judged(publisher: &Publisher, subscriber: Subscriber, before: Option<Subscriber>) -> Standing {
    let before = before.map(|it| Look::Logical(publisher.clone(), it));
    Look::Logical(publisher.clone(), subscriber).judge(before.as_ref())
}

#[test]
fn a_healthy_pair_is_where_the_subscriber_confirmed() {
    assert_eq!(judged(&publisher(), subscriber(), Some(subscriber())), Standing::At(lsn("0/20")));
    // Marks that are half made are nobody's rows.
    let mut marked = publisher();
    list(&mut marked.tables).push(marker::TABLE.to_owned());
    assert_eq!(judged(&marked, subscriber(), Some(subscriber())), Standing::At(lsn("0/20")));
    // Before version 15 errors are not counted; a worker that fails is another one at the next look.
    let older = Subscriber { errors: None, counts_errors: Some(false), ..subscriber() };
    assert_eq!(judged(&publisher(), older.clone(), Some(older)), Standing::At(lsn("0/20")));
}

type Spoil = (&'static str, fn(&mut Publisher, &mut Subscriber), &'static str);

const SPOILED: &[Spoil] = &[
    ("source is a standby", |p, _| p.in_recovery = Some(true), "a standby itself"),
    ("null: recovery", |p, _| p.in_recovery = None, "is not told"),
    ("slot vanished", |p, _| p.slot = None, "is gone"),
    ("slot idle", |p, _| slot(p).active = Some(false), "nobody is connected"),
    ("null: active", |p, _| slot(p).active = None, "nobody is connected"),
    ("log lost", |p, _| slot(p).wal_status = Some("lost".to_owned()), "(lost)"),
    (
        "log about to be lost",
        |p, _| slot(p).wal_status = Some("unreserved".to_owned()),
        "(unreserved)",
    ),
    ("null: log", |p, _| slot(p).wal_status = None, "is not told"),
    ("null: confirmed", |p, _| slot(p).confirmed = None, "is not told"),
    (
        "late table",
        |p, _| list(&mut p.tables).push("public.late".to_owned()),
        "not subscribed: public.late",
    ),
    ("table taken out", |p, _| drop(list(&mut p.tables).pop()), "no longer published: public.b"),
    ("null: tables", |p, _| p.tables = None, "is not told"),
    (
        "row filter",
        |p, _| list(&mut p.partial).push("public.a".to_owned()),
        "left out of what is published: public.a",
    ),
    ("null: filters", |p, _| p.partial = None, "is not told"),
    (
        "no table at all",
        |p, s| (p.tables, s.tables) = (Some(Vec::new()), Some(Vec::new())),
        "no table",
    ),
    ("publication gone", |p, _| p.publications = Some(Vec::new()), "no publication mig"),
    ("null: publications", |p, _| p.publications = None, "is not told"),
    (
        "deletes left out",
        |p, _| p.publications.as_mut().expect("some")[0].everything = Some(false),
        "leaves out",
    ),
    (
        "null: what is published",
        |p, _| p.publications.as_mut().expect("some")[0].everything = None,
        "leaves out",
    ),
    ("disabled", |_, s| s.enabled = Some(false), "disabled"),
    ("null: enabled", |_, s| s.enabled = None, "is not told"),
    ("worker gone", |_, s| s.worker = None, "not running"),
    ("worker restarted", |_, s| s.worker = Some(8), "anew"),
    ("errors rise", |_, s| s.errors = Some(4), "3 errors before, 4 now"),
    ("errors forgotten", |_, s| s.errors = Some(0), "failed again"),
    ("null: errors", |_, s| s.errors = None, "is not told"),
    ("null: whether they count", |_, s| s.counts_errors = None, "is not told"),
    ("copying", |_, s| list(&mut s.copying).push("public.b".to_owned()), "first copy of public.b"),
    ("null: states", |_, s| s.copying = None, "is not told"),
    ("null: subscribed", |_, s| s.tables = None, "is not told"),
    ("null: asked for", |_, s| s.publications = None, "is not told"),
];

fn slot(publisher: &mut Publisher) -> &mut Slot {
    publisher.slot.as_mut().expect("a slot")
}

fn list(tables: &mut Option<Vec<String>>) -> &mut Vec<String> {
    tables.as_mut().expect("a list")
}

#[test]
fn one_thing_wrong_is_never_ready_and_says_what() {
    for (name, spoil, says) in SPOILED {
        let (mut publisher, mut subscriber) = (publisher(), self::subscriber());
        spoil(&mut publisher, &mut subscriber);
        let standing = judged(&publisher, subscriber, Some(self::subscriber()));
        assert!(
            matches!(&standing, Standing::Unknown(why) if why.contains(says)),
            "{name}: {standing:?}"
        );
    }
    assert!(matches!(judged(&publisher(), subscriber(), None), Standing::Unknown(_)));
}

fn primary() -> Primary {
    Primary {
        in_recovery: Some(false),
        system: Some("70".to_owned()),
        timeline: Some("00000001".to_owned()),
        standbys: Some(vec!["streaming".to_owned()]),
    }
}

fn standby() -> Standby {
    Standby {
        in_recovery: Some(true),
        system: Some("70".to_owned()),
        replay: Some("not paused".to_owned()),
        replayed: Some(lsn("0/20")),
        receiver: Some("streaming".to_owned()),
        slot: None,
        timeline: Some("00000001".to_owned()),
    }
}

type SpoilCopy = (&'static str, fn(&mut Primary, &mut Standby), &'static str);

const SPOILED_COPIES: &[SpoilCopy] = &[
    ("follows another", |_, s| s.timeline = Some("00000002".to_owned()), "timeline 00000002"),
    ("null: timelines", |p, s| (p.timeline, s.timeline) = (None, None), "is not told"),
    ("source is a standby", |p, _| p.in_recovery = Some(true), "a standby itself"),
    ("null: source", |p, _| p.in_recovery = None, "is not told"),
    ("promoted", |_, s| s.in_recovery = Some(false), "no standby any more"),
    ("null: target", |_, s| s.in_recovery = None, "is not told"),
    ("another cluster", |_, s| s.system = Some("71".to_owned()), "another cluster"),
    ("null: cluster", |p, _| p.system = None, "is not told"),
    ("paused", |_, s| s.replay = Some("paused".to_owned()), "paused"),
    ("null: paused", |_, s| s.replay = None, "is not told"),
    ("receiver gone", |_, s| s.receiver = None, "not running"),
    ("receiver waits", |_, s| s.receiver = Some("waiting".to_owned()), "waiting"),
    ("nobody connected", |p, _| p.standbys = Some(Vec::new()), "no standby is connected"),
    ("catching up", |p, _| p.standbys = Some(vec!["catchup".to_owned()]), "catchup"),
    ("null: who", |p, _| p.standbys = None, "is not told"),
    ("null: replayed", |_, s| s.replayed = None, "is not told"),
];

#[test]
fn the_same_holds_for_a_standby() {
    let healthy = Look::Physical(primary(), standby());
    assert_eq!(healthy.judge(None), Standing::At(lsn("0/20")));
    for (name, spoil, says) in SPOILED_COPIES {
        let (mut primary, mut standby) = (primary(), self::standby());
        spoil(&mut primary, &mut standby);
        let standing = Look::Physical(primary, standby).judge(Some(&healthy));
        assert!(
            matches!(&standing, Standing::Unknown(why) if why.contains(says)),
            "{name}: {standing:?}"
        );
    }
}
