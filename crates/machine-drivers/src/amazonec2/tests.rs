//! What is the driver's own: the record, the request, a rehearsal, lists, what goes wrong with spot instances.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::{ErrorKind, FlagValue, MachineName, Secret, State};
use machine_testkit::conformance::{Bench, Cut, Journal, full_text};
use machine_testkit::double::{Double, Provider, Reply, Request};

use super::api::Image;
use super::*;
use crate::cloud::Mark;

/// A record as the Go driver writes it (the struct of docker/machine v0.16.2).
const GO: &str = r#"{"IPAddress":"203.0.113.7","MachineName":"dev","SSHUser":"ubuntu","SSHPort":22,"SSHKeyPath":"/s/machines/dev/id_rsa","StorePath":"/s","SwarmMaster":false,"SwarmHost":"tcp://0.0.0.0:3376","SwarmDiscovery":"","Id":"0f3","AccessKey":"AKIDEXAMPLE","SecretKey":"wJalr","SessionToken":"","Region":"us-east-1","AMI":"ami-927185ef","SSHKeyID":0,"ExistingKey":false,"KeyName":"dev","InstanceId":"i-0abc","InstanceType":"t2.micro","PrivateIPAddress":"172.31.0.7","SecurityGroupId":"","SecurityGroupIds":["sg-1"],"SecurityGroupName":"","SecurityGroupNames":["docker-machine"],"SecurityGroupReadOnly":false,"OpenPorts":null,"Tags":"","ReservationId":"","DeviceName":"/dev/sda1","RootSize":16,"VolumeType":"gp2","IamInstanceProfile":"","VpcId":"vpc-1","SubnetId":"subnet-1","Zone":"a","RequestSpotInstance":false,"SpotPrice":"0.50","BlockDurationMinutes":0,"PrivateIPOnly":false,"UsePrivateIP":false,"UseEbsOptimizedInstance":false,"Monitoring":false,"SSHPrivateKeyPath":"","RetryCount":5,"Endpoint":"","DisableSSL":false,"UserDataFile":""}"#;

fn go() -> DriverState {
    serde_json::from_str(GO).unwrap()
}

