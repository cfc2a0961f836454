//! One operation of a description: what may be asked, and what is answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::Description;
use super::schema::{Direction, resolved};
use crate::double::{Exchange, Reply, Request, decoded, pairs};

/// An operation that was found for a request.
pub(super) struct Operation<'a> {
    description: &'a Description,
    /// What stands under the path, for parameters that all methods have.
    path_item: &'a Value,
    operation: &'a Value,
    /// The values in the path.
    in_path: BTreeMap<String, String>,
}

impl Description {
    /// The operation for a method and a path as it was sent. A path without placeholders goes before one with them.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let below = path.strip_prefix(&self.base)?;
        let paths = self.document["paths"].as_object()?;
        let method = method.to_lowercase();
        let fits = paths.iter().filter_map(|(template, item)| {
            let (in_path, item) = (matched(template, below)?, resolved(&self.document, item));
            let operation = item.get(&method)?;
            Some(Operation { description: self, path_item: item, operation, in_path })
        });
        fits.min_by_key(|operation| operation.in_path.len())
    }
}

/// The values of a template's placeholders in a path; `None` where it is another path.
fn matched(template: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    if wanted.len() != given.len() {
        return None;
    }
    let mut values = BTreeMap::new();
    for (wanted, given) in wanted.into_iter().zip(given) {
        match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !given.is_empty() => {
                values.insert(name.to_owned(), decoded(given));
            }
            None if wanted == given => {}
            _ => return None,
        }
    }
    Some(values)
}

impl<'a> Operation<'a> {
    /// Problems with the parameters in path, query and headers.
    pub(super) fn parameters(&self, request: &Request) -> Vec<String> {
        let mut problems = Vec::new();
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs(&request.query) {
            query.entry(name).or_default().push(value);
        }
        for parameter in self.declared() {
            let (name, place) = (text(parameter, "name"), text(parameter, "in"));
            let given = match place {
                "path" => self.in_path.get(name).map(|value| vec![value.clone()]),
                "query" => query.remove(name).or_else(|| query.remove(&format!("{name}[]"))),
                "header" => request.headers.get(&name.to_lowercase()).map(|value| vec![value.clone()]),
                _ => continue,
            };
            match given {
                Some(given) => {
                    problems.extend(self.parameter(&parameter["schema"], &format!("{place} {name}"), &given))
                }
                None if parameter["required"] == true => {
                    problems.push(format!("{place} {name} is required"));
                }
                None => {}
            }
        }
        problems.extend(query.keys().map(|name| format!("query {name} is unknown")));
        problems
    }

    /// The parameters of the operation and of its path.
    fn declared(&self) -> impl Iterator<Item = &'a Value> {
        let document = &self.description.document;
        let both = [self.operation, self.path_item].into_iter();
        both.filter_map(|at| at.get("parameters").and_then(Value::as_array))
            .flatten()
            .map(|parameter| resolved(document, parameter))
    }

    /// A parameter is text; it is right where any reading of it is.
    fn parameter(&self, schema: &Value, place: &str, given: &[String]) -> Vec<String> {
        let schemas = self.description.schemas(Direction::Request);
        let texts =
            |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
        let commas: Vec<String> = given.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
        let mut readings = vec![Value::from(texts(given)), Value::from(texts(&commas))];
        // Numbers of a list.
        let read: Option<Vec<Value>> = commas.iter().map(|text| serde_json::from_str(text).ok()).collect();
        readings.extend(read.map(Value::from));
        if let [only] = given {
            readings.insert(0, Value::from(only.as_str()));
            readings.extend(serde_json::from_str(only).ok());
        }
        let mut found: Vec<Vec<String>> =
            readings.iter().map(|reading| schemas.problems(schema, reading, place)).collect();
        if found.iter().any(Vec::is_empty) { Vec::new() } else { found.swap_remove(0) }
    }

    /// Problems with the proof of who asks; none where it was refused.
    pub(super) fn access(&self, exchange: &Exchange) -> Option<String> {
        let document = &self.description.document;
        let wanted = self.operation.get("security").or_else(|| document.get("security"))?.as_array()?;
        let schemes = wanted.iter().filter_map(Value::as_object).flat_map(|one| one.keys());
        let bearer = schemes.map(|name| &document["components"]["securitySchemes"][name]).any(|scheme| {
            text(scheme, "type") == "http" && text(scheme, "scheme").eq_ignore_ascii_case("bearer")
        });
        let proved = exchange.request.header("authorization").starts_with("Bearer ");
        (bearer && !proved && exchange.reply.status != 401).then(|| "it needs a bearer token".to_owned())
    }

    /// Problems with the request's body.
    pub(super) fn request(&self, request: &Request) -> Vec<String> {
        let Some(described) = self.operation.get("requestBody") else {
            let unexpected = !request.body.is_empty();
            return unexpected.then(|| "it takes no body".to_owned()).into_iter().collect();
        };
        let described = resolved(&self.description.document, described);
        if request.body.is_empty() {
            let missing = described["required"] == true;
            return missing.then(|| "the body is required".to_owned()).into_iter().collect();
        }
        self.body(
            &described["content"],
            request.header("content-type"),
            &request.body,
            Direction::Request,
            "body",
        )
    }

    /// Problems with the answer.
    pub(super) fn reply(&self, reply: &Reply) -> Vec<String> {
        let place = format!("answer {}", reply.status);
        let responses = &self.operation["responses"];
        let (exact, class) = (reply.status.to_string(), format!("{}XX", reply.status / 100));
        let described = [exact.as_str(), class.as_str(), "default"].iter().find_map(|key| responses.get(key));
        let Some(described) = described else {
            // Many descriptions say nothing of errors.
            let success = reply.status < 400;
            return success.then(|| format!("{place} is not described")).into_iter().collect();
        };
        let content = resolved(&self.description.document, described).get("content");
        match content {
            None if reply.body.is_empty() => Vec::new(),
            None => vec![format!("{place} has no body")],
            Some(content) => {
                let kind = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                let kind = kind.map_or("", |(_, value)| value.as_str());
                self.body(content, kind, &reply.body, Direction::Answer, &place)
            }
        }
    }

    fn body(
        &self,
        content: &Value,
        kind: &str,
        body: &[u8],
        direction: Direction,
        place: &str,
    ) -> Vec<String> {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let Some(described) = content.get(kind) else {
            return vec![format!("{place}: content type {kind:?} is not described")];
        };
        let value: Cow<'_, Value> = match (kind, serde_json::from_slice(body)) {
            (_, Ok(value)) if kind.ends_with("json") => Cow::Owned(value),
            (_, Err(error)) if kind.ends_with("json") => return vec![format!("{place}: no JSON: {error}")],
            _ => Cow::Owned(Value::from(String::from_utf8_lossy(body))),
        };
        match described.get("schema") {
            Some(schema) => self.description.schemas(direction).problems(schema, &value, place),
            None => Vec::new(),
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
