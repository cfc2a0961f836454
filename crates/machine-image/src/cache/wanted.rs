//! What an image is called by those who want it.

use std::path::{Path, PathBuf};

use machine_http::Url;

use super::Origin;
use super::files;
use super::record::Record;
use crate::catalogue::{Entry, Sums};
use crate::checksum::{self, Digest};
use crate::{Arch, ImageError};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What is best, for nothing was said: what was baked, else this one of the catalogue.
    Default(String),
    /// One of the catalogue, by its main name.
    Catalogue(String),
    /// One of the cache, by name or id.
    Cached(String),
    /// One at an address, maybe with its checksum.
    Url(Url, Option<Digest>),
    /// A file of the user's own.
    Path(PathBuf),
    /// A word that stands for nothing.
    Unknown(String),
}

/// Where to download an image.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called here.
    pub name: String,
    /// Its name in the catalogue.
    pub catalogue: Option<String>,
    pub url: Url,
    pub sums: Sums,
}

impl Source {
    /// What its record has in the place of the address.
    pub fn key(&self) -> String {
        key(&self.url)
    }

    /// The last part of its address.
    pub fn file_name(&self) -> &str {
        self.url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default()
    }
}

/// What stands for an address in records: it may have secrets in it.
fn key(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    checksum::of_text(url.as_str())
}

impl Wanted {
    /// Reads what the user wrote. A word is looked for in the catalogue, in the cache, and in the current folder.
    pub fn read(
        text: &str,
        default: &str,
        catalogue: &[Entry],
        cached: &[(PathBuf, Record)],
    ) -> Result<Self, ImageError> {
        if text.is_empty() {
            return Ok(Self::Default(default.to_owned()));
        }
        if text.contains("://") {
            return read_url(text);
        }
        if let Some(entry) = catalogue.iter().find(|entry| entry.is(text)) {
            return Ok(Self::Catalogue(entry.name.to_string()));
        }
        let path = Path::new(text);
        if text.contains(['/', '\\']) || text.starts_with('.') {
            return Ok(Self::Path(path.to_owned()));
        }
        if cached.iter().any(|(folder, record)| record.name == text || folder.ends_with(text)) {
            return Ok(Self::Cached(text.to_owned()));
        }
        if path.is_file() {
            return Ok(Self::Path(path.to_owned()));
        }
        Ok(Self::Unknown(text.to_owned()))
    }

    /// Whether this record is what is wanted. The architecture is looked at elsewhere.
    pub fn takes(&self, record: &Record) -> bool {
        match self {
            Self::Default(name) => {
                let baked = record.facts.as_ref().is_some_and(|facts| facts.engine.is_some());
                record.origin == Origin::Built && baked || record.catalogue.as_ref() == Some(name)
            }
            Self::Catalogue(name) => record.catalogue.as_ref() == Some(name),
            Self::Cached(name) => record.name == *name || record.id() == *name,
            Self::Url(url, digest) => {
                record.source.as_ref() == Some(&key(url)) && fits(record, digest.as_ref())
            }
            Self::Path(_) | Self::Unknown(_) => false,
        }
    }

    /// Whether it is this one by its id: then the architecture is what it is.
    pub fn is_id(&self, record: &Record) -> bool {
        matches!(self, Self::Cached(id) if record.id() == *id)
    }

