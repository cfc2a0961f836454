//! The chroot and the namespace that OpenStack runs in.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{Outcome, workspace};

/// The network namespace. Every address in it is this computer's.
pub const NAMESPACE: &str = "machine-openstack";

/// nova's hypervisor is its fake one. A package of one must be named, and ironic's brings no qemu and no libvirt along.
const PACKAGES: &str = "keystone,glance-api,placement-api,nova-api,nova-conductor,nova-scheduler,nova-compute,\
                        nova-compute-ironic,neutron-server,cinder-api,cinder-scheduler,cinder-volume,rabbitmq-server,mariadb-server,python3-openstackclient,\
                        iproute2,procps,curl";

/// Where it is.
pub struct Chroot {
    folder: PathBuf,
}

impl Chroot {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A path below its root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.join("root").join(below)
    }

    pub fn is_installed(&self) -> bool {
        self.path("cl.installed").exists()
    }

    /// Whether something runs in the namespace.
    pub fn is_up(&self) -> bool {
        !processes().is_empty()
    }

    /// Installs Debian's packages. No service is started: nothing of the system's runs in there.
    pub fn install(&self) -> Outcome {
        let root = self.folder.join("root");
        if root.exists() {
            return Err(
                format!("{} is half installed: cargo xtask openstack down --remove", root.display()).into()
            );
        }
        fs::create_dir_all(&self.folder)?;
        let mut list = Command::new("apt-get");
        list.args(["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]);
        let mirrors = workspace::read(&mut list)?;
        let mirror = mirrors.lines().next().ok_or("apt knows no mirror")?;
        let mut command = Command::new("mmdebstrap");
        command
            .args(["--variant=apt", "--mode=root", "--aptopt=Acquire::Languages \"none\""])
            .arg(format!("--include={PACKAGES}"))
            .arg("bookworm")
            .args([&root, Path::new(mirror)]);
        workspace::run(&mut command)?;
        fs::write(self.path("cl.installed"), "")?;
        Ok(())
    }

    /// The namespace, and what must be mounted.
    pub fn prepare(&self) -> Outcome {
        ip(&["netns", "add", NAMESPACE])?;
        ip(&["-n", NAMESPACE, "link", "set", "lo", "up"])?;
        ip(&["-n", NAMESPACE, "route", "add", "local", "default", "dev", "lo"])?;
        let ours = self.path("cl");
        if ours.exists() {
            fs::remove_dir_all(&ours)?;
        }
        for folder in ["db", "log", "img", "conf", "lock", "state/instances", "state/conversion"] {
            fs::create_dir_all(ours.join(folder))?;
        }
        mount(&["-t", "proc", "proc"], &self.path("proc"))?;
        mount(&["--rbind", "/dev"], &self.path("dev"))?;
        mount(&["--make-rslave"], &self.path("dev"))?;
        mount(&["-t", "tmpfs", "-o", "size=1500m", "tmpfs"], &ours.join("db"))?;
        let hosts =
            format!("127.0.0.1 localhost {}\n", fs::read_to_string("/proc/sys/kernel/hostname")?.trim());
        fs::write(self.path("etc/hosts"), hosts)?;
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", NAMESPACE, "chroot"])
            .arg(self.folder.join("root"))
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"])
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command inside; its last words are in the error where it fails.
    pub fn inside(&self, words: &[&str]) -> Outcome {
        self.read(words).map(drop)
    }

    /// The same, for what it prints.
    pub fn read(&self, words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
        let output = self.command(words).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(format!("{}: {}: {}", words.join(" "), output.status, last.join("\n")).into())
    }

    /// Starts a service that runs on when we end; what it says goes into a log.
    pub fn start(&self, name: &str, words: &[&str]) -> Outcome {
        use std::os::unix::process::CommandExt;
        let log = File::create(self.path("cl/log").join(format!("{name}.log")))?;
        let mut command = self.command(words);
        command.stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
        Ok(())
    }

    /// Ends what runs in the namespace, and unmounts. /dev is the system's own: nothing may be removed below the chroot
    /// while it is mounted there.
    pub fn down(&self) -> Outcome {
        for (signal, patience) in [("-TERM", 50), ("-KILL", 50)] {
            let running = processes();
            if !running.is_empty() {
                let _ = Command::new("kill").arg(signal).args(&running).stderr(Stdio::null()).status();
            }
            for _ in 0..patience {
                if processes().is_empty() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        for below in ["cl/db", "dev", "proc"] {
            let path = self.path(below);
            if is_mounted(&path)? {
                if below == "dev" {
                    mount(&["--make-rslave"], &path)?;
                }
                workspace::run(Command::new("umount").args(["-R", "-l"]).arg(&path))?;
            }
        }
        if Path::new("/run/netns").join(NAMESPACE).exists() {
            ip(&["netns", "del", NAMESPACE])?;
        }
        Ok(())
    }

    /// Removes the folder, once nothing is mounted below it.
    pub fn remove(&self) -> Outcome {
        for below in ["cl/db", "dev", "proc"] {
            if is_mounted(&self.path(below))? {
                return Err(format!("{} is still mounted", self.path(below).display()).into());
            }
        }
        // What is half removed is not installed.
        if self.is_installed() {
            fs::remove_file(self.path("cl.installed"))?;
        }
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

/// The processes in the namespace: all of them are ours.
fn processes() -> Vec<String> {
    let listed = Command::new("ip").args(["netns", "pids", NAMESPACE]).stderr(Stdio::null()).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn ip(words: &[&str]) -> Outcome {
    workspace::run(Command::new("ip").args(words))
}

fn mount(words: &[&str], at: &Path) -> Outcome {
    workspace::run(Command::new("mount").args(words).arg(at))
}

fn is_mounted(path: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let wanted = path.to_string_lossy();
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*wanted)))
}
