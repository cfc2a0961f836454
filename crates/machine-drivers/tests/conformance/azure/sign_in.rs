//! The ways to sign in.

use machine_core::{DriverState, ErrorKind, FlagValue, FlagValues};
use machine_testkit::conformance::{Bench, full_text};
use machine_testkit::double::{Double, Reply, Trouble};

use super::super::{standin, text, with};
use super::double::{Azure, SUBSCRIPTION, TENANT};
use super::own::block;
use super::{Cloud, driver};

/// Flags of somebody who has no secret.
fn flags(double: &Double<Azure>, more: &[(&str, FlagValue)]) -> FlagValues {
    let mut given =
        vec![("azure-endpoint", text(double.url())), ("azure-subscription-id", text(SUBSCRIPTION))];
    given.extend_from_slice(more);
    with("azure", &given)
}

fn look(bench: &Bench, wish: &DriverState) -> Result<(), machine_core::DriverError> {
    block(driver().precreate(&bench.cx(), wish))
}

#[test]
fn a_person_signs_in_once() {
    use std::os::unix::fs::PermissionsExt;
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let wish = bench.wish(driver().as_ref(), &flags(&cloud.double, &[("azure-auth", text("device"))]));
    look(&bench, &wish).unwrap();
    let heard = bench.heard.text();
    assert!(heard.contains("microsoft.com/devicelogin") && heard.contains("ABCD-1234"), "{heard}");
    let folder = bench.cx().store_path.join("credentials/azure");
    let file = folder.join(format!("{TENANT}.json"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let tenant = std::fs::read_to_string(folder.join(format!("{SUBSCRIPTION}.tenantid"))).unwrap();
    assert_eq!(tenant, TENANT);
    assert!(!heard.contains("eyJ."), "a token shows: {heard}");

    // The next command finds the token, and asks Entra ID nothing.
    cloud.asked();
    look(&bench, &wish).unwrap();
    assert!(!cloud.asked().iter().any(|line| line.contains("oauth2")));

    // One that has ended is renewed, without a person.
    let saved = std::fs::read_to_string(&file).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    saved["expires_on"] = "1".into();
    std::fs::write(&file, saved.to_string()).unwrap();
    cloud.double.provider().end_tokens();
    look(&bench, &wish).unwrap();
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(saved.contains("refresh-2"), "{saved}");
    assert_eq!(bench.heard.text().matches("ABCD-1234").count(), heard.matches("ABCD-1234").count());
}

#[test]
fn a_list_asks_nobody_to_sign_in() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let wish = bench.wish(driver().as_ref(), &flags(&cloud.double, &[("azure-auth", text("device"))]));
    let driver = driver();
    let hosts = [(bench.cx(), &wish)];
    let answers = block(driver.observe_many(&hosts));
    let error = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.hint().unwrap().contains("az login"), "{}", full_text(&error));
    assert!(!bench.heard.text().contains("ABCD-1234"));
}

#[test]
fn a_machine_of_azures_has_an_identity() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let here =
        [("azure-auth", text("managed-identity")), ("azure-metadata-endpoint", text(cloud.double.url()))];
    look(&bench, &bench.wish(driver().as_ref(), &flags(&cloud.double, &here))).unwrap();
    // Elsewhere nobody answers: this port is closed.
    let elsewhere =
        [("azure-auth", text("managed-identity")), ("azure-metadata-endpoint", text("http://127.0.0.1:9"))];
    let error = look(&bench, &bench.wish(driver().as_ref(), &flags(&cloud.double, &elsewhere))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
    assert!(error.hint().unwrap().contains("identity assign"));
}

#[test]
fn azures_command_line_gives_its_token() {
    let name = "azure::sign_in::azures_command_line_gives_its_token";
    standin::with(name, &["az"], &[], |home| {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        let cli = bench.wish(driver().as_ref(), &flags(&cloud.double, &[("azure-auth", text("cli"))]));
        let error = look(&bench, &cli).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.to_string().contains("az login"), "{}", full_text(&error));
        let token = cloud.double.provider().new_token();
        std::fs::write(home.join("az.token"), token).unwrap();
        look(&bench, &cli).unwrap();
        // And without being asked for, where nobody has signed in otherwise.
        let person = bench.wish(driver().as_ref(), &flags(&cloud.double, &[]));
        look(&bench, &person).unwrap();
        let log = std::fs::read_to_string(home.join("az.log")).unwrap();
        assert!(log.contains(&format!("--subscription {SUBSCRIPTION}")), "{log}");
        assert!(!bench.heard.text().contains("ABCD-1234"));
    });
}

