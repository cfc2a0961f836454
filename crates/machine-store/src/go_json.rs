//! JSON as Go's `encoding/json` writes it, byte for byte: `<`, `>`, `&`, U+2028 and U+2029 are escaped, a form feed
//! is `\u000c`, empty lists are `[]`, indents are four spaces. Callers compare these texts.

use std::io::{self, Write};

use machine_core::Machine;
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// The content of a machine's config.json, without a newline at its end.
#[must_use]
pub fn to_json(machine: &Machine) -> String {
    to_string_indented(machine)
}

/// As Go's `json.MarshalIndent(value, "", "    ")`. The order of keys is that of the value; see [`sorted`].
#[must_use]
pub fn to_string_indented<T: Serialize + ?Sized>(value: &T) -> String {
    write(value, GoStyle(PrettyFormatter::with_indent(b"    ")))
}

/// As Go's `json.Marshal(value)`: one line. The order of keys is that of the value; see [`sorted`].
#[must_use]
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    write(value, GoStyle(CompactFormatter))
}

/// The same value with the keys of every object in order, as Go writes its maps: what the reference program's
/// templates print with `json` and `prettyjson`.
#[must_use]
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(map) => Value::Object(sorted_map(map)),
        other => other.clone(),
    }
}

/// [`sorted`] for an object.
#[must_use]
pub fn sorted_map(map: &Map<String, Value>) -> Map<String, Value> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, style: F) -> String {
    let mut out = Vec::with_capacity(2048);
    // Writing into memory does not fail, and the values that come here are made of strings, numbers, lists and
    // objects with string keys, which JSON can all hold.
    let written = value.serialize(&mut Serializer::with_formatter(&mut out, style));
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8(out).unwrap_or_default()
}

/// Go's way with strings and floats around another formatter's way with white space.
struct GoStyle<F>(F);

impl<F: Formatter> Formatter for GoStyle<F> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut text = Vec::new();
        CompactFormatter.write_f64(&mut text, value)?;
        // Go writes the sign of a positive exponent.
        match text.iter().position(|byte| *byte == b'e') {
            Some(at) if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                writer.write_all(&text[..=at])?;
                writer.write_all(b"+")?;
                writer.write_all(&text[at + 1..])
            }
            _ => writer.write_all(&text),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut done = 0;
        for (at, char) in text.char_indices() {
            let escape: &[u8] = match char {
                '<' => b"\\u003c",
                '>' => b"\\u003e",
                '&' => b"\\u0026",
                '\u{2028}' => b"\\u2028",
                '\u{2029}' => b"\\u2029",
                _ => continue,
            };
            writer.write_all(&text.as_bytes()[done..at])?;
            writer.write_all(escape)?;
            done = at + char.len_utf8();
        }
        writer.write_all(&text.as_bytes()[done..])
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_escaped_as_go_does() {
        // The expected text is what go1.19's json.Marshal prints for this string.
        let value = json!("<a href=\"x\">&\u{2028}\u{2029}\u{8}\u{c}\n\r\t\u{1}\u{7f}é😀\\");
        assert_eq!(
            to_string(&value),
            "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\u2029\\u0008\\u000c\\n\\r\\t\\u0001\u{7f}é😀\\\\\""
        );
        assert_eq!(to_string(&json!({ "<": 1 })), r#"{"\u003c":1}"#);
    }

    #[test]
    fn empty_lists_and_objects_take_no_lines() {
        let text = to_string_indented(&json!({ "a": [], "b": {}, "c": [1, { "d": null }] }));
        assert_eq!(
            text,
            "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \"d\": null\n        }\n    ]\n}"
        );
    }

    #[test]
    fn exponents_are_signed() {
        assert_eq!(to_string(&json!([1e300, 1e-300, 1.5, 0])), "[1e+300,1e-300,1.5,0]");
    }

    #[test]
    fn maps_are_sorted_when_asked() {
        let value = json!({ "b": { "z": 1, "a": [{ "y": 1, "x": 2 }] }, "a": 0 });
        assert_eq!(to_string(&sorted(&value)), r#"{"a":0,"b":{"a":[{"x":2,"y":1}],"z":1}}"#);
        assert!(to_string(&value).starts_with(r#"{"b""#));
    }
}
