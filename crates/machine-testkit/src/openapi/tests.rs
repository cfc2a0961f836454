use serde_json::{Value, json};

use super::Description;
use crate::double::{Exchange, Reply, Request};

/// A shop that lends hosts.
fn shop() -> Description {
    Description::new(json!({
        "openapi": "3.0.3",
        "servers": [{"url": "https://api.shop.example/v1"}],
        "security": [{"token": []}],
        "paths": {
            "/hosts": {
                "get": {
                    "parameters": [
                        {"$ref": "#/components/parameters/page"},
                        {"in": "query", "name": "kind", "schema": {"type": "string", "enum": ["small", "large"]}},
                        {"in": "query", "name": "ids", "schema": {"type": "array", "items": {"type": "string"}}}
                    ],
                    "responses": {"200": {"description": "", "content": {"application/json": {"schema": {
                        "type": "object", "required": ["hosts"],
                        "properties": {"hosts": {"type": "array", "items": {"$ref": "#/components/schemas/host"}}}
                    }}}}}
                },
                "post": {
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"allOf": [
                        {"$ref": "#/components/schemas/host"},
                        {"type": "object", "required": ["key"], "properties": {"key": {"oneOf": [
                            {"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9a-f:]+$"}
                        ]}}}
                    ]}}}},
                    "responses": {"201": {"description": ""}, "4XX": {"description": "", "content": {"application/json": {
                        "schema": {"type": "object", "required": ["message"]}}}}}
                }
            },
            "/hosts/{id}": {"delete": {
                "parameters": [{"in": "path", "name": "id", "required": true, "schema": {"type": "integer"}}],
                "responses": {"204": {"description": ""}}
            }},
            "/hosts/{id}/actions": {"post": {
                "requestBody": {"content": {"application/json": {"schema": {
                    "anyOf": [{"$ref": "#/components/schemas/stop"}, {"$ref": "#/components/schemas/resize"}],
                    "discriminator": {"propertyName": "type", "mapping": {
                        "stop": "#/components/schemas/stop", "resize": "#/components/schemas/resize"}}
                }}}},
                "responses": {"204": {"description": ""}}
            }}
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "parameters": {"page": {"in": "query", "name": "page", "schema": {"type": "integer", "maximum": 9}}},
            "schemas": {
                "host": {"type": "object", "required": ["id", "name"], "properties": {
                    "id": {"type": "integer", "readOnly": true},
                    "name": {"type": "string", "maxLength": 8},
                    "note": {"type": "string", "nullable": true},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "address": {"type": "string", "format": "ipv4"}
                }},
                "stop": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
                "resize": {"type": "object", "required": ["type", "size"], "properties": {
                    "type": {"type": "string"}, "size": {"type": "integer"}}}
            }
        }
    }))
}

fn asked(method: &str, target: &str, body: Option<Value>, reply: Reply) -> Vec<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Request::default()
    };
    request.headers.insert("authorization".to_owned(), "Bearer x".to_owned());
    if let Some(body) = body {
        request.headers.insert("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
        request.body = body.to_string().into_bytes();
    }
    shop().problems(&Exchange { request, reply })
}

fn made(body: Value) -> Vec<String> {
    asked("POST", "/v1/hosts", Some(body), Reply::empty(201))
}

fn listed(body: Value) -> Vec<String> {
    asked("GET", "/v1/hosts?page=2&kind=small&ids=a&ids=b", None, Reply::json(200, &body))
}

#[track_caller]
fn only(problems: Vec<String>, says: &str) {
    assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
}

const NONE: Vec<String> = Vec::new();

#[test]
fn what_is_as_described_has_no_problems() {
    assert_eq!(made(json!({"name": "a", "note": null, "labels": {"x": "y"}, "key": 1})), NONE);
    assert_eq!(made(json!({"name": "a", "key": "0a:1f"})), NONE);
    assert_eq!(
        listed(json!({"hosts": [{"id": 1, "name": "a", "address": "192.0.2.1", "new": 1}], "more": 0})),
        NONE
    );
    assert_eq!(asked("DELETE", "/v1/hosts/7", None, Reply::empty(204)), NONE);
    assert_eq!(asked("POST", "/v1/hosts/7/actions", Some(json!({"type": "stop"})), Reply::empty(204)), NONE);
}

#[test]
fn requests_that_are_wrong_are_found() {
    only(made(json!({"name": "a", "key": 1, "size": "x"})), "body/size: it is unknown");
    only(made(json!({"key": 1})), "body/name: it is required");
    only(made(json!({"name": 5, "key": 1})), "body/name: a value of type string is wanted, not 5");
    only(made(json!({"name": "ninechars", "key": 1})), "9 characters is more than 8");
    only(made(json!({"name": "a", "key": 1, "id": 3})), "body/id: it does not go this way");
    only(made(json!({"name": "a", "key": 1, "labels": {"x": 1}})), "body/labels/x");
    only(made(json!({"name": "a", "key": 1, "address": "::1"})), "is no \"ipv4\"");
    assert!(made(json!({"name": "a", "key": "Q"}))[0].contains("body/key: it fits none of the 2 choices"));
    assert!(made(json!({"name": "a", "key": 0}))[0].contains("body/key"));
    only(asked("POST", "/v1/hosts", None, Reply::empty(201)), "the body is required");
    only(asked("DELETE", "/v1/hosts/7", Some(json!({})), Reply::empty(204)), "takes no body");
    let resize = |body| asked("POST", "/v1/hosts/7/actions", Some(body), Reply::empty(204));
    only(resize(json!({"type": "resize"})), "body/size: it is required");
    only(resize(json!({"type": "stop", "size": 1})), "body/size: it is unknown");
}

