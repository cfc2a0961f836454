//! Hosts with an engine that runs, that waits behind its socket, that is stopped, and with none: each becomes a
//! machine on which containers run, for root and for a user with sudo, with every docker client at hand.

mod support;

use machine_testkit::lab::{Login, Options, Variant};
use support::web::Web;
use support::{World, assert_works, clients, inside};

/// Debian's own package, as an install script of one's own would take it.
const INSTALL: &str = "#!/bin/sh\nset -e\nexport DEBIAN_FRONTEND=noninteractive\napt-get update\n\
     apt-get install -y docker.io\n";

fn becomes_a_machine(variant: Variant) {
    let Some(world) = World::new() else { return };
    let host = world.host(variant);
    world.create_as(&host, "by-sudo", Login::Debian, &[]).ok();
    world.image(&host);
    assert_works(&world, "by-sudo");
    clients::assert_containers_run(&world, "by-sudo");
    assert_eq!(inside(&host, "hostname"), "by-sudo");
    assert_eq!(inside(&host, "stat -c '%a %U' /etc/docker/server-key.pem"), "600 root");
    // The same host, taken over by another record and as root: the engine moves to its certificates.
    world.create_as(&host, "by-root", Login::Root, &[]).ok();
    assert_works(&world, "by-root");
    clients::assert_containers_run(&world, "by-root");
    assert_eq!(inside(&host, "systemctl is-enabled docker"), "enabled");
    // It comes up again by itself.
    host.reboot().unwrap();
    support::eventually("the engine after the reboot", || world.run(&["env", "by-root"]).code == 0);
    clients::assert_containers_run(&world, "by-root");
    world.answer(&["rm", "-y", "by-root", "by-sudo"]);
    assert_eq!(world.answer(&["ls", "-q"]), "");
}

#[test]
fn an_engine_that_runs() {
    becomes_a_machine(Variant::Docker);
}

#[test]
fn an_engine_behind_its_socket() {
    becomes_a_machine(Variant::Socket);
}

#[test]
fn an_engine_that_is_stopped() {
    becomes_a_machine(Variant::Stopped);
}

#[test]
fn no_engine_and_the_distribution_s_package() {
    let Some(world) = World::new() else { return };
    let host = world.host_with(Variant::Bare, Options { with_network: true, ..Options::default() });
    world.create_as(&host, "m", Login::Debian, &["--engine-install", "distro"]).ok();
    world.image(&host);
    assert_works(&world, "m");
    clients::assert_containers_run(&world, "m");
    let upgraded = world.run(&["upgrade", "m"]);
    assert!(upgraded.ok().contains("The engine is up to date: 20.10."), "{upgraded}");
    // The mirrors have one version only. What dpkg knows and what dockerd says of itself are set back, which stands in
    // for an older package; the upgrade then fetches and installs the real one.
    let package = "dpkg-query -W -f '${Version}' docker.io";
    let newest = inside(&host, package);
    inside(
        &host,
        "sed -i '/^Package: docker.io$/,/^$/s/^Version: .*/Version: 19.03.0-1/' /var/lib/dpkg/status
         mv /usr/sbin/dockerd /usr/sbin/dockerd.real
         printf '#!/bin/sh\n[ \"$1\" = --version ] && exec echo Docker version 19.03.0, build 0\n\
                 exec /usr/sbin/dockerd.real \"$@\"\n' > /usr/sbin/dockerd
         chmod 755 /usr/sbin/dockerd",
    );
    assert_eq!(inside(&host, package), "19.03.0-1");
    let upgraded = world.run(&["upgrade", "m"]);
    assert!(upgraded.ok().contains("The engine went from 19.03.0 to 20.10."), "{upgraded}");
    assert_eq!(inside(&host, package), newest);
    assert_works(&world, "m");
    clients::assert_containers_run(&world, "m");
}

#[test]
fn no_engine_and_an_install_script() {
    let Some(world) = World::new() else { return };
    let host = world.host_with(Variant::Bare, Options { with_network: true, ..Options::default() });
    let web = Web::serve(host.our_address());
    let url = web.url("/install.sh");
    // What is not there is not run, and what is not a script neither.
    let create = |name| world.create(&host, name, &["--engine-install-url", &url]);
    create("m")
        .fails_saying(1, &["\"m\"", "install engine", "404", "--engine-install-url", "create --resume m"]);
    assert!(world.ls_error("m").contains("install engine"), "{}", world.ls_error("m"));
    web.put("/install.sh", "<!DOCTYPE html><html><body>Log in to the Wi-Fi</body></html>\n");
    let page = world.run(&["create", "--resume", "m"]);
    page.fails_saying(1, &["\"m\"", "install engine"]);
    web.put("/install.sh", "#!/bin/sh\necho 'this release is not supported' >&2\nexit 9\n");
    let failed = world.run(&["create", "--resume", "m"]);
    failed.fails_saying(1, &["this release is not supported", "9"]);
    web.put("/install.sh", INSTALL);
    world.answer(&["create", "--resume", "m"]);
    world.image(&host);
    assert_works(&world, "m");
    clients::assert_containers_run(&world, "m");
}

#[test]
fn no_engine_and_no_way_out() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Bare);
    let created = world.create(&host, "m", &[]);
    created.fails_saying(1, &["\"m\"", "get.docker.com", "does not reach the outside", "create --resume m"]);
    assert!(world.ls_error("m").contains("get.docker.com"), "{}", world.ls_error("m"));
    let none = world.create(&host, "n", &["--engine-install", "none"]);
    none.fails_saying(1, &["\"n\"", "there is no engine on the host"]);
    let distro = world.create(&host, "d", &["--engine-install", "distro", "--rollback"]);
    distro.fails_saying(1, &["\"d\"", "Unable to locate package docker.io", "nothing is left of \"d\""]);
    assert_eq!(world.answer(&["ls", "-q"]), "m\nn\n");
    world.answer(&["rm", "-y", "m", "n"]);
    assert_eq!(world.answer(&["ls", "-q"]), "");
}
