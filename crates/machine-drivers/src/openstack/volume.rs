//! The machine's volume: its root disk, or a further one.

use machine_core::{Checkpoint, DriverError, ErrorKind};
use machine_http::api::{Call, Seen};
use serde_json::{Value, json};

use super::api::{Attachment, Id, One, Volume};
use super::create::Work;
use super::mark;
use super::resolve::Found;
use super::session::{Cloud, Service};
use super::state::OpenstackState;
use super::trouble::trouble;
use crate::cloud::{self, Mark};

/// GiB of a root disk of which neither user nor flavor nor image says the size.
const ROOT_SIZE: u64 = 20;

/// Makes the volume that is wanted, and waits until it can be used.
pub(super) async fn create(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if !state.makes_volume() {
        return Ok(());
    }
    if state.volume_id.is_empty() {
        settle(state, work.cx.name.as_str(), work.found);
        state.own_volume = true;
        save.save(&state.write()?)?;
        let found = if work.resumed { marked(work.cloud, &work.mark).await?.pop() } else { None };
        state.volume_id = match found {
            Some(volume) => volume.id,
            None => make(work, state).await?,
        };
        save.save(&state.write()?)?;
    }
    if state.machine_id.is_empty() { wait_until_available(work, state).await } else { Ok(()) }
}

/// What nobody said of it.
fn settle(state: &mut OpenstackState, machine: &str, found: &Found) {
    if state.volume_name.is_empty() {
        machine.clone_into(&mut state.volume_name);
    }
    if state.volume_size == 0 {
        let image = found.image.as_ref().map_or(0, |image| image.min_disk);
        let least = u64::try_from(found.flavor.disk.max(image)).unwrap_or_default();
        state.volume_size = if least == 0 { ROOT_SIZE } else { least };
    }
}

async fn make(work: &Work<'_>, state: &OpenstackState) -> Result<String, DriverError> {
    let doing = "the volume can't be made";
    let mut volume = json!({
        "name": state.volume_name,
        "size": state.volume_size,
        "metadata": work.mark.pairs(),
    });
    if state.boot_from_volume {
        volume["imageRef"] = state.image_id.as_str().into();
    }
    if !state.volume_type.is_empty() {
        volume["volume_type"] = state.volume_type.as_str().into();
    }
    let url = work.cloud.url(Service::Volume, &["volumes"], &[])?;
    let call = Call::post(url).json(&json!({"volume": volume}));
    match work.cloud.send(&call).await.and_then(|answer| answer.json::<One<Id>>()) {
        Ok(made) => Ok(made.it.id),
        Err(error) if error.outcome_unknown() => match marked(work.cloud, &work.mark).await?.pop() {
            Some(volume) => Ok(volume.id),
            None => Err(trouble(doing, &error)),
        },
        Err(error) => Err(trouble(doing, &error)),
    }
}

/// The volumes that carry a mark.
pub(super) async fn marked(cloud: &Cloud<'_>, mark: &Mark) -> Result<Vec<Volume>, DriverError> {
    let doing = "the volumes can't be listed";
    let mut all: Vec<Volume> = cloud.list(Service::Volume, &["volumes", "detail"], &[], doing).await?;
    all.retain(|volume| mark::of_metadata(&volume.metadata).as_ref() == Some(mark));
    Ok(all)
}

async fn show(cloud: &Cloud<'_>, id: &str) -> Result<Option<Volume>, DriverError> {
    let doing = "the volume can't be looked at";
    let found: Option<One<Volume>> = cloud.find(Service::Volume, &["volumes", id], doing).await?;
    Ok(found.map(|found| found.it))
}

async fn wait_until_available(work: &Work<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    let look = || is_available(work.cloud, &state.volume_id);
    cloud::wait_for(work.cx.report, "the volume to be available", Work::limit(state), look).await
}