fn environment(double: &str) -> Environment {
    let values =
        [("AWS_ENDPOINT_URL", double), ("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    Environment::of(std::path::Path::new("/nowhere"), &values)
}

fn flags(given: &[(&str, FlagValue)]) -> FlagValues {
    let mut flags = FlagValues::defaults(flags::FLAGS);
    for (name, value) in given {
        flags.set(*name, value.clone());
    }
    flags
}

fn text(value: &str) -> FlagValue {
    FlagValue::Str(value.to_owned())
}

fn configured(given: &[(&str, FlagValue)]) -> Ec2State {
    let name = MachineName::new("dev").unwrap();
    let cx = ConfigureContext { name: &name, store_path: std::path::Path::new("/s") };
    flags::configure(&cx, &flags(given)).unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_go_drivers_keys_stand_first_and_in_its_order() {
    let keys: Vec<String> = go().0.keys().cloned().collect();
    let ours: Vec<String> = Ec2State::read(&go()).unwrap().write().unwrap().0.keys().cloned().collect();
    assert_eq!(ours[..keys.len()], keys);
    assert_eq!(
        ours[keys.len()..],
        [
            "VolumeEncrypted",
            "VolumeKmsKeyId",
            "MetadataTokenSetting",
            "MetadataTokenResponseHopLimit",
            "EncryptEbsVolume",
            "HttpEndpoint",
            "HttpTokens",
            "HttpPutResponseHopLimit",
            "HttpProtocolIpv6",
            "EnablePrimaryIpv6",
            "Ipv6AddressCount",
            "Ipv6AddressOnly",
            "IPv6Address",
            "Profile",
            "CaCert",
            "ClientToken",
            "AskedAt",
            "SpotInstanceRequestId",
            "OwnSecurityGroup",
            "AllowFrom",
            "KeyUploaded",
            "OwnerId"
        ]
    );
}

#[test]
fn a_machine_of_the_go_driver_is_known() {
    let driver = Amazonec2::within(environment("http://127.0.0.1:9"));
    let known = driver.known(&go()).unwrap();
    assert_eq!((known.ip.as_str(), known.url.as_str()), ("203.0.113.7", "tcp://203.0.113.7:2376"));
    assert_eq!(known.ssh.unwrap().user, "ubuntu");
    assert_eq!(driver.account(&go()).unwrap(), "AKIDEXAMPLE/us-east-1");
}

#[test]
fn defaults_of_today() {
    let state = configured(&[]);
    assert_eq!((state.instance_type.as_str(), state.volume_type.as_str()), ("t3.micro", "gp3"));
    assert_eq!((state.http_tokens.as_str(), state.metadata_token_response_hop_limit), ("required", 1));
    // Left open until somebody is asked.
    assert_eq!((state.region.as_str(), state.ami.as_str(), state.device_name.as_str()), ("", "", ""));
    assert_eq!(state.group_names(), ["docker-machine"]);
}

/// Each flag that is about the instance, and the parameters that it leads to.
#[test]
fn every_flag_reaches_the_request() {
    let (on, int) = (FlagValue::Bool(true), FlagValue::Int);
    let mapping = "BlockDeviceMapping.1";
    let card = "NetworkInterface.1";
    let spot = ("amazonec2-request-spot-instance", on.clone());
    #[rustfmt::skip]
    /// Flags, and the fields of the request that they become.
    type Case = (Vec<(&'static str, FlagValue)>, Vec<(String, &'static str)>);
    let cases: Vec<Case> = vec![
        (
            vec![],
            vec![
                ("MetadataOptions.HttpTokens".into(), "required"),
                (format!("{mapping}.Ebs.VolumeSize"), "16"),
                (format!("{mapping}.Ebs.VolumeType"), "gp3"),
                (format!("{mapping}.DeviceName"), "/dev/sda1"),
                (format!("{card}.AssociatePublicIpAddress"), "true"),
                ("Monitoring.Enabled".into(), "false"),
                ("EbsOptimized".into(), "false"),
                (format!("{card}.SecurityGroupId.1"), "sg-1"),
                (format!("{card}.SecurityGroupId.2"), "sg-2"),
            ],
        ),
        (vec![("amazonec2-ami", text("ami-7"))], vec![("ImageId".into(), "ami-7")]),
        (vec![("amazonec2-instance-type", text("m7g.large"))], vec![("InstanceType".into(), "m7g.large")]),
        (vec![("amazonec2-subnet-id", text("subnet-7"))], vec![(format!("{card}.SubnetId"), "subnet-7")]),
        (
            vec![("amazonec2-device-name", text("/dev/xvda"))],
            vec![(format!("{mapping}.DeviceName"), "/dev/xvda")],
        ),
        (vec![("amazonec2-root-size", int(64))], vec![(format!("{mapping}.Ebs.VolumeSize"), "64")]),
        (vec![("amazonec2-volume-type", text("st1"))], vec![(format!("{mapping}.Ebs.VolumeType"), "st1")]),
        (
            vec![("amazonec2-iam-instance-profile", text("web"))],
            vec![("IamInstanceProfile.Name".into(), "web")],
        ),
        (
            vec![("amazonec2-iam-instance-profile", text("arn:aws:iam::1:instance-profile/web"))],
            vec![("IamInstanceProfile.Arn".into(), "arn:aws:iam::1:instance-profile/web")],
        ),
        (vec![("amazonec2-monitoring", on.clone())], vec![("Monitoring.Enabled".into(), "true")]),
        (vec![("amazonec2-use-ebs-optimized-instance", on.clone())], vec![("EbsOptimized".into(), "true")]),
        (
            vec![("amazonec2-private-address-only", on.clone())],
            vec![(format!("{card}.AssociatePublicIpAddress"), "false")],
        ),
        (
            vec![("amazonec2-volume-encrypted", on.clone())],
            vec![(format!("{mapping}.Ebs.Encrypted"), "true")],
        ),
        (
            vec![("amazonec2-encrypt-ebs-volume", on.clone())],
            vec![
                (format!("{mapping}.Ebs.Encrypted"), "true"),
                ("BlockDeviceMapping.2.Ebs.Encrypted".into(), "true"),
                ("BlockDeviceMapping.2.DeviceName".into(), "/dev/sdb"),
            ],
        ),
        (
            vec![("amazonec2-volume-kms-key", text("k1"))],
            vec![(format!("{mapping}.Ebs.Encrypted"), "true"), (format!("{mapping}.Ebs.KmsKeyId"), "k1")],
        ),
        (vec![("amazonec2-kms-key", text("k2"))], vec![(format!("{mapping}.Ebs.KmsKeyId"), "k2")]),
        (
            vec![("amazonec2-metadata-token", text("optional"))],
            vec![("MetadataOptions.HttpTokens".into(), "optional")],
        ),
        (
            vec![("amazonec2-http-tokens", text("optional"))],
            vec![("MetadataOptions.HttpTokens".into(), "optional")],
        ),
        (
            vec![("amazonec2-metadata-token-response-hop-limit", int(2))],
            vec![("MetadataOptions.HttpPutResponseHopLimit".into(), "2")],
        ),
        (
            vec![("amazonec2-http-put-response-hop-limit", int(3))],
            vec![("MetadataOptions.HttpPutResponseHopLimit".into(), "3")],
        ),
        (
            vec![("amazonec2-http-endpoint", text("disabled"))],
            vec![("MetadataOptions.HttpEndpoint".into(), "disabled")],
        ),
        (
            vec![("amazonec2-http-protocol-ipv6", text("enabled"))],
            vec![("MetadataOptions.HttpProtocolIpv6".into(), "enabled")],
        ),
        (
            vec![("amazonec2-ipv6-address-count", int(2))],
            vec![
                (format!("{card}.Ipv6AddressCount"), "2"),
                (format!("{card}.AssociatePublicIpAddress"), "true"),
            ],
        ),
        (
            vec![("amazonec2-ipv6-address-count", int(1)), ("amazonec2-ipv6-address-only", on.clone())],
            vec![(format!("{card}.AssociatePublicIpAddress"), "false")],
        ),
        (
            vec![("amazonec2-ipv6-address-count", int(1)), ("amazonec2-enable-primary-ipv6", on.clone())],
            vec![(format!("{card}.PrimaryIpv6"), "true")],
        ),
        (
            vec![spot.clone()],
            vec![
                ("InstanceMarketOptions.MarketType".into(), "spot"),
                ("InstanceMarketOptions.SpotOptions.MaxPrice".into(), "0.50"),
                ("TagSpecification.4.ResourceType".into(), "spot-instances-request"),
            ],
        ),
        (
            vec![spot.clone(), ("amazonec2-spot-price", text("0.07"))],
            vec![("InstanceMarketOptions.SpotOptions.MaxPrice".into(), "0.07")],
        ),
        (
            vec![("amazonec2-keypair-name", text("mine")), ("amazonec2-ssh-keypath", text("/k"))],
            vec![("KeyName".into(), "mine")],
        ),
        (
            vec![("amazonec2-tags", text("team,web,Name,other"))],
            vec![
                ("TagSpecification.1.Tag.1.Key".into(), "team"),
                ("TagSpecification.1.Tag.1.Value".into(), "web"),
                ("TagSpecification.1.Tag.2.Value".into(), "other"),
            ],
        ),
    ];
    for (given, wanted) in cases {
        let mut state = configured(&given);
        state.security_group_ids = vec!["sg-1".into(), "sg-2".into()];
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        if state.device_name.is_empty() {
            state.device_name = "/dev/sda1".into();
        }
        let volumes = vec![(state.device_name.clone(), 8), ("/dev/sdb".to_owned(), 0)];
        let mark = Mark { store: "store".into(), machine: "dev".into() };
        let params = request::run_instances(&state, &Image { volumes, ..Image::default() }, &mark, "");
        let sent: BTreeMap<_, _> = params.pairs().iter().cloned().collect();
        assert_eq!(sent.len(), params.pairs().len(), "{names:?}: a parameter is there twice");
        for (key, value) in wanted {
            assert_eq!(sent.get(&key).map(String::as_str), Some(value), "{names:?}: {key}");
        }
        for kind in 1..=3 {
            let tags =
                sent.iter().filter(|(key, _)| key.starts_with(&format!("TagSpecification.{kind}.Tag.")));
            let values: Vec<&str> = tags.map(|(_, value)| value.as_str()).collect();
            assert!(
                values.contains(&"docker-machine-store") && values.contains(&"store"),
                "{names:?}: {values:?}"
            );
        }
    }
}

#[test]
fn without_a_price_the_on_demand_price_is_the_limit() {
    let state = configured(&[
        ("amazonec2-request-spot-instance", FlagValue::Bool(true)),
        ("amazonec2-spot-price", text("")),
    ]);
    let mark = Mark { store: "store".into(), machine: "dev".into() };
    let params = request::run_instances(&state, &Image::default(), &mark, "");
    assert!(params.pairs().iter().all(|(key, _)| !key.ends_with("MaxPrice")));
}

#[test]
fn user_data_has_a_limit() {
    assert_eq!(request::encoded(&Secret::new("#!/bin/sh\n")).unwrap(), "IyEvYmluL3NoCg==");
    assert!(request::encoded(&Secret::new("x".repeat(request::MAX_USER_DATA))).is_ok());
    let error = request::encoded(&Secret::new("x".repeat(request::MAX_USER_DATA + 1))).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Precreate, "the user data has 16385 bytes; EC2 takes 16384")
    );
}

/// EC2 with scripted answers: an action's name leads to a status and a body.
#[derive(Default)]
struct Scripted {
    answers: BTreeMap<&'static str, (u16, String)>,
}

impl Scripted {
    fn refusing(mut self, action: &'static str, status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
        );
        self.answers.insert(action, (status, body));
        self
    }

    fn answering(mut self, action: &'static str, inside: &str) -> Self {
        let body = format!(
            "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">{inside}</{action}Response>"
        );
        self.answers.insert(action, (200, body));
        self
    }

    /// A region in which a default wish works.
    fn region() -> Self {
        Self::default()
            .answering("DescribeSubnets", "<subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><availabilityZone>us-east-1a</availabilityZone><defaultForAz>true</defaultForAz></item></subnetSet>")
            .answering("DescribeKeyPairs", "<keySet/>")
            .answering("DescribeSecurityGroups", "<securityGroupInfo><item><groupId>sg-1</groupId><groupName>docker-machine</groupName><vpcId>vpc-1</vpcId><ipPermissions><item><ipProtocol>-1</ipProtocol><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item></ipPermissions></item></securityGroupInfo>")
            .answering("DescribeInstanceTypes", "<instanceTypeSet><item><processorInfo><supportedArchitectures><item>x86_64</item></supportedArchitectures></processorInfo></item></instanceTypeSet>")
            .answering("GetParameter", "")
            .answering("DescribeImages", "<imagesSet><item><imageId>ami-old</imageId><architecture>x86_64</architecture><rootDeviceName>/dev/sda1</rootDeviceName><creationDate>2024-05-01T00:00:00.000Z</creationDate></item><item><imageId>ami-new</imageId><architecture>x86_64</architecture><rootDeviceName>/dev/sda1</rootDeviceName><creationDate>2026-05-01T00:00:00.000Z</creationDate></item></imagesSet>")
            .refusing("RunInstances", 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
    }
}

impl Provider for Scripted {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.header("x-amz-target") == "AmazonSSM.GetParameter" {
            let refusal =
                serde_json::json!({"__type": "com.amazon.coral#ParameterNotFound", "message": "none"});
            return Reply::json(400, &refusal);
        }
        let action = request.form().get("Action").cloned().unwrap_or_default();
        match self.answers.get(action.as_str()) {
            Some((status, body)) => Reply::text(*status, "text/xml", body),
            None => Reply::text(
                400,
                "text/xml",
                &format!(
                    "<Response><Errors><Error><Code>InvalidAction</Code><Message>{action}</Message></Error></Errors></Response>"
                ),
            ),
        }
    }
}

