//! Every place, against a double of the service that gives the credentials.

use machine_core::{Event, Reporter};
use machine_http::Settings;
use machine_testkit::double::{Double, Provider, Reply, Request};
use serde_json::json;
use tempfile::TempDir;

use super::*;

struct Quiet;

impl Reporter for Quiet {
    fn report(&self, _: Event) {}
}

const LATER: &str = "2099-01-01T00:00:00Z";

/// STS, single sign-on, the container's agent and the instance's metadata, as far as credentials go.
struct Giver;

fn keys(names: [&str; 4], who: &str) -> serde_json::Value {
    let values = [who.to_owned(), format!("{who}-secret"), format!("{who}-token"), LATER.to_owned()];
    names.into_iter().zip(values).map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

impl Giver {
    fn role(request: &Request) -> Reply {
        let form = request.form();
        let signed = request.header("authorization").contains("Credential=AKSOURCE/");
        let good = match form["Action"].as_str() {
            "AssumeRole" => signed && form["RoleArn"].ends_with("role/deploy") && form["ExternalId"] == "42",
            _ => form["WebIdentityToken"] == "jwt" && form["RoleSessionName"] == "docker-machine",
        };
        if !good {
            return Reply::text(
                403,
                "text/xml",
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error><RequestId>r1</RequestId></ErrorResponse>",
            );
        }
        let xml = format!(
            "<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><X><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{LATER}</Expiration></Credentials></X></R>"
        );
        Reply::text(200, "text/xml", &xml)
    }
}

impl Provider for Giver {
    fn answer(&mut self, request: &Request) -> Reply {
        let aws = ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
        let sso = ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"];
        match (request.method.as_str(), request.segments().as_slice()) {
            ("POST", []) => Self::role(request),
            ("GET", ["federation", "credentials"]) if request.header("x-amz-sso_bearer_token") == "fresh" => {
                let who = format!("{}-{}", request.query("account_id"), request.query("role_name"));
                Reply::json(200, &json!({ "roleCredentials": keys(sso, &who) }))
            }
            ("GET", ["federation", "credentials"]) => {
                Reply::json(401, &json!({"message": "Session token not found"}))
            }
            ("POST", ["token"]) if request.json()["refreshToken"] == "again" => Reply::json(
                200,
                &json!({"accessToken": "fresh", "refreshToken": "once more", "expiresIn": 3600}),
            ),
            ("GET", ["container"]) if request.header("authorization") == "let me in" => {
                Reply::json(200, &keys(aws, "CONTAINER"))
            }
            ("PUT", ["latest", "api", "token"]) => Reply::text(200, "text/plain", "imds"),
            ("GET", ["latest", "meta-data", "iam", "security-credentials", role @ ..])
                if request.header("x-aws-ec2-metadata-token") == "imds" =>
            {
                match role {
                    [] => Reply::text(200, "text/plain", "the-role"),
                    _ => Reply::json(200, &keys(aws, role[0])),
                }
            }
            _ => Reply::json(404, &json!({"message": "no such thing"})),
        }
    }
}

/// A home folder and a double.
struct Place {
    home: TempDir,
    double: Double<Giver>,
}

impl Place {
    fn new(config: &str) -> Self {
        let home = TempDir::new().unwrap();
        let aws = home.path().join(".aws");
        std::fs::create_dir_all(aws.join("sso/cache")).unwrap();
        std::fs::write(aws.join("config"), config).unwrap();
        Self { home, double: Double::start(Giver) }
    }

    fn aws(&self) -> std::path::PathBuf {
        self.home.path().join(".aws")
    }

    fn environment(&self, values: &[(&str, &str)]) -> Environment {
        let url = self.double.url();
        let mut all = vec![
            ("AWS_ENDPOINT_URL_STS", url.as_str()),
            ("AWS_ENDPOINT_URL_SSO", url.as_str()),
            ("AWS_ENDPOINT_URL_SSO_OIDC", url.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        all.extend_from_slice(values);
        Environment::of(self.home.path(), &all)
    }

    fn login(&self, values: &[(&str, &str)], wanted: &Wanted<'_>) -> Result<Login, DriverError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(&Settings::default()).unwrap();
        let environment = self.environment(values);
        runtime.block_on(Logins::default().get(wanted, &environment, &client, &Quiet))
    }

    /// The access key that is found.
    fn who(&self, values: &[(&str, &str)], profile: &str) -> String {
        let wanted = Wanted { profile, ..Wanted::default() };
        match self.login(values, &wanted) {
            Ok(login) => login.credentials.access_key_id().to_owned(),
            Err(error) => format!("{error}"),
        }
    }
}

#[test]
fn keys_of_the_environment_and_of_profiles() {
    let place = Place::new(
        "[profile dev]\nregion = eu-west-3\naws_access_key_id = AKDEV\naws_secret_access_key = s\n",
    );
    std::fs::write(
        place.aws().join("credentials"),
        "[default]\naws_access_key_id=AKDEFAULT\naws_secret_access_key=s\n",
    )
    .unwrap();
    let given = [("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(place.who(&given, ""), "AKENV");
    assert_eq!(place.who(&given, "dev"), "AKDEV");
    assert_eq!(place.who(&[], ""), "AKDEFAULT");
    assert_eq!(place.who(&[("AWS_PROFILE", "dev")], ""), "AKDEV");
    assert!(place.who(&[], "nobody").starts_with("the profile \"nobody\" has no credentials in "));
    let login = place.login(&[], &Wanted { profile: "dev", ..Wanted::default() }).unwrap();
    assert_eq!(login.region, "eu-west-3");
    let login = place.login(&[("AWS_REGION", "sa-east-1")], &Wanted::default()).unwrap();
    assert_eq!(login.region, "sa-east-1");
    assert_eq!(place.login(&[], &Wanted::default()).unwrap().region, DEFAULT_REGION);
}

#[test]
fn other_files_by_variables() {
    let place = Place::new("");
    let file = place.home.path().join("elsewhere");
    std::fs::write(&file, "[default]\naws_access_key_id=AKELSE\naws_secret_access_key=s\n").unwrap();
    assert_eq!(place.who(&[("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())], ""), "AKELSE");
    let text = place.who(&[("AWS_SHARED_CREDENTIALS_FILE", place.home.path().to_str().unwrap())], "");
    assert!(text.contains("directory"), "{text}");
}

#[test]
fn nothing_anywhere_is_the_reference_programs_error() {
    let place = Place::new("");
    assert!(place.who(&[], "").starts_with("amazonec2 driver requires AWS credentials configured with"));
}

#[test]
fn temporary_keys_of_a_machine_give_way_to_fresh_ones() {
    let place = Place::new("");
    let fresh =
        [("AWS_ACCESS_KEY_ID", "ASIAFRESH"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
    let (secret, token) = (Secret::new("s"), Secret::new("t"));
    let own = Wanted { access_key: "AKOWN", secret_key: Some(&secret), ..Wanted::default() };
    let who = |wanted: &Wanted<'_>, values: &[(&str, &str)]| {
        place.login(values, wanted).unwrap().credentials.access_key_id().to_owned()
    };
    assert_eq!(who(&own, &fresh), "AKOWN");
    let temporary = Wanted { session_token: Some(&token), ..own };
    assert_eq!(who(&temporary, &fresh), "ASIAFRESH");
    assert_eq!(who(&temporary, &[]), "AKOWN");
}

#[test]
fn roles_of_profiles() {
    let place = Place::new(
        "[profile base]\naws_access_key_id = AKSOURCE\naws_secret_access_key = s\n\
         [profile deploy]\nrole_arn = arn:aws:iam::1:role/deploy\nsource_profile = base\nexternal_id = 42\n\
         [profile denied]\nrole_arn = arn:aws:iam::1:role/other\nsource_profile = base\nexternal_id = 42\n\
         [profile round]\nrole_arn = r\nsource_profile = trip\n[profile trip]\nrole_arn = r\nsource_profile = round\n\
         [profile self]\nrole_arn = arn:aws:iam::1:role/deploy\nsource_profile = self\nexternal_id = 42\n\
         aws_access_key_id = AKSOURCE\naws_secret_access_key = s\n\
         [profile alone]\nrole_arn = r\n[profile mfa]\nrole_arn = r\nmfa_serial = m\nsource_profile = base\n\
         [profile environment]\nrole_arn = arn:aws:iam::1:role/deploy\ncredential_source = Environment\nexternal_id = 42\n",
    );
    assert_eq!(place.who(&[], "deploy"), "ASIAROLE");
    assert_eq!(place.who(&[], "self"), "ASIAROLE");
    let given = [("AWS_ACCESS_KEY_ID", "AKSOURCE"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(place.who(&given, "environment"), "ASIAROLE");
    for (profile, text) in [
        ("denied", "AccessDenied: no (request id r1)"),
        ("round", "lead to each other"),
        ("alone", "neither source_profile nor credential_source"),
        ("mfa", "a code of a device"),
    ] {
        let said = place.who(&[], profile);
        assert!(said.contains(text), "{profile}: {said}");
    }
}

#[test]
fn web_identities() {
    let place = Place::new("");
    let file = place.home.path().join("token");
    std::fs::write(&file, "jwt\n").unwrap();
    let values =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")];
    assert_eq!(place.who(&values, ""), "ASIAROLE");
}

#[cfg(unix)]
#[test]
fn programs() {
    let place = Place::new("");
    let script = |name: &str, text: &str| {
        let path = place.home.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path.display().to_string()
    };
    let good = script("good", "echo '{\"Version\":1,\"AccessKeyId\":\"'$1'\",\"SecretAccessKey\":\"s\"}'");
    let bad = script("bad", "echo secret; echo no login >&2; exit 3");
    let odd = script("odd", "echo secret");
    std::fs::write(
        place.aws().join("config"),
        format!("[profile good]\ncredential_process = {good} 'AK 1'\n[profile bad]\ncredential_process={bad}\n[profile odd]\ncredential_process={odd}\n"),
    )
    .unwrap();
    assert_eq!(place.who(&[], "good"), "AK 1");
    let said = place.who(&[], "bad");
    assert!(said.contains("no login") && !said.contains("secret"), "{said}");
    let said = place.who(&[], "odd");
    assert!(said.contains("something else than JSON") && !said.contains(": secret"), "{said}");
}

#[test]
fn single_sign_on() {
    let place = Place::new(
        "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n\
         [profile new]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = admin\n\
         [profile old]\nsso_start_url = https://old.example/start\nsso_region = eu-west-1\nsso_account_id = 2\nsso_role_name = dev\n",
    );
    let cache = place.aws().join("sso/cache");
    // SHA-1 of "corp", and of the old profile's address.
    let file = |name: &str| {
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        cache.join(format!("{hex}.json"))
    };
    assert!(place.who(&[], "new").contains("logged out"));
    let kept = json!({"accessToken": "stale", "expiresAt": "2020-01-01T00:00:00Z", "clientId": "c", "clientSecret": "s", "refreshToken": "again"});
    std::fs::write(file("corp"), kept.to_string()).unwrap();
    assert_eq!(place.who(&[], "new"), "1-admin");
    let now: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file("corp")).unwrap()).unwrap();
    assert_eq!((&now["accessToken"], &now["refreshToken"]), (&json!("fresh"), &json!("once more")));
    assert_eq!(now["clientId"], "c");
    assert_eq!(place.who(&[], "new"), "1-admin");

    let kept = |token: &str| json!({"accessToken": token, "expiresAt": LATER}).to_string();
    std::fs::write(file("https://old.example/start"), kept("fresh")).unwrap();
    assert_eq!(place.who(&[], "old"), "2-dev");
    std::fs::write(file("https://old.example/start"), kept("revoked")).unwrap();
    assert!(place.who(&[], "old").contains("logged out"));
}

#[test]
fn the_file_of_a_session_is_named_as_amazons_program_names_it() {
    // sha1("corp"), by sha1sum.
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"corp");
    let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "ee0bfd2552fbd840c02cc48b6e823320543c450f");
}

#[test]
fn containers_and_instances() {
    let place = Place::new("");
    let url = format!("{}/container", place.double.url());
    let values = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
    ];
    assert_eq!(place.who(&values, ""), "CONTAINER");
    let far = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://198.51.100.7/x")];
    assert!(place.who(&far, "").contains("without TLS only"));
    let base = place.double.url();
    let values =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", base.as_str())];
    assert_eq!(place.who(&values, ""), "the-role");
}

#[test]
fn a_login_is_made_once_while_it_is_good() {
    let place = Place::new(
        "[default]\nrole_arn = arn:aws:iam::1:role/deploy\nsource_profile = base\nexternal_id = 42\n\
         [profile base]\naws_access_key_id = AKSOURCE\naws_secret_access_key = s\n",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(&Settings::default()).unwrap();
    let (logins, environment) = (Logins::default(), place.environment(&[]));
    for _ in 0..3 {
        runtime.block_on(logins.get(&Wanted::default(), &environment, &client, &Quiet)).unwrap();
    }
    assert_eq!(place.double.take_exchanges().len(), 1);
}
