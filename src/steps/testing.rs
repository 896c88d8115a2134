//! A world for one step, and effects that are written down in memory: what unit tests of kinds need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Effects, Granted, Outcome, PerformCx, Progress, Step, StepCx, StepError, World};
use crate::azure::{
    Azure, AzureOverrides, AzureSetup, GivenPrincipal, RecordSet, RecordType, Wait,
};
use crate::clock::Clock;
use crate::diagnostic::redact::Secrets;
use crate::journal::EffectPermit;
use crate::plan::{Plan, PlannedStep, SecretRef};
use crate::run::{Answer, Intent, Question, RecordedEffect, RunId, Sent, StepId};
use crate::sandbox::{Sandbox, Scenario};

/// One step in a world of its own. The step's id is `step`; relative paths start in a temporary folder.
pub(super) struct Bench {
    pub(super) cx: StepCx,
    pub(super) effects: Recorder,
    pub(super) folder: TempDir,
    step: Box<dyn Step>,
}

impl Bench {
    /// A step of that kind with these parameters and systems.
    pub(super) fn new(kind: &str, with: &Value, systems: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let world = World {
            run: RunId::new("run"),
            plan: plan(systems),
            clock: Clock::skipping_from(Timestamp::UNIX_EPOCH),
            network: crate::dns::Network::default(),
            azure: crate::azure::Azure::disconnected(),
            secrets: Arc::default(),
            base: folder.path().to_owned(),
            runbook_dir: folder.path().to_owned(),
            progress_dir: folder.path().join("progress"),
            sandbox: None,
        };
        Self::in_world(kind, with, Arc::new(world), folder)
    }

    fn in_world(kind: &str, with: &Value, world: Arc<World>, folder: TempDir) -> Self {
        let step = json!({
            "id": "step", "stage": "release", "uses": kind, "with": with, "after": [],
            "retry": { "attempts": 1, "backoff": 0.0 }, "class": "action", "repeat": "repeatable",
            "undo": "leaves_in_place", "source": ["runbook.yaml", 1],
        });
        let cx = StepCx {
            first_started: world.clock.now(),
            cut_off: false,
            world,
            step: serde_json::from_value(step).expect("a step"),
            outputs: Arc::default(),
            recorded: Vec::new(),
            others: Arc::default(),
            hold: crate::clock::Hold::default(),
            cancel: CancellationToken::new(),
            progress: Progress::new(StepId::new("step"), None),
        };
        let kind = super::kind(kind).expect("a kind of that name");
        let step = (kind.build)(with).expect("parameters that fit");
        Self { cx, effects: Recorder::default(), folder, step }
    }

    /// Puts an Azure into the world, on the world's clock.
    pub(super) fn connect(&mut self, azure: impl FnOnce(&Clock) -> crate::azure::Azure) {
        let world = Arc::get_mut(&mut self.cx.world).expect("a world nobody shares yet");
        world.azure = azure(&world.clock);
    }

    /// The step.
    pub(super) fn step(&self) -> &dyn Step {
        &*self.step
    }

    /// One attempt.
    pub(super) async fn perform(&self) -> Result<Outcome, StepError> {
        let mut busy = self.cx.clock().busy();
        let mut cx = PerformCx { read: &self.cx, effects: &self.effects, busy: &mut busy };
        self.step.perform(&mut cx).await
    }

    /// What the engine does before another attempt: the step learns what the journal knows.
    pub(super) fn next_attempt(&mut self) {
        self.cx.recorded = self.effects.recorded();
        self.cx.recorded.retain(|it| it.done || self.effects.why_not(&it.intent.key).is_none());
    }

    /// The plan has this step too.
    pub(super) fn plan_step(&mut self, step: PlannedStep) {
        let mut world = (*self.cx.world).clone();
        world.plan.steps.push(step);
        self.cx.world = Arc::new(world);
    }

    /// Takes one effect back.
    pub(super) async fn undo(&self, effect: &RecordedEffect) -> Result<(), StepError> {
        let mut busy = self.cx.clock().busy();
        let mut cx = PerformCx { read: &self.cx, effects: &self.effects, busy: &mut busy };
        self.step.undo(&mut cx, effect).await
    }
}