fn actions(double: &Double<Scripted>) -> Vec<String> {
    let action = |request: &Request| request.form().get("Action").cloned().unwrap_or_default();
    double.take_exchanges().iter().map(|exchange| action(&exchange.request)).collect()
}

fn precreate(scripted: Scripted, given: &[(&str, FlagValue)]) -> (Result<(), DriverError>, Vec<Request>) {
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let wish = bench.wish(&driver, &flags(given));
    let result = run(driver.precreate(&bench.cx(), &wish));
    (result, double.take_exchanges().into_iter().map(|exchange| exchange.request).collect())
}

#[test]
fn a_rehearsal_comes_before_anything_is_made() {
    let (result, requests) = precreate(Scripted::region(), &[]);
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)));
    let last = requests.last().unwrap().form();
    assert_eq!((last["Action"].as_str(), last["DryRun"].as_str()), ("RunInstances", "true"));
    // The Systems Manager knew no image: the newest of Canonical's was taken.
    assert_eq!(last["ImageId"], "ami-new");
    assert!(!last.contains_key("ClientToken") && !last.contains_key("KeyName"));
}

#[test]
fn groups_that_may_not_be_changed_do_not_keep_a_machine_from_one_of_its_own() {
    let mine = ("amazonec2-security-group", FlagValue::List(vec!["mine".into()]));
    let me = ["198.51.100.7/32".to_owned()];
    for (given, from, missing) in [
        (None, &me[..], ""),
        (Some(mine.clone()), &me[..], "mine"),
        (None, &[], ""),
        (Some(mine), &[], "mine"),
    ] {
        // The shared group is the only one there, and not listed where it is not asked for.
        let region = match (&given, from) {
            (None, []) => Scripted::region(),
            _ => Scripted::region().answering("DescribeSecurityGroups", "<securityGroupInfo/>"),
        };
        let double = Double::start(region);
        let driver = Amazonec2::within(environment(&double.url()));
        let bench = Bench::new();
        let read_only = ("amazonec2-security-group-readonly", FlagValue::Bool(true));
        let given: Vec<_> = given.into_iter().chain([read_only]).collect();
        let wish = bench.wish(&driver, &flags(&given));
        let result = run(driver.precreate(&Cx { allow_from: from, ..bench.cx() }, &wish));
        match (result, missing) {
            (Ok(()), "") => {}
            (Ok(()), _) => panic!("{missing} is not there"),
            (Err(error), "") => panic!("{from:?}: {}", full_text(&error)),
            (Err(error), name) => {
                assert!(error.to_string().contains(&format!("{name:?} in vpc-1,")), "{error}")
            }
        }
    }
}

