//! Negotiation with old and new engines, and what comes back from them.

use machine_engine::{ApiVersion, Client, EngineError};

use crate::certificates::pki;
use crate::double::{Double, Engine, Tls};
use crate::{LIMIT, block_on};

#[test]
fn engines_from_17_06_to_29_are_spoken_to_in_a_version_that_they_know() {
    let Some(pki) = pki() else { return };
    // version, newest and oldest API version: 20.10 as the real one here says, 25.0 and 29.0 from `docker version` in
    // users' reports, 17.06 from the API version matrix. The last two are made up: a later engine 29 whose oldest is
    // 1.40 again, and one from after this client.
    for (version, newest, oldest, spoken) in [
        ("17.06.2-ce", "1.30", "1.12", "1.30"),
        ("20.10.24", "1.41", "1.12", "1.41"),
        ("25.0.0", "1.44", "1.24", "1.44"),
        ("29.0.0", "1.52", "1.44", "1.51"),
        ("29.later", "1.53", "1.40", "1.51"),
        ("40.0.0", "1.70", "1.44", "1.51"),
    ] {
        block_on(async {
            let double = Double::start(Engine::release(version, newest, oldest), Some(Tls::new(pki))).await;
            let client = Client::new(&double.url(), Some(&pki.config("ca", "client")), LIMIT).unwrap();
            let answer = client.version().await.unwrap();
            assert_eq!(answer.version, version);
            assert_eq!((answer.api_version.as_str(), answer.min_api_version.as_str()), (newest, oldest));
            assert_eq!((answer.os.as_str(), answer.arch.as_str()), ("linux", "amd64"));
            client.version().await.unwrap();
            let path = format!("GET /v{spoken}/version");
            assert_eq!(double.requests(), ["GET /_ping", &path, &path], "the version is asked for once");
            assert_eq!(double.connections(), 1, "one connection is enough");
        });
    }
}

#[test]
fn an_engine_that_does_not_say_is_spoken_to_in_the_oldest_version() {
    block_on(async {
        let engine = Engine { says: false, ..Engine::release("1.12.6", "1.24", "1.12") };
        let double = Double::start(engine, None).await;
        let client = Client::new(&double.url(), None, LIMIT).unwrap();
        assert_eq!(client.ping().await.unwrap(), ApiVersion::OLDEST);
        assert_eq!(client.version().await.unwrap().version, "1.12.6");
    });
}

#[test]
fn an_engine_too_new_or_too_old_says_so_itself() {
    for (newest, oldest, words) in [
        ("1.99", "1.90", "client version 1.51 is too old. Minimum supported API version is 1.90"),
        ("1.20", "1.12", "client version 1.24 is too new. Maximum supported API version is 1.20"),
    ] {
        block_on(async {
            let says = newest == "1.99";
            let double = Double::start(Engine { says, ..Engine::release("x", newest, oldest) }, None).await;
            let error = Client::new(&double.url(), None, LIMIT).unwrap().version().await.unwrap_err();
            assert!(matches!(error, EngineError::ApiVersion { .. }), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        });
    }
}

#[test]
fn errors_carry_the_engines_message() {
    block_on(async {
        let engine = Engine {
            answers: vec![
                ("version", 500, r#"{"message":"disk full"}"#),
                ("info", 200, "<html>"),
                ("containers/create", 409, r#"{"message":"Conflict. The name is taken"}"#),
                ("containers/gone/json", 404, r#"{"message":"No such container: gone"}"#),
                ("containers/gone", 404, r#"{"message":"No such container: gone"}"#),
                ("containers/on/start", 304, ""),
            ],
            ..Engine::release("25.0.0", "1.44", "1.24")
        };
        let double = Double::start(engine, None).await;
        let client = Client::new(&double.url(), None, LIMIT).unwrap();
        let error = client.version().await.unwrap_err();
        assert!(matches!(error, EngineError::Http { status: 500, .. }), "{error:?}");
        assert_eq!(error.query_text(), "disk full (HTTP 500)");
        let error = client.info().await.unwrap_err();
        assert!(error.to_string().contains("did not answer like a Docker engine"), "{error}");
        let error = client.create_container("a", &serde_json::json!({})).await.unwrap_err();
        assert!(matches!(error, EngineError::Http { status: 409, .. }), "{error:?}");
        assert_eq!(client.inspect_container("gone").await.unwrap(), None);
        client.remove_container("gone", true).await.unwrap();
        client.start_container("on").await.unwrap();
    });
}

#[test]
fn a_pull_reports_its_progress_and_its_failure() {
    const GOOD: &str = "{\"status\":\"Pulling from library/swarm\",\"id\":\"latest\"}\r\n{\"status\":\"Downloading\",\
        \"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"a1\"}\r\n{\"status\":\"Status: Downloaded\"}";
    const BAD: &str = "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space left\"}\r\n";
    block_on(async {
        let engine = Engine {
            answers: vec![
                ("images/create?fromImage=swarm&tag=latest", 200, GOOD),
                ("images/create?fromImage=r.example%3A5000%2Fx&tag=1", 200, BAD),
                ("images/create", 404, r#"{"message":"pull access denied for nosuch"}"#),
            ],
            ..Engine::release("25.0.0", "1.44", "1.24")
        };
        let double = Double::start(engine, None).await;
        let client = Client::new(&double.url(), None, LIMIT).unwrap();
        let mut seen = Vec::new();
        client.pull_image("swarm", |line| seen.push(format!("{} {}", line.id, line.status))).await.unwrap();
        assert_eq!(seen, ["latest Pulling from library/swarm", "a1 Downloading", " Status: Downloaded"]);
        let error = client.pull_image("r.example:5000/x:1", |_| ()).await.unwrap_err();
        assert_eq!(error.to_string(), "no space left");
        let error = client.pull_image("nosuch", |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("pull access denied for nosuch"), "{error}");
    });
}
