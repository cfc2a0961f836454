//! The user's own user data: what kind it is, and whether cloud-init will be able to read it.
//!
//! Source: cloud-init's documentation of user-data formats; `handlers/__init__.py` of its versions 22.4 and 24.4 has the first
//! lines by which it tells them apart.

use machine_core::Secret;
use serde_json::Value;

/// User data that cloud-init would not read, or that would keep the host from being reached. Nothing of it is shown: there may
/// be passwords in it.
#[derive(Debug, thiserror::Error)]
#[error("the user data can't be used: {why}")]
pub struct BadUserData {
    why: String,
}

impl BadUserData {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "user data begins with \"#cloud-config\", \"#!\" (a script), \"#include\", or is a MIME message of such parts; \
         `cloud-init schema --config-file FILE` checks the first"
    }
}

/// The user's own user data.
#[derive(Clone, Debug)]
pub struct Own {
    kind: Kind,
    text: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One document of this subtype of `text`.
    Text(&'static str),
    /// A MIME message.
    Message,
}

/// The first lines of documents, and what they are. Those that begin with another one come before it.
const FIRST_LINES: [(&str, &str); 9] = [
    ("#cloud-config-archive", "cloud-config-archive"),
    ("#cloud-config-jsonp", "cloud-config-jsonp"),
    ("#cloud-config", "cloud-config"),
    ("#cloud-boothook", "cloud-boothook"),
    ("#part-handler", "part-handler"),
    ("#include-once", "x-include-once-url"),
    ("#include", "x-include-url"),
    ("## template: jinja", "jinja2"),
    ("#!", "x-shellscript"),
];

impl Own {
    /// Looks at user data as a person wrote it.
    ///
    /// # Errors
    /// [`BadUserData`] where it is compressed, empty, of no kind that cloud-init knows, or malformed.
    pub fn read(text: &Secret) -> Result<Self, BadUserData> {
        let plain = text.expose().trim_start();
        if plain.starts_with("\u{1f}\u{8b}")
            || plain.starts_with("\u{1f}\u{fffd}")
            || plain.starts_with("H4sI")
        {
            return Err(BadUserData::new(
                "it is compressed (gzip), and must be merged with the machine's own: give it uncompressed",
            ));
        }
        if plain.is_empty() {
            return Err(BadUserData::new("it is empty"));
        }
        if plain.contains('\0') {
            return Err(BadUserData::new("it is no text"));
        }
        let own = |kind| Self { kind, text: Secret::new(plain) };
        if let Some(message) = message_of(plain) {
            check_message(message)?;
            return Ok(Self { kind: Kind::Message, text: Secret::new(message) });
        }
        let lower = plain.get(..32.min(plain.len())).unwrap_or(plain).to_ascii_lowercase();
        let Some((_, subtype)) = FIRST_LINES.iter().find(|(first, _)| lower.starts_with(first)) else {
            return Err(BadUserData::new("its first line is none by which cloud-init knows what it is"));
        };
        match *subtype {
            "cloud-config" => check_config(plain)?,
            "x-include-url" | "x-include-once-url" => check_include(plain)?,
            _ => {}
        }
        Ok(own(Kind::Text(subtype)))
    }

    /// Whether it may define the account of this name, as far as that can be told without reading it as cloud-init does.
    #[must_use]
    pub fn may_define(&self, user: &str) -> bool {
        match self.kind {
            // What is there is not known here.
            Kind::Text("x-include-url" | "x-include-once-url") => true,
            Kind::Text("x-shellscript" | "cloud-boothook" | "part-handler") => false,
            Kind::Text(_) | Kind::Message => self.text.expose().contains(user),
        }
    }

