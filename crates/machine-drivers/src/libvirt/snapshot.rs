//! Snapshots inside the disk, with the memory of a guest that runs.

use machine_core::{DriverError, ErrorKind, Snapshot};
use roxmltree::Document;

use super::trouble::Trouble;
use super::virsh::{Answer, LONG, Virsh};

/// All snapshots, oldest first.
///
/// # Errors
/// [`ErrorKind::NotFound`] where the domain is gone.
pub(super) async fn list(virsh: &Virsh, uuid: &str) -> Result<Vec<Snapshot>, DriverError> {
    let names = virsh.run(&["snapshot-list", "--domain", uuid, "--name"]).await?;
    let mut all = Vec::new();
    for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let asked = ["snapshot-dumpxml", "--domain", uuid, "--snapshotname", name];
        let xml = virsh.unless(&[Trouble::NoSnapshot], &asked).await?;
        all.extend(xml.map(|xml| read(&xml)).transpose()?);
    }
    all.sort_by(|a: &Snapshot, b| (a.taken_s, &a.name).cmp(&(b.taken_s, &b.name)));
    Ok(all)
}

/// Reads <https://libvirt.org/formatsnapshot.html>.
fn read(xml: &str) -> Result<Snapshot, DriverError> {
    let document: Document<'_> = super::parse(xml, "snapshot")?;
    let child = |name: &str| document.root_element().children().find(|node| node.tag_name().name() == name);
    let text = |name: &str| child(name).and_then(|node| node.text()).unwrap_or_default();
    Ok(Snapshot {
        name: text("name").to_owned(),
        taken_s: text("creationTime").parse().unwrap_or_default(),
        bytes: None,
        with_memory: child("memory")
            .and_then(|node| node.attribute("snapshot"))
            .is_some_and(|kind| kind != "no"),
    })
}

/// Takes one.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where there is one of this name.
pub(super) async fn take(virsh: &Virsh, uuid: &str, name: &str) -> Result<(), DriverError> {
    let answer = virsh.ask(&["snapshot-create-as", "--domain", uuid, "--name", name], &[], LONG).await?;
    judge(answer, name)
}

/// Goes back to one.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn restore(virsh: &Virsh, uuid: &str, name: &str) -> Result<(), DriverError> {
    judge(virsh.ask(&["snapshot-revert", "--domain", uuid, "--snapshotname", name], &[], LONG).await?, name)
}

/// Forgets one.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn remove(virsh: &Virsh, uuid: &str, name: &str) -> Result<(), DriverError> {
    judge(virsh.ask(&["snapshot-delete", "--domain", uuid, "--snapshotname", name], &[], LONG).await?, name)
}

fn judge(answer: Answer, name: &str) -> Result<(), DriverError> {
    match answer {
        Ok(_) => Ok(()),
        Err(failure) if failure.trouble == Trouble::Exists => {
            Err(DriverError::new(ErrorKind::AlreadyDone, format!("there is a snapshot {name:?} already")))
        }
        Err(failure) if failure.trouble == Trouble::NoSnapshot => {
            Err(DriverError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}")))
        }
        Err(failure) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_as_libvirt_describes_it() {
        let xml = "<domainsnapshot><name>s1</name><state>running</state><creationTime>1795491883</creationTime>\
            <memory snapshot='internal'/><disks><disk name='vda' snapshot='internal'/></disks>\
            <domain><name>dev</name><memory unit='KiB'>1</memory></domain></domainsnapshot>";
        let with_memory =
            Snapshot { name: "s1".into(), taken_s: 1_795_491_883, bytes: None, with_memory: true };
        assert_eq!(read(xml).unwrap(), with_memory);
        let off = read(&xml.replace("'internal'/><disks>", "'no'/><disks>")).unwrap();
        assert!(!off.with_memory);
        assert!(read("").is_err());
    }
}
