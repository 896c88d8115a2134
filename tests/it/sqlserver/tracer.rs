//! `replication.wait` by tracer tokens, against a publisher of these tests that answers as the procedures of transactional
//! replication are documented.

use std::process::Stdio;
use std::time::{Duration, Instant};

use migrate::database::Named;

use super::server::{Answer, Door, PASSWORD, Script, SqlServer};
use super::{PATIENCE, row, runbook, tsql, wait};
use crate::lab::Lab;

const TRACED: &str = "by: transactional-replication, publication: crm-tables, max_lag: 60s";
const AT_ONCE: &str = "by: transactional-replication, publication: crm-tables, max_lag: 0s";
const POST: &str = "sp_posttracertoken";

fn who(server: &str, is_owner: &str) -> Answer {
    Answer::Rows(vec![row(&[
        ("server_name", server),
        ("database_name", "crm"),
        ("is_published", "1"),
        ("is_owner", is_owner),
    ])])
}

fn subscribed(subscriber: &str, status: &str) -> Answer {
    let article = |name| {
        row(&[
            ("server_name", "SQL-ONE"),
            ("publication_status", "1"),
            ("repl_freq", "0"),
            ("article", name),
            ("srvname", subscriber),
            ("dest_db", "crm"),
            ("subscription_status", status),
            ("queued_reinit", "0"),
        ])
    };
    Answer::Rows(vec![article("orders"), article("customers")])
}

/// Tokens by their numbers, as posting or listing answers with them.
fn numbered(column: &str, numbers: &[&str]) -> Answer {
    Answer::Rows(numbers.iter().map(|number| row(&[(column, *number)])).collect())
}

