//! Doubles of providers: HTTP servers on this computer that keep state as the provider does, remember every exchange,
//! and have faults when told so.
//!
//! ```
//! use machine_testkit::double::{Double, Provider, Reply, Request};
//! struct Shop(usize);
//! impl Provider for Shop {
//!     fn answer(&mut self, request: &Request) -> Reply {
//!         match (request.method.as_str(), request.segments().as_slice()) {
//!             ("POST", ["v1", "hosts"]) => {
//!                 self.0 += 1;
//!                 Reply::json(201, &serde_json::json!({ "id": self.0 }))
//!             }
//!             _ => Reply::json(404, &serde_json::json!({ "message": "no such thing" })),
//!         }
//!     }
//! }
//! let shop = Double::start(Shop(0));
//! assert!(shop.url().starts_with("http://127.0.0.1:"));
//! assert_eq!(shop.provider().0, 0);
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, without the query, as it was sent.
    pub path: String,
    /// The query, without its question mark, as it was sent.
    pub query: String,
    /// The headers, names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The parts of the path between slashes.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The first value of a key of the query, decoded; empty where there is none.
    #[must_use]
    pub fn query(&self, key: &str) -> String {
        pairs(&self.query)
            .into_iter()
            .find(|(name, _)| name == key)
            .map_or_else(String::new, |(_, value)| value)
    }

    /// The body as JSON; `null` where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as a form, decoded.
    #[must_use]
    pub fn form(&self) -> BTreeMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body)).into_iter().collect()
    }
}

/// The keys and values of a query or form, decoded.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(k, v)| (decoded(k), decoded(v)))
        .collect()
}

/// Percent-decodes, `+` as a space.
pub(crate) fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What goes out.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A reply without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A reply with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", &body.to_string())
    }

    /// A reply with a text.
    #[must_use]
    pub fn text(status: u16, content_type: &str, body: &str) -> Self {
        Self { body: body.as_bytes().to_vec(), ..Self::empty(status) }.header("content-type", content_type)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One request and its reply.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What came in.
    pub request: Request,
    /// What went out, also where it got lost on its way.
    pub reply: Reply,
}

/// What a provider does.
pub trait Provider: Send + 'static {
    /// Answers a request.
    fn answer(&mut self, request: &Request) -> Reply;
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The request is carried out and the connection closed without a reply.
    LostReply,
    /// The connection is closed before anything is done.
    Refused,
    /// Nothing is done, and this is the reply.
    Answer(Reply),
    /// It is carried out and answered after a while.
    Slow(Duration),
}

/// Trouble for certain requests.
struct Scripted {
    on: Box<dyn Fn(&Request) -> bool + Send>,
    times: usize,
    trouble: Trouble,
}

/// A provider's double. It lives as long as the test's process.
pub struct Double<P> {
    port: u16,
    inside: Arc<Inside<P>>,
}

struct Inside<P> {
    provider: Mutex<P>,
    exchanges: Mutex<Vec<Exchange>>,
    script: Mutex<Vec<Scripted>>,
}

impl<P: Provider> Double<P> {
    /// Serves on a port of 127.0.0.1.
    ///
    /// # Panics
    /// Where no port can be had.
    #[must_use]
    pub fn start(provider: P) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this computer");
        let port = listener.local_addr().expect("its port").port();
        let inside = Arc::new(Inside {
            provider: Mutex::new(provider),
            exchanges: Mutex::default(),
            script: Mutex::default(),
        });
        let served = Arc::clone(&inside);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || serve(&stream, &served));
            }
        });
        Self { port, inside }
    }

    /// Its address, e.g. `http://127.0.0.1:4242`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The provider's state.
    pub fn provider(&self) -> MutexGuard<'_, P> {
        lock(&self.inside.provider)
    }

    /// All exchanges since they were last taken.
    pub fn take_exchanges(&self) -> Vec<Exchange> {
        std::mem::take(&mut lock(&self.inside.exchanges))
    }

    /// The next so many requests for which `on` is true have this trouble. What was said first counts first.
    pub fn trouble(&self, times: usize, trouble: Trouble, on: impl Fn(&Request) -> bool + Send + 'static) {
        lock(&self.inside.script).push(Scripted { on: Box::new(on), times, trouble });
    }

    /// Ends all trouble.
    pub fn heal(&self) {
        lock(&self.inside.script).clear();
    }
}

impl<P: Provider> Inside<P> {
    fn trouble(&self, request: &Request) -> Option<Trouble> {
        let mut script = lock(&self.script);
        let scripted = script.iter_mut().find(|scripted| scripted.times > 0 && (scripted.on)(request))?;
        scripted.times -= 1;
        Some(scripted.trouble.clone())
    }

    /// The reply, and whether it gets where it should.
    fn answer(&self, request: &Request) -> Option<Reply> {
        let act = || lock(&self.provider).answer(request);
        let (reply, arrives) = match self.trouble(request) {
            None => (act(), true),
            Some(Trouble::LostReply) => (act(), false),
            Some(Trouble::Refused) => return None,
            Some(Trouble::Answer(reply)) => (reply, true),
            Some(Trouble::Slow(pause)) => {
                thread::sleep(pause);
                (act(), true)
            }
        };
        lock(&self.exchanges).push(Exchange { request: request.clone(), reply: reply.clone() });
        arrives.then_some(reply)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves requests on a connection until it is closed.
fn serve<P: Provider>(stream: &TcpStream, inside: &Inside<P>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let Some(reply) = inside.answer(&request) else { break };
        // Whoever asked may be gone.
        if send(stream, &request, &reply).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, query, headers, body })
}

fn send(mut stream: &TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if request.method != "HEAD" {
        bytes.extend_from_slice(&reply.body);
    }
    stream.write_all(&bytes)?;
    stream.flush()
}