fn plan(systems: &Value) -> Plan {
    let plan =
        json!({ "format": 1, "wave": "wave", "parallel": 1, "systems": systems, "steps": [] });
    serde_json::from_value(plan).expect("a plan")
}

/// A sandbox, and steps that run in it one after the other.
pub(super) struct SandboxBench {
    pub(super) world: Arc<World>,
    _sandbox: Sandbox,
    _folder: TempDir,
}

impl SandboxBench {
    /// The default world on real sockets.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (dir, scenario) = (folder.path().join("sandbox"), Scenario::default());
        let clock = Clock::skipping_from(Sandbox::opening_time(&dir, &scenario).expect("a time"));
        let sandbox = Sandbox::start(&dir, scenario, clock.clone()).await.expect("it starts");
        let token = SecretRef::Command(["echo", "any-token-is-right"].map(str::to_owned).to_vec());
        let secrets = Arc::new(Secrets::new(BTreeMap::from([("token".to_owned(), token)])));
        let world = World {
            run: RunId::new("run"),
            plan: plan(&json!({})),
            network: sandbox.network.clone(),
            azure: azure(&sandbox, &clock, Arc::clone(&secrets)),
            clock,
            secrets,
            base: sandbox.base.clone(),
            runbook_dir: folder.path().to_owned(),
            progress_dir: folder.path().join("progress"),
            sandbox: Some(dir),
        };
        Self { world: Arc::new(world), _sandbox: sandbox, _folder: folder }
    }

    /// A record set of the zone `contoso.example` as Azure holds it now.
    pub(super) async fn record_set(&self, record: &str, kind: RecordType) -> Option<RecordSet> {
        let azure = &self.world.azure;
        let zone = azure.zone_id(Some("rg-dns"), "contoso.example").expect("an id");
        let mut wait = Wait::new(&self.world.clock, &CancellationToken::new());
        azure.record_set(&mut wait, &zone, kind, record).await.expect("an answer")
    }

    /// A step of that kind in this world.
    pub(super) fn step(&self, kind: &str, with: &Value) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Bench::in_world(kind, with, Arc::clone(&self.world), folder)
    }
}

fn azure(sandbox: &Sandbox, clock: &Clock, secrets: Arc<Secrets>) -> Azure {
    let settings = json!({
        "cloud": "public", "subscription": sandbox.azure.subscription, "resource_group": "rg-crm",
    });
    let url = |text: &str| text.parse().expect("a URL");
    Azure::new(AzureSetup {
        run: RunId::new("run"),
        settings: serde_json::from_value(settings).expect("settings"),
        overrides: Some(AzureOverrides {
            arm: url(&sandbox.azure.arm),
            authority: url(&sandbox.azure.authority),
            audience: sandbox.azure.arm.clone(),
            ca_pem: sandbox.azure.ca_pem.clone(),
            credential: GivenPrincipal {
                tenant: sandbox.azure.tenant.to_owned(),
                client_id: sandbox.azure.client.to_owned(),
                secret: sandbox.azure.secret.into(),
            },
        }),
        secrets,
        clock: clock.clone(),
        base: sandbox.base.clone(),
    })
}

/// Effects in memory.
#[derive(Default)]
pub(super) struct Recorder {
    recorded: Mutex<Vec<RecordedEffect>>,
    not_done: Mutex<BTreeMap<String, String>>,
    /// What people will say.
    pub(super) answer: Mutex<Option<Answer>>,
    /// What they were asked.
    pub(super) asked: Mutex<Vec<Question>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Effects in the order of their first intent.
    pub(super) fn recorded(&self) -> Vec<RecordedEffect> {
        lock(&self.recorded).clone()
    }

    /// Why the effect of that key did not happen.
    pub(super) fn why_not(&self, key: &str) -> Option<String> {
        lock(&self.not_done).get(key).cloned()
    }

    fn with(&self, key: &str, change: impl FnOnce(&mut RecordedEffect)) {
        let mut recorded = lock(&self.recorded);
        let effect = recorded.iter_mut().find(|effect| effect.intent.key == key);
        change(effect.expect("an intent before anything else"));
    }
}

