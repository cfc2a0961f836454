//! A web server of a few files, for what a host fetches from us. It stands in for the web servers of the world.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Serves until dropped.
pub struct Web {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Serves those texts, by path, on that address of ours.
    pub fn serve(at: Ipv4Addr, files: &[(&str, &str)]) -> Self {
        let files: HashMap<String, String> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let listener = TcpListener::bind((at, 0)).unwrap();
        let web = Self { address: listener.local_addr().unwrap(), ended: Arc::default() };
        let ended = Arc::clone(&web.ended);
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

fn answer(mut stream: TcpStream, files: &HashMap<String, String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match files.get(path) {
        Some(text) => ("200 OK", text.as_str()),
        None => ("404 Not Found", "not here\n"),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
