//! Shell syntax: what `env` prints so that a shell sets or removes variables, and nothing else happens.
//!
//! The plain forms are the reference program's, byte for byte. A value that could be more than a value in one of them
//! (a store's path may hold quotes, dollars, back-ticks, line ends) is written in a form in which it is only that. The
//! text is read through `eval $(…)` without quotes, so runs of blanks and patterns need care, too.

use std::fmt::Write as _;

use crate::error::CliError;

/// A family of shells that share their syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// bash, sh, zsh, ksh and whatever is not known.
    Posix,
    /// fish.
    Fish,
    /// tcsh and csh.
    Csh,
    /// Windows PowerShell and PowerShell.
    PowerShell,
    /// cmd.exe.
    Cmd,
    /// Emacs Lisp.
    Emacs,
}

impl Syntax {
    /// The syntax of a shell by its name.
    pub fn of(shell: &str) -> Self {
        match shell {
            "fish" => Self::Fish,
            "tcsh" | "csh" => Self::Csh,
            "powershell" | "pwsh" => Self::PowerShell,
            "cmd" => Self::Cmd,
            "emacs" => Self::Emacs,
            _ => Self::Posix,
        }
    }

    /// A line that sets an exported variable, with its newline.
    ///
    /// # Errors
    /// Where the shell has no way to write the value.
    pub fn set(self, name: &str, value: &str) -> Result<String, CliError> {
        Ok(match self {
            Self::Posix => format!("export {name}={}\n", posix(value)),
            Self::Fish => format!("set -gx {name} {};\n", fish(value)),
            Self::Csh if value.contains('\n') => return Err(no_way(name, "csh")),
            Self::Csh => format!("setenv {name} {};\n", csh(value)),
            Self::PowerShell => format!("$Env:{name} = {}\n", powershell(value)),
            Self::Cmd => format!("SET {name}={}\n", cmd(name, value)?),
            Self::Emacs => format!("(setenv \"{name}\" {})\n", emacs(value)),
        })
    }

    /// A line that removes a variable, with its newline.
    pub fn unset(self, name: &str) -> String {
        match self {
            Self::Posix => format!("unset {name}\n"),
            Self::Fish => format!("set -e {name};\n"),
            Self::Csh => format!("unsetenv {name};\n"),
            // Two backslashes, as the reference program prints: PowerShell takes them as one.
            Self::PowerShell => format!("Remove-Item Env:\\\\{name}\n"),
            Self::Cmd => format!("SET {name}=\n"),
            Self::Emacs => format!("(setenv \"{name}\" nil)\n"),
        }
    }

    /// The comment that says how to use the text: two lines.
    pub fn hint(self, command: &[String]) -> String {
        let line = command.iter().map(|word| self.word(word)).collect::<Vec<_>>().join(" ");
        let (comment, command) = match self {
            Self::Posix => ("#", format!("eval $({line})")),
            Self::Fish => ("#", format!("eval ({line})")),
            Self::Csh => (":", format!("eval `{line}`")),
            Self::PowerShell => ("#", format!("& {line} | Invoke-Expression")),
            Self::Cmd => ("REM", format!("\t@FOR /f \"tokens=*\" %i IN ('{line}') DO @%i")),
            Self::Emacs => {
                let form = emacs(&line);
                (";;", format!("(with-temp-buffer (shell-command {form} (current-buffer)) (eval-buffer))"))
            }
        };
        format!("{comment} Run this command to configure your shell: \n{comment} {command}\n")
    }

    /// A word of a command line: as it is where it is plain, else quoted.
    fn word(self, word: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,~".contains(c);
        let windows = matches!(self, Self::PowerShell | Self::Cmd);
        if !word.is_empty() && word.chars().all(|c| plain(c) || (windows && c == '\\')) {
            return word.to_owned();
        }
        match self {
            // A back-tick would end the command that the comment of csh shows, and run.
            Self::Posix | Self::Emacs => posix(word),
            Self::Csh => csh(word).replace('`', "'"),
            Self::Fish => fish(word),
            Self::PowerShell => powershell(word),
            Self::Cmd => format!("\"{}\"", word.replace(['"', '\n', '\r'], "")),
        }
    }
}

