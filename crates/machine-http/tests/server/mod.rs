//! A server that answers as a test tells it to, faults included. It speaks HTTP/1.1, one request a connection.

#![allow(dead_code)] // each test file uses its part

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What was asked for, e.g. `/a.img`, or a whole address where we are taken for a proxy.
    pub target: String,
    /// The headers, names in small letters.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What goes out.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether parts can be asked for.
    pub ranges: bool,
    /// Close the connection after so many bytes of what is sent of the body.
    pub cut_after: Option<usize>,
    /// Say that the body has this length.
    pub length: Option<usize>,
    /// After so many bytes of what is sent of the body, wait until the gate is open.
    pub hold: Option<(usize, Gate)>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            ranges: true,
            cut_after: None,
            length: None,
            hold: None,
        }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ranges: false, ..Self::ok("no") }
    }

    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("location", to)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn etag(self, tag: &str) -> Self {
        self.header("etag", tag)
    }

    pub fn without_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut_after = Some(after);
        self
    }

    pub fn length(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    pub fn hold(mut self, after: usize, gate: &Gate) -> Self {
        self.hold = Some((after, gate.clone()));
        self
    }
}

/// Something to wait for.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let mut open = lock(&self.0.0);
        while !*open {
            open = self.0.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the server has, and what it was asked.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<Site>>);

#[derive(Default)]
struct Site {
    pages: BTreeMap<String, VecDeque<Answer>>,
    requests: Vec<Request>,
}

/// The server. It lives as long as the test's process.
#[derive(Clone)]
pub struct Server {
    pub port: u16,
    scheme: &'static str,
    site: Pages,
}

impl Server {
    /// Speaks plainly.
    pub fn start() -> Self {
        Self::with("http", serve)
    }

    /// Speaks through what this makes of a connection, e.g. TLS.
    pub fn with(scheme: &'static str, serve: impl Fn(TcpStream, &Pages) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this computer");
        let port = listener.local_addr().expect("the port").port();
        let site = Pages::default();
        let server = Self { port, scheme, site: site.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (site, serve) = (site.clone(), serve.clone());
                thread::spawn(move || serve(stream, &site));
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// What is answered from now on.
    pub fn page(&self, path: &str, answer: Answer) {
        self.pages(path, [answer]);
    }

    /// What is answered from now on, one after the other; the last one stays.
    pub fn pages(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.site.0).pages.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// What came in so far, and is forgotten.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.site.0).requests)
    }
}

/// Serves one request on a connection.
pub fn serve<S: Read + Write>(stream: S, pages: &Pages) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream) else { return };
    let answer = {
        let mut site = lock(&pages.0);
        site.requests.push(request.clone());
        let path = request.target.split('?').next().unwrap_or_default();
        match site.pages.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let answer = answer.unwrap_or_else(|| Answer::status(404));
    // Whoever asked may be gone.
    let _ = send(stream.get_mut(), &request, answer);
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let target = line()?.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            return Some(Request { target, headers });
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

fn send(stream: &mut impl Write, request: &Request, mut answer: Answer) -> std::io::Result<()> {
    let whole = answer.body.len();
    let from = request.header("range").strip_prefix("bytes=").and_then(|range| range.split('-').next());
    let from = from.and_then(|from| from.parse::<usize>().ok());
    let condition = request.header("if-range");
    let fits = condition.is_empty()
        || answer
            .headers
            .iter()
            .any(|(name, value)| (name == "etag" || name == "last-modified") && value == condition);
    if let Some(from) = from.filter(|_| answer.ranges && fits && answer.status == 200) {
        if from >= whole {
            answer.status = 416;
            answer.headers.push(("content-range".into(), format!("bytes */{whole}")));
            answer.body.clear();
        } else {
            answer.status = 206;
            answer.headers.push(("content-range".into(), format!("bytes {from}-{}/{whole}", whole - 1)));
            answer.body.drain(..from);
        }
    }
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = answer.length.unwrap_or(answer.body.len());
    head.push_str(&format!("content-length: {length}\r\n\r\n"));
    stream.write_all(head.as_bytes())?;
    let end = answer.cut_after.unwrap_or(usize::MAX).min(answer.body.len());
    let body = &answer.body[..end];
    match &answer.hold {
        Some((after, gate)) => {
            let (first, rest) = body.split_at((*after).min(body.len()));
            stream.write_all(first)?;
            stream.flush()?;
            gate.wait();
            stream.write_all(rest)?;
        }
        None => stream.write_all(body)?,
    }
    stream.flush()
}
