//! Places as `scp` and `mount` name them: `[user@]machine:path`, or a path here.

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path on this computer.
    Local(String),
    /// A path on a machine; empty for the home folder.
    Machine {
        /// The login name, where it is not the machine's own.
        user: Option<String>,
        /// The machine.
        name: String,
        /// The path.
        path: String,
    },
}

impl Location {
    /// Reads a place. `localhost:` is here, as in the reference program; so is a path with a folder before its colon,
    /// and on Windows a drive's letter.
    pub fn read(text: &str) -> Self {
        let Some((host, path)) = text.split_once(':') else { return Self::Local(text.to_owned()) };
        let drive = cfg!(windows) && host.len() == 1;
        if host.contains('/') || drive {
            return Self::Local(text.to_owned());
        }
        let (user, name) = match host.rsplit_once('@') {
            Some((user, name)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), name),
            None => (None, host),
        };
        if name == "localhost" {
            return Self::Local(path.to_owned());
        }
        Self::Machine { user, name: name.to_owned(), path: path.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let machine = |user: Option<&str>, name: &str, path: &str| Location::Machine {
            user: user.map(str::to_owned),
            name: name.to_owned(),
            path: path.to_owned(),
        };
        for (text, want) in [
            ("a", Location::Local("a".into())),
            ("./a:b", Location::Local("./a:b".into())),
            ("localhost:/a", Location::Local("/a".into())),
            ("web1:", machine(None, "web1", "")),
            ("me@web1:/a:b", machine(Some("me"), "web1", "/a:b")),
        ] {
            assert_eq!(Location::read(text), want, "{text}");
        }
    }
}
