//! Starting QEMU: with ports that are free, and with an accelerator with which the guest boots.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_image::Arch;
use machine_process::{ProcessError, Program};

use super::accel::{self, Accel, Memory};
use super::command::{self, Launch};
use super::run::Run;
use super::state::{Files, QemuState};
use super::trouble::{self, Trouble};
use super::watch::{self, Verdict};
use super::{platform, ports, process};

/// How long QEMU may take until it is in the background. It has loaded a kernel and opened its disks then.
const START_LIMIT: Duration = Duration::from_secs(120);
/// What is said for a QEMU that ended and said nothing.
const ENDED: &str = "it ended without a word";
/// How often other ports are tried.
const ATTEMPTS: usize = 20;

/// Puts the state on disk before QEMU is started with it.
pub(super) type Save<'a> = &'a mut (dyn FnMut(&QemuState) -> Result<(), DriverError> + Send);

/// Finds QEMU.
///
/// # Errors
/// [`ErrorKind::Precreate`] with how to install it.
pub(super) fn program(state: &QemuState) -> Result<Program, DriverError> {
    let arch = state.arch()?;
    platform::qemu(&state.program, arch).map_err(|error| match error {
        ProcessError::NotFound { .. } if state.program.is_empty() => {
            DriverError::new(ErrorKind::Precreate, error.to_string())
                .with_hint(platform::how_to_install(arch))
        }
        error => DriverError::new(ErrorKind::Precreate, error.to_string())
            .with_hint("--qemu-program takes the name or the path of QEMU for the machine's processor"),
    })
}

/// Finds the firmware; `None` where it is QEMU's own.
///
/// # Errors
/// [`ErrorKind::Precreate`] where there is none.
pub(super) fn firmware(state: &QemuState, program: &Program) -> Result<Option<PathBuf>, DriverError> {
    let arch = state.arch()?;
    match (&*state.firmware, arch) {
        ("" | "bios", Arch::X86_64) => Ok(None),
        ("" | "uefi", Arch::Aarch64) | ("uefi", Arch::X86_64) => {
            platform::uefi(arch, program.path()).map(Some).ok_or_else(|| {
                DriverError::new(
                    ErrorKind::Precreate,
                    format!("there is no UEFI firmware for {arch} on this computer"),
                )
                .with_hint(platform::how_to_install_uefi(arch))
            })
        }
        (file, _) if Path::new(file).is_file() => {
            Ok(Some(std::path::absolute(file).unwrap_or_else(|_| file.into())))
        }
        (file, _) => {
            Err(DriverError::new(ErrorKind::Precreate, format!("the firmware {file:?} does not exist"))
                .with_hint("--qemu-firmware takes bios (x86_64 only), uefi, or the path of a file"))
        }
    }
}

/// Starts the machine; it runs when this returns.
///
/// # Errors
/// Why QEMU did not start it, or the guest did not boot.
pub(super) async fn start(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    save: Save<'_>,
) -> Result<(), DriverError> {
    let program = program(state)?;
    let memory = Memory::new(cx.store_path, program.path());
    let candidates = candidates(cx, state, &memory)?;
    let mut last = None;
    let mut unusable = Vec::new();
    for (number, accel) in candidates.iter().enumerate() {
        accel.name().clone_into(&mut state.accel_used);
        let why = match begin(cx, state, files, &program, false, save).await {
            Ok(()) => match judged(cx, state, files, &memory).await? {
                Verdict::Boots => {
                    // Only now it is clear that it was the accelerator's fault.
                    unusable
                        .iter()
                        .for_each(|(accel, why): &(Accel, String)| memory.learn(*accel, false, why));
                    return Ok(());
                }
                Verdict::Hangs(why) => {
                    process::kill(&files.pid()).await?;
                    last = None;
                    memory.learn(*accel, false, &why);
                    why
                }
            },
            Err(NoStart::Accel(said)) => {
                last = Some(Trouble::Accel(said.clone()).error());
                unusable.push((*accel, said.clone()));
                said
            }
            Err(NoStart::Error(error)) => return Err(error),
        };
        if let Some(next) = candidates.get(number + 1) {
            cx.report.report(Event::Notice(format!(
                "{} does not work here: {}. Going on with {}; --qemu-accel {} insists",
                accel.title(),
                why.trim_end_matches('.'),
                next.title(),
                accel.name()
            )));
        }
    }
    Err(last.unwrap_or_else(|| {
        DriverError::new(ErrorKind::Other, "the guest does not boot with any accelerator of this computer")
            .with_hint("look into the machine's serial.log; --qemu-accel names one to use in any case")
    }))
}