async fn is_available(cloud: &Cloud<'_>, id: &str) -> Result<Seen<()>, DriverError> {
    match show(cloud, id).await? {
        Some(volume) if volume.status == "available" => Ok(Seen::Done(())),
        Some(volume) if volume.status.starts_with("error") => {
            let text = format!("the volume {id} can't be made: it is {}", volume.status);
            Err(DriverError::new(ErrorKind::Other, text).with_hint(
                "`openstack volume show` may say why: its type, its size, or the room that is left",
            ))
        }
        Some(volume) => Ok(Seen::NotYet(format!("it is {}", volume.status))),
        None => Ok(Seen::NotYet("cinder does not know it yet".to_owned())),
    }
}

/// The root disk, where it is a volume. One that was made for the machine goes with the server.
pub(super) fn root_disk(state: &OpenstackState) -> Option<Value> {
    if !state.boot_from_volume {
        return None;
    }
    let mut disk = json!({
        "boot_index": 0,
        "uuid": state.volume_id,
        "source_type": "volume",
        "destination_type": "volume",
        "delete_on_termination": state.own_volume,
    });
    if !state.volume_device_path.is_empty() {
        disk["device_name"] = state.volume_device_path.as_str().into();
    }
    Some(disk)
}

/// Whether there is a volume that is no root disk.
pub(super) fn is_to_attach(state: &OpenstackState) -> bool {
    !state.boot_from_volume && !state.volume_id.is_empty()
}

/// Attaches it.
pub(super) async fn attach(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    let doing = "the volume can't be attached";
    let server = &state.machine_id;
    let here = |volume: &Volume| volume.attachments.iter().find(|a| a.server_id == *server).cloned();
    let there = show(work.cloud, &state.volume_id).await?.as_ref().and_then(here);
    let attached = match there {
        Some(attachment) => attachment,
        None => {
            let mut wish = json!({"volumeId": state.volume_id});
            if !state.volume_device_path.is_empty() {
                wish["device"] = state.volume_device_path.as_str().into();
            }
            let path = ["servers", server.as_str(), "os-volume_attachments"];
            let call = Call::post(work.cloud.url(Service::Compute, &path, &[])?)
                .json(&json!({"volumeAttachment": wish}));
            let made = work.cloud.send(&call).await.and_then(|answer| answer.json::<One<Attachment>>());
            made.map_err(|error| trouble(doing, &error))?.it
        }
    };
    if !attached.device.is_empty() {
        state.volume_device_path = attached.device;
    }
    save.save(&state.write()?)
}

/// Removes a volume that nobody uses any more: one that is about to be detached is waited for.
pub(super) async fn remove(work: &super::remove::Removal<'_>, id: &str) -> Result<(), DriverError> {
    let look = || is_removed(work.cloud, id);
    cloud::wait_for(work.report, "the volume to be deleted", work.limit, look).await
}

async fn is_removed(cloud: &Cloud<'_>, id: &str) -> Result<Seen<()>, DriverError> {
    let doing = "the volume can't be removed";
    match show(cloud, id).await? {
        None => Ok(Seen::Done(())),
        Some(volume) if volume.status == "deleting" => Ok(Seen::NotYet("it is being deleted".to_owned())),
        Some(volume)
            if matches!(volume.status.as_str(), "in-use" | "detaching" | "creating" | "downloading") =>
        {
            Ok(Seen::NotYet(format!("it is {}", volume.status)))
        }
        Some(volume) => {
            let call = Call::delete(cloud.url(Service::Volume, &["volumes", id], &[])?);
            match cloud.send(&call).await {
                Ok(_) => Ok(Seen::NotYet("it is being deleted".to_owned())),
                Err(error) if error.is_not_found() => Ok(Seen::Done(())),
                // It changed meanwhile.
                Err(error) if error.status() == Some(400) => {
                    Ok(Seen::NotYet(format!("it is {}: {error}", volume.status)))
                }
                Err(error) => Err(trouble(doing, &error)),
            }
        }
    }
}
