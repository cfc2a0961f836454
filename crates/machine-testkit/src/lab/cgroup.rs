//! A host's control group in each of the machine's hierarchies: version 1, 2, or both side by side.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{LabError, command::wait_for};

/// A hierarchy as it is mounted here.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub mount: PathBuf,
    /// The options that mount it again (`memory`, `none,name=systemd`); `None` for version 2.
    pub v1_options: Option<String>,
}

/// All hierarchies of this machine.
pub fn hierarchies() -> Result<Vec<Hierarchy>, LabError> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|e| LabError::file("read", "/proc/self/mounts", e))?;
    Ok(parse(&mounts))
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    /// Words of a mount line that say how it is mounted, not what.
    const GENERAL: [&str; 10] = [
        "rw",
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "relatime",
        "noatime",
        "seclabel",
        "xattr",
        "clone_children",
    ];
    mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mount, kind, options, ..] = fields[..] else { return None };
            let v1_options = match kind {
                "cgroup2" => None,
                "cgroup" => {
                    let own = options
                        .split(',')
                        .filter(|o| !GENERAL.contains(o) && !o.starts_with("release_agent="))
                        .collect::<Vec<_>>()
                        .join(",");
                    Some(if own.starts_with("name=") { format!("none,{own}") } else { own })
                }
                _ => return None,
            };
            mount.starts_with("/sys/fs/cgroup").then(|| Hierarchy { mount: mount.into(), v1_options })
        })
        .collect()
}

/// The host's groups.
pub struct Groups {
    name: String,
    hierarchies: Vec<Hierarchy>,
}

impl Groups {
    pub fn of(namespace: &str) -> Result<Self, LabError> {
        Ok(Self { name: namespace.to_owned(), hierarchies: hierarchies()? })
    }

    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The host's folder in each hierarchy.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(|h| h.mount.join(&self.name))
    }

    pub fn make(&self) -> Result<(), LabError> {
        for (hierarchy, folder) in self.hierarchies.iter().zip(self.folders()) {
            if hierarchy.v1_options.is_none() {
                delegate(&hierarchy.mount);
            }
            match fs::create_dir(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(LabError::file("make", &folder, e));
                }
                _ => {}
            }
            // A version 1 cpuset takes no process before it is told which processors and memory it has.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if hierarchy.v1_options.is_some() && folder.join(file).exists() {
                    let copy =
                        fs::read(hierarchy.mount.join(file)).and_then(|v| fs::write(folder.join(file), v));
                    copy.map_err(|e| LabError::file("set", folder.join(file), e))?;
                }
            }
        }
        Ok(())
    }

    /// Stops or lets go all processes of the host, its containers included.
    pub fn freeze(&self, frozen: bool) -> Result<(), LabError> {
        for folder in self.folders() {
            let v1 = folder.join("freezer.state");
            if v1.exists() {
                fs::write(&v1, if frozen { "FROZEN" } else { "THAWED" })
                    .map_err(|e| LabError::file("write", &v1, e))?;
                return wait_for("the freezer", Duration::from_secs(10), || {
                    let state = fs::read_to_string(&v1).unwrap_or_default();
                    if frozen == state.starts_with("FROZEN") { Ok(()) } else { Err(state) }
                });
            }
        }
        let v2 = self.folders().map(|f| f.join("cgroup.freeze")).find(|f| f.exists());
        let Some(file) = v2 else {
            return Err(LabError::file(
                "freeze",
                &self.name,
                io::Error::other("no freezer in any control group"),
            ));
        };
        fs::write(&file, if frozen { "1" } else { "0" }).map_err(|e| LabError::file("write", &file, e))
    }

    /// Every process in the host's groups and below.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for folder in self.folders() {
            collect(&folder, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes the groups once their processes are gone.
    pub fn remove(&self) -> Result<(), LabError> {
        for folder in self.folders().filter(|f| f.exists()) {
            wait_for("the end of the host's processes", Duration::from_secs(20), || {
                remove(&folder).map_err(|e| format!("{}: {e}", folder.display()))
            })?;
        }
        Ok(())
    }
}

/// Hands the controllers down as far as this machine lets us; a host without limits is a host still.
fn delegate(mount: &Path) {
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(mount.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn collect(folder: &Path, found: &mut Vec<i32>) {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(own.lines().filter_map(|p| p.parse::<i32>().ok()));
    for inner in below(folder) {
        collect(&inner, found);
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    for inner in below(folder) {
        remove(&inner)?;
    }
    match fs::remove_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_from_the_mounts() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/x,name=systemd 0 0\n\
                      tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0\n";
        let hierarchy = |mount: &str, options: Option<&str>| Hierarchy {
            mount: Path::new("/sys/fs/cgroup").join(mount),
            v1_options: options.map(str::to_owned),
        };
        assert_eq!(
            parse(mounts),
            [
                hierarchy("cpu,cpuacct", Some("cpu,cpuacct")),
                hierarchy("systemd", Some("none,name=systemd")),
                hierarchy("unified", None)
            ]
        );
        let only_v2 = parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
        assert_eq!(only_v2, [hierarchy("", None)]);
    }
}
