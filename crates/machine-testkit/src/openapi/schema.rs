//! JSON schemas as OpenAPI has them (3.0, <https://spec.openapis.org/oas/v3.0.3#schema-object>, and what descriptions of
//! 3.1 use): types, properties, items, `allOf`/`anyOf`/`oneOf`/`not`, discriminators, enumerations, bounds, patterns,
//! formats of addresses, times and UUIDs. The general crate for JSON schemas takes 55 CPU seconds to build.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;
use serde_json::{Map, Value};

/// How deep references may lead without a value in between; more is a circle.
const DEEPEST: usize = 64;

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the provider: what is unknown or only read is a problem.
    Request,
    /// From the provider.
    Answer,
}

/// The schemas of a document.
pub(super) struct Schemas<'a> {
    document: &'a Value,
    direction: Direction,
}

/// What one value is found to be.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    /// The properties that a schema speaks of.
    known: BTreeSet<String>,
    /// Whether some schema takes all properties.
    open: bool,
    /// Whether some schema names properties.
    closed: bool,
}

impl Found {
    fn problem(&mut self, place: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{place}: {what}"));
    }

    fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.known.extend(other.known);
        self.open |= other.open;
        self.closed |= other.closed;
    }
}

/// What a value is, or what it refers to; a reference that leads nowhere is a mistake in the description.
pub(super) fn resolved<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    for _ in 0..DEEPEST {
        let Some(to) = value.get("$ref").and_then(Value::as_str) else { return value };
        let found = to.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        value = found.unwrap_or_else(|| panic!("the description refers to {to:?}, which it does not have"));
    }
    panic!("references of the description go round in a circle")
}

impl<'a> Schemas<'a> {
    pub(super) fn new(document: &'a Value, direction: Direction) -> Self {
        Self { document, direction }
    }

    /// What is wrong with a value. `place` says where it stands.
    pub(super) fn problems(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let mut found = self.look(schema, value, place);
        if let Some(object) = value.as_object()
            && self.direction == Direction::Request
            && found.closed
            && !found.open
        {
            for name in object.keys().filter(|name| !found.known.contains(*name)) {
                found.problems.push(format!("{place}/{name}: it is unknown"));
            }
        }
        found.problems
    }