#[async_trait]
impl Effects for Recorder {
    async fn intend(&self, intent: Intent) -> Result<Granted, StepError> {
        let mut recorded = lock(&self.recorded);
        let key = intent.key.clone();
        match recorded.iter_mut().find(|effect| effect.intent.key == key) {
            Some(RecordedEffect { done: true, observed: Some(observed), .. }) => {
                return Ok(Granted::AlreadyDone(observed.clone()));
            }
            // Nobody could tell whether it happened: what was there before it is what was found first.
            Some(known) => {
                let before = known.intent.before.clone();
                known.intent = Intent { before, ..intent };
            }
            None => {
                recorded.push(RecordedEffect { intent, sent: None, observed: None, done: false });
            }
        }
        Ok(Granted::Permit(EffectPermit::for_test(&key)))
    }

    async fn sent(&self, permit: &EffectPermit, sent: Sent) -> Result<(), StepError> {
        self.with(&permit.effect().key, |effect| effect.sent = Some(sent));
        Ok(())
    }

    async fn done(&self, permit: EffectPermit, observed: Value) -> Result<(), StepError> {
        self.with(&permit.effect().key, |effect| {
            effect.done = true;
            effect.observed = Some(observed);
        });
        Ok(())
    }

    async fn not_done(&self, permit: EffectPermit, why: &str) -> Result<(), StepError> {
        lock(&self.not_done).insert(permit.effect().key.clone(), why.to_owned());
        Ok(())
    }

    async fn ask(&self, question: Question) -> Result<Answer, StepError> {
        lock(&self.asked).push(question);
        let nobody = Answer { approved: false, people: Vec::new(), comments: Vec::new() };
        Ok(lock(&self.answer).clone().unwrap_or(nobody))
    }
}

/// What an [`Application`] holds.
#[derive(Debug, Clone, Default)]
pub(super) struct ApplicationState {
    /// Writes are refused.
    pub(super) enabled: bool,
    /// Writes under way; one ends at each look, while writes are refused.
    pub(super) in_flight: u64,
    /// They never end.
    pub(super) stuck: bool,
    /// The last order.
    pub(super) last_id: u64,
    /// Makes the change and then answers 500.
    pub(super) fails_after_change: bool,
    /// Every request: method and path.
    pub(super) asked: Vec<String>,
}

/// An application with a maintenance switch, on a port of its own.
pub(super) struct Application {
    pub(super) url: String,
    state: Arc<Mutex<ApplicationState>>,
}

impl Application {
    pub(super) async fn start() -> Self {
        use axum::http::StatusCode;
        use axum::{Json, Router, extract::State, routing::get};
        type Shared = State<Arc<Mutex<ApplicationState>>>;

        async fn read(State(state): Shared) -> Json<Value> {
            let mut state = lock(&state);
            state.asked.push("GET /maintenance".to_owned());
            if state.enabled && !state.stuck {
                state.in_flight = state.in_flight.saturating_sub(1);
            }
            Json(json!({ "enabled": state.enabled, "in_flight": state.in_flight }))
        }
        async fn set(State(state): Shared, Json(wanted): Json<Value>) -> StatusCode {
            let mut state = lock(&state);
            state.asked.push("PUT /maintenance".to_owned());
            state.enabled = wanted["enabled"] == true;
            if state.fails_after_change {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::OK
            }
        }
        async fn stats(State(state): Shared) -> Json<Value> {
            let mut state = lock(&state);
            state.asked.push("GET /orders/stats".to_owned());
            Json(json!({ "last_id": state.last_id }))
        }

        let state = Arc::<Mutex<ApplicationState>>::default();
        let router = Router::new()
            .route("/maintenance", get(read).put(set))
            .route("/orders/stats", get(stats))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// What it holds now.
    pub(super) fn state(&self) -> ApplicationState {
        lock(&self.state).clone()
    }

    /// Changes what it holds.
    pub(super) fn set(&self, change: impl FnOnce(&mut ApplicationState)) {
        change(&mut lock(&self.state));
    }
}
