//! Who we are: every kind of credentials, in the order in which they are looked for.

use std::time::SystemTime;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machine_core::ErrorKind;
use tempfile::TempDir;

use super::*;

/// A user's environment: a home, and variables.
struct Person {
    home: TempDir,
    variables: BTreeMap<String, String>,
}

impl Person {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let variables = BTreeMap::from([
            ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
            ("APPDATA".to_owned(), home.path().to_str().unwrap().to_owned()),
            // Nobody listens there.
            ("GCE_METADATA_HOST".to_owned(), "127.0.0.1:9".to_owned()),
        ]);
        Self { home, variables }
    }

    fn write(&self, file: &str, content: &Value) -> String {
        let path = self.home.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Checks a machine that might be made.
    fn checks(&self, project: &Project, more: &[(&str, FlagValue)]) -> Result<(), DriverError> {
        let (driver, bench) = (Google::in_environment(self.variables.clone()), Bench::new());
        let mut flags = vec![("google-auth-encoded-json", text(""))];
        flags.extend_from_slice(more);
        let wish = bench.wish(&driver, &project.flags(&flags));
        block(driver.precreate(&bench.cx(), &wish))
    }
}

fn grants(project: &Project) -> Vec<BTreeMap<String, String>> {
    std::mem::take(&mut project.double.provider().grants)
}

fn user(project: &Project) -> Value {
    json!({ "type": "authorized_user", "client_id": "id-1", "client_secret": "hush-hush", "refresh_token": "1//again",
        "token_uri": format!("{}/token", project.double.url()), "quota_project_id": "pays" })
}

