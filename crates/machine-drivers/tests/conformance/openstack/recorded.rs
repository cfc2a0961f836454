//! Exchanges with a real OpenStack, as they were written down, and whether the stand-in's are like them.

use std::collections::{BTreeMap, BTreeSet};

use machine_testkit::double::Exchange;
use serde_json::{Value, json};

/// The recordings, with secrets and host names replaced.
const RECORDED: &str = include_str!("../../data/openstack.json");

/// What of an exchange is written down: nothing of it is secret.
pub fn written(exchange: &Exchange, url: &str) -> Value {
    let (request, reply) = (&exchange.request, &exchange.reply);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(url, "http://cloud.example");
    let value = |bytes: &[u8]| serde_json::from_str(&text(bytes)).unwrap_or(Value::Null);
    let (mut asked, mut answered) = (value(&request.body), value(&reply.body));
    for body in [&mut asked, &mut answered] {
        hide(body);
    }
    json!({"method": request.method, "path": request.path, "query": request.query, "request": asked,
        "status": reply.status, "answer": answered})
}

/// Puts a word in the place of what is secret.
fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if ["password", "secret", "adminPass", "user_data"].contains(&key.as_str())
                    && value.is_string()
                {
                    *value = "replaced".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// What kind of question it was: method, path without ids, which keys the query has, and the status of the answer.
fn kind(exchange: &Value) -> String {
    let text = |key: &str| exchange[key].as_str().unwrap_or_default();
    let is_id = |part: &&str| part.len() >= 20 || part.bytes().all(|b| b.is_ascii_digit());
    let path: Vec<&str> = text("path")
        .split('/')
        .map(|part| if is_id(&part) && !part.is_empty() { "ID" } else { part })
        .collect();
    let mut keys: Vec<&str> = text("query").split('&').filter_map(|pair| pair.split('=').next()).collect();
    keys.sort_unstable();
    keys.dedup();
    let action = match text("path").ends_with("/action") {
        true => {
            exchange["request"].as_object().and_then(|map| map.keys().next()).cloned().unwrap_or_default()
        }
        false => String::new(),
    };
    format!("{} {}?{} {action}-> {}", text("method"), path.join("/"), keys.join("&"), exchange["status"])
}

/// Where in a value which types are. Names that somebody chose count as one.
fn shape(value: &Value, at: &str, into: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let mut is = |what| drop(into.entry(at.to_owned()).or_default().insert(what));
    match value {
        Value::Null => is("nothing"),
        Value::Bool(_) => is("switch"),
        Value::Number(_) => is("number"),
        Value::String(_) => is("text"),
        Value::Array(items) => {
            is("list");
            items.iter().for_each(|item| shape(item, &format!("{at}[]"), into));
        }
        Value::Object(map) => {
            is("object");
            let chosen = at.ends_with(".metadata") || at.ends_with(".addresses");
            for (key, item) in map {
                shape(item, &format!("{at}.{}", if chosen { "*" } else { key }), into);
            }
        }
    }
}

type Shapes = BTreeMap<String, BTreeMap<String, BTreeSet<&'static str>>>;

fn shapes(exchanges: &[Value], of: &str) -> Shapes {
    let mut all = Shapes::new();
    for exchange in exchanges {
        shape(&exchange[of], "", all.entry(kind(exchange)).or_default());
    }
    all
}

/// What of these exchanges the recorded cloud would not have said, or was never asked.
pub fn differences(exchanges: &[Value]) -> Vec<String> {
    let recorded: Vec<Value> = serde_json::from_str(RECORDED).expect("the recordings");
    let mut wrong = Vec::new();
    for of in ["request", "answer"] {
        let real = shapes(&recorded, of);
        for (kind, found) in shapes(exchanges, of) {
            let Some(known) = real.get(&kind) else {
                wrong.push(format!("{kind} was never recorded"));
                continue;
            };
            for (at, types) in found {
                // A real list that was empty tells nothing of what is in it.
                let told = known.contains_key(&at)
                    || !at.split("[]").next().is_some_and(|list| {
                        at != list && !known.keys().any(|k| k.starts_with(&format!("{list}[]")))
                    });
                let real = known.get(&at).cloned().unwrap_or_default();
                let fits = types.iter().all(|is| {
                    real.contains(is)
                        || real.iter().all(|r| *r == "nothing") && !real.is_empty()
                        || *is == "nothing" && !real.is_empty()
                });
                if told && !fits {
                    wrong.push(format!("{of} of {kind}: {at} is {types:?}, the real one has {real:?}"));
                }
            }
        }
    }
    wrong
}
