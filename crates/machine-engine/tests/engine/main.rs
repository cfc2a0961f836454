//! The client against a real engine, against doubles of engines that can't be had here, and against ports that are no
//! engine at all.

mod certificates;
mod dockerd;
mod double;
mod no_engine;
mod real;
mod tls;
mod versions;

use std::time::Duration;

/// A limit that only a broken test reaches.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a future as the program does: on one thread.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