/// A rule as a list has it, with what follows the ports.
fn rule(ports: &str, sources: &str) -> String {
    let ports = match ports.split_once('-') {
        Some((from, to)) => {
            format!("<ipProtocol>tcp</ipProtocol><fromPort>{from}</fromPort><toPort>{to}</toPort>")
        }
        None => "<ipProtocol>-1</ipProtocol>".to_owned(),
    };
    format!("<item>{ports}{sources}</item>")
}

/// What the group has, and what is opened in it: networks by port.
#[test]
fn a_group_that_is_there_gets_what_it_lacks() {
    let world = "<ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>";
    let world_v6 = "<ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges>";
    let office = "<ipRanges><item><cidrIp>203.0.113.0/24</cidrIp></item></ipRanges>";
    let members = "<groups><item><groupId>sg-1</groupId></item></groups>";
    let v6 = ("amazonec2-ipv6-address-count", FlagValue::Int(1));
    let both = |sources: &str| rule("22-22", sources) + &rule("2376-2376", sources);
    let cases: Vec<(&str, String, Vec<(&str, FlagValue)>, Vec<&str>)> = vec![
        ("nothing", String::new(), vec![], vec!["22 0.0.0.0/0", "2376 0.0.0.0/0"]),
        ("all", rule("all", world), vec![], vec![]),
        ("ports for some", both(office), vec![], vec![]),
        ("ports for members", both(members), vec![], vec![]),
        ("a range", rule("1-65535", office), vec![], vec![]),
        ("a range for members", rule("1-65535", members), vec![], vec!["22 0.0.0.0/0", "2376 0.0.0.0/0"]),
        // So a VPC's group `default` is.
        ("all for members", rule("all", members), vec![], vec!["22 0.0.0.0/0", "2376 0.0.0.0/0"]),
        ("no IPv6", both(world), vec![v6.clone()], vec!["22 ::/0", "2376 ::/0"]),
        ("all but IPv6", rule("all", world), vec![v6.clone()], vec!["22 ::/0", "2376 ::/0"]),
        ("IPv6 only", both(world_v6), vec![v6], vec!["22 0.0.0.0/0", "2376 0.0.0.0/0"]),
        (
            "a port that is opened anyhow",
            String::new(),
            vec![("amazonec2-open-port", FlagValue::List(vec!["2376".into(), "80".into()]))],
            vec!["22 0.0.0.0/0", "2376 0.0.0.0/0", "80 0.0.0.0/0"],
        ),
    ];
    for (what, rules, given, opened) in cases {
        let group = format!(
            "<securityGroupInfo><item><groupId>sg-1</groupId><groupName>docker-machine</groupName><vpcId>vpc-1</vpcId><ipPermissions>{rules}</ipPermissions></item></securityGroupInfo>"
        );
        let scripted = Scripted::region()
            .answering("ImportKeyPair", "")
            .answering("DescribeSecurityGroups", &group)
            .answering("AuthorizeSecurityGroupIngress", "<return>true</return>")
            .answering(
                "RunInstances",
                "<instancesSet><item><instanceId>i-9</instanceId></item></instancesSet>",
            )
            .answering(
                "DescribeInstances",
                &format!("<reservationSet>{}</reservationSet>", item("i-9", "running")),
            );
        let double = Double::start(scripted);
        let driver = Amazonec2::within(environment(&double.url()));
        let bench = Bench::new();
        let wish = bench.wish(&driver, &flags(&given));
        run(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)))
            .unwrap_or_else(|error| panic!("{what}: {}", full_text(&error)));
        let mut got: Vec<String> = Vec::new();
        for exchange in double.take_exchanges() {
            let form = exchange.request.form();
            if form.get("Action").is_none_or(|action| action != "AuthorizeSecurityGroupIngress") {
                continue;
            }
            let networks = form.iter().filter(|(key, _)| key.contains(".CidrIp"));
            got.extend(networks.map(|(key, network)| {
                let number = key.split('.').nth(1).unwrap();
                format!("{} {network}", form[&format!("IpPermissions.{number}.FromPort")])
            }));
        }
        assert_eq!(got, opened, "{what}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (status, code, message, kind, hint) in [
        (
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation: ec2:RunInstances. Encoded authorization failure message: abc",
            ErrorKind::Credentials,
            "permission",
        ),
        (
            401,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
            ErrorKind::Credentials,
            "access-key",
        ),
        (
            400,
            "ExpiredToken",
            "The security token included in the request is expired",
            ErrorKind::Credentials,
            "log in again",
        ),
        (400, "RequestExpired", "Request has expired.", ErrorKind::Credentials, "clock"),
        (
            500,
            "InsufficientInstanceCapacity",
            "We currently do not have sufficient t3.micro capacity",
            ErrorKind::Quota,
            "amazonec2-zone",
        ),
        (
            400,
            "InstanceLimitExceeded",
            "Your quota allows for 0 more running instance(s).",
            ErrorKind::Quota,
            "higher limit",
        ),
        (
            400,
            "VcpuLimitExceeded",
            "more vCPU capacity than your current limit",
            ErrorKind::Quota,
            "higher limit",
        ),
        (
            400,
            "Unsupported",
            "Your requested instance type is not supported in your requested Availability Zone",
            ErrorKind::Config,
            "describe-instance-type-offerings",
        ),
        (
            400,
            "SpotMaxPriceTooLow",
            "Your Spot request price of 0.001 is lower",
            ErrorKind::Quota,
            "spot-price",
        ),
        (
            400,
            "MaxSpotInstanceCountExceeded",
            "Max spot instance count exceeded",
            ErrorKind::Quota,
            "higher limit",
        ),
        (
            401,
            "OptInRequired",
            "You are not subscribed to this service",
            ErrorKind::Credentials,
            "not enabled",
        ),
        (
            400,
            "InvalidParameterValue",
            "Value (web) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            ErrorKind::Config,
            "amazonec2-iam-instance-profile",
        ),
        (
            400,
            "InvalidParameterCombination",
            "The parameter PrimaryIpv6 can't be used without an IPv6 address",
            ErrorKind::Config,
            "do not go together",
        ),
        (400, "MissingParameter", "The parameter iops must be specified", ErrorKind::Config, "needs another"),
        (400, "VPCIdNotSpecified", "No default VPC for this user", ErrorKind::Config, "create-default-vpc"),
        (
            400,
            "InvalidVpcID.NotFound",
            "The vpc ID 'vpc-1' does not exist",
            ErrorKind::Config,
            "describe-vpcs",
        ),
        (400, "InvalidKey.Format", "Key is not in valid OpenSSH public key format", ErrorKind::Config, "RSA"),
    ] {
        let scripted = Scripted::region().refusing("RunInstances", status, code, message);
        let (result, requests) = precreate(scripted, &[]);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {}", full_text(&error));
        assert!(error.hint().unwrap_or_default().contains(hint), "{code}: {:?}", error.hint());
        assert!(
            error.to_string().contains("request id r-1") && !error.to_string().contains("abc"),
            "{code}: {error}"
        );
        let asked = requests.iter().filter(|request| request.form().contains_key("DryRun")).count();
        assert_eq!(asked, 1, "{code} was asked again");
    }
}

