//! A real OpenStack behind one address: what comes in goes on to the services, and what they say comes back, with their
//! addresses made ours. So it can have the same trouble as the stand-in, and what goes through can be written down.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Value, json};

/// The services by the first part of a path, and where `cargo xtask openstack up` has them.
const SERVICES: [(&str, u16); 5] =
    [("identity", 5000), ("compute", 8774), ("network", 9696), ("image", 9292), ("volume", 8776)];

/// The way to a real cloud.
#[derive(Default)]
pub struct Relay {
    /// Where it is reached; set when that is known.
    pub url: String,
}

impl Provider for Relay {
    fn answer(&mut self, request: &Request) -> Reply {
        let (service, path) = request.path[1..].split_once('/').unwrap_or((&request.path[1..], ""));
        let Some((_, port)) = SERVICES.iter().find(|(name, _)| *name == service) else {
            return Reply::json(404, &json!({"message": format!("no service {service}")}));
        };
        let target =
            if request.query.is_empty() { format!("/{path}") } else { format!("/{path}?{}", request.query) };
        let mut reply = send(*port, &request.method, &target, request);
        let mut body = String::from_utf8_lossy(&reply.body).into_owned();
        for (name, port) in SERVICES {
            body = body.replace(&format!("http://127.0.0.1:{port}"), &format!("{}/{name}", self.url));
        }
        reply.body = body.into_bytes();
        reply
    }
}

/// Sends a request on and reads the answer. The services are ours: what they send is taken as it comes.
fn send(port: u16, method: &str, target: &str, request: &Request) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a service of the cloud");
    stream.set_read_timeout(Some(Duration::from_secs(180))).expect("a limit");
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n");
    for name in ["accept", "content-type", "x-auth-token", "if-match", "openstack-api-version"] {
        if !request.header(name).is_empty() {
            head.push_str(&format!("{name}: {}\r\n", request.header(name)));
        }
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&request.body))
        .expect("a service that listens");
    read(&mut BufReader::new(stream)).expect("an answer")
}

fn read(stream: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(502);
    let (mut reply, mut length, mut chunked) = (Reply::empty(status), None, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => length = value.parse::<u64>().ok(),
            "transfer-encoding" => chunked = value.contains("chunked"),
            "content-type" | "x-subject-token" | "x-openstack-request-id" | "retry-after" => {
                reply = reply.header(&name, value);
            }
            _ => {}
        }
    }
    if chunked {
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            stream.take(size).read_to_end(&mut reply.body)?;
            stream.read_line(&mut line)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        stream.take(length).read_to_end(&mut reply.body)?;
    } else if status != 204 {
        stream.read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

/// Whoever looks at the cloud past the driver, or changes it.
pub struct Person {
    token: String,
    /// The project's id.
    pub project: String,
    /// The person's own id.
    pub user: String,
}

impl Person {
    /// Logs in.
    pub fn new(name: &str, password: &str) -> Self {
        let domain = json!({"id": "default"});
        let user = json!({"name": name, "domain": domain, "password": password});
        let auth = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": name, "domain": domain}}}});
        let reply = ask("POST", "identity", "v3/auth/tokens", "", &auth);
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let token = reply.headers.iter().find(|(name, _)| name == "x-subject-token").unwrap().1.clone();
        let id = |of: &str| body["token"][of]["id"].as_str().unwrap().to_owned();
        Self { token, project: id("project"), user: id("user") }
    }

    /// Asks a service.
    pub fn ask(&self, method: &str, service: &str, path: &str, body: &Value) -> Value {
        let reply = ask(method, service, path, &self.token, body);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status < 300, "{method} {service} {path}: {} {text}", reply.status);
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// How many things a list has that are no standing ones.
    pub fn count(&self, service: &str, path: &str, list: &str) -> usize {
        let found = self.ask("GET", service, path, &Value::Null);
        found[list].as_array().unwrap().iter().filter(|thing| thing["name"] != "default").count()
    }
}

fn ask(method: &str, service: &str, path: &str, token: &str, body: &Value) -> Reply {
    let port = SERVICES.iter().find(|(name, _)| *name == service).unwrap().1;
    let mut request = Request::default();
    request.headers.insert("x-auth-token".to_owned(), token.to_owned());
    request.headers.insert("content-type".to_owned(), "application/json".to_owned());
    if !body.is_null() {
        request.body = body.to_string().into_bytes();
    }
    send(port, method, &format!("/{path}"), &request)
}
