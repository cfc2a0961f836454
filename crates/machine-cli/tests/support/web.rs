//! A web server of a few files, for what a host fetches from us. It stands in for the web servers of the world.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Files = Arc<Mutex<HashMap<String, String>>>;

/// Serves until dropped.
pub struct Web {
    address: SocketAddr,
    files: Files,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Serves on that address of ours; nothing is there yet.
    pub fn serve(at: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let web =
            Self { address: listener.local_addr().unwrap(), files: Files::default(), ended: Arc::default() };
        let (ended, files) = (Arc::clone(&web.ended), Arc::clone(&web.files));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that went away is its own business.
                let _ = answer(stream, &files);
            }
        });
        web
    }

    /// From now on that text is at that path.
    pub fn put(&self, path: &str, text: &str) {
        self.files.lock().unwrap().insert(path.to_owned(), text.to_owned());
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let found = files.lock().unwrap().get(path).cloned();
    let (status, body) = match found {
        Some(text) => ("200 OK", text),
        None => ("404 Not Found", "not here\n".to_owned()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