#[test]
fn an_account_without_a_default_vpc_is_told_so() {
    let (result, _) = precreate(Scripted::region().answering("DescribeSubnets", "<subnetSet/>"), &[]);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("an AWS Account with a default vpc-id"), "{error}");
    assert_eq!(error.hint(), Some("`aws ec2 create-default-vpc --region us-east-1` makes one"));
    let (result, _) = precreate(Scripted::region(), &[("amazonec2-zone", text("c"))]);
    let error = result.unwrap_err();
    assert_eq!(error.hint(), Some("give --amazonec2-zone one of us-east-1a"));
}

#[test]
fn an_image_for_another_processor_is_seen() {
    let given = [("amazonec2-ami", text("ami-old")), ("amazonec2-instance-type", text("t4g.micro"))];
    let arm = "<instanceTypeSet><item><processorInfo><supportedArchitectures><item>arm64</item></supportedArchitectures></processorInfo></item></instanceTypeSet>";
    let (result, _) = precreate(Scripted::region().answering("DescribeInstanceTypes", arm), &given);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "the image ami-old is for x86_64, the instance type t4g.micro has arm64");
}

#[test]
fn somebody_elses_key_pair_is_left_alone() {
    let taken = "<keySet><item><keyName>conformance</keyName></item></keySet>";
    let (result, _) = precreate(Scripted::region().answering("DescribeKeyPairs", taken), &[]);
    assert!(
        result.unwrap_err().to_string().starts_with("There is already a keypair with the name conformance.")
    );
    let key = std::env::temp_dir().join(format!("amazonec2-key-{}", std::process::id()));
    std::fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n-----END OPENSSH PRIVATE KEY-----\n")
        .unwrap();
    let given =
        [("amazonec2-keypair-name", text("mine")), ("amazonec2-ssh-keypath", text(key.to_str().unwrap()))];
    let (result, _) = precreate(Scripted::region(), &given);
    std::fs::remove_file(key).unwrap();
    assert!(result.unwrap_err().to_string().starts_with("There is no keypair with the name mine."));
}

