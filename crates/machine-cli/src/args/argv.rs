//! Reads a command line as Go's `flag` package does.
//!
//! Go takes one dash or two before any flag, `-name=value` and `-name value`, and for switches only `-name` and
//! `-name=true`. It has no clusters of letters. The reference program lets flags stand before and after names. This is
//! not clap's grammar (`-driver` would be six letters, `-D` behind `ssh NAME` somebody else's), so words are read here
//! against the same declarations of which clap makes help, completion and man pages.

use super::declare::Flag;
use machine_core::FlagKind;

/// Why a command line can't be read. The texts are those of Go's `flag` package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    /// No such flag.
    #[error("flag provided but not defined: -{name}")]
    Unknown {
        /// What was written, without dashes.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The command line ends where a value should stand.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// Something like `--=x`.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
}

impl ArgvError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => hint.clone(),
            Self::NoValue(_) | Self::Syntax(_) => None,
        }
    }
}

/// One word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word<'a> {
    /// `--`: no flags behind it.
    End,
    /// A flag, with the value after `=`.
    Flag { name: &'a str, value: Option<&'a str> },
    /// Anything else.
    Plain(&'a str),
}

fn word(text: &str) -> Result<Word<'_>, ArgvError> {
    if text == "--" {
        return Ok(Word::End);
    }
    let Some(rest) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
        return Ok(Word::Plain(text));
    };
    if rest.is_empty() {
        return Ok(Word::Plain(text));
    }
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (rest, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(ArgvError::Syntax(text.to_owned()));
    }
    Ok(Word::Flag { name, value })
}

/// Whether the word asks for help.
fn is_help(name: &str) -> bool {
    name == "help" || name == "h"
}

/// A flag that was given: its declared name, and its value as text.
pub type Given = (String, String);

/// What stood before the name of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// Global flags.
    pub given: Vec<Given>,
    /// Whether help was asked for.
    pub help: bool,
    /// Whether the version was asked for.
    pub version: bool,
    /// The command, where there is one.
    pub command: Option<String>,
    /// Everything behind it, unread.
    pub rest: Vec<String>,
}

/// Reads up to and with the name of the command.
///
/// # Errors
/// [`ArgvError`] for flags that are not global ones.
pub fn front(args: &[String], globals: &[Flag]) -> Result<Front, ArgvError> {
    let mut front = Front::default();
    let mut at = 0;
    while at < args.len() {
        match word(&args[at])? {
            Word::Flag { name, .. } if is_help(name) => front.help = true,
            Word::Flag { name: "version" | "v", .. } => front.version = true,
            Word::Flag { name, value } => {
                let flag = find(name, &[globals])?;
                front.given.push(take(flag, name, value, args, &mut at)?);
            }
            Word::End => {
                front.command = args.get(at + 1).cloned();
                front.rest = args.get(at + 2..).unwrap_or_default().to_vec();
                break;
            }
            Word::Plain(name) => {
                front.command = Some(name.to_owned());
                front.rest = args[at + 1..].to_vec();
                break;
            }
        }
        at += 1;
    }
    Ok(front)
}

/// What stood behind the name of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    /// Flags of the command.
    pub given: Vec<Given>,
    /// Global flags.
    pub globals: Vec<Given>,
    /// Whether help was asked for.
    pub help: bool,
    /// The rest, in order.
    pub plain: Vec<String>,
}