#[test]
fn parameters_that_are_wrong_are_found() {
    let list = |query: &str| {
        asked("GET", &format!("/v1/hosts?{query}"), None, Reply::json(200, &json!({"hosts": []})))
    };
    only(list("pages=2"), "query pages is unknown");
    only(list("page=x"), "query page");
    only(list("page=10"), "query page");
    only(list("kind=medium"), "query kind: \"medium\" is none of");
    only(asked("DELETE", "/v1/hosts/a", None, Reply::empty(204)), "path id");
    only(asked("PUT", "/v1/hosts/1", None, Reply::empty(204)), "no such path and method");
    only(asked("GET", "/v2/hosts", None, Reply::empty(200)), "no such path and method");
    only(asked("GET", "/v1/host", None, Reply::empty(200)), "no such path and method");
}

#[test]
fn answers_that_are_wrong_are_found() {
    only(listed(json!({})), "answer 200/hosts: it is required");
    only(listed(json!({"hosts": [{"name": "a"}]})), "answer 200/hosts/0/id: it is required");
    only(listed(json!({"hosts": [{"id": "1", "name": "a"}]})), "hosts/0/id: a value of type integer");
    only(asked("DELETE", "/v1/hosts/7", None, Reply::json(204, &json!({}))), "answer 204 has no body");
    only(asked("DELETE", "/v1/hosts/7", None, Reply::empty(202)), "answer 202 is not described");
    let refused =
        |body| asked("POST", "/v1/hosts", Some(json!({"name": "a", "key": 1})), Reply::json(422, &body));
    only(refused(json!({})), "answer 422/message: it is required");
    assert_eq!(refused(json!({"message": "no"})), NONE);
}

#[test]
fn who_does_not_say_who_they_are_is_found() {
    let request =
        Request { method: "DELETE".to_owned(), path: "/v1/hosts/7".to_owned(), ..Request::default() };
    let exchange = Exchange { request, reply: Reply::empty(204) };
    only(shop().problems(&exchange), "bearer token");
    assert_eq!(shop().problems(&Exchange { reply: Reply::empty(401), ..exchange }), NONE);
}

#[test]
#[should_panic(expected = "query pages is unknown")]
fn a_test_fails_by_it() {
    let request = Request {
        method: "GET".to_owned(),
        path: "/v1/hosts".to_owned(),
        query: "pages=1".to_owned(),
        ..Request::default()
    };
    shop().require(&[Exchange { request, reply: Reply::json(200, &json!({"hosts": []})) }]);
}

#[test]
fn types_of_3_1() {
    let description = Description::new(json!({"openapi": "3.1.0", "paths": {"/x": {"post": {
        "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {
            "a": {"type": ["string", "null"]}, "b": {"const": 1}, "c": {"type": "number", "exclusiveMinimum": 0}
        }}}}},
        "responses": {"204": {"description": ""}}
    }}}}));
    let problems = |body: Value| {
        let mut request = Request { method: "POST".to_owned(), path: "/x".to_owned(), ..Request::default() };
        request.headers.insert("content-type".to_owned(), "application/json".to_owned());
        request.body = body.to_string().into_bytes();
        description.problems(&Exchange { request, reply: Reply::empty(204) })
    };
    assert_eq!(problems(json!({"a": null, "b": 1, "c": 0.5})), NONE);
    only(problems(json!({"a": 1})), "string or null");
    only(problems(json!({"b": 2})), "2 is not 1");
    only(problems(json!({"c": 0})), "exclusiveMinimum");
}

/// Every pattern and reference of the descriptions that we have can be read.
#[test]
fn descriptions_of_providers_can_be_read() {
    for file in ["digitalocean.openapi.json", "hetzner.openapi.json"] {
        let Some(description) = Description::open(file) else { continue };
        let mut found = (0, 0);
        walk(&description.document, &description.document, &mut found);
        assert!(found.0 > 300 && found.1 > 3, "{file}: {found:?}");
    }
}

fn walk(document: &Value, value: &Value, found: &mut (usize, usize)) {
    if let Some(to) = value.get("$ref").and_then(Value::as_str) {
        assert!(to.strip_prefix('#').is_some_and(|to| document.pointer(to).is_some()), "{to}");
        found.0 += 1;
    }
    if let Some(pattern) = value.get("pattern").and_then(Value::as_str) {
        regex::Regex::new(pattern).unwrap();
        found.1 += 1;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(document, item, found)),
        Value::Object(map) => map.values().for_each(|item| walk(document, item, found)),
        _ => {}
    }
}