/// An instance as a list has it.
fn item(id: &str, state: &str) -> String {
    format!(
        "<item><instancesSet><item><instanceId>{id}</instanceId><instanceState><name>{state}</name></instanceState><ipAddress>203.0.113.8</ipAddress><privateIpAddress>10.0.0.8</privateIpAddress></item></instancesSet></item>"
    )
}

#[test]
fn two_hundred_machines_are_one_list() {
    let items: String = (0..200)
        .filter(|n| *n != 7)
        .map(|n| item(&format!("i-{n}"), if n == 8 { "terminated" } else { "running" }))
        .collect();
    let scripted = Scripted::default()
        .answering("DescribeInstances", &format!("<reservationSet>{items}</reservationSet>"));
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let states: Vec<DriverState> = (0..200)
        .map(|n| {
            let mut state = go();
            state.0.insert("InstanceId".into(), format!("i-{n}").into());
            state
        })
        .collect();
    let hosts: Vec<_> = states.iter().map(|state| (bench.cx(), state)).collect();
    let answers = run(driver.observe_many(&hosts));
    assert_eq!(actions(&double), ["DescribeInstances"]);
    for (n, answer) in answers.iter().enumerate() {
        match (n, answer) {
            (7 | 8, Err(error)) => assert_eq!(error.kind(), ErrorKind::NotFound),
            (_, Ok(seen)) => {
                assert_eq!(seen.state, State::Running);
                assert_eq!(seen.changed.as_ref().unwrap().str("IPAddress"), "203.0.113.8");
            }
            (_, Err(error)) => panic!("{n}: {}", full_text(error)),
        }
    }
}

