//! What is looked up before anything is made.

use std::path::Path;

use machine_core::{Cx, DriverError, ErrorKind, Event};

use super::api::{Group, Image, KeyPair, Params, Subnet};
use super::session::Session;
use super::state::Ec2State;
use super::trouble::trouble;
use super::{image, network, request};
use crate::cloud::{self, Mark};
use crate::source_key::SourceKey;

/// What a machine will be made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) subnet: Subnet,
    pub(super) image: Image,
    /// The security groups of the names wished for, in all VPCs.
    pub(super) groups: Vec<Group>,
}

impl Plan {
    /// Looks up what the wish leaves open; what does not depend on each other is asked at once.
    pub(super) async fn look(session: &Session, cx: &Cx<'_>, state: &Ec2State) -> Result<Self, DriverError> {
        let ec2 = session.ec2(cx.report);
        let names = network::wanted_groups(cx, state);
        let (subnet, image, groups) = tokio::join!(
            network::subnet(&ec2, state, session.region()),
            choose_image(session, cx, state),
            network::groups(&ec2, "", &names),
        );
        let plan = Self { subnet: subnet?, image: image?, groups: groups? };
        network::check_groups(cx, state, &plan.subnet.vpc, &plan.groups)?;
        Ok(plan)
    }

    /// Puts what was found into the state.
    pub(super) fn settle(&self, state: &mut Ec2State, region: &str) {
        region.clone_into(&mut state.region);
        self.subnet.vpc.clone_into(&mut state.vpc_id);
        self.subnet.id.clone_into(&mut state.subnet_id);
        self.image.id.clone_into(&mut state.ami);
        if self.subnet.default {
            // Of other subnets the owner may be another account, which shares them with ours.
            self.subnet.owner.clone_into(&mut state.owner_id);
        }
        if state.device_name.is_empty() {
            self.image.root_device.clone_into(&mut state.device_name);
        }
    }
}

/// The image, and whether the type can run it.
async fn choose_image(session: &Session, cx: &Cx<'_>, state: &Ec2State) -> Result<Image, DriverError> {
    let (kind, guess) = (&state.instance_type, image::arch_of_type(&state.instance_type));
    let ec2 = session.ec2(cx.report);
    let chosen = async {
        match state.ami.as_str() {
            "" => image::default_image(session, guess, cx.report).await,
            id => image::named_image(session, id, cx.report).await,
        }
    };
    let (image, arches) = tokio::join!(chosen, ec2.architectures(kind));
    let arches = match arches {
        Ok(arches) => arches,
        // A policy without this permission is no reason to stop, nor is an imitator that does not know the call.
        Err(error) if ["UnauthorizedOperation", "AccessDenied", "InvalidAction"].contains(&error.code()) => {
            Vec::new()
        }
        Err(error) => return Err(trouble(&format!("the instance type {kind} can't be looked up"), &error)),
    };
    let mut image = image?;
    if state.ami.is_empty() && !arches.is_empty() && !arches.contains(&image.arch) {
        image = image::default_image(session, &arches[0], cx.report).await?;
    }
    check_image(state, &image, &arches)?;
    Ok(image)
}

fn check_image(state: &Ec2State, image: &Image, arches: &[String]) -> Result<(), DriverError> {
    let wrong = |text: String| DriverError::new(ErrorKind::Precreate, text);
    if !arches.is_empty() && !image.arch.is_empty() && !arches.contains(&image.arch) {
        return Err(wrong(format!(
            "the image {} is for {}, the instance type {} has {}",
            image.id,
            image.arch,
            state.instance_type,
            arches.join(", ")
        ))
        .with_hint("choose another --amazonec2-ami or --amazonec2-instance-type; without the former Ubuntu's for the type is taken"));
    }
    let root = image.volumes.iter().find(|(device, _)| *device == image.root_device);
    match root {
        Some((_, size)) if *size > state.root_size => Err(wrong(format!(
            "the image {} needs a root volume of {size} GB; --amazonec2-root-size is {}",
            image.id, state.root_size
        ))
        .with_hint(format!("give --amazonec2-root-size {size} or more"))),
        _ => Ok(()),
    }
}

