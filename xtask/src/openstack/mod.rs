//! `cargo xtask openstack`: a real OpenStack (Debian 12's: Zed), and the driver's tests against it.
//!
//! keystone, glance, placement, nova, neutron and cinder of Debian's packages run in a chroot and in a network namespace in
//! which every address is this computer's, so that nothing leaves it. nova's hypervisor is its fake one, neutron's wires and
//! cinder's disks are none: the APIs, their databases and all that they check are real, but no server boots.

mod chroot;
mod config;

use std::{
    fs,
    path::PathBuf,
    process::{Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{Outcome, workspace};
use chroot::Chroot;

/// The variable that names another folder for the chroot. It takes 2.5 GB.
const FOLDER: &str = "MACHINE_OPENSTACK_DIR";
/// How long a service may take until it answers.
const SERVICE_LIMIT: Duration = Duration::from_secs(300);
/// Where each service answers.
const ADDRESSES: [(&str, &str); 6] = [
    ("keystone", "http://127.0.0.1:5000/v3"),
    ("placement", "http://127.0.0.1:8778/"),
    ("glance", "http://127.0.0.1:9292/"),
    ("neutron", "http://127.0.0.1:9696/"),
    ("nova", "http://127.0.0.1:8774/"),
    ("cinder", "http://127.0.0.1:8776/"),
];

pub fn cli() -> Command {
    let remove = Arg::new("remove").long("remove").action(ArgAction::SetTrue).help("Remove its folder, too");
    Command::new("openstack")
        .about("A real OpenStack on this computer, and the driver's tests against it (needs root)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("up").about("Install it (about 5 minutes, once) and bring it up"))
        .subcommand(Command::new("down").about("Stop it").arg(remove))
        .subcommand(
            Command::new("test").about("Bring it up where it is not, and run the driver's tests against it"),
        )
}

pub fn run(given: &ArgMatches) -> Outcome {
    let chroot = Chroot::new(folder());
    match given.subcommand() {
        Some(("up", _)) => up(&chroot),
        Some(("down", given)) => {
            chroot.down()?;
            if given.get_flag("remove") { chroot.remove() } else { Ok(()) }
        }
        Some(("test", _)) => test(&chroot),
        _ => Err("say what to do with OpenStack".into()),
    }
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).map_or_else(|| PathBuf::from("/var/tmp/machine-openstack"), PathBuf::from)
}

fn up(chroot: &Chroot) -> Outcome {
    let start = Instant::now();
    let tell = |what: &str| say!("{what}: {} s", start.elapsed().as_secs());
    if !chroot.is_installed() {
        chroot.install()?;
        tell("installed");
    }
    chroot.down()?;
    chroot.prepare()?;
    write_files(chroot)?;
    databases(chroot)?;
    tell("databases");
    identity(chroot)?;
    tell("keystone and schemas");
    services(chroot)?;
    tell("services");
    chroot.inside(&["python3", "/cl/seed.py", "things"])?;
    tell("ready");
    say!("cargo xtask openstack test runs the driver's tests; down stops it");
    Ok(())
}

fn write_files(chroot: &Chroot) -> Outcome {
    for (name, text) in config::files() {
        fs::write(chroot.path("cl/conf").join(name), text)?;
    }
    fs::write(chroot.path("cl/seed.py"), include_str!("seed.py"))?;
    let python = chroot.path("usr/lib/python3/dist-packages");
    fs::write(python.join("machine_null.py"), include_str!("null_network.py"))?;
    fs::write(python.join("machine_null_volume.py"), include_str!("null_volume.py"))?;
    // neutron finds its mechanisms by what packages say of themselves.
    let about = python.join("machine_null-1.0.dist-info");
    fs::create_dir_all(&about)?;
    fs::write(about.join("METADATA"), "Metadata-Version: 2.1\nName: machine_null\nVersion: 1.0\n")?;
    let entry = "[neutron.ml2.mechanism_drivers]\nmachine_null = machine_null:Null\n";
    fs::write(about.join("entry_points.txt"), entry)?;
    Ok(())
}

/// The options of MariaDB: its data is in memory, and nobody else is in the namespace.
const MARIADB: [&str; 11] = [
    "mariadbd",
    "--no-defaults",
    "--user=root",
    "--datadir=/cl/db/my",
    "--bind-address=127.0.0.1",
    "--socket=/cl/my.sock",
    "--skip-grant-tables",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-log-file-size=32M",
    "--max-connections=500",
    "--character-set-server=utf8mb3",
];

fn databases(chroot: &Chroot) -> Outcome {
    chroot.inside(&[
        "mariadb-install-db",
        "--no-defaults",
        "--user=root",
        "--datadir=/cl/db/my",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ])?;
    chroot.start("mariadb", &MARIADB)?;
    let ask = |sql: &str| chroot.inside(&["mariadb", "-S", "/cl/my.sock", "-e", sql]);
    wait_for("MariaDB", || ask("select 1").is_ok())?;
    for name in ["keystone", "glance", "placement", "nova_api", "nova", "nova_cell0", "neutron", "cinder"] {
        ask(&format!("create database {name} character set utf8mb3"))?;
    }
    let rabbit = [
        "env",
        "RABBITMQ_NODENAME=rabbit@localhost",
        "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
        "RABBITMQ_LOG_BASE=/cl/log",
        "RABBITMQ_MNESIA_BASE=/cl/mnesia",
        "RABBITMQ_HOME=/cl",
        "HOME=/cl",
        "/usr/lib/rabbitmq/bin/rabbitmq-server",
    ];
    chroot.start("rabbitmq", &rabbit)
}

/// keystone with its first user, and the schemas of all the others meanwhile.
fn identity(chroot: &Chroot) -> Outcome {
    let keystone = |words: &[&str]| {
        chroot.inside(&[&["keystone-manage", "--config-file", "/cl/conf/keystone.conf"], words].concat())
    };
    keystone(&["db_sync"])?;
    let root = ["--keystone-user", "root", "--keystone-group", "root"];
    keystone(&[&["fernet_setup"], &root[..]].concat())?;
    keystone(&[&["credential_setup"], &root[..]].concat())?;
    let url = ADDRESSES[0].1;
    keystone(&[
        "bootstrap",
        "--bootstrap-password",
        "admin",
        "--bootstrap-admin-url",
        url,
        "--bootstrap-internal-url",
        url,
        "--bootstrap-public-url",
        url,
        "--bootstrap-region-id",
        "RegionOne",
    ])?;
    chroot.start(
        "keystone",
        &[
            "env",
            "OS_KEYSTONE_CONFIG_FILES=/cl/conf/keystone.conf",
            "keystone-wsgi-public",
            "-b",
            "127.0.0.1",
            "-p",
            "5000",
        ],
    )?;
    thread::scope(|scope| {
        let work: Vec<_> = SCHEMAS.map(|steps| scope.spawn(move || schema(chroot, steps))).into();
        let ends = work.into_iter().map(|work| work.join().map_err(|_| "a schema's thread panicked")?);
        ends.collect::<Result<Vec<()>, String>>()
    })?;
    answers(chroot, "keystone")?;
    chroot.inside(&["python3", "/cl/seed.py", "catalog"])
}

/// What makes the tables of each service, one after the other within a service.
const SCHEMAS: [&[&str]; 5] = [
    &["glance-manage --config-file /cl/conf/glance.conf db_sync"],
    &["placement-manage --config-file /cl/conf/placement.conf db sync"],
    &["neutron-db-manage --config-file /cl/conf/neutron.conf upgrade heads"],
    &["cinder-manage --config-file /cl/conf/cinder.conf db sync"],
    &[
        "nova-manage --config-file /cl/conf/nova.conf api_db sync",
        "nova-manage --config-file /cl/conf/nova.conf cell_v2 map_cell0 --database_connection mysql+pymysql://root:x@127.0.0.1/nova_cell0",
        "nova-manage --config-file /cl/conf/nova.conf db sync",
        "nova-manage --config-file /cl/conf/nova.conf cell_v2 create_cell --name cell1",
    ],
];

fn schema(chroot: &Chroot, steps: &[&str]) -> Result<(), String> {
    for step in steps {
        let words: Vec<&str> = step.split(' ').collect();
        chroot.inside(&words).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn services(chroot: &Chroot) -> Outcome {
    let placement =
        ["env", "OS_PLACEMENT_CONFIG_DIR=/cl/conf", "placement-api", "-b", "127.0.0.1", "-p", "8778"];
    chroot.start("placement", &placement)?;
    for (program, config) in [
        ("glance-api", "glance"),
        ("neutron-server", "neutron"),
        ("nova-conductor", "nova"),
        ("nova-scheduler", "nova"),
        ("nova-compute", "nova"),
        ("nova-api", "nova"),
        ("cinder-scheduler", "cinder"),
        ("cinder-volume", "cinder"),
        ("cinder-api", "cinder"),
    ] {
        chroot.start(program, &[program, "--config-file", &format!("/cl/conf/{config}.conf")])?;
    }
    for (name, _) in ADDRESSES {
        answers(chroot, name)?;
    }
    let found = "select count(*) from nova_api.host_mappings";
    wait_for("nova to find its hypervisor", || {
        let said = chroot.read(&["mariadb", "-N", "-S", "/cl/my.sock", "-e", found]);
        said.is_ok_and(|count| count.trim() == "1")
    })
}

fn answers(chroot: &Chroot, service: &str) -> Outcome {
    let (_, url) = ADDRESSES.iter().find(|(name, _)| *name == service).ok_or("no such service")?;
    wait_for(service, || chroot.inside(&["curl", "-s", "-o", "/dev/null", url]).is_ok())
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > SERVICE_LIMIT {
            return Err(
                format!("waited {} s for {what}; see its log below cl/log", SERVICE_LIMIT.as_secs()).into()
            );
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn test(chroot: &Chroot) -> Outcome {
    if !chroot.is_up() {
        up(chroot)?;
    }
    let built = workspace::read(&mut workspace::cargo(&[
        "test",
        "-p",
        "machine-drivers",
        "--test",
        "conformance",
        "--no-run",
        "--message-format=json",
    ]))?;
    let binary = built.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("executable")?.as_str()?.to_owned())
    });
    let binary = binary.ok_or("cargo did not say where the tests are")?;
    let start = Instant::now();
    let mut command = Process::new("ip");
    command.args(["netns", "exec", chroot::NAMESPACE, &binary, "--ignored", "--test-threads=1"]);
    command.args(["--nocapture", "openstack::real"]);
    let status = command.stdin(Stdio::null()).status()?;
    say!("the tests took {} s", start.elapsed().as_secs());
    if status.success() { Ok(()) } else { Err("the driver's tests failed".into()) }
}