/// Reads what stands behind the name of the command. With `raw_after_first`, everything behind the first plain word
/// is taken as it is: it belongs to another program.
///
/// # Errors
/// [`ArgvError`] for flags that neither the command nor the program has.
pub fn back(
    args: &[String],
    own: &[Flag],
    globals: &[Flag],
    raw_after_first: bool,
) -> Result<Back, ArgvError> {
    let mut back = Back::default();
    let mut at = 0;
    while at < args.len() {
        match word(&args[at])? {
            Word::End => {
                back.plain.extend_from_slice(&args[at + 1..]);
                break;
            }
            Word::Plain(text) => {
                back.plain.push(text.to_owned());
                if raw_after_first {
                    back.plain.extend_from_slice(&args[at + 1..]);
                    break;
                }
            }
            Word::Flag { name, .. } if is_help(name) => back.help = true,
            Word::Flag { name, value } => {
                let is_own = own.iter().any(|flag| flag.is(name));
                let flag = find(name, &[own, globals])?;
                let given = take(flag, name, value, args, &mut at)?;
                if is_own { back.given.push(given) } else { back.globals.push(given) }
            }
        }
        at += 1;
    }
    Ok(back)
}

/// Looks for one flag before all flags are known: `create` has to know its driver to know its flags.
pub fn peek(args: &[String], wanted: &Flag, known: &[&[Flag]]) -> Option<String> {
    let mut found = None;
    let mut at = 0;
    while at < args.len() {
        match word(&args[at]) {
            Ok(Word::End) => break,
            Ok(Word::Flag { name, value }) => {
                if let Ok(flag) = find(name, known) {
                    let given = take(flag, name, value, args, &mut at).ok()?;
                    if flag.is(&wanted.spec.name) && wanted.is(&given.0) {
                        found = Some(given.1);
                    }
                }
            }
            Ok(Word::Plain(_)) | Err(_) => {}
        }
        at += 1;
    }
    found
}

fn find<'a>(name: &str, lists: &[&'a [Flag]]) -> Result<&'a Flag, ArgvError> {
    let flags = || lists.iter().flat_map(|list| list.iter());
    if let Some(flag) = flags().find(|flag| flag.is(name)) {
        return Ok(flag);
    }
    let letter = |c: char| flags().any(|flag| flag.short == Some(c));
    let first = name.chars().next().unwrap_or_default();
    let hint = if name.chars().count() > 1 && name.chars().all(letter) {
        let apart: Vec<String> = name.chars().map(|c| format!("-{c}")).collect();
        Some(format!("one-letter flags can't be joined; write {}", apart.join(" ")))
    } else if let Some(near) = super::closest(name, flags().map(|flag| flag.spec.name.as_ref())) {
        Some(format!("did you mean --{near}?"))
    } else if letter(first) && name[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit()) {
        Some(format!("write -{first} {}", &name[first.len_utf8()..]))
    } else {
        None
    };
    Err(ArgvError::Unknown { name: name.to_owned(), hint })
}