/// Starts the machine standing still, with the accelerator of the state: for memory that is loaded then.
///
/// # Errors
/// Why QEMU did not start it.
pub(super) async fn start_paused(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
) -> Result<(), DriverError> {
    let program = program(state)?;
    match begin(cx, state, files, &program, true, &mut |_| Ok(())).await {
        Ok(()) => Ok(()),
        Err(NoStart::Accel(said)) => Err(Trouble::Accel(said).error()),
        Err(NoStart::Error(error)) => Err(error),
    }
}

/// Goes on watching a machine whose start was interrupted; where its guest hangs, the process is ended and false is the answer.
///
/// # Errors
/// Where it can't be watched or ended.
pub(super) async fn goes_on(cx: &Cx<'_>, state: &QemuState, files: &Files) -> Result<bool, DriverError> {
    let program = program(state)?;
    let memory = Memory::new(cx.store_path, program.path());
    match judged(cx, state, files, &memory).await? {
        Verdict::Boots => Ok(true),
        Verdict::Hangs(why) => {
            process::kill(&files.pid()).await?;
            if let Some(accel) = state.accel_used() {
                memory.learn(accel, false, &why);
            }
            Ok(false)
        }
    }
}

/// The accelerators to try. What is known not to work is left out.
fn candidates(cx: &Cx<'_>, state: &QemuState, memory: &Memory) -> Result<Vec<Accel>, DriverError> {
    if let Some(accel) = Accel::of_name(&state.accel) {
        return Ok(vec![accel]);
    }
    let choice = accel::choice(state.arch()?);
    let known_bad = |accel: &Accel| memory.of(*accel).filter(|lesson| !lesson.works && *accel != Accel::Tcg);
    let mut why_slow = choice.why_slow;
    let mut candidates = choice.candidates;
    candidates.retain(|accel| match known_bad(accel) {
        Some(lesson) => {
            why_slow = Some(format!("{} did not work here: {}", accel.title(), lesson.why));
            false
        }
        None => true,
    });
    if let Some(why) = why_slow {
        cx.report.report(Event::Notice(format!("The machine is emulated, which is slow: {why}")));
    }
    Ok(candidates)
}

/// Whether the guest boots; only watched where nobody chose the accelerator and nothing is known of it.
async fn judged(
    cx: &Cx<'_>,
    state: &QemuState,
    files: &Files,
    memory: &Memory,
) -> Result<Verdict, DriverError> {
    let Some(accel) = state.accel_used().filter(|accel| *accel != Accel::Tcg && state.accel == "auto") else {
        return Ok(Verdict::Boots);
    };
    if memory.of(accel).is_some_and(|lesson| lesson.works) {
        return Ok(Verdict::Boots);
    }
    let verdict = watch::watch(cx, state, files).await?;
    if verdict == Verdict::Boots {
        memory.learn(accel, true, "");
    }
    Ok(verdict)
}

/// Why there is no QEMU process.
enum NoStart {
    /// The accelerator can't be used.
    Accel(String),
    /// Anything else.
    Error(DriverError),
}

impl From<DriverError> for NoStart {
    fn from(error: DriverError) -> Self {
        Self::Error(error)
    }
}

/// Starts QEMU's process, with other ports where some are taken.
async fn begin(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    program: &Program,
    paused: bool,
    save: Save<'_>,
) -> Result<(), NoStart> {
    let firmware = firmware(state, program)?;
    let mut sandbox = platform::HAS_SANDBOX && !state.network.starts_with("bridge=");
    let mut refused = Vec::new();
    for _ in 0..ATTEMPTS {
        let had = (state.base.ssh_port, state.engine_port);
        ports::choose(state, &refused)?;
        save(state)?;
        Run::keep(state, files)?;
        let launch = Launch {
            state,
            files,
            accel: state.accel_used().unwrap_or(Accel::Tcg),
            firmware: firmware.clone(),
            seeded: files.seed().is_file(),
            paused,
            sandbox,
            daemonize: daemonizes(state),
            socket_files: platform::HAS_SOCKET_FILES,
        };
        let args = launch.args()?;
        cx.report.report(Event::Debug(format!("{} {}", program.path().display(), shown(&args))));
        let said = match run(program, &args, files, launch.daemonize).await? {
            None => {
                say_ports(cx, state, had);
                return Ok(());
            }
            Some(said) => said,
        };
        match trouble::read(&said) {
            Trouble::Port(rule) if rule == command::ssh_rule(state) => refused.push(state.base.ssh_port),
            Trouble::Port(rule) if rule == command::engine_rule(state) => refused.push(state.engine_port),
            Trouble::Sandbox if sandbox => sandbox = false,
            // It has only just begun, and nobody knows which ports it was given.
            Trouble::TwoOfThem => process::kill(&files.pid()).await?,
            Trouble::Accel(said) => return Err(NoStart::Accel(said)),
            // What dies without a word, dies in the middle of QEMU.
            Trouble::Other(said, None) if said.starts_with(ENDED) && launch.accel != Accel::Tcg => {
                return Err(NoStart::Accel(said));
            }
            trouble => return Err(trouble.error().into()),
        }
    }
    Err(DriverError::new(
        ErrorKind::Other,
        format!(
            "QEMU did not start the machine: {ATTEMPTS} times others were faster, to take its ports or to start it"
        ),
    )
    .into())
}

