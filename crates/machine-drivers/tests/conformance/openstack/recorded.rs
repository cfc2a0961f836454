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
    let digits = |part: &str| part.bytes().filter(u8::is_ascii_digit).count();
    let is_id = |part: &str| {
        !part.is_empty() && (digits(part) == part.len() || (part.len() >= 20 && digits(part) > 2))
    };
    let parts = text("path").split('/').map(|part| if is_id(part) { "ID" } else { part });
    let path: Vec<&str> = parts.collect();
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
    let mut is = |what| {
        into.entry(at.to_owned()).or_default().insert(what);
    };
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
                if told(known, &at) && !fits(&types, known.get(&at)) {
                    let real = known.get(&at);
                    wrong.push(format!("{of} of {kind}: {at} is {types:?}, the real one has {real:?}"));
                }
            }
        }
    }
    wrong
}

/// Whether the recordings say anything of this place: of what is in a list that was always empty, they do not.
fn told(known: &BTreeMap<String, BTreeSet<&'static str>>, at: &str) -> bool {
    let lists = at.match_indices("[]").map(|(end, _)| &at[..end]);
    lists.into_iter().all(|list| known.keys().any(|key| key.starts_with(&format!("{list}[]"))))
}

/// Whether these types may be where the real ones are. Anything may be missing, where it is a text or number elsewhere.
fn fits(types: &BTreeSet<&'static str>, real: Option<&BTreeSet<&'static str>>) -> bool {
    let Some(real) = real else { return false };
    let only_nothing = real.iter().all(|is| *is == "nothing");
    types.iter().all(|is| real.contains(is) || only_nothing || *is == "nothing")
}
