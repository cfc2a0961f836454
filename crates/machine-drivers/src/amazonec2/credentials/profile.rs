//! The shared files `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;
use std::path::Path;

use machine_core::DriverError;

use super::{Environment, no_access};

type Section = BTreeMap<String, String>;

/// What both files say.
#[derive(Default)]
pub(super) struct Profiles {
    profiles: BTreeMap<String, Section>,
    sso_sessions: BTreeMap<String, Section>,
    files: Vec<String>,
}

impl Profiles {
    /// Reads both files; what is in the file with credentials counts more.
    ///
    /// # Errors
    /// Where a file is there and can't be read.
    pub(super) fn read(environment: &Environment) -> Result<Self, DriverError> {
        let mut found = Self::default();
        let config = environment.file("AWS_CONFIG_FILE", "config");
        let credentials = environment.file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        for (file, is_config) in [(config, true), (credentials, false)] {
            if let Some(file) = file {
                found.files.push(file.display().to_string());
                found.add(&text(&file)?, is_config);
            }
        }
        Ok(found)
    }

    fn add(&mut self, text: &str, is_config: bool) {
        for (heading, section) in sections(text) {
            let named = |kind: &str| heading.strip_prefix(kind).map(|rest| rest.trim().to_owned());
            if let Some(name) = named("sso-session ").filter(|_| is_config) {
                self.sso_sessions.entry(name).or_default().extend(section);
                continue;
            }
            // In the config file only the default profile stands without the word.
            let name = match named("profile ") {
                Some(name) if is_config => name,
                None if !is_config || heading == "default" => heading,
                _ => continue,
            };
            self.profiles.entry(name).or_default().extend(section);
        }
    }

    /// A value of a profile; empty where there is none.
    pub(super) fn value(&self, profile: &str, key: &str) -> &str {
        self.profiles.get(profile).and_then(|section| section.get(key)).map_or("", String::as_str)
    }

    /// A value of a session of single sign-on.
    pub(super) fn sso(&self, session: &str, key: &str) -> &str {
        self.sso_sessions.get(session).and_then(|section| section.get(key)).map_or("", String::as_str)
    }

    /// Where was looked, for errors.
    pub(super) fn places(&self) -> String {
        self.files.join(" and ")
    }
}

fn text(file: &Path) -> Result<String, DriverError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(no_access(format!("{}: {error}", file.display())).with_source(error)),
    }
}

/// Headings and what is below them. Indented lines belong to the setting before them: none of those is of interest.
fn sections(text: &str) -> Vec<(String, Section)> {
    let mut found: Vec<(String, Section)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let words: Vec<&str> = heading.split_whitespace().collect();
            let heading = words.join(" ").replace(['"', '\''], "");
            found.push((heading, Section::new()));
        } else if let (Some((key, value)), Some((_, section))) = (line.split_once('='), found.last_mut()) {
            section.insert(key.trim().to_lowercase(), uncommented(value).to_owned());
        }
    }
    found
}

/// A value without the comment behind it, which needs a space before its mark.
fn uncommented(value: &str) -> &str {
    let ends = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|mark| value.find(mark));
    value[..ends.min().unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_one_profile() {
        let mut profiles = Profiles::default();
        profiles.add(
            "[default]\nregion = eu-west-1 # near\n[profile dev]\nregion=us-west-2\ns3 =\n  region = none\n\
             [dev]\nregion = wrong\n[sso-session corp]\nsso_region = eu-central-1\n[profile \"two words\"]\nregion = x\n",
            true,
        );
        profiles.add("; keys\n[dev]\naws_access_key_id = AK\naws_secret_access_key = a/b+c=d#e\n", false);
        assert_eq!(profiles.value("default", "region"), "eu-west-1");
        assert_eq!(profiles.value("dev", "region"), "us-west-2");
        assert_eq!(profiles.value("dev", "aws_secret_access_key"), "a/b+c=d#e");
        assert_eq!(profiles.value("two words", "region"), "x");
        assert_eq!(profiles.sso("corp", "sso_region"), "eu-central-1");
        assert_eq!((profiles.value("dev", "nothing"), profiles.value("nobody", "region")), ("", ""));
    }
}