    /// Its MIME type below `text`, and its text; or a whole message of its own.
    pub(super) fn part(&self) -> (Option<&'static str>, &str) {
        match self.kind {
            Kind::Text(subtype) => (Some(subtype), self.text.expose()),
            Kind::Message => (None, self.text.expose()),
        }
    }
}

/// The text from its first header on, where it is a MIME message.
fn message_of(text: &str) -> Option<&str> {
    // Mailbox files have a line before the headers.
    let text = match text.starts_with("From ") {
        true => text.split_once('\n').map_or(text, |(_, rest)| rest),
        false => text,
    };
    let lower = text.get(..13.min(text.len())).unwrap_or_default().to_ascii_lowercase();
    let is_header = lower.starts_with("content-type:") || lower.starts_with("mime-version:");
    is_header.then_some(text)
}

fn check_message(text: &str) -> Result<(), BadUserData> {
    if !text.is_ascii() {
        return Err(BadUserData::new(
            "it is a MIME message with characters beyond ASCII in it, which cloud-init misreads: encode its parts as base64",
        ));
    }
    let headers: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).collect();
    let headers = headers.join("\n");
    let lower = headers.to_ascii_lowercase();
    if !lower.contains("multipart/") {
        return Err(BadUserData::new("it is a MIME message, but not of the type multipart/mixed"));
    }
    let Some(at) = lower.find("boundary=") else {
        return Err(BadUserData::new(
            "it is a MIME message of several parts, and does not name their boundary",
        ));
    };
    let value = headers[at + "boundary=".len()..].trim_start();
    let boundary = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(|c: char| c.is_whitespace() || c == ';').next(),
    };
    let boundary = boundary.unwrap_or_default();
    let has = |line: &str| text.lines().any(|found| found.trim_end() == line);
    if boundary.is_empty() || !has(&format!("--{boundary}")) {
        return Err(BadUserData::new("it is a MIME message, and no part begins with its boundary"));
    }
    if !has(&format!("--{boundary}--")) {
        return Err(BadUserData::new("it is a MIME message of which the end is missing"));
    }
    Ok(())
}

fn check_include(text: &str) -> Result<(), BadUserData> {
    let mut lines =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = text.lines().next().unwrap_or_default();
    let named = first.split_whitespace().skip(1).chain(lines.by_ref());
    let mut urls = named.peekable();
    if urls.peek().is_none() {
        return Err(BadUserData::new("it includes nothing: no address stands below its first line"));
    }
    match urls.all(|url| url.contains("://")) {
        true => Ok(()),
        false => Err(BadUserData::new("a line of what it includes is no address")),
    }
}

/// What can be told of YAML without reading it: cloud-init passes over all of a document that it can't read, and says so only
/// in its log.
fn check_config(text: &str) -> Result<(), BadUserData> {
    let lines = || text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    let matters = |line: &&(usize, &str)| {
        let short = line.1.trim_start();
        !short.is_empty() && !short.starts_with('#') && !matches!(line.1, "---" | "...")
    };
    let Some((number, first)) = lines().find(|line| matters(&line)) else { return Ok(()) };
    if first.starts_with('{') {
        // JSON, or YAML that looks like it.
        if let Ok(config) = serde_json::from_str::<Value>(&text[text.find('{').unwrap_or(0)..]) {
            return match config.get("users") {
                Some(users) if !users.is_array() => Err(users_error()),
                _ => Ok(()),
            };
        }
        return Ok(());
    }
    if first.starts_with(char::is_whitespace) {
        return Err(BadUserData::new(format!("line {number} is indented, and belongs to nothing")));
    }
    if first.starts_with('-') {
        return Err(BadUserData::new("it is a list; a cloud-config has keys with values"));
    }
    let mut users = None;
    for (number, line) in lines().filter(|line| matters(&line)) {
        if line.starts_with('\t') {
            return Err(BadUserData::new(format!(
                "line {number} is indented with a tab, which YAML does not allow"
            )));
        }
        if let Some(at) = users
            && at < number
        {
            if !line.trim_start().starts_with('-') {
                return Err(users_error());
            }
            users = None;
        }
        if line.starts_with(' ') || line == "-" || line.starts_with("- ") {
            continue;
        }
        let Some((key, value)) = key_of(line) else {
            return Err(BadUserData::new(format!("line {number} is no key with a value")));
        };
        if key == "users" {
            match format!(" {value}").split(" #").next().unwrap_or_default().trim() {
                "" => users = Some(number),
                list if list.starts_with('[') => {}
                _ => return Err(users_error()),
            }
        }
    }
    Ok(())
}

/// A line of keys and values: what is before the colon, and after it.
fn key_of(line: &str) -> Option<(&str, &str)> {
    if matches!(line, "}" | "]") {
        return Some((line, ""));
    }
    if let Some(quote) = line.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (key, rest) = line[1..].split_once(quote)?;
        return Some((key, rest.trim_start().strip_prefix(':')?));
    }
    match line.split_once(": ") {
        Some(pair) => Some(pair),
        None => line.strip_suffix(':').map(|key| (key, "")),
    }
}

fn users_error() -> BadUserData {
    BadUserData::new(
        "\"users\" is no list there; the machine's own user is added to it, so that it must be one",
    )
}
