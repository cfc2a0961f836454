//! TCP proxies that stand between a program and its server and make the network slow, short or countable.
//!
//! They run on threads of their own, listen on a free port of 127.0.0.1, and end when the value is dropped.
//! `tc netem` is missing from many kernels; a delay here stands in for one on the wire, except that it begins when
//! the TCP connection is there (its own handshake is not slowed).

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What becomes of a piece that has arrived.
enum Verdict {
    /// It goes on after that time.
    Pass(Duration),
    /// Its first bytes go on, then the connection ends.
    Cut(usize),
}

/// Watches one connection.
type Watch = Box<dyn FnMut(Direction, usize) -> Verdict + Send>;

/// The part that all proxies share: accepting, connecting on, and carrying both ways.
#[derive(Debug)]
struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(target: SocketAddr, watch: impl FnMut() -> Watch + Send + 'static) -> io::Result<Self> {
        Self::listen(TcpListener::bind(("127.0.0.1", 0))?, target, watch)
    }

    fn listen(
        listener: TcpListener,
        target: SocketAddr,
        mut watch: impl FnMut() -> Watch + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let relay = Self { address, stop: stop.clone(), open: open.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A server that can't be reached shows as a connection that ends at once.
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect(target) else { continue };
                let _ = carry(&client, &server, watch());
                open.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
            }
        });
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the accept
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Starts carrying both ways.
fn carry(client: &TcpStream, server: &TcpStream, watch: Watch) -> io::Result<()> {
    let watch = Arc::new(Mutex::new(watch));
    for (direction, from, to) in [(Direction::Up, client, server), (Direction::Down, server, client)] {
        from.set_nodelay(true)?;
        let (from, to, watch) = (from.try_clone()?, to.try_clone()?, watch.clone());
        thread::spawn(move || pump(direction, from, to, &watch));
    }
    Ok(())
}