/// A list in pages.
struct Pages;

impl Provider for Pages {
    fn answer(&mut self, request: &Request) -> Reply {
        let token = request.form().get("NextToken").cloned().unwrap_or_default();
        let (id, next) = if token == "two" { ("i-1", "") } else { ("i-0", "<nextToken>two</nextToken>") };
        Reply::text(
            200,
            "text/xml",
            &format!("<R><reservationSet>{}</reservationSet>{next}</R>", item(id, "stopped")),
        )
    }
}

#[test]
fn lists_have_pages() {
    let double = Double::start(Pages);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let states: Vec<DriverState> = ["i-0", "i-1"]
        .map(|id| {
            let mut state = go();
            state.0.insert("InstanceId".into(), id.into());
            state
        })
        .into();
    let hosts: Vec<_> = states.iter().map(|state| (bench.cx(), state)).collect();
    for answer in run(driver.observe_many(&hosts)) {
        assert_eq!(answer.unwrap().state, State::Stopped);
    }
    assert_eq!(double.take_exchanges().len(), 2);
}

#[test]
fn a_spot_instance_can_t_be_stopped() {
    let message = "You can't stop the Spot Instance 'i-0abc' because it is associated with a one-time Spot Instance request.";
    let double =
        Double::start(Scripted::default().refusing("StopInstances", 400, "UnsupportedOperation", message));
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let error = run(driver.power(&bench.cx(), &go(), Power::Stop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("docker-machine rm"));
}

#[test]
fn a_protected_instance_is_left_alone() {
    let message = "The instance 'i-0abc' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.";
    let double = Double::start(Scripted::default().refusing(
        "TerminateInstances",
        400,
        "OperationNotPermitted",
        message,
    ));
    let driver = Amazonec2::within(environment(&double.url()));
    let error = run(driver.remove(&Bench::new().cx(), &go())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("--no-disable-api-termination"));
    assert_eq!(actions(&double), ["TerminateInstances"]);
}

#[test]
fn an_order_that_changes_nothing_is_done_already() {
    let was = |before: &str| {
        format!(
            "<instancesSet><item><currentState><name>running</name></currentState><previousState><name>{before}</name></previousState></item></instancesSet>"
        )
    };
    for (before, kind) in [("running", Some(ErrorKind::AlreadyDone)), ("stopped", None)] {
        let double = Double::start(Scripted::default().answering("StartInstances", &was(before)));
        let driver = Amazonec2::within(environment(&double.url()));
        let result = run(driver.power(&Bench::new().cx(), &go(), Power::Start));
        assert_eq!(result.err().map(|error| error.kind()), kind);
    }
}

#[test]
fn an_instance_that_ends_at_once_says_why() {
    let ended = "<reservationSet><item><instancesSet><item><instanceId>i-9</instanceId><instanceState><name>terminated</name></instanceState><stateReason><message>Client.VolumeLimitExceeded: Volume limit exceeded</message></stateReason></item></instancesSet></item></reservationSet>";
    let scripted = Scripted::region()
        .answering("ImportKeyPair", "")
        .answering("RunInstances", "<instancesSet><item><instanceId>i-9</instanceId><instanceState><name>pending</name></instanceState></item></instancesSet>")
        .answering("DescribeInstances", ended);
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let wish = bench.wish(&driver, &flags(&[]));
    let mut journal = Journal::new(Cut::Never);
    let error = run(driver.create(&bench.cx(), wish, &mut journal)).unwrap_err();
    assert!(error.to_string().contains("Client.VolumeLimitExceeded"), "{error}");
    assert_eq!(journal.saved.last().unwrap().str("InstanceId"), "i-9");
}

#[test]
fn a_refused_request_leaves_no_token() {
    let scripted = Scripted::region().answering("ImportKeyPair", "").refusing(
        "RunInstances",
        500,
        "InsufficientInstanceCapacity",
        "no room",
    );
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let wish = bench.wish(&driver, &flags(&[]));
    let mut journal = Journal::new(Cut::Never);
    let error = run(driver.create(&bench.cx(), wish, &mut journal)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    let tokens: Vec<&str> = journal.saved.iter().map(|state| state.str("ClientToken")).collect();
    assert!(tokens.iter().any(|token| !token.is_empty()), "the token was never on disk");
    assert_eq!(tokens.last(), Some(&""));
    assert_eq!(actions(&double).iter().filter(|action| *action == "RunInstances").count(), 1);
}

#[test]
fn what_may_have_been_made_and_is_not_listed_is_not_made_again() {
    let scripted = Scripted::region().answering("DescribeInstances", "<reservationSet/>");
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let cx = bench.cx();
    let state = Ec2State { client_token: "token".into(), ..configured(&[]) };
    let made = run(async {
        let session = driver.session(&state, cx.report).await.unwrap();
        create::made_before(&session.ec2(cx.report), &cx, &state, Duration::from_millis(300)).await
    });
    let error = made.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("does not list it yet"), "{error}");
    assert!(error.hint().unwrap().contains("--resume"));
}

#[test]
fn a_token_of_an_earlier_call_outlives_a_refusal() {
    let scripted = Scripted::region()
        .answering("ImportKeyPair", "")
        .answering("DescribeInstances", "<reservationSet/>")
        .refusing("RunInstances", 403, "UnauthorizedOperation", "You are not authorized: ec2:RunInstances");
    let double = Double::start(scripted);
    let driver = Amazonec2::within(environment(&double.url()));
    let bench = Bench::new();
    let mut state = Ec2State::read(&bench.wish(&driver, &flags(&[]))).unwrap();
    state.client_token = "earlier".into();
    let mut journal = Journal::new(Cut::Never);
    let error = run(driver.create(&bench.cx(), state.write().unwrap(), &mut journal)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(journal.saved.iter().all(|state| state.str("ClientToken") == "earlier"));
    assert!(actions(&double).contains(&"RunInstances".to_owned()));
}
