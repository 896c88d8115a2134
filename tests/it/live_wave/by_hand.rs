//! The same world for a person: `examples/postgres-near-zero/run` starts it, runs the wave at this terminal, shows what became of
//! it, and takes it back when asked to. As a test, with nobody at a terminal, it approves and takes back by itself.

use std::io::{BufRead as _, Write as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use super::application::Site;
use super::client::Client;
use super::world::{NAME, World};
use crate::lab::Lab;
use crate::postgres::cluster::{ADMIN, Cluster};

/// The example says that a person sits at this terminal.
fn is_attended() -> bool {
    std::env::var_os("MIGRATE_ATTENDED").is_some()
}

/// Runs the program at this terminal.
fn at_the_terminal(lab: &Lab, arguments: &[&str]) -> ExitStatus {
    println!("\n$ migrate {}\n", arguments.join(" "));
    let mut command = lab.command(arguments);
    let stdin = if is_attended() { Stdio::inherit() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    command.status().expect("it starts")
}

/// What there is, and how to look at it from another terminal.
fn introduce(world: &World, lab: &Lab) {
    println!(
        "\nTwo PostgreSQL servers, BIND, an application on each side, a client that writes, until this ends:\n"
    );
    let line = |what: &str, how: &str| println!("  {what:<9}{how}");
    let password = lab.path().join("crm-db.password");
    let psql = |cluster: &Cluster| {
        format!(
            "PGPASSWORD=$(cat {}) psql -h 127.0.0.1 -p {} -U {ADMIN} crm",
            password.display(),
            cluster.port
        )
    };
    line("source", &psql(&world.replicas.source));
    line("target", &psql(&world.replicas.target));
    let names = world.names.address;
    line("name", &format!("dig @{} -p {} {NAME}", names.ip(), names.port()));
    for (site, application) in [("source", &world.source), ("target", &world.target)] {
        line(site, &format!("curl {}/health", application.url()));
    }
    let state = lab.path().join("state");
    line("run", &format!("migrate status --state-dir {}", state.display()));
}

/// What the client, the name and the databases say.
fn show(world: &World, client: &Client) {
    let orders = client.orders();
    let by = |site| orders.iter().filter(|order| order.by == site).count();
    println!("\n  {NAME} leads to    {}", world.leads_to().join(", "));
    println!(
        "  orders acknowledged    {} by the source, {} by the target",
        by(Site::Source),
        by(Site::Target)
    );
    for (site, cluster) in [("source", &world.replicas.source), ("target", &world.replicas.target)]
    {
        let rows = cluster.text("crm", "select count(*) from orders");
        let open = cluster.text("crm", "select rolcanlogin from pg_roles where rolname = 'app'");
        println!("  {site}    {rows} orders; the application may log in: {open}");
    }
}

/// The answer to a question; yes where there is nobody to ask.
fn asked(question: &str) -> bool {
    if !is_attended() {
        return true;
    }
    print!("\n{question} [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
}

#[test]
fn at_a_terminal() {
    let Some(world) = World::start("the wave by hand") else { return };
    let (lab, client) = (Lab::new(""), Client::start(&world));
    // Long enough for a person to look around.
    let watch = if is_attended() { 20 } else { 1 };
    let runbook = world.runbook(&lab, Duration::from_secs(watch));
    let start = world.state();
    introduce(&world, &lab);
    client.until_more_at(Site::Source);
    show(&world, &client);
    let mut ended = at_the_terminal(&lab, &["run", &runbook]);
    if ended.code() == Some(5) {
        // Nobody sits there.
        at_the_terminal(&lab, &["approve", "go"]);
        ended = at_the_terminal(&lab, &["resume"]);
    }
    // A person may have said no.
    assert!(ended.success() || is_attended(), "the wave ended with {ended}");
    if ended.success() {
        client.until_more_at(Site::Target);
        world.judge(&client.orders());
        println!("\n  nothing that was acknowledged is missing at the target");
    }
    show(&world, &client);
    if asked("Take it back?") {
        let back = at_the_terminal(&lab, &["rollback", &lab.run_id(), "--yes"]);
        assert_eq!(back.code(), Some(8), "the wave was not taken back");
        assert_eq!(world.state(), start);
        show(&world, &client);
    }
}