fn history(subscriber: &str, [distributor, own, overall]: [Option<&str>; 3]) -> Named {
    let mut told = row(&[("subscriber", subscriber), ("subscriber_db", "crm")]);
    let latencies = [
        ("distributor_latency", distributor),
        ("subscriber_latency", own),
        ("overall_latency", overall),
    ];
    told.extend(latencies.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    told
}

const THERE: [Option<&str>; 3] = [Some("0"), Some("0"), Some("0")];
const IN_THE_LOG: [Option<&str>; 3] = [None, None, None];
const AT_THE_DISTRIBUTOR: [Option<&str>; 3] = [Some("1"), None, None];

fn told(latencies: [Option<&str>; 3]) -> Answer {
    Answer::Rows(vec![history("SQL-TWO", latencies), history("SQL-FAR", THERE)])
}

/// A publisher whose tokens are told of so.
fn publisher(posts: Vec<Answer>, seventh: Vec<Answer>) -> Vec<Script> {
    vec![
        (POST, posts.into()),
        (
            "sp_helptracertokens @",
            vec![numbered("tracer_id", &["5", "6"]), numbered("tracer_id", &["5", "6", "7"])]
                .into(),
        ),
        ("@tracer_id = 7", seventh.into()),
        ("@tracer_id = 8", vec![told(THERE)].into()),
        ("dbo.syspublications", vec![subscribed("sql-two", "2")].into()),
        ("is_published", vec![who("SQL-ONE", "1")].into()),
    ]
}

fn posts(numbers: &[&str]) -> Vec<Answer> {
    numbers.iter().map(|number| numbered("posted", &[number])).collect()
}

fn changed(mut scripts: Vec<Script>, about: &str, answer: Answer) -> Vec<Script> {
    let script = scripts.iter_mut().find(|script| script.0 == about).expect("a script");
    script.1 = vec![answer].into();
    scripts
}

fn start(scripts: Vec<Script>) -> SqlServer {
    SqlServer::scripted(Door::Open, scripts)
}

fn subscriber() -> SqlServer {
    SqlServer::start([who("SQL-TWO", "0")])
}

fn posted(server: &SqlServer) -> usize {
    server.batches().iter().filter(|batch| batch.contains(POST)).count()
}

/// Settings, questions within transactions that are rolled back, and three procedures.
#[track_caller]
fn only_asked_and_posted(server: &SqlServer) {
    for batch in server.batches() {
        let is_question = batch.starts_with("begin transaction; select ")
            && batch.ends_with("; rollback transaction");
        let is_call = ["sp_helptracertokens", "sp_helptracertokenhistory"].iter().any(|name| {
            batch.starts_with(&format!("exec sys.{name} @publication = N'crm-tables'"))
        });
        let is_post = batch.starts_with("declare @posted int; exec sys.sp_posttracertoken ");
        let is_setting = batch.starts_with("set ansi_nulls");
        assert!(is_question || is_call || is_post || is_setting, "{batch}");
    }
}

/// The whole journal of the only run.
fn journal(lab: &Lab) -> String {
    lab.journal().expect("a run")
}

#[test]
fn a_token_of_this_attempt_is_posted_once_and_its_arrival_opens_the_gate() {
    let late = [told(IN_THE_LOG), told(AT_THE_DISTRIBUTOR), told(THERE)];
    let (source, target) = (start(publisher(posts(&["7"]), late.to_vec())), subscriber());
    let lab = Lab::new("");
    let runbook = runbook(&lab, (source.port, target.port), "", TRACED, PATIENCE);
    let said = lab.migrate(["run", &runbook]).expect(0).said();
    assert!(said.contains("target by tracer token"), "{said}");
    assert_eq!(posted(&source), 1, "{:?}", source.batches());
    only_asked_and_posted(&source);
    super::only_asked(&target);
    let journal = journal(&lab);
    assert!(journal.contains(r#""before":{"newest_token":6}"#), "{journal}");
    assert!(journal.contains(r#"{"tokens":[7],"uncertain":0}"#), "{journal}");
    // The intent is durable before the token is posted.
    let at = |text| source.batches().iter().position(|batch| batch.contains(text));
    assert!(at("sp_helptracertokens @") < at(POST));
}

#[test]
fn what_took_long_is_a_lag_and_too_long_is_over_the_limit() {
    // The servers tell a latency that this machine's clock does not rule out: a second is the least that is told.
    let took = [Some("0"), Some("1"), Some("1")];
    let (source, target) = (start(publisher(posts(&["7"]), vec![told(took)])), subscriber());
    wait(
        &source,
        &target,
        AT_ONCE,
        4,
        &["MIG0411", "over the limit", "nothing but tracer tokens was changed"],
    );
}

#[test]
fn what_is_not_well_is_never_ready_and_says_why() {
    let others = Answer::Rows(vec![history("SQL-FAR", THERE)]);
    let broken = Answer::BrokenOff(vec![history("SQL-TWO", THERE)]);
    let tokens = |seventh| publisher(posts(&["7"]), vec![seventh]);
    let fine = || publisher(posts(&["7"]), vec![told(THERE)]);
    let cases = [
        (tokens(told(IN_THE_LOG)), 1, "has not come to the Distributor (Log Reader Agent)"),
        (tokens(told(AT_THE_DISTRIBUTOR)), 1, "is at the Distributor and not at the target"),
        (tokens(others), 1, "of crm at SQL-TWO the history of tracer token 7 tells nothing"),
        (
            tokens(Answer::Rows(vec![])),
            1,
            "of crm at SQL-TWO the history of tracer token 7 tells nothing",
        ),
        (tokens(broken), 1, "did not answer"),
        (tokens(Answer::Error(14071, "Could not find the Distributor")), 1, "(error 14071)"),
        (
            changed(fine(), "dbo.syspublications", subscribed("sql-far", "2")),
            0,
            "does not subscribe to article",
        ),
        (changed(fine(), "dbo.syspublications", subscribed("sql-two", "1")), 0, "is not active"),
        (
            changed(fine(), POST, Answer::Error(21488, "No active subscriptions were found.")),
            1,
            "(error 21488)",
        ),
        (changed(fine(), POST, Answer::Rows(vec![])), 1, "no number of a tracer token was told"),
    ];
    for (scripts, tokens, because) in cases {
        let (source, target) = (start(scripts), subscriber());
        wait(&source, &target, TRACED, 4, &["MIG0411", because]);
        assert_eq!(posted(&source), tokens, "{because}: {:?}", source.batches());
    }
}

#[test]
fn what_breaks_off_and_comes_back_is_asked_again() {
    let broken = Answer::BrokenOff(vec![history("SQL-TWO", THERE)]);
    let seventh = vec![broken.clone(), told(AT_THE_DISTRIBUTOR), broken, told(THERE)];
    let (source, target) = (start(publisher(posts(&["7"]), seventh)), subscriber());
    wait(&source, &target, TRACED, 0, &["at or under the limit"]);
    assert_eq!(posted(&source), 1);
    assert!(source.logins().len() > 2, "{:?}", source.logins());
}

#[test]
fn what_waiting_does_not_heal_is_refused_at_once() {
    let fine = || publisher(posts(&["7"]), vec![told(THERE)]);
    let denied = "Only members of the sysadmin fixed server role or db_owner fixed database role can perform this operation.";
    let unpublished = Answer::Rows(vec![row(&[
        ("server_name", "SQL-ONE"),
        ("database_name", "crm"),
        ("is_published", "0"),
    ])]);
    let cases = [
        (
            changed(fine(), "dbo.syspublications", Answer::Rows(vec![])),
            "MIG0412",
            "there is no publication `crm-tables`",
            0,
        ),
        (
            changed(fine(), "is_published", unpublished),
            "MIG0412",
            "is not published by transactional replication",
            0,
        ),
        (
            changed(fine(), "is_published", who("SQL-ONE", "0")),
            "MIG0308",
            "no member of db_owner",
            0,
        ),
        (changed(fine(), POST, Answer::Error(21050, denied)), "MIG0308", "(error 21050)", 1),
        (
            changed(fine(), "sp_helptracertokens @", Answer::Error(14126, "required permissions")),
            "MIG0308",
            "(error 14126)",
            0,
        ),
    ];
    for (scripts, code, because, tokens) in cases {
        let (source, target) = (start(scripts), subscriber());
        wait(&source, &target, TRACED, 4, &[code, because]);
        assert_eq!(posted(&source), tokens, "{because}");
    }
    let (source, target) = (start(fine()), subscriber());
    let beat = format!("{TRACED}, heartbeat: true");
    wait(&source, &target, &beat, 1, &["MIG0307", "tracer tokens are the heartbeat"]);
    for halves in ["by: transactional-replication", "by: log-shipping, publication: crm-tables"] {
        wait(&source, &target, halves, 3, &["belong together"]);
    }
}

#[test]
fn a_dry_run_posts_nothing_and_says_what_would_be() {
    let (source, target) = (start(publisher(posts(&["7"]), vec![told(THERE)])), subscriber());
    let lab = Lab::new("");
    let runbook = runbook(&lab, (source.port, target.port), "", TRACED, PATIENCE);
    let said = lab.migrate(["run", &runbook, "--dry-run"]).expect(0).said();
    assert!(
        said.contains("tracer tokens would be posted to publication crm-tables of crm at"),
        "{said}"
    );
    super::only_asked(&source);
    super::only_asked(&target);
    assert_eq!(posted(&source), 0);
}

/// A run that is killed once the publisher has got something, and is taken up.
fn killed_once(about: &str, scripts: Vec<Script>) -> (Lab, SqlServer) {
    let (source, target) = (start(scripts), subscriber());
    let lab = Lab::new("");
    let runbook = runbook(&lab, (source.port, target.port), "", TRACED, PATIENCE);
    let mut run = lab.command(["run", &runbook]);
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().expect("it starts");
    let began = Instant::now();
    while !source.batches().iter().any(|batch| batch.contains(about)) {
        assert!(began.elapsed() < Duration::from_mins(1), "never got {about}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    lab.migrate(["resume"]).expect(0);
    drop(target);
    (lab, source)
}

#[test]
fn a_token_of_an_attempt_that_was_killed_is_found_and_not_believed() {
    // Killed while it waits for the token, and while the token's number is on its way.
    let waits = publisher(posts(&["7", "8"]), vec![told(AT_THE_DISTRIBUTOR)]);
    let lost = publisher([vec![Answer::Nothing], posts(&["8"])].concat(), vec![told(THERE)]);
    for (about, scripts) in [("@tracer_id = 7", waits), (POST, lost)] {
        let (lab, source) = killed_once(about, scripts);
        let journal = journal(&lab);
        assert!(journal.contains(r#"{"newer_tokens":[7]}"#), "{journal}");
        assert!(journal.contains(r#"{"tokens":[8],"uncertain":0}"#), "{journal}");
        assert_eq!(posted(&source), 2, "{:?}", source.batches());
        let batches = source.batches();
        let second = batches.iter().rposition(|batch| batch.contains(POST)).expect("it was posted");
        assert!(batches[second..].iter().all(|batch| !batch.contains("@tracer_id = 7")));
        only_asked_and_posted(&source);
    }
}

/// A wait that ended in vain, with a token under way.
fn in_vain() -> (Lab, SqlServer, SqlServer) {
    let scripts = publisher(posts(&["7", "8"]), vec![told(AT_THE_DISTRIBUTOR)]);
    let (source, target) = (start(scripts), subscriber());
    let lab = Lab::new("");
    let runbook = runbook(&lab, (source.port, target.port), "", TRACED, "2s");
    lab.migrate(["run", &runbook]).expect(4);
    (lab, source, target)
}

#[test]
fn a_wait_in_vain_is_resumed_with_a_token_of_its_own() {
    let (lab, source, _target) = in_vain();
    lab.migrate(["resume"]).expect(0);
    let journal = journal(&lab);
    for (key, tokens) in [("tokens:0", "[7]"), ("tokens:1", "[8]")] {
        let observed = format!(r#"{{"tokens":{tokens},"uncertain":0}}"#);
        assert!(journal.contains(key) && journal.contains(&observed), "{journal}");
    }
    assert_eq!(posted(&source), 2);
}

#[test]
fn a_rollback_leaves_the_tokens_where_they_are() {
    let (lab, source, _target) = in_vain();
    let asked = source.batches().len();
    lab.migrate(["rollback", "--yes"]).expect(8);
    assert_eq!(source.batches().len(), asked);
}

#[test]
fn another_client_understands_what_the_procedures_of_these_tests_answer() {
    let source = start(publisher(posts(&["7"]), vec![told(AT_THE_DISTRIBUTOR)]));
    let ask = |what: &str| tsql(source.port, PASSWORD, what);
    let history = "exec sys.sp_helptracertokenhistory @publication = N'crm-tables', @tracer_id = 7";
    let Some(said) = ask(history) else {
        println!(
            "SKIPPED: a second client of the TDS server of the tests: tsql (freetds-bin) is not installed"
        );
        return;
    };
    assert!(said.contains("1\tNULL\tSQL-TWO\tcrm\tNULL"), "{said}");
    assert!(said.contains("0\t0\tSQL-FAR\tcrm\t0"), "{said}");
    let said =
        ask("exec sys.sp_helptracertokens @publication = N'crm-tables'").expect("it was there");
    assert!(said.contains("tracer_id") && said.contains("\n5\n6\n"), "{said}");
}
