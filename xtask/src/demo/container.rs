//! An image of a tiny system for a container, without a registry: a busybox that needs no libraries.

use std::{
    error::Error,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{setup, workspace};

/// Debian's package of it.
const PACKAGE: &str = "busybox-static";

/// A tar of a root file system for `docker import`; made once.
pub fn tar(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let tar = folder.join("busybox.tar");
    if tar.exists() {
        return Ok(tar);
    }
    let package = setup::unpacked(PACKAGE, folder)?;
    let found =
        ["bin/busybox", "usr/bin/busybox"].map(|file| package.join(file)).into_iter().find(|f| f.exists());
    let root = tempfile::tempdir_in(folder)?;
    let bin = root.path().join("bin");
    fs::create_dir(&bin)?;
    let busybox = bin.join("busybox");
    fs::copy(found.ok_or_else(|| format!("{PACKAGE} has no busybox"))?, &busybox)?;
    let applets = workspace::read(workspace::command(&busybox.to_string_lossy()).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", bin.join(applet))?;
    }
    let new = folder.join("busybox.tar.new");
    workspace::run(workspace::command("tar").arg("-C").arg(root.path()).arg("-cf").arg(&new).arg("."))?;
    fs::rename(new, &tar)?;
    Ok(tar)
}
