//! `/{organization}/{project}/_apis/pipelines/checks/configurations` (7.1-preview.1): list by resource, create, delete.
//! Settings are told only where they are asked for, and a login that is none gets a page to sign in, with 203.

use hyper::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Answered, below, body, document, refused, shown};
use crate::sandbox::http::{Reply, Request};
use crate::sandbox::ledger::Changes;
use crate::sandbox::store::World;

pub(super) fn answer(world: &World, request: &Request, segments: &[&str]) -> Answered {
    if !request.header("authorization").is_some_and(|it| it.starts_with("Basic ")) {
        return Err(sign_in());
    }
    let (folder, id) = match segments {
        [organization, project, "_apis", "pipelines", "checks", "configurations", rest @ ..]
            if rest.len() < 2 =>
        {
            let folder = format!("/devops/{organization}/{project}/checks").to_ascii_lowercase();
            (folder, rest.first())
        }
        _ => return Err(refused(StatusCode::NOT_FOUND, "The controller was not found.")),
    };
    if request.query("api-version").is_none_or(|version| !version.starts_with("7.1-preview")) {
        let why = "The requested version of the resource is under preview.";
        return Err(refused(StatusCode::BAD_REQUEST, why));
    }
    match (&request.method, id) {
        (&Method::GET, None) => Ok(list(world, request, &folder)),
        (&Method::POST, None) => create(world, request, &folder),
        (&Method::DELETE, Some(id)) => {
            let key = format!("{folder}/{id}");
            if world.get(&key).is_none() {
                return Err(refused(StatusCode::NOT_FOUND, "The check was not found."));
            }
            Ok((Reply::empty(StatusCode::NO_CONTENT), Changes::from([(key, None)])))
        }
        _ => Err(refused(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed.")),
    }
}

fn sign_in() -> Reply {
    Reply {
        status: StatusCode::NON_AUTHORITATIVE_INFORMATION,
        headers: vec![(header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned())],
        body: "<html><head><title>Azure DevOps Services | Sign In</title></head></html>".into(),
    }
}

fn list(world: &World, request: &Request, folder: &str) -> (Reply, Changes) {
    let (kind, id) = (request.query("resourceType"), request.query("resourceId"));
    let expanded = request.query("$expand").is_some_and(|it| it.eq_ignore_ascii_case("settings"));
    let told = |document: &Value| {
        let mut check = document["properties"].clone();
        if expanded {
            check["settings"]["instructions"] = document["instructions"].clone();
        } else {
            check["settings"].take();
        }
        check
    };
    let of_it = |document: &&Value| {
        let resource = &document["properties"]["resource"];
        resource["type"].as_str() == kind && resource["id"].as_str() == id
    };
    let checks: Vec<Value> = below(world, folder).filter(of_it).map(told).collect();
    shown(&json!({ "count": checks.len(), "value": checks }))
}

fn create(world: &World, request: &Request, folder: &str) -> Answered {
    let mut check = body(request)?;
    if check["settings"]["approvers"].as_array().is_none_or(Vec::is_empty) {
        return Err(refused(StatusCode::BAD_REQUEST, "At least one approver is needed."));
    }
    // A check has no name: its id is the next number, and what it says is kept apart, because it tells of the run.
    let instructions = check["settings"]["instructions"].take();
    let last = below(world, folder).filter_map(|it| it["properties"]["id"].as_u64()).max();
    let id = last.unwrap_or(0) + 1;
    check["id"] = json!(id);
    check["version"] = json!(1);
    check["isDisabled"] = json!(false);
    let mut kept = document("AzureDevOps/checks", &check);
    kept["instructions"] = instructions.clone();
    check["settings"]["instructions"] = instructions;
    let changes = Changes::from([(format!("{folder}/{id}"), Some(kept))]);
    Ok((Reply::json(StatusCode::OK, &check), changes))
}
