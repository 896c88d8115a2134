use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One token, posted at the tenth second.
fn posted() -> Tokens {
    let mut tokens = Tokens::default();
    assert!(tokens.post(at(10)));
    tokens.posted(7, (at(10), at(10)));
    tokens
}

fn look(tokens: &mut Tokens, told: Result<Arrival, String>, second: i64) -> Reading {
    assert!(tokens.ask().is_some());
    tokens.told(told, (at(second), at(second)));
    tokens.reading(at(second))
}

fn why(reading: Reading) -> String {
    let Reading::Unknown(why) = reading else { panic!("{reading:?}") };
    why
}

#[test]
fn before_one_has_arrived_nothing_is_known_but_where_it_is() {
    let mut tokens = Tokens::default();
    assert_eq!(why(tokens.reading(at(9))), "no tracer token is under way");
    tokens = posted();
    assert!(why(tokens.reading(at(10))).contains("token 7 of 0 s ago was posted just now"));
    assert!(why(look(&mut tokens, Ok(Arrival::InTheLog), 12)).contains("Log Reader Agent"));
    let far = why(look(&mut tokens, Ok(Arrival::AtTheDistributor), 15));
    assert!(far.contains("of 5 s ago is at the Distributor"), "{far}");
}

#[test]
fn the_lag_is_what_the_last_one_took_or_the_next_one_is_missing() {
    let mut tokens = posted();
    look(&mut tokens, Ok(Arrival::AtTheDistributor), 12);
    let there = look(&mut tokens, Ok(Arrival::There { seconds: 3 }), 15);
    assert_eq!(there, Reading::Lag { lag: s(3), age: s(0) });
    assert_eq!(tokens.reading(at(16)), Reading::Lag { lag: s(3), age: s(1) });
    assert!(tokens.post(at(16)));
    tokens.posted(8, (at(16), at(16)));
    assert_eq!(look(&mut tokens, Ok(Arrival::InTheLog), 18), Reading::Lag { lag: s(3), age: s(3) });
    assert_eq!(
        look(&mut tokens, Ok(Arrival::InTheLog), 40),
        Reading::Lag { lag: s(24), age: s(25) }
    );
}

#[test]
fn a_latency_that_can_not_be_is_not_believed() {
    // Seen missing for 4 s, seen there after 9 s.
    for (told, believed) in
        [(6, 6), (3, 4), (10, 10), (2, 9), (0, 9), (-5, 9), (11, 9), (i64::MAX, 9)]
    {
        assert_eq!(took(told, s(4), s(9)), s(believed), "{told}");
    }
    assert_eq!(took(0, s(0), s(5)), s(0));
}

#[test]
fn one_is_waited_for_at_a_time_and_the_next_one_comes_after_a_while() {
    let mut tokens = posted();
    assert!(!tokens.post(at(1000)), "one is under way");
    look(&mut tokens, Ok(Arrival::There { seconds: 1 }), 12);
    assert!(!tokens.post(at(14)) && tokens.post(at(15)) && !tokens.post(at(16)));
}

#[test]
fn what_nothing_is_told_of_is_unknown_and_in_the_end_lost() {
    let mut tokens = posted();
    look(&mut tokens, Ok(Arrival::There { seconds: 1 }), 11);
    assert!(tokens.post(at(15)));
    tokens.posted(8, (at(15), at(15)));
    assert_eq!(why(look(&mut tokens, Err("no row".to_owned()), 20)), "no row");
    assert!(!tokens.post(at(74)) && tokens.post(at(75)));
    // The same where nobody answered at all.
    let mut tokens = posted();
    tokens.ask();
    assert!(why(tokens.reading(at(20))).contains("nothing is told of tracer token 7"));
    assert!(tokens.post(at(70)));
}

#[test]
fn a_subscription_that_was_out_of_order_begins_anew() {
    let mut tokens = posted();
    look(&mut tokens, Ok(Arrival::There { seconds: 1 }), 11);
    tokens.forget();
    assert_eq!(why(tokens.reading(at(12))), "no tracer token is under way");
    assert!(!tokens.post(at(12)) && tokens.post(at(15)));
}

#[test]
fn one_that_was_not_posted_is_remembered_and_ends_what_was_known() {
    let mut tokens = posted();
    look(&mut tokens, Ok(Arrival::There { seconds: 1 }), 11);
    assert!(tokens.post(at(15)));
    tokens.unposted("the log is full".to_owned());
    assert_eq!(why(tokens.reading(at(16))), "the log is full");
    assert!(!tokens.post(at(19)) && tokens.post(at(20)));
}
