//! What several commands do with several machines.

use std::cmp::Ordering;
use std::future::Future;

use futures_util::future::join_all;
use machine_core::Reporter;
use machine_lifecycle::Lifecycle;
use serde_json::json;

use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::{output, runtime};

/// Does something with every machine that is named, all at once. As in the reference program nothing is done where
/// one of them can't be read, and every error is said, a line each.
///
/// # Errors
/// What went wrong, of all machines.
pub fn each<W>(invocation: &Invocation, work: W) -> Result<(), CliError>
where
    W: AsyncFn(&Lifecycle, &str, &dyn Reporter) -> Result<(), CliError>,
{
    let lifecycle = invocation.lifecycle();
    let names = invocation.names(lifecycle.store())?;
    readable(&lifecycle, &names)?;
    let to = if invocation.json() { To::Stderr } else { To::Stdout };
    let view = if names.len() == 1 && !invocation.json() { View::Waits } else { View::Lines };
    let one = async |name: &String| {
        let report = progress::reporter(name, to, view);
        work(&lifecycle, name, &*report).await
    };
    let left = || Some(format!("`{} ls` shows where each machine stands.", invocation.program.called()));
    let ended = runtime::run(async { Ok(join_all(names.iter().map(one)).await) }, left)?;
    if invocation.json() {
        print_outcomes(&names, &ended)?;
    }
    CliError::all(ended.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

fn readable(lifecycle: &Lifecycle, names: &[String]) -> Result<(), CliError> {
    let errors =
        names.iter().filter_map(|name| lifecycle.store().load(name).err()).map(CliError::from).collect();
    CliError::all(errors).map_or(Ok(()), Err)
}

fn print_outcomes(names: &[String], ended: &[Result<(), CliError>]) -> Result<(), CliError> {
    let rows: Vec<_> = names
        .iter()
        .zip(ended)
        .map(|(name, end)| json!({ "Name": name, "Error": end.as_ref().err().map(CliError::message) }))
        .collect();
    output::print_json(&rows)
}

/// Runs one future for each machine, all at once, in the order of the names.
pub async fn all<'a, T, F: Future<Output = T>>(names: &'a [String], one: impl Fn(&'a String) -> F) -> Vec<T> {
    join_all(names.iter().map(one)).await
}

/// The order of `ls`: numbers in names by their value, upper and lower case alike.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_part, a_next) = part(a_rest);
        let (b_part, b_next) = part(b_rest);
        let order = match (number(a_part), number(b_part)) {
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
            _ => lower(a_part).cmp(lower(b_part)),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a_rest, b_rest) = (a_next, b_next);
    }
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

fn lower(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// The leading run of digits, or of anything else, and the rest.
fn part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

/// The digits of a number without leading zeros.
fn number(text: &str) -> Option<&str> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_by_their_value() {
        let mut names = vec!["node10", "node9", "Alpha", "node-1", "a.b-c", "node09", "b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a.b-c", "Alpha", "b", "node09", "node9", "node10", "node-1"]);
    }
}
