//! Credentials that a program prints (`credential_process`).

use std::time::Duration;

use aws_credential_types::Credentials;
use machine_core::DriverError;
use machine_process::Program;
use serde_json::Value;

use super::{no_access, remote};

/// How long the program may take: it may ask its user for something.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the program of a profile. What it prints is never repeated.
pub(super) async fn run(profile: &str, command: &str) -> Result<Credentials, DriverError> {
    let wrong = |why: String| no_access(format!("the credential_process of the profile {profile:?} {why}"));
    let words = words(command);
    let Some((name, arguments)) = words.split_first() else {
        return Err(wrong("is empty".to_owned()));
    };
    let program = if name.contains(['/', '\\']) {
        Program::at(name)
    } else {
        Program::find(&[name], &[]).map_err(|error| wrong(format!("can't be run: {error}")))?
    };
    // The error would repeat the arguments, which are the user's business.
    let output = program
        .output(arguments, &[], LIMIT)
        .await
        .map_err(|_| wrong(format!("can't be run, or took more than {} s ({name})", LIMIT.as_secs())))?;
    if !output.status.success() {
        let said = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(wrong(format!("failed ({}): {said}", output.status)));
    }
    let printed: Value = serde_json::from_str(&output.stdout)
        .map_err(|_| wrong("printed something else than JSON".to_owned()))?;
    let names = ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"];
    remote::from_json(&printed, names, "process")
        .ok_or_else(|| wrong("printed no AccessKeyId and SecretAccessKey".to_owned()))
}

/// The words of a command line, as shells quote them. No shell runs it.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some('"'), '\\') if letters.peek().is_some_and(|next| ['"', '\\'].contains(next)) => {
                word.get_or_insert_default().extend(letters.next());
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        assert_eq!(
            words(r#"/opt/a --x "b c" 'd "e' f\g "" "#),
            ["/opt/a", "--x", "b c", "d \"e", "f\\g", ""]
        );
        assert_eq!(words(r#""C:\Program Files\x.exe" "a\"b""#), [r"C:\Program Files\x.exe", "a\"b"]);
        assert!(words("  ").is_empty());
    }
}
