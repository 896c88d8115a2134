//! Random valid runbooks for the sandbox's default world: every kind, lanes, conditions, repeats, and what follows a failure.
//!
//! The same seed gives the same runbook. All of them validate and complete; what they change they can take back, unless
//! a step says that it stays in place. Each `exec` keeps a log of what it did and took back, beside the thing that it made.

use serde_json::{Map, Value, json};

use crate::child::Chance;

/// Chance, as a generator of runbooks asks it.
pub(crate) struct Dice(Chance);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Chance::of(seed, 0))
    }

    /// From 0, less than `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.below(limit as u64)).expect("it is less than a usize")
    }

    /// True in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A generated runbook.
pub(crate) struct Generated {
    /// The runbook; JSON is YAML.
    pub(crate) text: String,
    /// Steps that wait for a person to let them begin.
    pub(crate) holds: Vec<String>,
    /// `exec` steps that can be taken back.
    pub(crate) markers: Vec<String>,
}

const STAGES: [&str; 4] = ["prepare", "assess", "deploy", "release"];

struct Draft {
    dice: Dice,
    apps: Vec<&'static str>,
    stages: [Vec<Value>; 4],
    stage: usize,
    holds: Vec<String>,
    markers: Vec<String>,
    /// Sites whose switch a step has to itself: an undo that says a fixed value is right only there.
    switched: Vec<String>,
    allow: Vec<&'static str>,
    frozen: bool,
}

/// The runbook of that seed.
pub(crate) fn runbook(seed: u64) -> Generated {
    let mut dice = Dice::new(seed);
    let apps =
        dice.pick(&[vec!["crm"], vec!["shop"], vec!["crm", "shop"], vec!["crm", "shop"]]).clone();
    let mut draft = Draft {
        dice,
        apps,
        stages: Default::default(),
        stage: 0,
        holds: Vec::new(),
        markers: Vec::new(),
        switched: Vec::new(),
        allow: Vec::new(),
        frozen: false,
    };
    draft.prepare();
    draft.stage = 1;
    draft.assess();
    draft.stage = 2;
    draft.deploy();
    draft.stage = 3;
    draft.release();
    draft.finished(seed)
}

impl Draft {
    fn id(&self, name: &str) -> String {
        let steps: usize = self.stages.iter().map(Vec::len).sum();
        format!("{name}-{steps}")
    }

    /// Adds a step with whatever common keys the dice give it; answers with its id.
    fn step(&mut self, name: &str, uses: &str, app: Option<&str>, with: Value) -> String {
        let id = self.id(name);
        let mut step = Map::from_iter([
            ("id".to_owned(), json!(id)),
            ("uses".to_owned(), json!(uses)),
            ("with".to_owned(), with),
        ]);
        if let Some(app) = app {
            step.insert("workload".to_owned(), json!(app));
        }
        if self.dice.chance(30) {
            step.insert("timeout".to_owned(), json!("4h"));
        }
        if self.dice.chance(20) {
            step.insert("retry".to_owned(), json!({ "attempts": 2, "backoff": "1s" }));
        }
        match self.dice.below(10) {
            0 | 1 => drop(step.insert("on_failure".to_owned(), json!("rollback"))),
            2 => drop(step.insert("on_failure".to_owned(), json!("continue"))),
            _ => {}
        }
        if self.dice.chance(10)
            && let Some(earlier) = self.earlier()
        {
            step.insert("after".to_owned(), json!([earlier]));
        }
        if self.dice.chance(15) && matches!(uses, "exec" | "notify" | "http.check" | "net.check") {
            let condition = *self.dice.pick(&["vars.wanted", "vars.wanted", "not vars.wanted"]);
            step.insert("when".to_owned(), json!(condition));
        }
        if self.dice.chance(3) {
            step.insert("hold".to_owned(), json!("before"));
            self.holds.push(id.clone());
        }
        self.stages[self.stage].push(Value::Object(step));
        id
    }

    /// A step above this one, of this stage or one before it.
    fn earlier(&mut self) -> Option<String> {
        let above: Vec<_> = self.stages[..=self.stage].iter().flatten().collect();
        let at = (!above.is_empty()).then(|| self.dice.below(above.len()))?;
        above[at]["id"].as_str().map(str::to_owned)
    }

