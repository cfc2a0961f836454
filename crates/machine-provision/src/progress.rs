//! What a running script says.

use std::collections::VecDeque;

use crate::hints;
use crate::render::Script;

/// How many lines of a failed step's output are kept.
const TAIL_LINES: usize = 20;
/// How much of an overlong line is kept, in bytes.
const TAIL_LINE_LEN: usize = 2000;

/// Something that a running script said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepEvent {
    /// A step has begun.
    Started {
        /// Its name.
        name: String,
    },
    /// A step made a change.
    Changed {
        /// Its name.
        name: String,
    },
    /// A step found nothing to change.
    Unchanged {
        /// Its name.
        name: String,
    },
    /// A step failed, and the script stopped. The whole of it comes from [`Progress::finish`].
    Failed {
        /// Its name.
        name: String,
    },
    /// A step waits.
    Waiting {
        /// The step's name.
        name: String,
        /// For how long already, in seconds.
        for_s: u64,
        /// The limit, in seconds.
        limit_s: u64,
        /// The last thing that was seen, e.g. `dpkg lock held by unattended-upgr (pid 812)`.
        last: String,
    },
    /// A line that a command printed.
    Output(String),
}

/// What came of a script that ran to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names of the steps that changed something.
    pub changed: Vec<String>,
    /// Names of the steps that found nothing to change.
    pub unchanged: Vec<String>,
}

/// Why a script did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// A step failed.
    #[error("step {step:?} failed on the host{}", failure(*.status, *.limit_s, .output))]
    Step {
        /// The step's name.
        step: String,
        /// Exit status of the command that failed.
        status: i32,
        /// The step's limit in seconds, if that is why it failed.
        limit_s: Option<u32>,
        /// The last lines that it printed, oldest first.
        output: Vec<String>,
    },
    /// It never began: the command that should have run it did not.
    #[error("the provisioning script did not start on the host{}", failure(.status.unwrap_or(0), None, .output))]
    NotStarted {
        /// Exit status of the command, if known.
        status: Option<i32>,
        /// What was printed instead.
        output: Vec<String>,
    },
    /// It stopped in the middle: the connection or the host was lost.
    #[error("the provisioning script was cut off on the host{}{}", during(.step), failure(.status.unwrap_or(0), None, .output))]
    CutOff {
        /// The step that was under way.
        step: Option<String>,
        /// Exit status of the command, if known.
        status: Option<i32>,
        /// The last lines that were printed, oldest first.
        output: Vec<String>,
    },
}

fn during(step: &Option<String>) -> String {
    step.as_ref().map(|name| format!(" during {name:?}")).unwrap_or_default()
}

fn failure(status: i32, limit_s: Option<u32>, output: &[String]) -> String {
    let mut text = match limit_s {
        Some(limit) => format!(" (gave up after {limit} s)"),
        None if status != 0 => format!(" (exit status {status})"),
        None => String::new(),
    };
    if !output.is_empty() {
        text.push_str("; it said:\n  ");
        text.push_str(&output.join("\n  "));
    }
    text
}

impl ScriptError {
    /// What to do about it, where the output is that of a well-known failure.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Step { output, .. } | Self::NotStarted { output, .. } | Self::CutOff { output, .. } => {
                hints::for_output(output)
            }
        }
    }
}

/// Follows a script while it runs: feed it each line of the output, then ask how it ended.
#[derive(Clone, Debug)]
pub struct Progress {
    token: String,
    names: Vec<String>,
    limits: Vec<u32>,
    current: Option<usize>,
    begun: bool,
    finished: bool,
    failed: Option<(usize, i32, bool)>,
    outcome: Outcome,
    tail: VecDeque<String>,
}

impl Progress {
    /// For one run of a script.
    #[must_use]
    pub fn new(script: &Script) -> Self {
        Self {
            token: script.token().to_owned(),
            names: script.steps().iter().map(|(name, _)| name.clone()).collect(),
            limits: script.steps().iter().map(|(_, limit)| *limit).collect(),
            current: None,
            begun: false,
            finished: false,
            failed: None,
            outcome: Outcome::default(),
            tail: VecDeque::new(),
        }
    }

    /// Takes one line of what the script printed (standard output and standard error alike), without its end. `None` where it
    /// says nothing that concerns anybody else.
    pub fn line(&mut self, line: &str) -> Option<StepEvent> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A command may leave a line without an end; what the script itself says then follows on the same line.
        let Some((before, words)) = line.split_once(self.token.as_str()) else { return self.output(line) };
        if !before.is_empty() {
            self.remember(before);
        }
        self.word(words.trim_start())
    }

    /// How it ended, given the exit status of the command that ran it, if that is known.
    ///
    /// # Errors
    /// [`ScriptError`] unless it ran to its end.
    pub fn finish(self, status: Option<i32>) -> Result<Outcome, ScriptError> {
        let output: Vec<String> = self.tail.into();
        if let Some((step, status, timed_out)) = self.failed {
            return Err(ScriptError::Step {
                step: self.names.get(step).cloned().unwrap_or_default(),
                status,
                limit_s: self.limits.get(step).copied().filter(|_| timed_out),
                output,
            });
        }
        if self.finished {
            return Ok(self.outcome);
        }
        if !self.begun {
            return Err(ScriptError::NotStarted { status, output });
        }
        let step = self.current.and_then(|step| self.names.get(step).cloned());
        Err(ScriptError::CutOff { step, status, output })
    }

    fn output(&mut self, line: &str) -> Option<StepEvent> {
        self.remember(line);
        Some(StepEvent::Output(line.to_owned()))
    }

    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        let mut end = line.len().min(TAIL_LINE_LEN);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.tail.push_back(line[..end].to_owned());
    }

    /// `begin`, `end`, `step N start|changed|unchanged`, `step N failed CODE [limit]`, `step N wait SECONDS LIMIT TEXT`.
    fn word(&mut self, words: &str) -> Option<StepEvent> {
        let mut parts = words.splitn(4, ' ');
        match parts.next()? {
            "begin" => self.begun = true,
            "end" => self.finished = true,
            "step" => {
                let step: usize = parts.next()?.parse().ok()?;
                let name = self.names.get(step)?.clone();
                return self.step(step, name, parts.next()?, parts.next().unwrap_or_default());
            }
            _ => {}
        }
        None
    }

    fn step(&mut self, step: usize, name: String, what: &str, rest: &str) -> Option<StepEvent> {
        match what {
            "start" => {
                self.current = Some(step);
                self.tail.clear();
                Some(StepEvent::Started { name })
            }
            "changed" => {
                self.outcome.changed.push(name.clone());
                Some(StepEvent::Changed { name })
            }
            "unchanged" => {
                self.outcome.unchanged.push(name.clone());
                Some(StepEvent::Unchanged { name })
            }
            "failed" => {
                let (code, limit) = rest.split_once(' ').unwrap_or((rest, ""));
                self.failed = Some((step, code.parse().unwrap_or(1), limit == "limit"));
                Some(StepEvent::Failed { name })
            }
            "wait" => {
                let mut parts = rest.splitn(3, ' ');
                let for_s = parts.next()?.parse().ok()?;
                let limit_s = parts.next()?.parse().ok()?;
                let last = parts.next().unwrap_or_default().to_owned();
                Some(StepEvent::Waiting { name, for_s, limit_s, last })
            }
            _ => None,
        }
    }
}
