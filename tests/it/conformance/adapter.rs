//! The adapter from Swagger to JSON Schema finds what it is there to find; on a file of our own, so also without Azure's.

use std::fs;

use migrate::sandbox::exchanges::Exchange;
use serde_json::{Value, json};

use super::openapi::{Files, Operation};
use super::schema::Schemas;
use super::verdict::Claim;

fn files() -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().expect("a folder");
    let api = json!({
        "swagger": "2.0", "info": { "version": "2020-01-01" },
        "paths": { "/{scope}/things/{name}": { "put": {
            "operationId": "Things_Put",
            "parameters": [
                { "name": "scope", "in": "path", "type": "string", "x-ms-skip-url-encoding": true },
                { "name": "name", "in": "path", "type": "string", "pattern": "^[a-z]+$" },
                { "name": "api-version", "in": "query", "type": "string", "required": true },
                { "name": "$top", "in": "query", "type": "integer", "maximum": 10 },
                { "name": "If-Match", "in": "header", "type": "string" },
                { "name": "thing", "in": "body", "required": true, "schema": { "$ref": "other.json#/definitions/Thing" } },
            ],
            "responses": {
                "200": { "schema": { "$ref": "other.json#/definitions/Thing" } }, "204": {},
                "default": { "schema": { "type": "object", "properties": { "error": { "type": "object" } }, "required": ["error"] } },
            },
        } } },
    });
    let other = json!({ "definitions": {
        "Base": { "properties": { "id": { "type": "string", "readOnly": true } }, "required": ["id"] },
        "Thing": {
            "allOf": [{ "$ref": "#/definitions/Base" }],
            "properties": {
                "kind": { "enum": ["a", "b"], "type": "string" }, "detail": { "$ref": "#/definitions/Detail" },
                "note": { "type": "string", "x-nullable": true }, "tags": { "additionalProperties": { "type": "string" } },
                "at": { "type": "string", "format": "date-time" },
            },
            "required": ["kind"],
        },
        "Detail": { "discriminator": "type", "properties": { "type": { "type": "string" } }, "required": ["type"] },
        "Big": { "allOf": [{ "$ref": "#/definitions/Detail" }], "x-ms-discriminator-value": "big",
            "properties": { "size": { "type": "integer", "minimum": 0, "exclusiveMinimum": true } }, "required": ["size"] },
    } });
    fs::write(dir.path().join("api.json"), api.to_string()).expect("a file");
    fs::write(dir.path().join("other.json"), other.to_string()).expect("a file");
    let files = Files::at(dir.path());
    (dir, files)
}

fn put(path: &str, query: &[(&str, &str)], body: Value) -> Exchange {
    Exchange {
        method: "PUT".to_owned(),
        path: path.to_owned(),
        query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        body,
        ..Exchange::default()
    }
}

fn faults(files: &Files, operation: &Operation, exchange: &Exchange) -> Vec<String> {
    let schemas = Schemas::new(files);
    let claim = Claim { schemas: &schemas, operation, exchange };
    [claim.request_faults(), claim.answer_faults()].concat()
}

const VERSION: (&str, &str) = ("API-version", "2020-01-01");

#[test]
fn what_a_request_gets_wrong_is_found() {
    let (_dir, files) = files();
    let operation = files.operation("api.json", "Things_Put");
    let good = json!({ "kind": "a", "tags": { "x": "y" }, "detail": { "type": "big", "size": 1 } });
    let right = put("/a/b/THINGS/crm", &[VERSION, ("$top", "3")], good.clone());
    assert_eq!(faults(&files, &operation, &right), [] as [String; 0]);
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        put("/a/things/crm", &[VERSION], body)
    };
    let wrong = [
        ("another path", put("/a/stuff/crm", &[VERSION], good.clone())),
        ("a name against its pattern", put("/a/things/CRM", &[VERSION], good.clone())),
        ("no version", put("/a/things/crm", &[], good.clone())),
        ("an unknown query", put("/a/things/crm", &[VERSION, ("x", "1")], good.clone())),
        ("a query out of range", put("/a/things/crm", &[VERSION, ("$top", "11")], good.clone())),
        ("no body", put("/a/things/crm", &[VERSION], Value::Null)),
        ("an unknown property", with("colour", json!("red"))),
        ("a read-only property", with("id", json!("1"))),
        ("an unknown word", with("kind", json!("c"))),
        ("null where it is none", with("kind", Value::Null)),
        ("a tag that is no text", with("tags", json!({ "x": 1 }))),
        ("no date", with("at", json!("yesterday"))),
        ("an unknown kind of detail", with("detail", json!({ "type": "small" }))),
        ("a detail that lacks what its kind needs", with("detail", json!({ "type": "big" }))),
        ("a detail with too much", with("detail", json!({ "type": "big", "size": 1, "x": 2 }))),
        ("a detail at its limit", with("detail", json!({ "type": "big", "size": 0 }))),
    ];
    for (what, exchange) in wrong {
        assert!(!faults(&files, &operation, &exchange).is_empty(), "{what} was not found");
    }
    assert_eq!(faults(&files, &operation, &with("note", Value::Null)), [] as [String; 0]);
    let mut header = put("/a/things/crm", &[VERSION], good);
    header.headers.insert("if-match".to_owned(), "e".to_owned());
    assert_eq!(faults(&files, &operation, &header), [] as [String; 0]);
    header.headers.insert("if-none-match".to_owned(), "*".to_owned());
    assert_eq!(faults(&files, &operation, &header).len(), 1);
}

#[test]
fn what_an_answer_gets_wrong_is_found() {
    let (_dir, files) = files();
    let operation = files.operation("api.json", "Things_Put");
    let answered = |status: u16, answer: Value| {
        let body = json!({ "kind": "a" });
        let asked = put("/a/things/crm", &[VERSION], body);
        Exchange { status: Some(status), answer, ..asked }
    };
    let right = [
        answered(200, json!({ "id": "1", "kind": "b" })),
        answered(204, Value::Null),
        answered(404, json!({ "error": {} })),
    ];
    for exchange in right {
        assert_eq!(faults(&files, &operation, &exchange), [] as [String; 0]);
    }
    let wrong = [
        ("a status that is not declared", answered(202, Value::Null)),
        ("no body", answered(200, Value::Null)),
        ("a body where there is none", answered(204, json!({}))),
        ("no id, which only the service can write", answered(200, json!({ "kind": "b" }))),
        ("a property of its own", answered(200, json!({ "id": "1", "kind": "b", "x": 1 }))),
        ("a bare error", answered(404, json!({ "code": "NotFound" }))),
    ];
    for (what, exchange) in wrong {
        assert!(!faults(&files, &operation, &exchange).is_empty(), "{what} was not found");
    }
}