    fn last(&mut self) -> &mut Map<String, Value> {
        let step = self.stages[self.stage].last_mut().and_then(Value::as_object_mut);
        step.expect("a step was just added")
    }

    /// A lane, or no lane.
    fn lane(&mut self) -> Option<&'static str> {
        let app = *self.dice.pick(&self.apps.clone());
        self.dice.chance(60).then_some(app)
    }

    fn notify(&mut self, name: &str) {
        let mut with = json!({ "to": ["team"], "message": format!("{name}, {{{{ vars.zone }}}}") });
        if self.dice.chance(60) {
            with["webhook"] = json!(format!("http://hooks.contoso.example/{name}"));
        }
        self.step(name, "notify", None, with);
    }

    fn approval(&mut self, name: &str) {
        let approvers = 1 + self.dice.below(2);
        self.step(name, "approval", None, json!({ "ask": "Go on?", "approvers": approvers }));
    }

    /// A command that fails when it is done, or taken back, a second time.
    fn marker(&mut self, app: Option<&str>) {
        let id = self.id("marker");
        let script = format!("test ! -e made-{id} && echo do >> log-{id} && echo {id} > made-{id}");
        let with = json!({ "shell": script, "probe": ["test", "-e", format!("made-{id}")] });
        let undo = format!("rm made-{id} && echo undo >> log-{id}");
        self.step("marker", "exec", app, with);
        self.last().insert("undo".to_owned(), json!(["/bin/sh", "-c", undo]));
        self.markers.push(id);
    }

    fn harmless(&mut self, app: Option<&str>) {
        let with = json!({ "argv": ["true"], "repeat": "repeatable" });
        self.step("harmless", "exec", app, with);
        self.last().insert("undo".to_owned(), json!("leaves-in-place"));
    }

    /// The maintenance switch of a site that no other step touches, turned by a plain request.
    fn request(&mut self, app: &'static str) {
        let site = format!("{app}-target");
        if self.switched.contains(&site) {
            return;
        }
        let url = format!("http://{site}.contoso.example/maintenance");
        let mut with = json!({ "method": "PUT", "url": url, "body": { "enabled": true } });
        if self.dice.chance(70) {
            with["probe"] = json!({ "url": url, "that": "json.enabled" });
        } else {
            with["repeat"] = json!("idempotency-key");
        }
        self.switched.push(site);
        self.step("request", "http.request", Some(app), with);
        let undo = json!({ "method": "PUT", "url": url, "body": { "enabled": false } });
        self.last().insert("undo".to_owned(), undo);
    }

    fn check(&mut self) {
        let app = *self.dice.pick(&self.apps.clone());
        let lane = self.lane();
        match self.dice.below(5) {
            0 => {
                let that = "resource.properties.provisioningState == \"Succeeded\"";
                let with =
                    json!({ "resource": "rg-crm", "api_version": "2021-04-01", "that": that });
                self.step("group", "azure.check", None, with);
            }
            1 => {
                let hosts =
                    ["source", "target"].map(|site| format!("{app}-{site}.contoso.example:80"));
                self.step("reach", "net.check", lane, json!({ "tcp": hosts }));
            }
            2 => {
                let url = format!("http://{app}-target.contoso.example/health");
                let with = json!({ "url": url, "that": "json.site == \"target\"", "within": "2m" });
                self.step("answers", "http.check", lane, with);
            }
            3 => {
                let with = json!({ "command": ["echo", "0"], "max_lag": "0s", "hold_for": "30s" });
                self.step("lag", "replication.wait", lane, with);
            }
            _ => {
                let item = *self.dice.pick(&["crm-db", "crm-web", "shop-db"]);
                let item = json!({ "vault": "vault-crm", "fabric": "fabric-1", "container": "container-1", "item": item });
                self.step(
                    "caught-up",
                    "replication.wait",
                    lane,
                    json!({ "items": [item], "max_lag": "60s", "hold_for": "1m" }),
                );
            }
        }
    }

    fn prepare(&mut self) {
        self.notify("announce");
        if self.dice.chance(25) {
            self.approval("approved");
        }
        if self.dice.chance(50) {
            self.freeze();
        }
        if self.dice.chance(60) {
            let records: Vec<_> =
                self.apps.iter().map(|app| json!({ "record": app, "type": "CNAME" })).collect();
            let with = json!({ "zone": "contoso.example", "resource_group": "rg-dns", "records": records, "ttl": *self.dice.pick(&[30, 60, 300]) });
            self.step("lower-ttl", "dns.ttl", None, with);
        }
        if self.dice.chance(40) {
            let lane = self.lane();
            self.marker(lane);
        }
    }

    fn freeze(&mut self) {
        let mut locks = Vec::new();
        let mut watch = Vec::new();
        if self.dice.chance(70) {
            let level = *self.dice.pick(&["read-only", "can-not-delete"]);
            locks.push(json!({ "scope": "rg-crm-source", "level": level }));
        }
        if self.dice.chance(30) {
            locks.push(json!({ "scope": "rg-dns", "level": "can-not-delete" }));
        }
        if self.dice.chance(50) || locks.is_empty() {
            let app = *self.dice.pick(&self.apps.clone());
            watch.push(json!({ "files": { "folder": format!("source/{app}/share") } }));
        }
        if self.dice.chance(30) && !locks.is_empty() {
            watch.push(json!("activity-log"));
        }
        self.step("freeze", "freeze.begin", None, json!({ "locks": locks, "watch": watch }));
        self.frozen = true;
    }

    fn assess(&mut self) {
        for _ in 0..self.dice.below(3) {
            self.check();
        }
        if self.frozen && self.dice.chance(20) {
            self.step("still-frozen", "freeze.verify", None, json!({}));
        }
    }

    fn deploy(&mut self) {
        if self.dice.chance(30) {
            let with =
                json!({ "template": "azure.deploy.json", "parameters": { "name": "crmtarget" } });
            self.step("target", "azure.deploy", None, with);
        }
        for app in self.apps.clone() {
            if self.dice.chance(30) {
                self.step(
                    "close",
                    "writes.pause",
                    Some(app),
                    json!({ "system": format!("{app}-target") }),
                );
                self.switched.push(format!("{app}-target"));
            }
            if self.dice.chance(35) {
                self.request(app);
            }
            if self.dice.chance(40) {
                self.copy(app, "share");
            }
            if self.dice.chance(40) {
                self.marker(Some(app));
            }
        }
        if self.dice.chance(30) {
            self.check();
        }
    }

    /// Copies a share or all of an application, and mostly compares.
    fn copy(&mut self, app: &'static str, what: &str) {
        let systems = json!({ "source": format!("{app}-source-{what}"), "target": format!("{app}-target-{what}") });
        self.step("copy", "files.sync", Some(app), systems.clone());
        if what == "tree" || self.dice.chance(60) {
            let mut with = systems;
            with["hashes"] = json!(["sha256"]);
            self.step("compare", "verify.files", Some(app), with);
        }
    }

    fn release(&mut self) {
        if self.dice.chance(30) {
            self.check();
        }
        if self.frozen && self.dice.chance(50) {
            self.step("still-frozen", "freeze.verify", None, json!({}));
        }
        if self.dice.chance(50) {
            self.approval("go");
        }
        for app in self.apps.clone() {
            match self.dice.below(5) {
                0 => self.harmless(Some(app)),
                1 => self.downtime(app),
                2 => {
                    // Copies without a pause before the switch: against the rules, and said so.
                    self.allow = vec!["CAF001", "CAF002"];
                    self.switch(app);
                }
                _ => self.cutover(app),
            }
        }
        if self.frozen && self.dice.chance(70) {
            self.step("thaw", "freeze.end", None, json!({}));
        }
        if self.dice.chance(25) {
            let probe = json!({ "url": "http://crm-source.contoso.example/health", "that": "json.status == \"ok\"" });
            self.step(
                "watch",
                "monitor",
                None,
                json!({ "for": "1h", "every": "10m", "probes": [probe] }),
            );
        }
        if self.dice.chance(25) {
            self.approval("sign-off");
            let lane = None;
            if self.dice.chance(50) {
                self.harmless(lane);
            } else {
                self.marker(lane);
            }
            self.last().insert("point_of_no_return".to_owned(), json!(true));
            self.last().remove("when");
        }
        if self.dice.chance(70) {
            self.notify("done");
        }
    }

    /// Writes stop at the source for a while.
    fn downtime(&mut self, app: &'static str) {
        let system = format!("{app}-source");
        let pause = self.step(
            "pause",
            "writes.pause",
            Some(app),
            json!({ "system": system, "position": "/orders/stats" }),
        );
        self.marker(Some(app));
        if self.dice.chance(60) {
            self.step(
                "accept",
                "writes.resume",
                Some(app),
                json!({ "system": system, "pause": pause }),
            );
        }
    }

    fn switch(&mut self, app: &'static str) {
        let mut with = json!({
            "zone": "contoso.example", "resource_group": "rg-dns", "record": app, "type": "CNAME",
            "value": format!("{app}-target.contoso.example"),
        });
        if self.dice.chance(70) {
            with["fallback"] = json!(format!("http://{app}-source.contoso.example/health"));
        }
        if self.dice.chance(50) {
            with["expect"] = json!(format!("{app}-source.contoso.example"));
        }
        if self.dice.chance(40) {
            with["ttl"] = json!(120);
        }
        self.step("switch", "dns.cutover", Some(app), with);
    }

    /// Pause, last copy, comparison, switch, and writes again at the target.
    fn cutover(&mut self, app: &'static str) {
        let with = json!({ "system": format!("{app}-source"), "position": "/orders/stats" });
        let pause = self.step("pause", "writes.pause", Some(app), with);
        self.copy(app, "tree");
        if self.dice.chance(50) {
            let with = json!({ "source": format!("{app}-source-db"), "target": format!("{app}-target-db") });
            self.step("tables", "verify.tables", Some(app), with);
        }
        self.switch(app);
        if self.dice.chance(50) {
            let url = format!("http://{app}.contoso.example/health");
            let with = json!({ "url": url, "that": "json.site == \"target\"", "within": "10m" });
            self.step("follows", "http.check", Some(app), with);
        }
        let target = format!("{app}-target");
        let by_request = self.stages[2].iter().any(|step| step["uses"] == "http.request");
        if self.dice.chance(70) && !by_request {
            self.step(
                "accept",
                "writes.resume",
                Some(app),
                json!({ "system": target, "pause": pause }),
            );
        }
    }

    fn finished(mut self, seed: u64) -> Generated {
        if self.stages[3].is_empty() {
            self.harmless(None);
        }
        let mut systems = Map::new();
        for app in &self.apps {
            for site in ["source", "target"] {
                let system = |name: &str, value: Value| (format!("{app}-{site}{name}"), value);
                systems.extend([
                    system("", json!({ "http": format!("http://{app}-{site}.contoso.example") })),
                    system("-tree", json!({ "folder": format!("{site}/{app}") })),
                    system("-share", json!({ "folder": format!("{site}/{app}/share") })),
                    system("-db", json!({ "sqlite": format!("{site}/{app}/app.db") })),
                ]);
            }
        }
        let workloads: Map<_, _> = self
            .apps
            .iter()
            .map(|app| {
                let strategy = *self.dice.pick(&["near-zero-downtime", "planned-downtime"]);
                let it = json!({ "strategy": strategy, "criticality": "high", "owner": "team" });
                ((*app).to_owned(), it)
            })
            .collect();
        let stages: Map<_, _> = STAGES
            .iter()
            .zip(self.stages)
            .filter(|(_, steps)| !steps.is_empty())
            .map(|(name, steps)| ((*name).to_owned(), Value::Array(steps)))
            .collect();
        let allow: Vec<_> = self
            .allow
            .iter()
            .map(|rule| json!({ *rule: "the copy is not the last word" }))
            .collect();
        let mut runbook = json!({
            "migrate": 1,
            "wave": format!("random-{seed}"),
            "summary": "Drawn by lot",
            "change": "CHG1",
            "azure": { "subscription": "00000000-0000-0000-0000-00000000c0de", "resource_group": "rg-crm" },
            "vars": { "zone": "contoso.example", "wanted": true },
            "systems": systems,
            "workloads": workloads,
            "allow": allow,
            "stages": stages,
        });
        if self.dice.chance(20) {
            let window = json!({ "opens": "2026-12-05T20:30:00Z", "closes": "2026-12-08T04:00:00Z", "rollback_reserve": "45m" });
            runbook["window"] = window;
        }
        if self.dice.chance(20) {
            runbook["parallel"] = json!(1);
        }
        let text = serde_json::to_string_pretty(&runbook).expect("JSON");
        Generated { text, holds: self.holds, markers: self.markers }
    }
}