/// Reads at once and writes when it is due, so that what follows in the pipe is not slowed twice.
fn pump(direction: Direction, mut from: TcpStream, mut to: TcpStream, watch: &Mutex<Watch>) {
    let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    let (Ok(cut_from), Ok(cut_to)) = (from.try_clone(), to.try_clone()) else { return };
    let writer = thread::spawn(move || {
        for (when, piece) in due {
            thread::sleep(when.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 64 * 1024];
    let mut delay = Duration::ZERO;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let verdict = watch.lock().unwrap_or_else(PoisonError::into_inner)(direction, length);
        match verdict {
            Verdict::Pass(after) => {
                delay = after;
                let _ = queue.send((Instant::now() + after, buffer[..length].to_vec()));
            }
            Verdict::Cut(rest) => {
                let _ = queue.send((Instant::now(), buffer[..rest].to_vec()));
                drop(queue);
                let _ = writer.join();
                let _ = (cut_from.shutdown(Shutdown::Both), cut_to.shutdown(Shutdown::Both));
                return;
            }
        }
    }
    let _ = queue.send((Instant::now() + delay, Vec::new())); // the end travels as slowly as the rest
    drop(queue);
    let _ = writer.join();
}

/// Adds a round-trip time.
#[derive(Debug)]
pub struct DelayProxy(Relay);

impl DelayProxy {
    /// A proxy to `target` in which each byte takes half of `round_trip` either way.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be listened on.
    pub fn start(target: SocketAddr, round_trip: Duration) -> io::Result<Self> {
        let relay = Relay::start(target, move || Box::new(move |_, _| Verdict::Pass(round_trip / 2)))?;
        Ok(Self(relay))
    }

    /// A proxy to the port of `host` that has the same number as its own: for a server that is told by its client
    /// where to listen, as an engine is by `--generic-engine-port`.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be listened on.
    pub fn start_with_port_of(host: IpAddr, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let target = SocketAddr::new(host, listener.local_addr()?.port());
        Relay::listen(listener, target, move || Box::new(move |_, _| Verdict::Pass(round_trip / 2))).map(Self)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// What has gone through a [`CountingProxy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Those on which the client said something; the others only looked whether the port answers.
    pub spoken: u64,
    /// Bytes from clients to the server.
    pub bytes_up: u64,
    /// Bytes from the server to clients.
    pub bytes_down: u64,
    /// How often a client spoke first or after the server had spoken: the times that a distant server
    /// would have been waited for. Pieces that cross on the wire may count double.
    pub round_trips: u64,
}

/// Counts connections, bytes and round trips.
#[derive(Debug)]
pub struct CountingProxy {
    relay: Relay,
    counts: Arc<Mutex<Counts>>,
}

impl CountingProxy {
    /// A proxy to `target`.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be listened on.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shared = counts.clone();
        let relay = Relay::start(target, move || {
            let counts = shared.clone();
            counts.lock().unwrap_or_else(PoisonError::into_inner).connections += 1;
            let (mut last, mut silent) = (Direction::Down, true);
            Box::new(move |direction, length| {
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                match direction {
                    Direction::Up => {
                        counts.bytes_up += length as u64;
                        counts.spoken += u64::from(std::mem::take(&mut silent));
                        counts.round_trips += u64::from(last == Direction::Down);
                    }
                    Direction::Down => counts.bytes_down += length as u64,
                }
                last = direction;
                Verdict::Pass(Duration::ZERO)
            })
        })?;
        Ok(Self { relay, counts })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.relay.address
    }

    /// What has gone through so far.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends connections in the middle.
#[derive(Debug)]
pub struct CutProxy {
    relay: Relay,
    healed: Arc<AtomicBool>,
}

impl CutProxy {
    /// A proxy to `target` that ends each connection once `bytes` have gone through it, both ways together.
    ///
    /// # Errors
    /// No port of 127.0.0.1 can be listened on.
    pub fn start(target: SocketAddr, bytes: usize) -> io::Result<Self> {
        let healed = Arc::new(AtomicBool::new(false));
        let shared = healed.clone();
        let relay = Relay::start(target, move || {
            let healed = shared.clone();
            let mut left = bytes;
            Box::new(move |_, length| {
                if healed.load(Ordering::Relaxed) || length < left {
                    left = left.saturating_sub(length);
                    return Verdict::Pass(Duration::ZERO);
                }
                Verdict::Cut(std::mem::take(&mut left))
            })
        })?;
        Ok(Self { relay, healed })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.relay.address
    }

    /// Cuts no more.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with itself.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream, question: &[u8]) -> Vec<u8> {
        stream.write_all(question).unwrap();
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).unwrap();
        answer
    }

    #[test]
    fn questions_and_answers_are_counted() {
        let proxy = CountingProxy::start(echo()).unwrap();
        drop(TcpStream::connect(proxy.address()).unwrap());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        for question in [b"one".as_slice(), b"two", b"three"] {
            assert_eq!(ask(&mut stream, question), question);
        }
        let expected = Counts { connections: 2, spoken: 1, bytes_up: 11, bytes_down: 11, round_trips: 3 };
        assert_eq!(proxy.counts(), expected);
    }

    #[test]
    fn a_delay_is_at_least_as_long_as_asked() {
        let round_trip = Duration::from_millis(60);
        let proxy = DelayProxy::start(echo(), round_trip).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let start = Instant::now();
        assert_eq!(ask(&mut stream, b"far away"), b"far away");
        // A lower bound holds on the busiest machine; there is no upper one.
        assert!(start.elapsed() >= round_trip);
    }

    #[test]
    fn the_end_of_a_stream_passes() {
        let proxy = DelayProxy::start(echo(), Duration::from_millis(10)).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "bye");
    }

    #[test]
    fn a_connection_is_cut_at_the_byte_and_healed() {
        let proxy = CutProxy::start(echo(), 12).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut stream, b"four"), b"four");
        stream.write_all(b"12345678").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "the four bytes that were left went up");
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut stream, b"longer than twelve"), b"longer than twelve");
    }
}
