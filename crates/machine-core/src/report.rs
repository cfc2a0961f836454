//! How a room says what it is doing without printing anything.

/// Something that happened on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A line of progress in the reference program's words, e.g. `Creating machine...`.
    Line(String),
    /// A line from a driver; printed with the machine's name before it, e.g. `(dev) Importing SSH key...`.
    DriverLine(String),
    /// Something good to know that is no trouble, e.g. the fingerprint of a host key that is pinned.
    Notice(String),
    /// Something that the user should know although the command goes on.
    Warning(String),
    /// A detail for `--debug`. Never a secret.
    Debug(String),
    /// A phase of an operation began, e.g. `host`, `reach`, `provision`.
    PhaseStarted(String),
    /// A phase ended well, after so many milliseconds.
    PhaseDone(String, u64),
    /// A step of a longer phase changed its status, e.g. a step of the provisioning plan.
    Step {
        /// What the step is called, e.g. `install engine`.
        name: String,
        /// Where it stands.
        status: StepStatus,
    },
    /// Bytes are being moved, e.g. an image is downloaded. The last of them has `done` equal to `total`.
    Transfer {
        /// What, e.g. `debian-13-genericcloud-amd64.qcow2`.
        what: String,
        /// Bytes there so far.
        done: u64,
        /// All bytes; `None` where nobody says.
        total: Option<u64>,
    },
    /// Something is being waited for.
    Waiting {
        /// What for, e.g. `ssh on 203.0.113.7:22`.
        what: String,
        /// For how long already, in milliseconds.
        for_ms: u64,
        /// The limit, in milliseconds.
        limit_ms: u64,
        /// The last thing that was seen, e.g. `connection refused`.
        last: String,
    },
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepStatus {
    /// It has begun.
    Started,
    /// It made a change.
    Changed,
    /// There was nothing to change.
    Unchanged,
    /// It failed, and why.
    Failed(String),
}

/// Where events go. The CLI prints them; tests collect them.
pub trait Reporter: Send + Sync {
    /// Takes one event. Must not block for long.
    fn report(&self, event: Event);
}

/// A reporter that drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}