/// Between double quotes where that is enough. Else by `printf` from octal numbers, because an `eval $(…)` without
/// quotes turns runs of blanks and line ends into one blank each, and takes patterns for file names.
fn posix(value: &str) -> String {
    let blanks = value.contains("  ") || value.starts_with(' ') || value.ends_with(' ');
    if blanks || value.chars().any(|c| c.is_control() || "*?[".contains(c)) {
        return format!("\"$({})\"", printf(value));
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        if "\\\"$`".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn printf(value: &str) -> String {
    let mut out = String::from("printf '");
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out.push('\'');
    out
}

fn fish(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' | '"' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => {
                let _ = write!(out, "\"\\x{:02x}\"", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn csh(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,~ ".contains(c);
    let blanks = value.contains("  ") || value.starts_with(' ') || value.ends_with(' ');
    if value.chars().all(plain) && !blanks {
        format!("\"{value}\"")
    } else {
        format!("\"`{}`\"", printf(value))
    }
}

fn powershell(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => out.push_str("`n"),
            '\r' => out.push_str("`r"),
            // PowerShell takes typographic quotes for quotes.
            '`' | '"' | '$' | '\u{201c}' | '\u{201d}' | '\u{201e}' => {
                out.push('`');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// As it is: `FOR … DO @%i` does not read the text again, so `&` and `%` mean nothing there.
fn cmd<'a>(name: &str, value: &'a str) -> Result<&'a str, CliError> {
    if value.chars().any(char::is_control) {
        return Err(no_way(name, "cmd.exe"));
    }
    Ok(value)
}

fn no_way(name: &str, shell: &str) -> CliError {
    CliError::new(format!("The value of {name} has a line end or another control character in it"))
        .with_hint(format!("{shell} has no way to write it; choose another folder with --storage-path."))
}

fn emacs(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The name of the shell that the user is in. `None` where it can't be told.
///
/// `SHELL` says which shell the user logs in with; the parent process says which one reads our output, and counts
/// where the two do not share their syntax.
pub fn detect() -> Option<String> {
    let login = std::env::var("SHELL").ok().and_then(|path| base_name(&path));
    if cfg!(windows) {
        return Some(login.unwrap_or_else(windows_shell));
    }
    match (login, parent()) {
        (Some(login), Some(parent)) if Syntax::of(&login) != Syntax::of(&parent) => Some(parent),
        (None, parent) => parent,
        (login, _) => login,
    }
}

fn base_name(path: &str) -> Option<String> {
    std::path::Path::new(path).file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

/// PowerShell adds the user's own folder to this list of two.
fn windows_shell() -> String {
    let folders = std::env::var_os("PSModulePath").map_or(0, |list| std::env::split_paths(&list).count());
    if folders > 2 { "powershell" } else { "cmd" }.to_owned()
}

/// The parent process where it is a shell, as Linux tells it.
fn parent() -> Option<String> {
    const SHELLS: &[&str] = &["bash", "sh", "zsh", "fish", "dash", "ksh", "ash", "tcsh", "csh", "pwsh"];
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // pid (comm) state ppid: the name may hold blanks and parentheses.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    let name = name.trim().trim_start_matches('-');
    SHELLS.contains(&name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn plain_values_are_written_as_the_reference_does() {
        let set = |shell: &str| Syntax::of(shell).set("DOCKER_HOST", "tcp://1.2.3.4:2376").unwrap();
        assert_eq!(set("bash"), "export DOCKER_HOST=\"tcp://1.2.3.4:2376\"\n");
        assert_eq!(set("fish"), "set -gx DOCKER_HOST \"tcp://1.2.3.4:2376\";\n");
        assert_eq!(set("tcsh"), "setenv DOCKER_HOST \"tcp://1.2.3.4:2376\";\n");
        assert_eq!(set("powershell"), "$Env:DOCKER_HOST = \"tcp://1.2.3.4:2376\"\n");
        assert_eq!(set("cmd"), "SET DOCKER_HOST=tcp://1.2.3.4:2376\n");
        assert_eq!(set("emacs"), "(setenv \"DOCKER_HOST\" \"tcp://1.2.3.4:2376\")\n");
        assert_eq!(set("nosuch"), set("sh"));
    }

    #[test]
    fn windows_paths_stay_readable() {
        let set = |shell: &str| Syntax::of(shell).set("P", r"C:\Users\a b\$x").unwrap();
        assert_eq!(set("powershell"), "$Env:P = \"C:\\Users\\a b\\`$x\"\n");
        assert_eq!(set("cmd"), "SET P=C:\\Users\\a b\\$x\n");
        assert_eq!(set("emacs"), "(setenv \"P\" \"C:\\\\Users\\\\a b\\\\$x\")\n");
        assert!(Syntax::Cmd.set("P", "a\nb").is_err());
    }

    #[test]
    fn words_of_the_hint_are_quoted_where_they_must() {
        let words: Vec<String> = ["docker-machine", "-s", "/a b/$(x)", "env"].map(str::to_owned).into();
        assert!(Syntax::Posix.hint(&words).ends_with("# eval $(docker-machine -s \"/a b/\\$(x)\" env)\n"));
        let broken: Vec<String> = vec!["docker-machine".to_owned(), "a\ntouch /tmp/x".to_owned()];
        for syntax in
            [Syntax::Posix, Syntax::Fish, Syntax::Csh, Syntax::PowerShell, Syntax::Cmd, Syntax::Emacs]
        {
            assert_eq!(syntax.hint(&broken).lines().count(), 2, "{syntax:?}");
        }
    }

    /// Shells of this computer with the syntax they read, and how they evaluate our text.
    fn shells() -> Vec<(&'static str, Syntax, &'static str)> {
        let all = [
            ("bash", Syntax::Posix, "eval $(cat \"$FILE\")\nprintf %s \"$VALUE\""),
            ("dash", Syntax::Posix, "eval $(cat \"$FILE\")\nprintf %s \"$VALUE\""),
            ("zsh", Syntax::Posix, "eval $(cat \"$FILE\")\nprintf %s \"$VALUE\""),
            ("fish", Syntax::Fish, "eval (cat \"$FILE\")\nprintf %s \"$VALUE\""),
            ("tcsh", Syntax::Csh, "eval `cat \"$FILE\"`\nprintenv VALUE"),
        ];
        let mut found = Vec::new();
        for shell in all {
            if Command::new(shell.0).args(["-c", "exit 0"]).output().is_ok() {
                found.push(shell);
            } else {
                assert!(
                    std::env::var_os("MACHINE_TEST_REQUIRE_ALL").is_none(),
                    "{} is needed for this test",
                    shell.0
                );
                eprintln!("skipped for {}: not installed", shell.0);
            }
        }
        found
    }

    fn evaluate(shell: &str, script: &str, text: &str, dir: &std::path::Path) -> Vec<u8> {
        let file = dir.join("text");
        std::fs::write(&file, text).unwrap();
        let before = std::fs::read_dir(dir).unwrap().count();
        let run =
            Command::new(shell).args(["-c", script]).env("FILE", &file).current_dir(dir).output().unwrap();
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), before, "{shell} ran something: {text}");
        let mut out = run.stdout;
        if shell == "tcsh" && out.last() == Some(&b'\n') {
            out.pop();
        }
        assert!(!out.is_empty(), "{shell} said {}; text: {text}", String::from_utf8_lossy(&run.stderr));
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_value_is_only_a_value_to_real_shells(value in prop_oneof![
            "[ -~]{1,24}", "[a-z$`\"'\\\\!*?\\[ \t\n;&|(){}#~<>%]{1,24}x",
            Just("/a  b/$(touch ran)/`touch ran`/\"; touch ran; \"/machines/m".to_owned()),
            Just("/é/日本/${HOME}/!!/m".to_owned()),
        ]) {
            let dir = tempfile::tempdir().unwrap();
            for (shell, syntax, script) in shells() {
                if syntax == Syntax::Csh && value.contains('\n') {
                    prop_assert!(syntax.set("VALUE", &value).is_err());
                    continue;
                }
                let text = syntax.set("VALUE", &value).unwrap() + &syntax.hint(&["docker-machine".into(), value.clone()]);
                // csh reads the comment as a command; what it does there is nothing to the value.
                let text = if syntax == Syntax::Csh { syntax.set("VALUE", &value).unwrap() } else { text };
                let got = evaluate(shell, script, &text, dir.path());
                prop_assert_eq!(String::from_utf8_lossy(&got), value.as_str(), "{}: {}", shell, text);
            }
        }
    }
}
