//! What other users of a computer can see of processes while a command runs.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Collects the command line and the environment of every process, of this machine and of all lab hosts (their
/// processes are in namespaces below ours), until it is asked.
pub struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<HashSet<Vec<u8>>>,
}

impl Watch {
    pub fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut seen = HashSet::new();
            while !flag.load(Ordering::Relaxed) {
                look(&mut seen);
            }
            seen
        });
        Self { ended, thread }
    }

    /// All that was seen.
    pub fn end(self) -> HashSet<Vec<u8>> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(seen: &mut HashSet<Vec<u8>>) {
    for process in fs::read_dir("/proc").unwrap().flatten() {
        if !process.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            if let Ok(text) = fs::read(process.path().join(file)) {
                seen.insert(text);
            }
        }
    }
}

/// Does the haystack hold the needle?
pub fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