#[test]
fn a_token_that_ends_is_had_anew() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    block(driver.precreate(&bench.cx(), &wish)).unwrap();
    cloud.double.provider().end_tokens();
    block(driver.precreate(&bench.cx(), &wish)).unwrap();
}

#[test]
fn what_is_wrong_with_credentials_is_said() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    for (flag, value, hint) in [
        ("azure-client-secret", "not the secret", "not its id"),
        ("azure-client-id", "00000000-0000-0000-0000-000000000000", "--azure-client-id"),
        ("azure-tenant-id", "00000000-0000-0000-0000-000000000001", "--azure-tenant-id"),
    ] {
        let wish = bench.wish(driver().as_ref(), &cloud.flags(&[(flag, text(value))]));
        let error = look(&bench, &wish).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
        assert!(error.hint().unwrap().contains(hint), "{flag}: {}", full_text(&error));
        assert!(!full_text(&error).contains("not the secret"));
    }
}

#[test]
fn several_machines_sign_in_once() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let three = |wish: DriverState| {
        let look = || async { driver.precreate(&bench.cx(), &wish).await };
        block(async { tokio::join!(look(), look(), look()) })
    };
    let person = bench.wish(driver.as_ref(), &flags(&cloud.double, &[("azure-auth", text("device"))]));
    let (a, b, c) = three(person);
    a.and(b).and(c).unwrap();
    assert_eq!(bench.heard.text().matches("ABCD-1234").count(), 1, "{}", bench.heard.text());
    cloud.asked();
    let (a, b, c) = three(bench.wish(driver.as_ref(), &cloud.flags(&[])));
    a.and(b).and(c).unwrap();
    let tokens = cloud.asked().iter().filter(|line| line.contains("oauth2")).count();
    assert_eq!(tokens, 1);
}

#[test]
fn a_kept_token_that_is_refused_is_renewed() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let wish = bench.wish(driver().as_ref(), &flags(&cloud.double, &[("azure-auth", text("device"))]));
    look(&bench, &wish).unwrap();
    // It has not ended by its date.
    cloud.double.provider().end_tokens();
    look(&bench, &wish).unwrap();
    assert_eq!(bench.heard.text().matches("ABCD-1234").count(), 1, "nobody is asked again");
}

#[test]
fn the_sign_in_of_another_application_stays() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let usual = [("azure-auth", text("device"))];
    let own = [("azure-auth", text("device")), ("azure-client-id", text("my-own-application"))];
    let folder = bench.cx().store_path.join("credentials/azure");
    let file = folder.join(format!("{TENANT}.json"));
    let wish = bench.wish(driver().as_ref(), &flags(&cloud.double, &usual));
    look(&bench, &wish).unwrap();
    look(&bench, &bench.wish(driver().as_ref(), &flags(&cloud.double, &own))).unwrap();
    assert!(file.exists() && folder.join(format!("{TENANT}.my-own-application.json")).exists());

    // As docker/machine leaves it, and ended: nobody but its own application could renew it.
    let saved = std::fs::read_to_string(&file).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    saved.as_object_mut().unwrap().remove("client_id");
    saved["expires_on"] = "1".into();
    std::fs::write(&file, saved.to_string()).unwrap();
    cloud.asked();
    let error = block(driver().observe_many(&[(bench.cx(), &wish)])).remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
    assert!(!cloud.asked().iter().any(|line| line.contains("oauth2")), "it was tried");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), saved.to_string());
}

#[test]
fn a_sign_in_that_can_not_be_renewed_now_is_kept() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let wish = bench.wish(driver().as_ref(), &flags(&cloud.double, &[("azure-auth", text("device"))]));
    look(&bench, &wish).unwrap();
    let file = bench.cx().store_path.join(format!("credentials/azure/{TENANT}.json"));
    let saved = std::fs::read_to_string(&file).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    saved["expires_on"] = "1".into();
    std::fs::write(&file, saved.to_string()).unwrap();
    for (code, stays) in [("temporarily_unavailable", true), ("invalid_grant", false)] {
        let reply = Reply::json(400, &serde_json::json!({ "error": code, "error_description": "no" }));
        cloud.double.trouble(1, Trouble::Answer(reply), |request| request.path.ends_with("/token"));
        block(driver().observe_many(&[(bench.cx(), &wish)])).remove(0).unwrap_err();
        assert_eq!(file.exists(), stays, "{code}");
    }
}
