//! `/repos/{owner}/{repo}/rulesets` (REST API 2022-11-28): list, read, create, delete. Names are unique in a repository;
//! the list tells neither rules nor conditions.

use hyper::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answered, below, body, document, number, refused, shown};
use crate::sandbox::http::{Reply, Request};
use crate::sandbox::ledger::Changes;
use crate::sandbox::store::World;

pub(super) fn answer(world: &World, request: &Request, segments: &[&str]) -> Answered {
    if !request.header("authorization").is_some_and(|it| it.starts_with("Bearer ")) {
        return Err(refused(StatusCode::UNAUTHORIZED, "Requires authentication"));
    }
    let (folder, id) = match segments {
        ["repos", owner, repository, "rulesets", rest @ ..] if rest.len() < 2 => {
            let folder = format!("/github/{owner}/{repository}/rulesets").to_ascii_lowercase();
            (folder, rest.first())
        }
        _ => return Err(missing()),
    };
    match (&request.method, id) {
        (&Method::GET, None) => Ok(list(world, request, &folder)),
        (&Method::POST, None) => create(world, request, &folder),
        (&Method::GET, Some(id)) => {
            let found = world.get(&format!("{folder}/{id}")).ok_or_else(missing)?;
            Ok(shown(&found["properties"]))
        }
        (&Method::DELETE, Some(id)) => {
            let key = format!("{folder}/{id}");
            world.get(&key).ok_or_else(missing)?;
            Ok((Reply::empty(StatusCode::NO_CONTENT), Changes::from([(key, None)])))
        }
        _ => Err(missing()),
    }
}

fn missing() -> Reply {
    refused(StatusCode::NOT_FOUND, "Not Found")
}

fn list(world: &World, request: &Request, folder: &str) -> (Reply, Changes) {
    let number = |name: &str, default: usize| {
        request.query(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (size, page) = (number("per_page", 30).clamp(1, 100), number("page", 1).max(1));
    let short = |ruleset: &Value| {
        let told = ["id", "name", "target", "source_type", "source", "enforcement"];
        told.into_iter().map(|key| (key.to_owned(), ruleset[key].clone())).collect::<Value>()
    };
    let rulesets = below(world, folder).map(|document| &document["properties"]);
    let rulesets = rulesets.skip(size.saturating_mul(page - 1)).take(size).map(short);
    shown(&rulesets.collect())
}

fn create(world: &World, request: &Request, folder: &str) -> Answered {
    let mut ruleset = body(request)?;
    let Some(name) = ruleset["name"].as_str().map(str::to_owned) else {
        return Err(invalid("Name can't be blank"));
    };
    if below(world, folder).any(|it| it["properties"]["name"] == *name) {
        return Err(invalid("Name must be unique"));
    }
    if !["active", "disabled", "evaluate"].iter().any(|it| ruleset["enforcement"] == **it) {
        return Err(invalid("Enforcement is not included in the list"));
    }
    let id = number(&name);
    ruleset["id"] = json!(id);
    ruleset["source_type"] = json!("Repository");
    ruleset["source"] = json!(folder.trim_start_matches("/github/").trim_end_matches("/rulesets"));
    let key = format!("{folder}/{id}");
    let changes = Changes::from([(key, Some(document("GitHub/rulesets", &ruleset)))]);
    Ok((Reply::json(StatusCode::CREATED, &ruleset), changes))
}

fn invalid(why: &str) -> Reply {
    let said = json!({ "message": "Validation Failed", "errors": [why] });
    Reply::json(StatusCode::UNPROCESSABLE_ENTITY, &said)
}