    /// Where to download it.
    pub fn source(&self, catalogue: &[Entry], arch: Arch) -> Result<Source, ImageError> {
        let unknown = |name: &str| ImageError::Unknown {
            name: name.to_owned(),
            known: catalogue.iter().map(|entry| entry.name.to_string()).collect(),
        };
        let name = match self {
            Self::Default(name) | Self::Catalogue(name) => name,
            Self::Url(url, digest) => {
                let sums = digest.clone().map_or(Sums::None, Sums::Known);
                let mut url = url.clone();
                url.set_fragment(None);
                let mut source = Source { name: String::new(), catalogue: None, url, sums };
                source.name = name_of_file(source.file_name());
                return Ok(source);
            }
            Self::Cached(name) => {
                return Err(ImageError::Address {
                    url: name.clone(),
                    why: "nobody publishes it under this name; name its address, or build it again"
                        .to_owned(),
                });
            }
            Self::Unknown(name) => return Err(unknown(name)),
            Self::Path(path) => return Err(unknown(&path.display().to_string())),
        };
        let entry =
            catalogue.iter().find(|entry| entry.name == name.as_str()).ok_or_else(|| unknown(name))?;
        let text = entry.url(arch);
        let url =
            Url::parse(&text).map_err(|error| ImageError::Address { url: text, why: error.to_string() })?;
        Ok(Source {
            name: entry.name.to_string(),
            catalogue: Some(entry.name.to_string()),
            url,
            sums: entry.sums(arch),
        })
    }
}

/// Whether an image has the checksum that was named, as far as its record knows.
pub fn fits(record: &Record, digest: Option<&Digest>) -> bool {
    digest.is_none_or(|digest| digest.hex() == record.sha256 || record.published.as_ref() == Some(digest))
}

/// What a downloaded image is called: its file's name without what tells the format.
fn name_of_file(file: &str) -> String {
    let name =
        [".qcow2", ".img", ".raw", ".vdi", ".vhdx", ".vhd"].iter().find_map(|end| file.strip_suffix(end));
    files::safe_name(name.unwrap_or(file))
}

fn read_url(text: &str) -> Result<Wanted, ImageError> {
    // What can't be read can't be shown without its secrets either.
    let url = Url::parse(text).map_err(|error| ImageError::Address {
        url: text
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_owned(),
        why: error.to_string(),
    })?;
    let wrong = |why: String| ImageError::Address { url: machine_http::shown(&url), why };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http:// and https:// can be used; a file is named by its path".to_owned()));
    }
    let digest = url.fragment().filter(|part| !part.is_empty()).map(str::parse).transpose().map_err(wrong)?;
    Ok(Wanted::Url(url, digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::disk::Format;

    fn read(text: &str) -> Result<Wanted, ImageError> {
        let mut record =
            Record::new("mine".into(), Arch::X86_64, Origin::Built, "disk.qcow2".into(), Format::Qcow2);
        record.sha256 = "0123456789abcdef".into();
        Wanted::read(text, "debian-13", &catalogue::entries(), &[(record.id().into(), record)])
    }

    proptest::proptest! {
        #[test]
        fn any_text_means_something_or_is_refused(text in "\\PC{0,60}|https?://\\PC{0,60}") {
            if let Ok(wanted) = read(&text) {
                let _ = wanted.source(&catalogue::entries(), Arch::Aarch64);
            }
        }
    }

    #[test]
    fn words() {
        for (text, want) in [
            ("", Wanted::Default("debian-13".into())),
            ("debian", Wanted::Catalogue("debian-13".into())),
            ("ubuntu-24.04", Wanted::Catalogue("ubuntu-24.04".into())),
            ("mine", Wanted::Cached("mine".into())),
            ("mine-amd64-0123456789ab", Wanted::Cached("mine-amd64-0123456789ab".into())),
            ("./x", Wanted::Path("./x".into())),
            ("/x/debian", Wanted::Path("/x/debian".into())),
            ("Cargo.toml", Wanted::Path("Cargo.toml".into())),
            ("no-such", Wanted::Unknown("no-such".into())),
        ] {
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn addresses() {
        let hex = "ab".repeat(32);
        let Wanted::Url(url, digest) =
            read(&format!("https://me:pw@x.example/a/b%2f..%2f.qcow2?t=1#sha256={hex}")).unwrap()
        else {
            panic!("an address")
        };
        assert_eq!(digest.clone().map(|digest| digest.hex().to_owned()), Some(hex));
        let source = Wanted::Url(url, digest).source(&[], Arch::X86_64).unwrap();
        assert_eq!(source.name, "b-2f..-2f");
        for text in
            ["ftp://x/y", "https://me:pw@x.example/y#sha256=12", "https://", "file:///x", "http://me:pw@:x"]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
