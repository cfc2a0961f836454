use machine_core::{ConfigureContext, Driver, DriverState, FlagValue, FlagValues, MachineName};
use serde_json::json;

use super::{DigitalOcean, flags};

fn wish(given: &[(&str, &str)]) -> DriverState {
    let mut values = FlagValues::defaults(flags::FLAGS);
    values.set("digitalocean-access-token", FlagValue::Str("t0ken".into()));
    for (flag, value) in given {
        values.set(*flag, FlagValue::Str((*value).into()));
    }
    let name = MachineName::new("dev").unwrap();
    let cx = ConfigureContext { name: &name, store_path: std::path::Path::new("/store") };
    DigitalOcean::new().configure(&cx, &values).unwrap()
}

/// The keys of `Driver` in docker/machine 0.16.2's `drivers/digitalocean/digitalocean.go`, in their order.
#[test]
fn the_record_is_that_of_the_go_program() {
    let text = serde_json::to_string(&wish(&[])).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"IPAddress":"","MachineName":"dev","SSHUser":"root","SSHPort":22,"SSHKeyPath":"/store/machines/dev/id_rsa","#,
            r#""StorePath":"/store","SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":"","AccessToken":"t0ken","#,
            r#""DropletID":0,"DropletName":"","Image":"ubuntu-24-04-x64","Region":"nyc3","SSHKeyID":0,"#,
            r#""SSHKeyFingerprint":"","SSHKey":"","Size":"s-1vcpu-1gb","IPv6":false,"Backups":false,"#,
            r#""PrivateNetworking":false,"UserDataFile":"","Monitoring":false,"Tags":""}"#
        )
    );
}

#[test]
fn what_is_ours_comes_after() {
    let ours = wish(&[("digitalocean-endpoint", "http://127.0.0.1:1"), ("digitalocean-ca-cert", "/ca.pem")]);
    let keys: Vec<&str> = ours.0.keys().map(String::as_str).collect();
    let at = keys.iter().position(|key| *key == "Tags").unwrap();
    assert_eq!(keys[at + 1..], ["Endpoint", "CACert"]);
}

#[test]
fn a_record_with_nulls_is_read() {
    let mut state = wish(&[]);
    state.0.insert("Tags".into(), json!(null));
    state.0.insert("DropletID".into(), json!(null));
    assert_eq!(DigitalOcean::new().known(&state).unwrap().ip, "");
}

/// The addresses of a droplet, by what it has of them.
#[test]
fn addresses() {
    let of = |status: &str, v4: serde_json::Value, v6: serde_json::Value| {
        let droplet = json!({"id": 1, "status": status, "networks": {"v4": v4, "v6": v6}});
        serde_json::from_value::<super::api::Droplet>(droplet).unwrap().address()
    };
    let net = |address: &str, kind: &str| json!([{"ip_address": address, "type": kind}]);
    let v6 = || net("2001:DB8::1", "public");
    assert_eq!(of("new", net("203.0.113.7", "public"), v6()).as_deref(), Some("203.0.113.7"));
    assert_eq!(of("new", net("10.0.0.7", "private"), v6()), None, "the public one may still come");
    assert_eq!(of("active", net("10.0.0.7", "private"), v6()).as_deref(), Some("2001:db8::1"));
    assert_eq!(of("active", net("10.0.0.7", "private"), json!(null)).as_deref(), Some("10.0.0.7"));
    assert_eq!(of("active", net("$(reboot)", "public"), json!([])), None);
}