/// On macOS a program with windows can't go into the background after it has begun.
fn daemonizes(state: &QemuState) -> bool {
    platform::DAEMONIZES && (state.display_type == "none" || !cfg!(target_os = "macos"))
}

/// Tells where the machine is now, where that is not where it was or where it should be.
fn say_ports(cx: &Cx<'_>, state: &QemuState, had: (u16, u16)) {
    let of = [
        ("SSH", had.0, state.base.ssh_port, state.ssh_port_wanted),
        ("the engine", had.1, state.engine_port, state.engine_port_wanted),
    ];
    for (what, had, has, wanted) in of {
        if wanted != 0 && wanted != has {
            cx.report.report(Event::Warning(format!(
                "Port {wanted} is in use: {what} is at port {has} this time"
            )));
        } else if had != 0 && had != has {
            cx.report.report(Event::Notice(format!(
                "Port {had} is in use by another program: {what} is at port {has} now"
            )));
        }
    }
}

/// Runs QEMU until it is in the background; what it said where it failed.
async fn run(
    program: &Program,
    args: &[OsString],
    files: &Files,
    daemonize: bool,
) -> Result<Option<String>, DriverError> {
    let failed = |error: ProcessError| DriverError::new(ErrorKind::Other, error.to_string());
    // What an earlier run said must not be taken for this one's.
    let _ = fs::remove_file(files.log());
    if !daemonize {
        return detached::run(program, args, files).await;
    }
    let output = program.clone().dir(files.dir()).output(args, &[], START_LIMIT).await.map_err(failed)?;
    if output.status.success() {
        return Ok(None);
    }
    let log = fs::read(files.log()).unwrap_or_default();
    let mut said =
        format!("{}\n{}", output.stderr.trim(), String::from_utf8_lossy(&log).trim()).trim().to_owned();
    if said.is_empty() {
        said = format!("{ENDED} ({})", output.status);
    }
    Ok(Some(said))
}

/// The arguments for people to read.
fn shown(args: &[OsString]) -> String {
    args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// QEMU where it can't go into the background itself: it is a process of its own from the beginning.
mod detached {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use machine_core::{DriverError, ErrorKind};
    use machine_process::Program;
    use tokio::time::{Instant, sleep};

    use super::super::process;
    use super::super::state::Files;
    use super::START_LIMIT;

    pub(super) async fn run(
        program: &Program,
        args: &[OsString],
        files: &Files,
    ) -> Result<Option<String>, DriverError> {
        let failed = |error: std::io::Error| {
            let what = format!("{} could not be started: {error}", program.path().display());
            DriverError::new(ErrorKind::Other, what).with_source(error)
        };
        let said = files.dir().join("qemu.out");
        let out = File::create(&said).map_err(failed)?;
        let mut command = Command::new(program.path());
        command.args(args).current_dir(files.dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        on_its_own(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let until = Instant::now() + START_LIMIT;
        loop {
            if child.try_wait().map_err(failed)?.is_some() {
                return Ok(Some(fs::read_to_string(&said).unwrap_or_default()));
            }
            if process::find(&files.pid())?.is_some() {
                return Ok(None);
            }
            if Instant::now() > until {
                let _ = child.kill();
                return Ok(Some(format!("it was not there after {} s", START_LIMIT.as_secs())));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    #[cfg(unix)]
    fn on_its_own(command: &mut Command) {
        std::os::unix::process::CommandExt::process_group(command, 0);
    }

    #[cfg(windows)]
    fn on_its_own(command: &mut Command) {
        /// `DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP`
        const FLAGS: u32 = 0x0000_0008 | 0x0000_0200;
        std::os::windows::process::CommandExt::creation_flags(command, FLAGS);
    }
}
