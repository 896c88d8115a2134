//! A schema that is frozen: what somebody makes, changes or drops meanwhile stops the run and is named; rows may change.

use super::cluster::{Cluster, PASSWORD};
use crate::lab::Lab;

const SCHEMA: &str = "
create type mood as enum ('good', 'bad');
create table orders (id bigint primary key, item text default 'x' not null, kind mood);
create view items as select item from orders;
create sequence numbers;
create index by_item on orders (item);
create function twice(n int) returns int language sql as 'select n * 2';
create aggregate total (int) (sfunc = int4pl, stype = int);
create domain even as int check (value % 2 = 0);
create type pair as (one int, other int);
create table parts (id int) partition by range (id);
create table part (id int);
create table lines (of bigint references orders);
create publication mig for table orders";

/// What somebody does, how it is taken back, and what is named.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "alter table orders add column late int",
        "alter table orders drop column late",
        "public.orders",
    ),
    ("create table late (id int)", "drop table late", "public.late"),
    ("drop index by_item", "create index by_item on orders (item)", "public.by_item"),
    ("alter sequence numbers increment 5", "alter sequence numbers increment 1", "public.numbers"),
    (
        "create or replace function twice(n int) returns int language sql as 'select n + n'",
        "create or replace function twice(n int) returns int language sql as 'select n * 2'",
        "public.twice(n integer)",
    ),
    (
        "create or replace view items as select item || '' as item from orders",
        "create or replace view items as select item from orders",
        "public.items",
    ),
    (
        "alter table orders replica identity full",
        "alter table orders replica identity default",
        "public.orders",
    ),
    (
        "alter table orders enable row level security",
        "alter table orders disable row level security",
        "public.orders",
    ),
    ("create policy own on orders", "drop policy own on orders", "public.orders.own"),
    (
        "alter table lines disable trigger all",
        "alter table lines enable trigger all",
        "public.lines",
    ),
    ("grant insert on orders to public", "revoke insert on orders from public", "public.orders"),
    (
        "create rule quiet as on insert to orders do instead nothing",
        "drop rule quiet on orders",
        "public.orders.quiet",
    ),
    (
        "alter domain even add constraint small check (value < 9)",
        "alter domain even drop constraint small",
        "public.even",
    ),
    (
        "alter type pair add attribute third int",
        "alter type pair drop attribute third",
        "public.pair",
    ),
    (
        "alter table parts attach partition part for values from (1) to (9)",
        "alter table parts detach partition part",
        "public.part",
    ),
    (
        "alter publication mig set table orders where (id > 10)",
        "alter publication mig set table orders",
        "mig",
    ),
    ("create statistics couple on id, item from orders", "drop statistics couple", "public.couple"),
    (
        "create schema migrate create table other (id int)",
        "drop schema migrate cascade",
        "migrate.other",
    ),
];

#[test]
fn each_change_of_a_schema_is_noticed_and_named() {
    let Some(cluster) = Cluster::start("a schema that is watched") else { return };
    cluster.sql("crm", SCHEMA);
    let lab = Lab::new("");
    lab.write("db", PASSWORD);
    let system = cluster.system();
    let runbook = lab.write(
        "frozen.yaml",
        &format!(
            "migrate: 1
wave: frozen
secrets: {{ db: {{ file: db }} }}
systems: {{ crm: {system} }}
stages:
  prepare:
    - {{ id: freeze, uses: freeze.begin, timeout: 1m, with: {{ watch: [{{ schema: {{ system: crm }} }}] }} }}
    - {{ id: go, uses: approval, with: {{ ask: go, approvers: 1 }} }}
    - {{ id: tell, uses: notify, timeout: 1m, with: {{ to: [ops], message: on }} }}
    - {{ id: thaw, uses: freeze.end, timeout: 1m, with: {{ freeze: freeze }} }}
"
        ),
    );
    lab.migrate(["run", &runbook]).expect(5);
    lab.migrate(["approve", "go"]).expect(0);
    cluster.sql("crm", "insert into orders values (1, 'row')");
    for &(change, back, named) in CHANGES {
        cluster.sql("crm", change);
        let refused = lab.migrate(["resume"]).expect(4).said();
        let told = format!("{named} in the schema of crm changed");
        assert!(refused.contains(&told), "{change}: {refused}");
        cluster.sql("crm", back);
    }
    lab.migrate(["resume"]).expect(0);
    assert!(!lab.journal().expect("a journal").contains(PASSWORD));
}