fn take(
    flag: &Flag,
    written: &str,
    value: Option<&str>,
    args: &[String],
    at: &mut usize,
) -> Result<Given, ArgvError> {
    let name = flag.spec.name.to_string();
    match (value, &flag.spec.kind) {
        (Some(value), _) => Ok((name, value.to_owned())),
        (None, FlagKind::Bool(_)) => Ok((name, "true".to_owned())),
        (None, _) => {
            *at += 1;
            let value = args.get(*at).ok_or_else(|| ArgvError::NoValue(written.to_owned()))?;
            Ok((name, value.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: &[Flag] = &[
        Flag::switch("quiet", "").short('q'),
        Flag::text("format", "", "", "").short('f'),
        Flag::list("filter", "", ""),
        Flag::text("driver", "", "", "").short('d'),
    ];
    const GLOBAL: &[Flag] =
        &[Flag::switch("debug", "").short('D'), Flag::text("storage-path", "", "", "").short('s')];

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<Given> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flags_before_and_after_names_one_dash_or_two() {
        for line in ["-f X --quiet a", "a -f=X -q", "-format X a -quiet=true", "a --quiet=true --format=X"] {
            let back = back(&words(line), OWN, GLOBAL, false).unwrap();
            let mut seen = back.given.clone();
            seen.sort();
            assert_eq!(seen, given(&[("format", "X"), ("quiet", "true")]), "{line}");
            assert_eq!(back.plain, ["a"]);
        }
    }

    #[test]
    fn two_dashes_end_flags() {
        let back = back(&words("-q -- -bad -f"), OWN, GLOBAL, false).unwrap();
        assert_eq!(back.plain, ["-bad", "-f"]);
    }

    #[test]
    fn a_remote_command_keeps_its_flags() {
        let back = back(&words("-q host ls -q --format=x -- y"), OWN, GLOBAL, true).unwrap();
        assert_eq!(back.given, given(&[("quiet", "true")]));
        assert_eq!(back.plain, words("host ls -q --format=x -- y"));
    }

    #[test]
    fn errors_are_go_s_and_say_what_may_be_meant() {
        let error = |line: &str| back(&words(line), OWN, GLOBAL, false).unwrap_err();
        assert_eq!(error("--nope").to_string(), "flag provided but not defined: -nope");
        assert_eq!(error("a --format").to_string(), "flag needs an argument: -format");
        assert_eq!(error("--=x").to_string(), "bad flag syntax: --=x");
        assert_eq!(error("---f").to_string(), "bad flag syntax: ---f");
        assert_eq!(error("-qf").hint().unwrap(), "one-letter flags can't be joined; write -q -f");
        assert_eq!(error("--fromat").hint().unwrap(), "did you mean --format?");
    }

    #[test]
    fn globals_stand_on_both_sides() {
        let args = words("-D --storage-path /x ls -s /y -q");
        let front = front(&args, GLOBAL).unwrap();
        assert_eq!(front.given, given(&[("debug", "true"), ("storage-path", "/x")]));
        assert_eq!(front.command.as_deref(), Some("ls"));
        let back = back(&front.rest, OWN, GLOBAL, false).unwrap();
        assert_eq!(
            (back.globals, back.given),
            (given(&[("storage-path", "/y")]), given(&[("quiet", "true")]))
        );
    }

    #[test]
    fn the_driver_is_found_among_flags_that_are_not_known_yet() {
        let driver = &OWN[3];
        let known: &[&[Flag]] = &[OWN, GLOBAL];
        for line in [
            "--generic-ip 1 -d generic x",
            "-d=generic",
            "x --driver=generic",
            "-driver generic --",
            "-f -d -d generic",
        ] {
            assert_eq!(peek(&words(line), driver, known).as_deref(), Some("generic"), "{line}");
        }
        assert_eq!(peek(&words("x -- -d generic"), driver, known), None);
        assert_eq!(peek(&words("-d"), driver, known), None);
    }

    proptest! {
        #[test]
        fn any_words_are_read_or_refused_and_none_is_lost(args in proptest::collection::vec(
            prop_oneof!["[a-z]{1,5}", "--?[a-z]{1,8}(=.{0,5})?", Just("--".to_owned()), Just("-".to_owned()), ".{0,6}"], 0..8,
        )) {
            if let Ok(back) = back(&args, OWN, GLOBAL, false) {
                // What is not a flag, a value of one, or the first `--`, is still there and in order.
                let mut left = args.iter();
                for plain in &back.plain {
                    prop_assert!(left.any(|arg| arg == plain));
                }
            }
        }

        #[test]
        fn one_dash_and_two_mean_the_same(args in proptest::collection::vec(
            prop_oneof!["[a-z]{1,5}", Just("--quiet".to_owned()), "--format=[a-z=-]{0,5}", "--(nope|driver|filter)"], 0..8,
        )) {
            let single: Vec<String> = args.iter().map(|arg| arg.strip_prefix('-').filter(|rest| rest.starts_with('-')).unwrap_or(arg).to_owned()).collect();
            let two = back(&args, OWN, GLOBAL, false);
            let one = back(&single, OWN, GLOBAL, false);
            // A value is not a flag: `--format --quiet` takes it as it stands.
            let values_are_flags = args.windows(2).any(|pair| ["--driver", "--filter"].contains(&pair[0].as_str()));
            if !values_are_flags {
                prop_assert_eq!(two, one);
            }
        }
    }
}