#[test]
fn a_key_of_a_service_account_is_signed_with() {
    let project = Project::new();
    let person = Person::new();
    let path = person.write("key.json", &project.service_account());
    for given in [true, false] {
        let (person, flags) = if given {
            (Person::new(), vec![("google-application-credentials", text(&path))])
        } else {
            (Person::new().set("GOOGLE_APPLICATION_CREDENTIALS", &path), Vec::new())
        };
        ok(person.checks(&project, &flags));
        let [grant] = grants(&project).try_into().unwrap();
        assert_eq!(grant["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let (signed, signature) = grant["assertion"].rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key().1)
            .verify(signed.as_bytes(), &signature)
            .expect("a good signature");
        let (header, claims) = signed.split_once('.').unwrap();
        let read =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(read(header), json!({ "alg": "RS256", "typ": "JWT", "kid": "0a1b2c" }));
        let claims = read(claims);
        assert_eq!(claims["iss"], "maker@acme-dev-4711.iam.gserviceaccount.com");
        assert_eq!(claims["aud"], json!(format!("{}/token", project.double.url())));
        assert_eq!(claims["scope"], "https://www.googleapis.com/auth/compute");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let before = now - claims["iat"].as_u64().unwrap();
        assert!((10..60).contains(&before), "clocks may be ahead a little: {before}");
    }
    // As it is, without base64.
    ok(Person::new()
        .checks(&project, &[("google-auth-encoded-json", text(project.service_account().to_string()))]));
}

/// As `base64` of GNU prints it.
#[test]
fn base64_may_have_line_breaks() {
    let project = Project::new();
    let packed = STANDARD.encode(project.service_account().to_string());
    for end in ["\n", "\r\n"] {
        let lines: Vec<&str> =
            packed.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        ok(Person::new().checks(&project, &[("google-auth-encoded-json", text(lines.join(end)))]));
    }
}

#[test]
fn a_token_may_live_for_ever() {
    let project = Project::new();
    for lives in [u64::MAX, i64::MAX as u64, 0] {
        project.double.provider().lives = Some(lives);
        let key = project.service_account().to_string();
        ok(Person::new().checks(&project, &[("google-auth-encoded-json", text(key))]));
    }
}

#[test]
fn a_person_has_a_refresh_token() {
    let project = Project::new();
    let person = Person::new();
    person.write(".config/gcloud/application_default_credentials.json", &user(&project));
    ok(person.checks(&project, &[]));
    let [grant] = grants(&project).try_into().unwrap();
    assert_eq!((&*grant["grant_type"], &*grant["refresh_token"]), ("refresh_token", "1//again"));
    let sent = project.double.take_exchanges();
    assert!(
        sent.iter().filter(|e| of_api(&e.request)).all(|e| e.request.header("x-goog-user-project") == "pays")
    );

    let other = Person::new();
    let folder = other.home.path().join("elsewhere");
    other.write("elsewhere/application_default_credentials.json", &user(&project));
    ok(other.set("CLOUDSDK_CONFIG", folder.to_str().unwrap()).checks(&project, &[]));
}

#[test]
fn somebody_else_vouches() {
    let project = Project::new();
    let person = Person::new();
    let url = project.double.url();
    let account = |source: Value, impersonate: bool| {
        let mut account = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/x", "token_url": format!("{url}/sts"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": source,
        });
        if impersonate {
            account["service_account_impersonation_url"] = json!(format!("{url}/v1/sa:generateAccessToken"));
        }
        account
    };
    std::fs::write(person.home.path().join("token"), "subject\n").unwrap();
    let file = json!({ "file": person.home.path().join("token") });
    let address = json!({ "url": format!("{url}/subject"), "headers": { "X-Identity": "please" },
        "format": { "type": "json", "subject_token_field_name": "value" } });
    for (source, impersonate) in [(file, false), (address.clone(), true)] {
        let path = person.write("external.json", &account(source, impersonate));
        ok(person.checks(&project, &[("google-application-credentials", text(path))]));
        let [grant] = grants(&project).try_into().unwrap();
        assert_eq!(grant["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
        assert_eq!(grant["subject_token"], "subject");
        let scope = if impersonate { "cloud-platform" } else { "compute" };
        assert_eq!(grant["scope"], format!("https://www.googleapis.com/auth/{scope}"));
        let used = project.double.take_exchanges();
        let acting =
            used.iter().any(|e| e.request.header("authorization").starts_with("Bearer ya29.acting-"));
        assert_eq!(acting, impersonate);
    }
    for source in [json!({ "environment_id": "aws1" }), json!({ "executable": { "command": "x" } })] {
        let path = person.write("external.json", &account(source, false));
        let said = why(person.checks(&project, &[("google-application-credentials", text(path))]));
        assert!(said.contains("not with AWS or a program"), "{said}");
    }
}

#[test]
fn somebody_acts_as_a_service_account() {
    let project = Project::new();
    let person = Person::new();
    let account = json!({
        "type": "impersonated_service_account", "source_credentials": user(&project), "delegates": [],
        "service_account_impersonation_url": format!("{}/v1/sa:generateAccessToken", project.double.url()),
    });
    let path = person.write("acting.json", &account);
    ok(person.checks(&project, &[("google-application-credentials", text(path))]));
    let sent = project.double.take_exchanges();
    let last = sent.iter().rfind(|e| of_api(&e.request)).unwrap();
    assert!(last.request.header("authorization").starts_with("Bearer ya29.acting-"));
}

#[test]
fn the_metadata_server_knows_us() {
    let project = Project::new();
    let host = project.double.url().replace("http://", "");
    ok(Person::new().set("GCE_METADATA_HOST", &host).checks(&project, &[]));
    assert_eq!(grants(&project)[0]["grant_type"], "metadata");
}

#[test]
fn missing_and_wrong_credentials_are_said() {
    let project = Project::new();
    let nobody = Person::new();
    let error = nobody.checks(&project, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("gcloud has none"), "{error}");
    assert!(error.hint().unwrap().contains("gcloud auth application-default login"));

    let never = Person::new().set("GCE_METADATA_HOST", "").set("NO_GCE_CHECK", "true");
    assert!(why(never.checks(&project, &[])).contains("there are no credentials"));

    for (content, part) in [
        (json!({ "type": "gdch_service_account" }), "of the type \"gdch_service_account\" are not known"),
        (json!({ "type": "service_account" }), "these are no credentials"),
        (json!("hush"), "these are no credentials"),
    ] {
        let path = nobody.write("bad.json", &content);
        let said = why(nobody.checks(&project, &[("google-application-credentials", text(path))]));
        assert!(said.contains(part) && !said.contains("hush"), "{said}");
    }
    let mut bad_key = project.service_account();
    bad_key["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    let path = nobody.write("bad.json", &bad_key);
    let said = why(nobody.checks(&project, &[("google-application-credentials", text(path))]));
    assert!(said.contains("is no RSA key") && !said.contains("c2VjcmV0"), "{said}");
}

#[test]
fn a_record_whose_file_is_gone_takes_the_environments() {
    let project = Project::new();
    let person = Person::new();
    let path = person.write("new.json", &project.service_account());
    let gone = ("google-application-credentials", text("/no/such/key.json"));
    assert!(why(person.checks(&project, std::slice::from_ref(&gone))).contains("/no/such/key.json"));
    ok(person.set("GOOGLE_APPLICATION_CREDENTIALS", &path).checks(&project, &[gone]));
}

#[test]
fn tokens_are_kept_and_renewed() {
    let project = Project::new();
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        for _ in 0..3 {
            ok(made.driver.observe(&made.bench.cx(), &made.state).await);
        }
        assert_eq!(grants(&project).len(), 1, "one token for all");
        project.double.provider().expire_tokens();
        ok(made.driver.observe(&made.bench.cx(), &made.state).await);
        assert_eq!(grants(&project).len(), 1, "and another one when it is refused");
        project.double.provider().auth = Auth::NoEntry;
        let error = made.driver.observe(&made.bench.cx(), &made.state).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.hint().unwrap().contains("expired or revoked"), "{}", full_text(&error));
        project.double.provider().auth = Auth::Good;
        made.remove().await;
    });
}

#[test]
fn many_at_once_get_one_token() {
    let project = Project::new();
    let (driver, bench) = (Google::new(), Bench::new());
    let wish = bench.wish(&driver, &project.flags(&[]));
    block(async {
        let cx = bench.cx();
        let (one, other) = tokio::join!(driver.precreate(&cx, &wish), driver.precreate(&cx, &wish));
        ok(one);
        ok(other);
    });
    assert_eq!(grants(&project).len(), 1);
}
