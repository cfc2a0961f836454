//! A machine to be, with a folder, a journal that can fail, and an ear for what the driver says.

use std::error::Error as StdError;
use std::sync::Mutex;

use machine_core::{
    Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverState, ErrorKind, Event, FlagValues,
    MachineName, Reporter, Secret, Seed,
};
use tempfile::TempDir;

/// A fresh store with the folder of one machine.
pub struct Bench {
    store: TempDir,
    machine_dir: std::path::PathBuf,
    name: MachineName,
    seed: Seed,
    /// What the driver reported.
    pub heard: Collected,
}

/// The id of the suite's store.
pub const STORE_ID: &str = "0123456789abcdef0123456789abcdef";
/// The public key of the suite's machine.
pub const AUTHORIZED_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDobVNIda8rkS/OA1QPX/6fBuaCNtZ3yn6AV0e6APhUz conformance";

/// Keeps all events as text.
#[derive(Debug, Default)]
pub struct Collected(Mutex<Vec<Event>>);

impl Collected {
    /// All events so far, in their `Debug` form.
    ///
    /// # Panics
    /// Where another thread panicked while it reported.
    pub fn text(&self) -> String {
        format!("{:?}", self.0.lock().expect("a reporter panicked"))
    }

    /// The events so far.
    ///
    /// # Panics
    /// Where another thread panicked while it reported.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().expect("a reporter panicked").clone()
    }
}

impl Reporter for Collected {
    fn report(&self, event: Event) {
        self.0.lock().expect("a reporter panicked").push(event);
    }
}

impl Bench {
    /// Makes the folders.
    ///
    /// # Panics
    /// Where the temporary folder can't be written.
    pub fn new() -> Self {
        let store = TempDir::new().expect("no temporary folder");
        let name = MachineName::new("conformance").expect("a good name");
        let machine_dir = store.path().join("machines").join(name.as_str());
        std::fs::create_dir_all(&machine_dir).expect("the machine's folder");
        let seed = Seed {
            authorized_key: AUTHORIZED_KEY.to_owned(),
            user_data: Secret::new("#cloud-config\nssh_pwauth: false\n"),
        };
        Self { store, machine_dir, name, seed, heard: Collected::default() }
    }

    /// What `configure` gets.
    pub fn configure_context(&self) -> ConfigureContext<'_> {
        ConfigureContext { name: &self.name, store_path: self.store.path() }
    }

    /// What everything else gets.
    pub fn cx(&self) -> Cx<'_> {
        Cx {
            name: &self.name,
            machine_dir: &self.machine_dir,
            store_path: self.store.path(),
            report: &self.heard,
            seed: Some(&self.seed),
            store_id: STORE_ID,
            allow_from: &[],
            narrowed_later: false,
        }
    }

    /// Configures with flags that must work.
    ///
    /// # Panics
    /// Where they do not.
    pub fn wish(&self, driver: &dyn Driver, flags: &FlagValues) -> DriverState {
        driver
            .configure(&self.configure_context(), flags)
            .unwrap_or_else(|error| panic!("configure refused flags that should work: {}", full_text(&error)))
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a create is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    Never,
    /// At the save of this number (from 0), before anything is on disk.
    Before(usize),
    /// At the save of this number, once it is on disk.
    After(usize),
}

/// A journal on paper: it keeps every state saved and can cut a create off.
pub struct Journal {
    cut: Cut,
    calls: usize,
    /// What is on disk.
    pub saved: Vec<DriverState>,
}

impl Journal {
    /// A journal that cuts off there.
    pub fn new(cut: Cut) -> Self {
        Self { cut, calls: 0, saved: Vec::new() }
    }

    /// How often the driver wanted to save.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The state from which a command after the crash would go on: the last one saved, or the wish.
    pub fn last_or(&self, wish: &DriverState) -> DriverState {
        self.saved.last().unwrap_or(wish).clone()
    }
}

/// The text of the error that a cut save gives.
pub const CUT: &str = "cut off by the conformance suite";

impl Checkpoint for Journal {
    fn save(&mut self, state: &DriverState) -> Result<(), DriverError> {
        let number = self.calls;
        self.calls += 1;
        if self.cut != Cut::Before(number) {
            self.saved.push(state.clone());
        }
        match self.cut {
            Cut::Before(at) | Cut::After(at) if at == number => Err(DriverError::new(ErrorKind::Other, CUT)),
            _ => Ok(()),
        }
    }
}

/// All that a person or a log could see of an error.
pub fn full_text(error: &DriverError) -> String {
    let mut text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(" {cause} {cause:?}"));
        next = cause.source();
    }
    text
}
