//! Values inside systemd unit files.
//!
//! Source: systemd.service(5), "Command lines", and systemd.exec(5), `Environment=`: words are divided by white space, double
//! quotes keep a word together, a backslash begins a C escape, `%` begins a specifier, and in command lines `$` a variable.

/// Why a value can't be written into a unit file or another line-based file.
pub fn refuse(value: &str) -> Option<&'static str> {
    if value.contains(['\n', '\r']) {
        Some("it has a line end")
    } else if value.chars().any(|c| c.is_control() && c != '\t') {
        Some("it has a control character")
    } else {
        None
    }
}

/// One argument of `ExecStart=`, taken literally.
pub fn exec_argument(value: &str) -> String {
    quote(&value.replace('%', "%%").replace('$', "$$"))
}

/// One assignment of `Environment=`, taken literally. `$` has no meaning there.
pub fn environment(assignment: &str) -> String {
    let word = assignment.replace('%', "%%");
    format!("\"{}\"", escape(&word))
}

fn quote(word: &str) -> String {
    // A lone `;` divides commands, so it is quoted too; everything that is no plain letter is safe in quotes.
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,@%$+[]{}~^!?*&#".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", escape(word))
    }
}

fn escape(word: &str) -> String {
    word.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Undoes [`exec_argument`] for a whole command line. Only what this program and the reference program write is understood.
pub fn split_command_line(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words.into_iter().map(|word| word.replace("%%", "%").replace("$$", "$")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_systemd_reads_them() {
        assert_eq!(exec_argument("env=a b"), r#""env=a b""#);
        assert_eq!(exec_argument(r#"50%$HOME\"x""#), r#""50%%$$HOME\\\"x\"""#);
        assert_eq!(exec_argument(";"), r#"";""#);
        assert_eq!(exec_argument(""), r#""""#);
        assert_eq!(exec_argument("provider=generic"), "provider=generic");
        assert_eq!(environment("HTTP_PROXY=http://a:b%20$@c/"), r#""HTTP_PROXY=http://a:b%%20$@c/""#);
        assert_eq!(refuse("a\nb"), Some("it has a line end"));
        assert_eq!(refuse("a\u{7}b"), Some("it has a control character"));
    }

    proptest! {
        #[test]
        fn a_command_line_comes_back(words in proptest::collection::vec("[^\\p{Cc}]*", 0..6)) {
            let line = words.iter().map(|w| exec_argument(w)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split_command_line(&line), words);
        }
    }
}
