//! `cargo xtask lab`: real hosts to try things on.

use std::{
    env,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command as Process, Stdio},
    time::Instant,
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use machine_testkit::lab::{HostRecord, Lab, Login, MirrorProxy, Options, Spec, Variant};

use crate::Outcome;

pub fn cli() -> Command {
    let name = Arg::new("name").value_name("NAME").help("Its name");
    let options = format!("{}; may be given several times", Options::WORDS.join(", "));
    let up = Command::new("up")
        .about("Bring a host up; it stays until it is taken down")
        .arg(name.clone())
        .arg(
            Arg::new("variant")
                .long("variant")
                .default_value("docker")
                .help("docker, socket, stopped or bare"),
        )
        .arg(Arg::new("option").long("option").action(ArgAction::Append).help(options));
    let down = Command::new("down")
        .about("Take a host down")
        .arg(name.clone().required_unless_present("all"))
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All hosts of this checkout"));
    let words = Arg::new("command").value_name("COMMAND").num_args(0..).trailing_var_arg(true);
    let ssh = Command::new("ssh")
        .about("A shell on a host, or a command there")
        .arg(Arg::new("login").long("login").default_value("root").help("root, debian, asks or nosudo"))
        .arg(name.clone().required(true))
        .arg(words.allow_hyphen_values(true).help("What to run there"));
    let mirror = Command::new(MIRROR).hide(true).arg(name.required(true));
    Command::new("lab")
        .about("Real Debian hosts in namespaces (needs root)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([up, down, Command::new("list").about("The hosts that are up"), ssh, mirror])
}

/// The hidden command that serves the package mirrors to a host that outlives us.
const MIRROR: &str = "serve-mirror";

pub fn run(given: &ArgMatches) -> Outcome {
    let (name, given) = given.subcommand().ok_or("say what to do with the lab")?;
    let host = || given.get_one::<String>("name").map_or("", String::as_str);
    match name {
        "up" => up(given),
        "down" if given.get_flag("all") => down_all(),
        "down" => Ok(Lab::without_base()?.down(host())?),
        "list" => list(),
        "ssh" => ssh(given),
        MIRROR => serve_mirror(host()),
        other => Err(format!("no lab command {other}").into()),
    }
}

fn up(given: &ArgMatches) -> Outcome {
    let mut options = Options::default();
    for word in given.get_many::<String>("option").into_iter().flatten() {
        options.set(word)?;
    }
    let variant: Variant = given.get_one::<String>("variant").ok_or("no variant")?.parse()?;
    let spec = Spec { name: given.get_one::<String>("name").cloned(), variant, options };
    let start = Instant::now();
    let lab = Lab::open()?;
    let opened = start.elapsed();
    let host = lab.lasting_host(spec)?;
    if host.options.with_network {
        start_mirror(&host)?;
    }
    let booted = start.elapsed() - opened;
    say!(
        "{} is up at {} port {} ({variant} engine) in {:.1} s, after {:.1} s for its root file system",
        host.name,
        host.address(),
        host.ssh_port(),
        booted.as_secs_f64(),
        opened.as_secs_f64()
    );
    let key = lab.key(machine_testkit::lab::KeyKind::Rsa);
    say!(
        "users: root, debian (sudo), asks (sudo with password {}), nosudo",
        machine_testkit::lab::ASKS_PASSWORD
    );
    say!("ssh -i {} -p {} debian@{}", key.display(), host.ssh_port(), host.address());
    Ok(())
}

/// A process of its own, in the group of the host's, so that it ends with it.
fn start_mirror(host: &HostRecord) -> Outcome {
    let group = host.process_group().ok_or("the host has no process")?;
    let mut server = Process::new(env::current_exe()?);
    server.args(["lab", MIRROR, &host.name]).process_group(group.as_raw_nonzero().get());
    server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let said = server.spawn()?.stdout.take().ok_or("the mirror has no output")?;
    // It says a word when it listens; until then the host would be refused.
    let mut word = String::new();
    BufReader::new(said).read_line(&mut word)?;
    if word.is_empty() { Err("the package mirror for the host did not start".into()) } else { Ok(()) }
}

fn serve_mirror(name: &str) -> Outcome {
    let host = Lab::without_base()?.attach(name)?;
    let _serving = MirrorProxy::start(host.our_address())?;
    say!("listening");
    loop {
        std::thread::park();
    }
}

fn down_all() -> Outcome {
    let lab = Lab::without_base()?;
    for host in lab.list()? {
        lab.down(&host.name)?;
        say!("{} is down", host.name);
    }
    Ok(())
}

fn list() -> Outcome {
    for host in Lab::without_base()?.list()? {
        let whose = if host.lasting { "" } else { "  of a test" };
        say!("{}  {}:{}  {}{whose}", host.name, host.address(), host.ssh_port(), host.variant);
    }
    Ok(())
}

fn ssh(given: &ArgMatches) -> Outcome {
    let name = given.get_one::<String>("name").ok_or("no name")?;
    let login = match given.get_one::<String>("login").map(String::as_str) {
        Some("debian") => Login::Debian,
        Some("asks") => Login::Asks,
        Some("nosudo") => Login::NoSudo,
        Some("root") | None => Login::Root,
        Some(other) => return Err(format!("no user {other}; there are root, debian, asks and nosudo").into()),
    };
    let host = Lab::without_base()?.attach(name)?;
    let words = given.get_many::<String>("command").into_iter().flatten();
    let error = host.ssh_command(login)?.stdin(Stdio::inherit()).args(words).exec();
    Err(error.into())
}