    fn look(&self, schema: &Value, value: &Value, place: &str) -> Found {
        let mut found = Found::default();
        if schema.get("$ref").is_some() {
            found.add(self.look(resolved(self.document, schema), value, place));
            return found;
        }
        match schema {
            Value::Bool(false) => {
                found.problem(place, "nothing may stand here");
                return found;
            }
            Value::Object(schema) if schema.is_empty() => found.open = true,
            _ => {}
        }
        if value.is_null() && schema["nullable"] == true {
            return found;
        }
        self.combined(schema, value, place, &mut found);
        if let Some(problem) = kind_problem(schema, value) {
            found.problem(place, problem);
            return found;
        }
        enumerated(schema, value, place, &mut found);
        match value {
            Value::String(text) => texts(schema, text, place, &mut found),
            Value::Number(number) => {
                numbers(schema, number.as_f64().unwrap_or_default(), place, &mut found);
            }
            Value::Array(items) => self.items(schema, items, place, &mut found),
            Value::Object(object) => self.object(schema, object, place, &mut found),
            Value::Null | Value::Bool(_) => {}
        }
        found
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`.
    fn combined(&self, schema: &Value, value: &Value, place: &str, found: &mut Found) {
        for all in list(schema, "allOf") {
            found.add(self.look(all, value, place));
        }
        for (key, exactly_one) in [("anyOf", false), ("oneOf", true)] {
            let choices = list(schema, key);
            if choices.is_empty() {
                continue;
            }
            if let Some(chosen) = self.chosen(schema, value) {
                found.add(self.look(chosen, value, place));
                continue;
            }
            let mut looks: Vec<Found> =
                choices.iter().map(|choice| self.look(choice, value, place)).collect();
            let fit = looks.iter().filter(|look| look.problems.is_empty()).count();
            match fit {
                0 => {
                    found.problem(place, format!("it fits none of the {} choices; the nearest:", looks.len()))
                }
                1 => {}
                _ if exactly_one => {
                    found.problem(place, format!("it fits {fit} choices where one is wanted"))
                }
                _ => {}
            }
            looks.sort_by_key(|look| look.problems.len());
            let nearest = usize::from(fit == 0);
            for look in looks.into_iter().take(fit.max(nearest)) {
                found.add(look);
            }
        }
        if let Some(not) = schema.get("not")
            && self.look(not, value, place).problems.is_empty()
        {
            found.problem(place, "it is what it must not be");
        }
    }

    /// The choice that a discriminator names.
    fn chosen(&self, schema: &'a Value, value: &Value) -> Option<&'a Value>
    where
        Self: 'a,
    {
        let discriminator = schema.get("discriminator")?;
        let word = value.get(discriminator["propertyName"].as_str()?)?.as_str()?;
        match discriminator.get("mapping") {
            Some(mapping) => self.document.pointer(mapping.get(word)?.as_str()?.strip_prefix('#')?),
            None => self.document.pointer(&format!("/components/schemas/{word}")),
        }
    }

    fn items(&self, schema: &Value, items: &[Value], place: &str, found: &mut Found) {
        bounds(schema, "minItems", "maxItems", items.len() as f64, "items", place, found);
        if schema["uniqueItems"] == true
            && items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
        {
            found.problem(place, "an item stands there twice");
        }
        if let Some(schema) = schema.get("items") {
            for (at, item) in items.iter().enumerate() {
                found.problems.extend(self.problems(schema, item, &format!("{place}/{at}")));
            }
        }
    }

    fn object(&self, schema: &Value, object: &Map<String, Value>, place: &str, found: &mut Found) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        bounds(schema, "minProperties", "maxProperties", object.len() as f64, "properties", place, found);
        found.closed |= properties.is_some() || others == Some(&Value::Bool(false));
        found.open |= others.is_some_and(|others| *others != Value::Bool(false));
        found.known.extend(properties.into_iter().flat_map(Map::keys).cloned());
        for name in list(schema, "required").iter().filter_map(Value::as_str) {
            let declared = properties.and_then(|properties| properties.get(name));
            if !object.contains_key(name) && !declared.is_some_and(|schema| self.goes_the_other_way(schema)) {
                found.problem(&format!("{place}/{name}"), "it is required");
            }
        }
        for (name, value) in object {
            let place = format!("{place}/{name}");
            match (properties.and_then(|properties| properties.get(name)), others) {
                (Some(schema), _) => {
                    if self.goes_the_other_way(schema) {
                        found.problem(&place, "it does not go this way");
                    }
                    found.problems.extend(self.problems(schema, value, &place));
                }
                (None, Some(Value::Bool(false))) => found.problem(&place, "it is unknown"),
                (None, Some(schema @ Value::Object(_))) => {
                    found.problems.extend(self.problems(schema, value, &place));
                }
                (None, _) => {}
            }
        }
    }

    /// Whether a property is only in answers, or only in requests, and this is none.
    fn goes_the_other_way(&self, schema: &Value) -> bool {
        let key = match self.direction {
            Direction::Request => "readOnly",
            Direction::Answer => "writeOnly",
        };
        resolved(self.document, schema)[key] == true
    }
}

fn list<'v>(schema: &'v Value, key: &str) -> &'v [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What is wrong with a value's type; `type` is a word, or in 3.1 a list of them.
fn kind_problem(schema: &Value, value: &Value) -> Option<String> {
    let wanted: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let (is, integer) = match value {
        Value::Null => ("null", false),
        Value::Bool(_) => ("boolean", false),
        Value::Number(number) => ("number", number.as_f64().is_some_and(|number| number.fract() == 0.0)),
        Value::String(_) => ("string", false),
        Value::Array(_) => ("array", false),
        Value::Object(_) => ("object", false),
    };
    let fits = wanted.iter().any(|wanted| *wanted == is || (*wanted == "integer" && integer));
    (!fits).then(|| format!("a value of type {} is wanted, not {value}", wanted.join(" or ")))
}

fn enumerated(schema: &Value, value: &Value, place: &str, found: &mut Found) {
    let allowed = list(schema, "enum");
    if !allowed.is_empty() && !allowed.contains(value) {
        found.problem(place, format!("{value} is none of {}", Value::from(allowed)));
    }
    if let Some(only) = schema.get("const")
        && only != value
    {
        found.problem(place, format!("{value} is not {only}"));
    }
}

fn texts(schema: &Value, text: &str, place: &str, found: &mut Found) {
    bounds(schema, "minLength", "maxLength", text.chars().count() as f64, "characters", place, found);
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(pattern, text)
    {
        found.problem(place, format!("{text:?} does not match {pattern}"));
    }
    let shape = match schema.get("format").and_then(Value::as_str) {
        Some("ipv4") => text.parse::<Ipv4Addr>().is_ok(),
        Some("ipv6") => text.parse::<Ipv6Addr>().is_ok(),
        Some("uuid") => matches(r"^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", text),
        Some("date-time") => matches(r"^(?i)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", text),
        _ => true,
    };
    if !shape {
        found.problem(place, format!("{text:?} is no {}", schema["format"]));
    }
}

thread_local! {
    /// Patterns that were read: reading one takes longer than matching a thousand texts.
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|patterns| {
        let known = patterns.entry(pattern.to_owned()).or_insert_with(|| {
            Regex::new(pattern)
                .unwrap_or_else(|error| panic!("the description has a pattern that can't be read: {error}"))
        });
        known.is_match(text)
    })
}

fn numbers(schema: &Value, number: f64, place: &str, found: &mut Found) {
    bounds(schema, "minimum", "maximum", number, "as a number", place, found);
    let bound = |key: &str| schema.get(key);
    // In 3.0 they are true or false and sharpen the bound beside them; in 3.1 they are bounds.
    for (key, beside, below) in
        [("exclusiveMinimum", "minimum", true), ("exclusiveMaximum", "maximum", false)]
    {
        let limit = match bound(key) {
            Some(Value::Bool(true)) => bound(beside).and_then(Value::as_f64),
            other => other.and_then(Value::as_f64),
        };
        if let Some(limit) = limit
            && (if below { number <= limit } else { number >= limit })
        {
            found.problem(place, format!("{number} does not keep {key} {limit}"));
        }
    }
    if let Some(step) = bound("multipleOf").and_then(Value::as_f64)
        && (number / step).fract().abs() > 1e-9
    {
        found.problem(place, format!("{number} is no multiple of {step}"));
    }
}

fn bounds(schema: &Value, least: &str, most: &str, is: f64, unit: &str, place: &str, found: &mut Found) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Some(least) = bound(least).filter(|least| is < *least) {
        found.problem(place, format!("{is} {unit} is less than {least}"));
    }
    if let Some(most) = bound(most).filter(|most| is > *most) {
        found.problem(place, format!("{is} {unit} is more than {most}"));
    }
}
