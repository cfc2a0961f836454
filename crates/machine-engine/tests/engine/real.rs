//! The client against a real engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use machine_engine::{ApiVersion, Client, EngineError, check_tls};
use machine_testkit::skip;
use serde_json::json;

use crate::dockerd::Dockerd;
use crate::{LIMIT, block_on};

#[test]
fn a_real_engine_is_checked_asked_and_used() {
    let Some(engine) = Dockerd::start() else { return };
    let (pki, url) = (engine.pki, engine.url());
    let tls = pki.config("ca", "client");
    block_on(async {
        let peer = check_tls(&url, &tls, LIMIT).await.unwrap();
        assert_eq!(peer.addresses, ["127.0.0.1"]);
        let client = Client::new(&url, Some(&tls), LIMIT).unwrap();
        let version = client.version().await.unwrap();
        let newest: ApiVersion = version.api_version.parse().unwrap();
        assert_eq!(client.ping().await.unwrap(), newest.min(ApiVersion::NEWEST));
        let local = Client::new(&format!("unix://{}", engine.socket().display()), None, LIMIT).unwrap();
        assert_eq!(local.version().await.unwrap(), version, "TCP and socket lead to the same engine");
        let info = client.info().await.unwrap();
        assert_eq!(info.server_version, version.version);
        assert!(info.cpus > 0 && info.mem_total > 0 && !info.id.is_empty(), "{info:?}");

        let error = check_tls(&url, &pki.config("stranger-ca", "client"), LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "x509: certificate signed by unknown authority");
        for client in ["stranger-client", "expired-client"] {
            let tls = pki.config("ca", client);
            let error = check_tls(&url, &tls, LIMIT).await.unwrap_err();
            assert!(matches!(error, EngineError::ClientRejected { .. }), "{client}: {error:?}");
            let error = Client::new(&url, Some(&tls), LIMIT).unwrap().ping().await.unwrap_err();
            assert!(matches!(error, EngineError::ClientRejected { .. }), "{client}: {error:?}");
        }
        // TLS where plain HTTP is spoken, the other way round
        let error =
            Client::new(&url.replace("tcp:", "http:"), None, LIMIT).unwrap().ping().await.unwrap_err();
        assert!(error.to_string().contains("Client sent an HTTP request to an HTTPS server"), "{error}");
        the_client_of_docker_agrees(&engine, &version.version);
        containers(&engine, &client).await;
    });
}

fn the_client_of_docker_agrees(engine: &Dockerd, version: &str) {
    if !skip::require(&["docker"]) {
        return;
    }
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let output = Command::new("docker")
        .args(["--tlsverify", "--tlscacert", &path(engine.pki.cert("ca"))])
        .args(["--tlscert", &path(engine.pki.cert("client")), "--tlskey", &path(engine.pki.key_of("client"))])
        .args(["-H", &engine.url(), "version", "-f", "{{.Server.Version}}"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), version, "{output:?}");
}

async fn containers(engine: &Dockerd, client: &Client) {
    let config = json!({"Image": "tiny:1", "Cmd": ["/sleep", "600"], "HostConfig": {"NetworkMode": "none"}});
    let error = client.create_container("agent", &config).await.unwrap_err();
    assert!(matches!(error, EngineError::Http { status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("tiny:1"), "{error}");
    let error = client.pull_image("127.0.0.1:1/nosuch:1", |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    if !skip::require(&["docker", "tar", "ldd"]) {
        return;
    }
    import_image(engine);
    let id = client.create_container("agent", &config).await.unwrap();
    let error = client.create_container("agent", &config).await.unwrap_err();
    assert!(matches!(error, EngineError::Http { status: 409, .. }), "{error:?}");
    assert!(!client.inspect_container("agent").await.unwrap().unwrap().state.running);
    client.start_container(&id).await.unwrap();
    client.start_container("agent").await.unwrap();
    let container = client.inspect_container("agent").await.unwrap().unwrap();
    assert!(container.state.running, "{container:?}");
    assert_eq!((container.id.as_str(), container.name.as_str()), (id.as_str(), "/agent"));
    let error = client.remove_container("agent", false).await.unwrap_err();
    assert!(matches!(error, EngineError::Http { status: 409, .. }), "{error:?}");
    client.remove_container("agent", true).await.unwrap();
    client.remove_container("agent", true).await.unwrap();
    assert_eq!(client.inspect_container("agent").await.unwrap(), None);
}

/// Makes an image of this computer's `sleep` with the libraries it needs: there is no registry here.
fn import_image(engine: &Dockerd) {
    let sleep = skip::find_program("sleep").unwrap();
    let root = engine.folder().join("root");
    fs::create_dir(&root).unwrap();
    fs::copy(&sleep, root.join("sleep")).unwrap();
    let needs = Command::new("ldd").arg(&sleep).output().unwrap();
    for library in
        String::from_utf8_lossy(&needs.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let inside = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::copy(library, inside).unwrap();
    }
    let tar = engine.folder().join("root.tar");
    assert!(
        Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg(".").status().unwrap().success()
    );
    let imported = Command::new("docker")
        .args(["-H", &format!("unix://{}", engine.socket().display()), "import"])
        .arg(&tar)
        .arg("tiny:1")
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
}
