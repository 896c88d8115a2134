//! The two services outside Azure whose pipelines a freeze closes, by their own names: the rulesets of GitHub's
//! repositories, and the approval checks of Azure DevOps. Written from their public documentation; nothing else of
//! them is here, and any token is right.

mod devops;
mod github;

use hyper::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http::{Reply, Request};
use super::ledger::Changes;
use super::store::World;

const GITHUB: &str = "api.github.com";
const DEVOPS: &str = "dev.azure.com";

/// Names that lead here.
pub(super) const HOSTS: [&str; 2] = [GITHUB, DEVOPS];

/// One of the services.
#[derive(Debug, Clone, Copy)]
pub(super) enum Forge {
    Github,
    Devops,
}

impl Forge {
    /// The service of that name.
    pub(super) fn at(host: &str) -> Option<Self> {
        match host {
            GITHUB => Some(Self::Github),
            DEVOPS => Some(Self::Devops),
            _ => None,
        }
    }

    pub(super) fn answer(self, world: &World, request: &Request) -> (Reply, Changes) {
        let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let answered = match self {
            Self::Github => github::answer(world, request, &segments),
            Self::Devops => devops::answer(world, request, &segments),
        };
        answered.unwrap_or_else(|refusal| (refusal, Changes::new()))
    }
}

/// An answer, or the refusal.
type Answered = Result<(Reply, Changes), Reply>;

fn refused(status: StatusCode, message: &str) -> Reply {
    Reply::json(status, &json!({ "message": message }))
}

fn shown(body: &Value) -> (Reply, Changes) {
    (Reply::json(StatusCode::OK, body), Changes::new())
}

fn body(request: &Request) -> Result<Value, Reply> {
    serde_json::from_slice(&request.body)
        .map_err(|_| refused(StatusCode::BAD_REQUEST, "Problems parsing JSON"))
}

/// What the ledger keeps of something below `folder`.
fn document(kind: &str, properties: &Value) -> Value {
    json!({ "type": kind, "properties": properties })
}

/// Everything directly below a folder of the ledger.
fn below<'a>(world: &'a World, folder: &'a str) -> impl Iterator<Item = &'a Value> {
    world.below(folder).map(|(_, document)| document)
}

/// The id that something gets by its name: the same in every world.
fn number(name: &str) -> u32 {
    let digest = Sha256::digest(name.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
