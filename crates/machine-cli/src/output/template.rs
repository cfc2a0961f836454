//! Go templates of `--format`.
//!
//! The engine is `gtmpl-ng`; this module gives it Go's words for errors, the reference program's functions, and Go's
//! view of values: JSON numbers are floats, as in a `map[string]interface{}`.

use std::collections::HashMap;

use gtmpl_ng::{Context, ExecError, Func, FuncError, Number, ParseError, Value};
use serde_json::Value as Json;

use super::go;

/// A template that could not be read or filled in. Its text is Go's: `template: :1: function "x" not defined`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

/// Which functions a template has besides Go's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// Go's only, as `ls --format` in the reference program.
    Go,
    /// Also `json` and `prettyjson`, as `inspect --format`.
    Json,
}

/// A template that was read.
pub struct Template {
    engine: gtmpl_ng::Template,
    source: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Problem`] with line and reason.
    pub fn parse(source: &str, functions: Functions) -> Result<Self, Problem> {
        let mut engine = gtmpl_ng::Template::default();
        engine.add_func("printf", printf as Func);
        if functions == Functions::Json {
            engine.add_func("json", json as Func);
            engine.add_func("prettyjson", pretty_json as Func);
        }
        engine.parse(source).map_err(|error| Problem(parse_text(source, &error)))?;
        Ok(Self { engine, source: source.to_owned() })
    }

    /// Fills it in.
    ///
    /// # Errors
    /// [`Problem`] with place and reason.
    pub fn render(&self, value: Value) -> Result<String, Problem> {
        let text = self.engine.render(&Context::from(value));
        text.map_err(|error| Problem(exec_text(&self.source, &error)))
    }
}

/// Reads a template and fills it in with a JSON value; for tests that throw anything at it.
///
/// # Errors
/// [`Problem`]; never a panic.
pub fn render_json(source: &str, value: &Json) -> Result<String, Problem> {
    Template::parse(source, Functions::Json)?.render(map(value))
}

/// A JSON value as Go's decoder gives it to a template: objects are maps, in which a missing key is `<no value>`.
pub fn map(value: &Json) -> Value {
    convert(value, &Value::Map)
}

/// A JSON value as a Go struct: a missing field is an error.
pub fn structure(value: &Json) -> Value {
    convert(value, &Value::Object)
}

fn convert(value: &Json, object: &dyn Fn(HashMap<String, Value>) -> Value) -> Value {
    match value {
        Json::Null => Value::Nil,
        Json::Bool(on) => Value::Bool(*on),
        Json::Number(number) => Value::Number(Number::float(number.as_f64().unwrap_or_default())),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(|item| convert(item, object)).collect()),
        Json::Object(fields) => {
            object(fields.iter().map(|(key, value)| (key.clone(), convert(value, object))).collect())
        }
    }
}

fn back(value: &Value) -> Json {
    match value {
        Value::NoValue | Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(on) => Json::Bool(*on),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(back).collect()),
        Value::Object(fields) | Value::Map(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            Json::Object(sorted.into_iter().map(|(key, value)| (key.clone(), back(value))).collect())
        }
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => whole.into(),
            (_, Some(whole), _) => whole.into(),
            (_, _, Some(float)) => whole_or_float(float),
            _ => Json::Null,
        },
    }
}

/// Go writes a float without fraction as a whole number.
#[allow(clippy::cast_possible_truncation)] // the size was looked at
fn whole_or_float(float: f64) -> Json {
    if float.fract() == 0.0 && float.abs() < 9e15 { (float as i64).into() } else { float.into() }
}

fn only(args: &[Value], function: &str) -> Result<Json, FuncError> {
    match args {
        [value] => Ok(back(value)),
        _ => {
            Err(FuncError::Generic(format!("wrong number of args for {function}: want 1 got {}", args.len())))
        }
    }
}

fn json(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::String(machine_store::go_json::to_string(&only(args, "json")?)))
}

fn pretty_json(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::String(machine_store::go_json::to_string_indented(&only(args, "prettyjson")?)))
}

/// Go's `printf`. `ResponseTime` is a `time.Duration` in Go: a number for `%d`, a text like `12ms` elsewhere. Here it
/// is the text, and becomes the number where the format asks for one.
fn printf(args: &[Value]) -> Result<Value, FuncError> {
    let wants_number = matches!(args.first(), Some(Value::String(format)) if format.contains('d'));
    if !wants_number {
        return gtmpl_ng::funcs::printf(args);
    }
    let numbers: Vec<Value> = args
        .iter()
        .enumerate()
        .map(|(at, arg)| match arg {
            Value::String(text) if at > 0 => go::duration_nanos(text)
                .map_or_else(|| arg.clone(), |nanos| Value::Number(Number::signed(nanos))),
            _ => arg.clone(),
        })
        .collect();
    gtmpl_ng::funcs::printf(&numbers)
}

fn parse_text(source: &str, error: &ParseError) -> String {
    match error {
        ParseError::WithContext(at, message) => {
            if message.contains("unclosed action") {
                // Go says where the action began, and counts the line that its own newline ends.
                let began = source.rfind("{{").map_or(at.line, |at| last_line(&source[..at]));
                return format!("template: :{}: unclosed action started at :{began}", last_line(source));
            }
            format!("template: :{}: {}", at.line, quoted_function(message))
        }
        other => format!("template: :1: {other}"),
    }
}

/// The number of the line on which a text ends.
fn last_line(source: &str) -> usize {
    source.matches('\n').count() + 1
}

/// `function x not defined` as Go has it: with the name in quotes.
fn quoted_function(message: &str) -> String {
    let name = message.strip_prefix("function ").and_then(|rest| rest.strip_suffix(" not defined"));
    name.map_or_else(|| message.to_owned(), |name| format!("function {} not defined", go::quote(name)))
}

fn exec_text(source: &str, error: &ExecError) -> String {
    let Some(structured) = error.as_structured() else {
        return format!("template: :1: {error}");
    };
    let at = &structured.context;
    let line = source.split('\n').nth(at.line.saturating_sub(1)).unwrap_or_default();
    let start = at.col.saturating_sub(1);
    let what = line.get(start..start + at.len).unwrap_or_default();
    let message = match structured.message.split_once(" in ") {
        // The engine would print the whole value.
        Some((missing, _)) if missing.starts_with("no field `") => {
            let field = missing.trim_start_matches("no field `").trim_end_matches('`');
            format!("can't evaluate field {field} in type commands.HostListItem")
        }
        _ => structured.message.clone(),
    };
    format!("template: :{}:{start}: executing \"\" at <{what}>: {message}", at.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn machine() -> Json {
        json!({ "Name": "a", "Driver": { "SSHPort": 22, "IPAddress": "1.2.3.4" }, "Big": 21_000_000, "List": ["x", "y"], "On": true, "None": null })
    }

    #[test]
    fn go_s_words_and_values() {
        for (template, want) in [
            ("{{.Name}}", "a"),
            ("{{.Nope}}", "<no value>"),
            ("{{.Driver.Nope}}", "<no value>"),
            ("{{.Driver.SSHPort}}", "22"),
            ("{{.Big}}", "2.1e+07"),
            ("{{json .Driver}}", r#"{"IPAddress":"1.2.3.4","SSHPort":22}"#),
            ("{{prettyjson .List}}", "[\n    \"x\",\n    \"y\"\n]"),
            ("{{.Driver.SSHPort | printf \"%v:%s\" .Name}}", "a:%!s(float64=22)"),
            ("{{if .On}}{{range .List}}{{.}},{{end}}{{else}}n{{end}}", "x,y,"),
            ("{{len .List}} {{index .List 1}} {{.Name | urlquery}}", "2 y a"),
            ("{{json .None}}", "null"),
        ] {
            assert_eq!(render_json(template, &machine()).as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn go_s_words_for_mistakes() {
        let problem = |template: &str| Template::parse(template, Functions::Go).err().unwrap().to_string();
        assert_eq!(problem("{{json .}}\n"), "template: :1: function \"json\" not defined");
        assert_eq!(problem("{{\n"), "template: :2: unclosed action started at :1");
        let item = structure(&json!({ "Name": "a" }));
        let error = Template::parse("{{.Nope}}\n", Functions::Go).unwrap().render(item).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type commands.HostListItem"
        );
    }

    #[test]
    fn a_response_time_is_a_text_and_a_number() {
        let item = structure(&json!({ "ResponseTime": "12ms" }));
        let render = |text: &str| Template::parse(text, Functions::Go).unwrap().render(item.clone()).unwrap();
        assert_eq!(render("{{.ResponseTime}}"), "12ms");
        assert_eq!(render("{{ .ResponseTime | printf \"%d\" }}"), "12000000");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = render_json(&text, &machine());
        }

        #[test]
        fn no_action_makes_it_panic(parts in proptest::collection::vec(prop_oneof![
            Just("{{"), Just("}}"), Just("."), Just(".Driver"), Just("range"), Just("end"), Just("if"), Just("with"),
            Just("else"), Just("printf"), Just("\"%d\""), Just("|"), Just("$x"), Just(":="), Just("index"), Just("-"),
            Just("json"), Just("("), Just(")"), Just(" "), Just("/*"), Just("*/"), Just("9999999999999999999"), Just("`"),
            Just("template"), Just("define"), Just("slice"), Just("\n"), Just(".List"), Just("html"), Just("eq"), Just("'a'")
        ], 0..16)) {
            let _ = render_json(&parts.concat(), &machine());
        }
    }
}
