//! What a freeze watches beside locks and files: the schema of a real database, a branch of a real Git repository. A change
//! by another hand stops the run with its name and its author; an agreed one does not.

use std::path::Path;
use std::process::Command;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::lab::{Lab, SMALL};

fn runbook(repository: &Path, exceptions: &str) -> String {
    let repository = repository.display();
    format!(
        "
migrate: 1
wave: frozen
systems:
  shop: {{ sqlite: source/shop/app.db }}
  target: {{ http: \"http://shop-target.contoso.example\" }}
stages:
  prepare:
    - id: freeze
      uses: freeze.begin
      timeout: 5m
      with:
        watch:
          - schema: {{ system: shop }}
          - git: {{ repository: {repository}, ref: main }}
        exceptions: [{exceptions}]
  release:
    - id: go
      uses: approval
      with: {{ ask: \"Go?\" }}
    - id: close
      uses: writes.pause
      timeout: 5m
      with: {{ system: target }}
    - id: verify
      uses: freeze.verify
      timeout: 10m
    - id: thaw
      uses: freeze.end
      timeout: 10m
"
    )
}

fn git(repository: &Path, arguments: &[&str]) {
    let author = ["-c", "user.name=Eve", "-c", "user.email=eve@contoso.example"];
    let mut git = Command::new("git");
    git.current_dir(repository).args(author).args(arguments);
    assert!(git.status().expect("git is there").success(), "git {arguments:?}");
}

fn commit(repository: &Path, subject: &str) {
    git(repository, &["commit", "-q", "--allow-empty", "-m", subject]);
}

/// Another hand at the shop's database.
fn execute(lab: &Lab, statement: &'static str) {
    let database = lab.sandbox_dir().join("estate/source/shop/app.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.expect("a database");
        sqlx::query(statement).execute(&mut connection).await.expect("it is done");
        connection.close().await.expect("closed");
    });
}

/// A run that has begun its freeze and asks whether to go on.
fn frozen(exceptions: &str) -> Lab {
    let lab = Lab::new(SMALL);
    let repository = lab.path().join("repository");
    std::fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "-q", "-b", "main"]);
    commit(&repository, "first");
    let runbook = lab.write("frozen.yaml", &runbook(&repository, exceptions));
    let scenario = lab.path().join("scenario.yaml").display().to_string();
    lab.migrate(["run", &runbook, "--sandbox", "--scenario", &scenario]).expect(5);
    lab.migrate(["approve", "go"]).expect(0);
    lab
}

#[test]
fn what_nobody_touched_holds_and_rows_may_change() {
    let lab = frozen("");
    execute(&lab, "DELETE FROM order_lines");
    let ended = lab.migrate(["resume"]).expect(0).said();
    assert!(ended.contains("schema of shop") && ended.contains("main in "), "{ended}");
}

#[test]
fn a_schema_that_changed_stops_the_run_and_names_the_object() {
    let lab = frozen("");
    execute(&lab, "CREATE INDEX late ON orders (placed_on)");
    let refused = lab.migrate(["resume"]).expect(4).said();
    assert!(refused.contains("late in the schema of shop changed"), "{refused}");
    assert!(lab.changes().is_empty(), "nothing was changed: {:?}", lab.changes());
    execute(&lab, "DROP INDEX late");
    lab.migrate(["resume"]).expect(0);
}

#[test]
fn a_branch_that_moved_stops_the_run_and_names_who_moved_it() {
    let lab = frozen("");
    commit(&lab.path().join("repository"), "one more feature");
    let refused = lab.migrate(["resume"]).expect(4).said();
    assert!(refused.contains("refs/heads/main in "), "{refused}");
    assert!(refused.contains("by Eve at ") && refused.contains("one more feature"), "{refused}");
}

#[test]
fn what_was_agreed_is_no_violation() {
    let agreed = "{ operation: git, resource: main, approver: ops, until: 2027-01-01T00:00:00Z }, \
                  { operation: schema, resource: late, approver: ops, until: 2027-01-01T00:00:00Z }";
    let lab = frozen(agreed);
    commit(&lab.path().join("repository"), "the agreed fix");
    execute(&lab, "CREATE INDEX late ON orders (placed_on)");
    lab.migrate(["resume"]).expect(0);
}

#[test]
fn what_can_not_be_read_begins_no_freeze() {
    let lab = Lab::new(SMALL);
    let runbook = lab.write("frozen.yaml", &runbook(&lab.path().join("nowhere"), ""));
    let failed = lab.run(&runbook, &[]).expect(1).said();
    assert!(failed.contains("MIG0404") && failed.contains("git can not read"), "{failed}");
}
