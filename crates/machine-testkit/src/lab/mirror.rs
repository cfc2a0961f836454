//! The package mirrors that this machine's apt uses, and the only way from a lab host to them.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{LabError, command::run};

/// The port of [`MirrorProxy`] on our end of a host's link.
pub const PORT: u16 = 3142;
/// Longest wait for a mirror to answer a connection or send on.
const LIMIT: Duration = Duration::from_secs(60);

/// Debian's archives as apt's configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The main archive's address.
    pub main: String,
    /// The security archive's address, where apt uses one.
    pub security: Option<String>,
    /// The proxy through which apt goes there, where it does.
    pub proxy: Option<String>,
}

impl Mirrors {
    /// From `MACHINE_LAB_MIRROR`, or else from apt.
    pub fn find() -> Result<Self, LabError> {
        let asked = run("apt-config", ["dump", "--format=%v%n", "Acquire::http::Proxy"]).unwrap_or_default();
        let configured = asked.lines().next().map(str::to_owned);
        let proxy =
            configured.or_else(|| env::var("http_proxy").ok()).filter(|p| !p.is_empty() && p != "DIRECT");
        if let Some(main) = env::var("MACHINE_LAB_MIRROR").ok().filter(|m| !m.is_empty()) {
            return Ok(Self { main, security: None, proxy });
        }
        let format = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)";
        let targets = run("apt-get", ["indextargets", "--format", format, "Identifier: Packages"])?;
        let (main, security) = archives(&targets);
        let main =
            main.ok_or_else(|| LabError::NoMirror("is `apt-get update` still to be run?".to_owned()))?;
        Ok(Self { main, security, proxy })
    }

    /// The lines of a sources.list of Debian 12.
    pub fn sources(&self) -> Vec<String> {
        let security = self.security.iter().map(|s| format!("deb {s} bookworm-security main"));
        std::iter::once(format!("deb {} bookworm main", self.main)).chain(security).collect()
    }

    /// `host:port` of each archive: what a lab host may reach.
    fn doors(&self) -> Vec<String> {
        std::iter::once(&self.main).chain(&self.security).filter_map(|url| door(url)).collect()
    }
}

/// The main and the security archive among the index targets of apt.
fn archives(targets: &str) -> (Option<String>, Option<String>) {
    let mut found = (None, None);
    for line in targets.lines() {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        match fields[..] {
            [uri, codename, "main", "Debian"] if !codename.contains('-') => found.0 = Some(uri),
            [uri, _, "main", "Debian-Security"] => found.1 = Some(uri),
            _ => {}
        }
    }
    let bare = |uri: &str| uri.trim_end_matches('/').to_owned();
    (found.0.map(bare), found.1.map(bare))
}

/// `host:port` of an http or https address.
fn door(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?.rsplit('@').next()?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{port}") })
}

/// An HTTP proxy on our end of a lab host's link that leads to the mirrors of apt's configuration and nowhere else.
/// It serves while the value lives.
#[derive(Debug)]
pub struct MirrorProxy {
    address: SocketAddr,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl MirrorProxy {
    /// Starts one at that address, on a thread.
    ///
    /// # Errors
    /// apt names no mirror, or the address can't be listened on.
    pub fn start(address: Ipv4Addr) -> Result<Self, LabError> {
        let mirrors = Arc::new(Mirrors::find()?);
        let listener = TcpListener::bind((address, PORT))
            .map_err(|e| LabError::file("listen on", address.to_string(), e))?;
        let address =
            listener.local_addr().map_err(|e| LabError::file("listen on", address.to_string(), e))?;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), mirrors) = (client, mirrors.clone()) else { continue };
                thread::spawn(move || serve(client, &mirrors));
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for MirrorProxy {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)); // wakes the accept
    }
}

/// One connection. apt keeps it for many requests to the same mirror, so after the first request line, which says
/// where to, bytes are passed on unread; a mirror accepts the absolute form of request lines (RFC 9112, 3.2.2).
fn serve(client: TcpStream, mirrors: &Mirrors) {
    if let Err(e) = try_serve(&client, mirrors) {
        let _ = write!(
            &client,
            "HTTP/1.1 502 Lab Proxy\r\nConnection: close\r\nContent-Length: 0\r\nX-Why: {e}\r\n\r\n"
        );
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn try_serve(client: &TcpStream, mirrors: &Mirrors) -> io::Result<()> {
    client.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let tunnel = method == "CONNECT";
    let wanted = if tunnel { Some(target.to_owned()) } else { door(target) };
    let allowed = wanted.filter(|w| mirrors.doors().contains(w));
    let wanted = allowed.ok_or_else(|| io::Error::other("not a package mirror"))?;

    let via = mirrors.proxy.as_deref().and_then(door);
    let mut upstream = TcpStream::connect(via.as_deref().unwrap_or(&wanted))?;
    upstream.set_read_timeout(Some(LIMIT))?;
    if tunnel && via.is_none() {
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header == "\r\n" {
                break;
            }
        }
        (&*client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        upstream.write_all(first.as_bytes())?;
    }
    let mut back = upstream.try_clone()?;
    let mut out = client.try_clone()?;
    let answers = thread::spawn(move || {
        let _ = io::copy(&mut back, &mut out);
        let _ = out.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut reader, &mut upstream);
    let _ = upstream.shutdown(Shutdown::Write);
    let _ = answers.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_own_words_name_the_archives() {
        let targets = "http://mirror.example/debian/ bookworm main Debian\n\
                       http://mirror.example/debian/ bookworm-updates main Debian\n\
                       http://mirror.example/debian-security/ bookworm-security main Debian-Security\n\
                       https://other.example/apt stable main Other Things\n";
        let (main, security) = archives(targets);
        assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(security.as_deref(), Some("http://mirror.example/debian-security"));
        assert_eq!(archives("http://m.example/ $(CODENAME) main $(LABEL)\n"), (None, None));
    }

    #[test]
    fn a_door_is_host_and_port() {
        assert_eq!(door("http://m.example/debian").as_deref(), Some("m.example:80"));
        assert_eq!(door("https://u@m.example:8443").as_deref(), Some("m.example:8443"));
        assert_eq!(door("file:///srv/debian"), None);
    }

    #[test]
    fn the_proxy_leads_nowhere_else() {
        let mirrors = Mirrors { main: "http://m.invalid/debian".to_owned(), security: None, proxy: None };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        client.write_all(b"GET http://127.0.0.1:1/secret HTTP/1.1\r\n\r\n").unwrap();
        serve(server, &mirrors);
        let mut answer = String::new();
        let _ = io::Read::read_to_string(&mut client, &mut answer);
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("not a package mirror"), "{answer}");
    }
}
