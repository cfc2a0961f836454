//! A door on an address of ours that leads to another: what a network between two hosts would do.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Relays connections until dropped.
pub struct Relay {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Relay {
    pub fn start(at: Ipv4Addr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let relay = Self { address: listener.local_addr().unwrap(), ended: Arc::default() };
        let ended = Arc::clone(&relay.ended);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that fails on the far side is closed on the near one.
                let _ = pair(near, to);
            }
        });
        relay
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn pair(near: TcpStream, to: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(to)?;
    for (mut from, mut into) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut into);
            let _ = into.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
