//! The password of the machine's user: asked for by the old command, and good for the console and for sudo. It is never
//! stored, shown or an argument of another program.

use std::io::BufRead;

use machine_core::Secret;

use crate::error::CliError;

/// Characters of which a password needs one, beside letters and digits.
const SPECIAL: &str = "!@#$%^&+=";

/// The password: the argument itself, or for `-` the first line of standard input.
///
/// # Errors
/// Where it does not keep the rules.
pub fn read(argument: &str) -> Result<Secret, CliError> {
    let password = if argument == "-" {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| CliError::new(format!("the password can't be read: {error}")))?;
        Secret::new(line.trim_end_matches(['\r', '\n']))
    } else {
        Secret::new(argument)
    };
    match missing(password.expose()) {
        None => Ok(password),
        Some(what) => Err(CliError::new(format!("the password needs {what}")).with_hint(format!(
            "8 characters or more, among them a small letter, a capital letter, a digit and one of {SPECIAL}"
        ))),
    }
}

/// What a password lacks.
fn missing(password: &str) -> Option<&'static str> {
    let has = |what: fn(char) -> bool| password.chars().any(what);
    if password.chars().count() < 8 {
        return Some("8 characters or more");
    }
    if password.chars().any(char::is_control) {
        return Some("characters that can be typed only");
    }
    [
        (has(|c| c.is_ascii_lowercase()), "a small letter"),
        (has(|c| c.is_ascii_uppercase()), "a capital letter"),
        (has(|c| c.is_ascii_digit()), "a digit"),
        (has(|c| SPECIAL.contains(c)), "one of !@#$%^&+="),
    ]
    .into_iter()
    .find(|(there, _)| !there)
    .map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_of_the_old_command() {
        for (password, wanted) in [
            ("Passw0rd!", None),
            ("Pa0!", Some("8 characters or more")),
            ("PASSW0RD!", Some("a small letter")),
            ("passw0rd!", Some("a capital letter")),
            ("Password!", Some("a digit")),
            ("Passw0rdx", Some("one of !@#$%^&+=")),
        ] {
            assert_eq!(missing(password), wanted, "{password}");
        }
        assert!(!read("weak").unwrap_err().to_string().contains("weak"));
    }
}
