//! The names of the machines to be.

use crate::error::CliError;
use crate::invocation::Invocation;

/// More than that is a slip of the hand.
const MOST: i64 = 1000;

/// The names that the words of a command line mean: as they are, or with `--count` one for each number.
///
/// # Errors
/// `--count` that is no number of machines, or with words in which it has no place.
pub fn read(invocation: &Invocation, words: &[String]) -> Result<Vec<String>, CliError> {
    let args = &invocation.args;
    if !args.is_given("count") {
        return Ok(words.to_vec());
    }
    let count = args.int("count");
    if !(1..=MOST).contains(&count) {
        return Err(CliError::new(format!(
            "invalid value \"{count}\" for flag -count: expected a number of machines from 1 to {MOST}"
        )));
    }
    match words {
        [pattern] => numbered(pattern, count),
        _ => Err(CliError::new("--count takes one name, with %d where the number is to be")),
    }
}

fn numbered(pattern: &str, count: i64) -> Result<Vec<String>, CliError> {
    let (before, digits, after) = place(pattern).ok_or_else(|| {
        CliError::new(format!("--count: the name {pattern:?} needs one place for the number"))
            .with_hint("%d stands for 1, 2, 3, …, %02d for 01, 02, 03, …; e.g. --count 3 web-%d")
    })?;
    Ok((1..=count).map(|number| format!("{before}{number:0digits$}{after}")).collect())
}

/// What stands before the only `%d` or `%0Nd` (N one digit), its number of digits, and what stands behind it.
fn place(pattern: &str) -> Option<(&str, usize, &str)> {
    let (before, rest) = pattern.split_once('%')?;
    let (format, after) = rest.split_once('d')?;
    let digits = match format.as_bytes() {
        [] => 1,
        [b'0', digit @ b'1'..=b'9'] => usize::from(digit - b'0'),
        _ => return None,
    };
    (!after.contains('%')).then_some((before, digits, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_their_place() {
        let names = |pattern: &str| numbered(pattern, 10).ok().map(|names| names.join(" "));
        assert_eq!(names("w%d").unwrap(), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10");
        assert_eq!(names("%02d.w").unwrap(), "01.w 02.w 03.w 04.w 05.w 06.w 07.w 08.w 09.w 10.w");
        for wrong in ["w", "w%", "w%s", "w%2d", "w%0d", "w%d%d", "w%d%", "w%%d", "w%0xd", "w%012d"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }
}
