//! `/etc/os-release`, by which a Linux system says what it is.
//!
//! Source: os-release(5). The file looks like shell but must not be run: values are bare or in single or double quotes,
//! with a backslash before `$`, `"`, `` ` ``, `\` in double quotes.

/// What `/etc/os-release` says, as far as it matters here. Keys that are missing are empty texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, lower case: `debian`, `rhel`, `opensuse-leap`, … The default is `linux`, as os-release(5) has it.
    pub id: String,
    /// `ID_LIKE`: the systems it is derived from, nearest first.
    pub id_like: Vec<String>,
    /// `VERSION_ID`, e.g. `12` or `24.04`; rolling releases have none.
    pub version_id: String,
    /// `VARIANT_ID`, e.g. `coreos` for Fedora CoreOS.
    pub variant_id: String,
    /// `VERSION_CODENAME`, e.g. `bookworm`.
    pub version_codename: String,
    /// `NAME`.
    pub name: String,
    /// `PRETTY_NAME`: what to show to people.
    pub pretty_name: String,
}

impl OsRelease {
    /// Reads the text of an os-release file. Never fails: lines that make no sense are passed over, as os-release(5)
    /// asks of readers; of a key that comes twice the last counts, as a shell would have it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut release = Self { id: "linux".to_owned(), ..Self::default() };
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let Some((key, raw)) = line.split_once('=') else { continue };
            let value = unquote(raw);
            match key.trim_end() {
                "ID" if !value.trim().is_empty() => release.id = value.to_ascii_lowercase(),
                "ID_LIKE" => {
                    release.id_like = value.split_whitespace().map(str::to_ascii_lowercase).collect();
                }
                "VERSION_ID" => release.version_id = value,
                "VARIANT_ID" => release.variant_id = value.to_ascii_lowercase(),
                "VERSION_CODENAME" => release.version_codename = value,
                "NAME" => release.name = value,
                "PRETTY_NAME" => release.pretty_name = value,
                _ => {}
            }
        }
        release
    }

    /// What to show to people: `PRETTY_NAME`, else `NAME` and `VERSION_ID`, else `ID`. White space alone is no name.
    #[must_use]
    pub fn display_name(&self) -> String {
        if !self.pretty_name.trim().is_empty() {
            return self.pretty_name.clone();
        }
        let name = if self.name.trim().is_empty() { &self.id } else { &self.name };
        format!("{name} {}", self.version_id).trim_end().to_owned()
    }

    /// The number before the first dot of `VERSION_ID`, e.g. 24 of `24.04`.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version_id.split('.').next()?.parse().ok()
    }
}

/// A value as a shell would read it: pieces in quotes and bare pieces, until white space or a comment ends it. A quote that
/// is never closed is taken to end with the line.
fn unquote(raw: &str) -> String {
    let mut value = String::new();
    let mut chars = raw.trim_start().chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => value.push(c),
            (Some(_), '\\') => match chars.next() {
                Some(next @ ('$' | '"' | '\\' | '`')) => value.push(next),
                Some(next) => value.extend(['\\', next]),
                None => value.push('\\'),
            },
            (None, '\\') => value.extend(chars.next()),
            (None, c) if c.is_whitespace() => break,
            (_, c) => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_escapes_comments_and_line_ends() {
        let text = "\u{feff}# comment\r\nNAME='Some Linux'\r\nPRETTY_NAME=\"A \\\"quoted\\\" \\$name \\\\ \\x\"\r\n\
            ID=SoMe\r\nID_LIKE=\"rhel  fedora\"\r\n  VERSION_ID=1.2 # trailing\r\nnonsense\r\n=\r\nVARIANT_ID=\r\n";
        let release = OsRelease::parse(text);
        assert_eq!(release.name, "Some Linux");
        assert_eq!(release.pretty_name, r#"A "quoted" $name \ \x"#);
        assert_eq!(release.id, "some");
        assert_eq!(release.id_like, ["rhel", "fedora"]);
        assert_eq!(release.version_id, "1.2");
        assert_eq!(release.major(), Some(1));
    }

    #[test]
    fn an_empty_text_is_linux() {
        let release = OsRelease::parse("");
        assert_eq!((release.id.as_str(), release.display_name().as_str()), ("linux", "linux"));
        assert_eq!(OsRelease::parse("ID=\nPRETTY_NAME=\"unclosed").pretty_name, "unclosed");
        assert_eq!(OsRelease::parse("ID=''\u{b}\u{b}''\nPRETTY_NAME='  '").display_name(), "linux");
        assert_eq!(OsRelease::parse("ID='\u{b} '\nNAME=' '").display_name(), "linux");
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = OsRelease::parse(&text);
        }

        #[test]
        fn a_value_in_double_quotes_comes_back(value in "[^\r\n]*") {
            let mut quoted = String::new();
            for c in value.chars() {
                if matches!(c, '$' | '"' | '\\' | '`') {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            prop_assert_eq!(OsRelease::parse(&format!("NAME=\"{quoted}\"")).name, value);
        }

        #[test]
        fn a_value_in_single_quotes_comes_back(value in "[^\r\n']*") {
            prop_assert_eq!(OsRelease::parse(&format!("NAME='{value}'\nID=x")).name, value);
        }
    }
}
