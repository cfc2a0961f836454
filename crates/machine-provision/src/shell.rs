//! Texts inside POSIX shell scripts.

/// A word that the shell takes as exactly this text. Single quotes keep everything but the single quote itself; a
/// text with NUL can't be an argument, and callers don't have one.
pub fn quote(text: &str) -> String {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b',' | b'@' | b'%' | b'+' | b'=')
    };
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// An argument for `printf %b` that prints exactly these bytes: printable ASCII and line ends stand for themselves, everything
/// else is an octal escape. So a script stays ASCII, data needs no program to decode it, and no here-document is
/// written to a temporary file by the shell.
pub fn printf_b(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len() + data.len() / 8 + 2);
    text.push('\'');
    for &byte in data {
        match byte {
            b'\'' | b'\\' => text.push_str(&format!("\\0{byte:03o}")),
            b'\n' | b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\0{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// The shells of this computer that can stand for a host's `sh`.
    fn shells() -> Vec<Vec<&'static str>> {
        let all = [vec!["sh"], vec!["dash"], vec!["bash", "--posix"], vec!["busybox", "sh"]];
        let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|argv| {
            Command::new(argv[0])
                .args(&argv[1..])
                .args(["-c", ":"])
                .output()
                .is_ok_and(|o| o.status.success())
        });
        for argv in missing {
            assert!(std::env::var_os("MACHINE_TEST_REQUIRE_ALL").is_none(), "{argv:?} is not installed");
            eprintln!("left out: {argv:?} is not installed");
        }
        found
    }

    fn output_of(script: &str) -> Vec<(String, Vec<u8>)> {
        let run = |argv: &Vec<&str>| {
            let output =
                Command::new(argv[0]).args(&argv[1..]).args(["-c", script]).output().expect("the shell runs");
            assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
            (argv.join(" "), output.stdout)
        };
        shells().iter().map(run).collect()
    }

    #[test]
    fn every_byte_survives_printf() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).chain(*b"\\0101 %s 7\n\n").collect();
        for (shell, printed) in output_of(&format!("printf %b {}", printf_b(&all))) {
            assert_eq!(printed, all, "{shell}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_data_survives_printf(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (shell, printed) in output_of(&format!("printf %b {}", printf_b(&data))) {
                prop_assert_eq!(&printed, &data, "{}", shell);
            }
        }

        #[test]
        fn any_text_survives_quoting(text in "[^\0]*") {
            for (shell, printed) in output_of(&format!("printf '%s|' {}", quote(&text))) {
                prop_assert_eq!(String::from_utf8_lossy(&printed), format!("{text}|"), "{}", shell);
            }
        }
    }
}