/// Can `create` succeed?
pub(super) async fn precreate(session: &Session, cx: &Cx<'_>, state: &Ec2State) -> Result<Plan, DriverError> {
    check_files(state)?;
    warn(cx, state);
    let ec2 = session.ec2(cx.report);
    let name = key_name(cx, state);
    let (plan, key) = tokio::join!(
        Plan::look(session, cx, state),
        ec2.key_pairs(Params::default().filter("key-name", [name.as_str()])),
    );
    let key = key.map_err(|error| trouble("the key pairs can't be looked up", &error))?.into_iter().next();
    check_key(cx, state, &name, key.as_ref())?;
    let plan = plan?;
    // An imitator of EC2 may not know that nothing is to be made.
    if state.endpoint.is_empty() {
        rehearse(session, cx, state, &plan).await?;
    }
    Ok(plan)
}

/// The key pair's name.
pub(super) fn key_name(cx: &Cx<'_>, state: &Ec2State) -> String {
    if state.key_name.is_empty() { cx.name.to_string() } else { state.key_name.clone() }
}

fn check_key(cx: &Cx<'_>, state: &Ec2State, name: &str, found: Option<&KeyPair>) -> Result<(), DriverError> {
    let wrong = |text: String| DriverError::new(ErrorKind::Precreate, text);
    match (found, state.existing_key) {
        (None, true) => Err(wrong(format!(
            "There is no keypair with the name {name}. Please verify the key name provided."
        ))
        .with_hint("key pairs are regional: `aws ec2 describe-key-pairs` lists them")),
        (Some(key), false) if !is_ours(&Mark::of(cx), key) => Err(wrong(format!(
            "There is already a keypair with the name {name}.  Please either remove that keypair or use a different machine name."
        ))
        .with_hint(format!("`aws ec2 delete-key-pair --key-name {name}` removes it"))),
        _ => Ok(()),
    }
}

/// Whether a key pair was made for this machine of this store.
pub(super) fn is_ours(mark: &Mark, key: &KeyPair) -> bool {
    !mark.store.is_empty() && key.store == mark.store && key.machine == mark.machine
}

fn check_files(state: &Ec2State) -> Result<(), DriverError> {
    if let Some(user_data) = cloud::user_data("amazonec2-userdata", &state.user_data_file)? {
        request::encoded(&user_data)?;
    }
    let Some(key) = SourceKey::new("amazonec2-ssh-keypath", &state.ssh_private_key_path) else {
        return Ok(());
    };
    key.check()?;
    if !state.existing_key {
        public_key(&state.ssh_private_key_path)?;
    }
    Ok(())
}

/// The public key beside the user's private key.
pub(super) fn public_key(private: &str) -> Result<String, DriverError> {
    let path = match private.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest).display().to_string(),
        None => private.to_owned(),
    };
    let path = format!("{path}.pub");
    std::fs::read_to_string(Path::new(&path)).map(|text| text.trim().to_owned()).map_err(|error| {
        DriverError::new(ErrorKind::Precreate, format!("the public key can't be read: {path}: {error}"))
            .with_hint(format!("`ssh-keygen -y -f {private} > {private}.pub` writes it; with --amazonec2-keypair-name it is not needed"))
            .with_source(error)
    })
}

fn warn(cx: &Cx<'_>, state: &Ec2State) {
    let say = |text: String| cx.report.report(Event::Warning(text));
    if state.has_odd_tags() {
        say(format!("Tags are not key value in pairs. {} elements found", state.tags.split(',').count()));
    }
    if state.block_duration_minutes != 0 {
        say("--amazonec2-block-duration-minutes has no effect: Amazon no longer has spot instances of a fixed duration".to_owned());
    }
}

/// Lets EC2 say whether it would make the instance: permissions, type, image, subnet, profile.
async fn rehearse(session: &Session, cx: &Cx<'_>, state: &Ec2State, plan: &Plan) -> Result<(), DriverError> {
    let mut wish = state.clone();
    plan.settle(&mut wish, session.region());
    // Neither is there yet.
    wish.security_group_id.clear();
    wish.security_group_ids.clear();
    if !wish.existing_key {
        wish.key_name.clear();
    }
    let params = request::run_instances(&wish, &plan.image, &Mark::of(cx), "").with("DryRun", "true");
    match session.ec2(cx.report).ask("RunInstances", &params).await {
        Err(error) if error.code() == "DryRunOperation" => Ok(()),
        Err(error) => Err(trouble("the instance can't be made", &error)),
        Ok(answer) => Err(DriverError::new(
            ErrorKind::Other,
            format!("EC2 answered a rehearsal with {} instead of DryRunOperation", answer.status),
        )
        .with_hint("look for an instance with the machine's name in the console, and report this")),
    }
}
