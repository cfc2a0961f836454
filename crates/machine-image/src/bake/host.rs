//! What this computer has for building an image.

use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_process::Program;

use super::BuildOptions;
use crate::{Arch, ImageError};

/// Programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 6] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("grub-mkimage", "grub-common"),
    ("qemu-img", "qemu-utils"),
    ("unshare", "util-linux"),
];

/// Where the boot loader's parts are.
pub const GRUB: &str = "/usr/lib/grub/i386-pc";
/// The keys that Debian's archives are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Files that are no programs, and the Debian package of each.
const FILES: [(&str, &str); 2] =
    [("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"), (KEYRING, "debian-archive-keyring")];

/// Folders of programs that are not in the path of ordinary users.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Longest time for a question to apt.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// How packages are unpacked without harm to this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As root.
    Root,
    /// As an ordinary user who is root in a user namespace of mmdebstrap's.
    Unshare,
}

/// What is here.
#[derive(Debug)]
pub struct Host {
    pub mode: Mode,
    pub mmdebstrap: Program,
    pub sfdisk: Program,
    pub grub_mkimage: Program,
    pub qemu_img: Program,
    pub unshare: Program,
    pub apt: Apt,
    /// The code name of the Debian that runs here, if it is one.
    pub release: Option<String>,
}

/// The archives that apt uses here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Apt {
    /// The main archive's address.
    pub main: Option<String>,
    /// The security archive's address.
    pub security: Option<String>,
    /// The proxy through which apt goes there.
    pub proxy: Option<String>,
}

impl Host {
    /// Looks whether an image can be built here, before anything is made.
    pub async fn look(options: &BuildOptions) -> Result<Self, ImageError> {
        if options.arch != Arch::X86_64 || !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(ImageError::CantBuild {
                why: format!(
                    "an image for {} can be built only on Linux for x86_64, and for x86_64",
                    options.arch
                ),
                hint: "name one that is made already: `docker-machine image ls --available`",
            });
        }
        let missing = missing(find, Path::exists);
        if !missing.is_empty() {
            return Err(ImageError::BuildNeeds { missing });
        }
        let program = |name: &'static str| {
            find(name).ok_or_else(|| ImageError::BuildNeeds { missing: vec![(name.to_owned(), name)] })
        };
        Ok(Self {
            mode: mode()?,
            mmdebstrap: program("mmdebstrap")?,
            sfdisk: program("sfdisk")?,
            grub_mkimage: program("grub-mkimage")?,
            qemu_img: program("qemu-img")?,
            unshare: program("unshare")?,
            apt: Apt::ask().await,
            release: std::fs::read_to_string("/etc/os-release").ok().and_then(|text| debian_release(&text)),
        })
    }
}

/// Everything that is missing, with the package that has it: one error for all of it.
fn missing(
    find: impl Fn(&str) -> Option<Program>,
    exists: impl Fn(&Path) -> bool,
) -> Vec<(String, &'static str)> {
    let programs = PROGRAMS.iter().filter(|(name, _)| find(name).is_none());
    let files = FILES.iter().filter(|(file, _)| !exists(Path::new(file)));
    programs.chain(files).map(|(what, package)| ((*what).to_owned(), *package)).collect()
}

fn find(name: &str) -> Option<Program> {
    Program::find(&[name], &SYSTEM.map(Path::new)).ok()
}

/// Root can; others need ids of their own to give away.
fn mode() -> Result<Mode, ImageError> {
    if is_root() {
        return Ok(Mode::Root);
    }
    let helpers = ["newuidmap", "newgidmap"].iter().filter(|name| find(name).is_none());
    let missing: Vec<_> = helpers.map(|name| ((*name).to_owned(), "uidmap")).collect();
    if missing.is_empty() { Ok(Mode::Unshare) } else { Err(ImageError::BuildNeeds { missing }) }
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

impl Apt {
    /// From apt's own words; nothing where there is no apt.
    async fn ask() -> Self {
        let format = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)";
        let targets = say("apt-get", &["indextargets", "--format", format, "Identifier: Packages"]).await;
        let proxy = say("apt-config", &["dump", "--format=%v%n", "Acquire::http::Proxy"]).await;
        let (main, security) = archives(&targets);
        let proxy = proxy.lines().next().map(str::trim).filter(|p| !p.is_empty() && *p != "DIRECT");
        Self { main, security, proxy: proxy.map(str::to_owned) }
    }
}

async fn say(program: &str, args: &[&str]) -> String {
    let Some(program) = find(program) else { return String::new() };
    program.run(args, ASK_LIMIT).await.map(|output| output.stdout).unwrap_or_default()
}

/// Debian's main and security archive among the index targets of apt.
fn archives(targets: &str) -> (Option<String>, Option<String>) {
    let mut found = (None, None);
    for line in targets.lines() {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        let place = match fields[..] {
            [_, codename, "main", "Debian"] if !codename.contains('-') => &mut found.0,
            [_, _, "main", "Debian-Security"] => &mut found.1,
            _ => continue,
        };
        place.get_or_insert_with(|| fields[0].trim_end_matches('/').to_owned());
    }
    found
}

/// The code name in an os-release file of Debian.
fn debian_release(text: &str) -> Option<String> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches('"').to_owned())
    };
    if value("ID")? != "debian" {
        return None;
    }
    value("VERSION_CODENAME").filter(|name| !name.is_empty())
}

/// The folder of the boot loader's parts.
pub fn grub() -> PathBuf {
    PathBuf::from(GRUB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        assert!(missing(|_| Some(Program::at("/bin/true")), |_| true).is_empty());
        let none = missing(|_| None, |_| false);
        assert_eq!(none.len(), PROGRAMS.len() + FILES.len());
        let text = ImageError::BuildNeeds { missing: none }.to_string();
        assert!(text.contains("mmdebstrap, mke2fs") && text.contains("boot.img"), "{text}");
    }

    #[test]
    fn apts_own_words_name_the_archives() {
        let targets = "http://mirror.example/debian/ bookworm main Debian\n\
                       http://second.example/debian/ bookworm main Debian\n\
                       http://mirror.example/debian/ bookworm-updates main Debian\n\
                       http://mirror.example/debian-security/ bookworm-security main Debian-Security\n\
                       https://other.example/apt stable main Other Things\n";
        let (main, security) = archives(targets);
        assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(security.as_deref(), Some("http://mirror.example/debian-security"));
        assert_eq!(archives("http://m.example/ $(CODENAME) main $(LABEL)\n"), (None, None));
    }

    #[test]
    fn only_debians_release_counts() {
        assert_eq!(debian_release("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(debian_release("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(debian_release("PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\n"), None);
    }
}
