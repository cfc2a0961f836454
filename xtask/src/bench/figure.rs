//! What was measured, next to what it should be and what the peer needed.

use std::fmt;

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// It is told, no more.
    None,
    /// This at most.
    AtMost(f64),
    /// This and nothing else.
    Exactly(f64),
}

impl Target {
    /// `None` where there is nothing to reach.
    fn reached(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(most) => Some(value <= most),
            Self::Exactly(wanted) => Some((value - wanted).abs() < f64::EPSILON),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::AtMost(most) => json!({ "at_most": most }),
            Self::Exactly(wanted) => json!({ "exactly": wanted }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::None => String::new(),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::Exactly(wanted) => wanted.to_string(),
        };
        f.pad(&text)
    }
}

/// One figure of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was done.
    pub scenario: String,
    /// What was measured, with its unit.
    pub what: &'static str,
    /// What our program needed.
    pub ours: f64,
    /// What it should need.
    pub target: Target,
    /// What the peer needed, where it was asked.
    pub peer: Option<f64>,
}

impl Figure {
    /// A figure of ours alone, to be told.
    pub fn new(scenario: &str, what: &'static str, ours: f64) -> Self {
        Self { scenario: scenario.to_owned(), what, ours, target: Target::None, peer: None }
    }

    /// With what it should be.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// With what the peer needed.
    pub fn peer(mut self, peer: Option<f64>) -> Self {
        self.peer = peer;
        self
    }

    /// Whether it is not what it should be.
    pub fn missed(&self) -> bool {
        self.target.reached(self.ours) == Some(false)
    }

    /// The heading of [`Figure::row`].
    pub fn header() -> String {
        let (scenario, what, target) = ("scenario", "figure", "target");
        format!(
            "{scenario:<30} {what:<22} {target:>8} {:>10} {:<7} {:>10} {:>7}",
            "measured", "", "peer", "ratio"
        )
        .trim_end()
        .to_owned()
    }

    /// A line of the table.
    pub fn row(&self) -> String {
        let verdict = match self.target.reached(self.ours) {
            None => "",
            Some(true) => "ok",
            Some(false) => "MISSED",
        };
        let (peer, ratio) = self.peer.map_or_else(Default::default, |peer| {
            (number(peer), if self.ours > 0.0 { format!("{:.1}", peer / self.ours) } else { String::new() })
        });
        let ours = number(self.ours);
        format!(
            "{:<30} {:<22} {:>8} {ours:>10} {verdict:<7} {peer:>10} {ratio:>7}",
            self.scenario, self.what, self.target
        )
        .trim_end()
        .to_owned()
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "figure": self.what, "ours": self.ours, "target": self.target.json(),
            "reached": self.target.reached(self.ours), "peer": self.peer,
        })
    }
}

/// Three digits that count, and whole numbers whole.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1000.0 {
        format!("{value:.0}")
    } else if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_judged_by_their_targets() {
        let figure = |ours, target| Figure::new("version", "CPU ms", ours).target(target);
        assert!(!figure(5.0, Target::AtMost(5.0)).missed());
        assert!(figure(5.1, Target::AtMost(5.0)).missed());
        assert!(figure(2.0, Target::Exactly(1.0)).missed());
        assert!(!figure(9.0, Target::None).missed());
        let row = figure(5.25, Target::AtMost(5.0)).peer(Some(10.5)).row();
        for part in ["version", "≤ 5", "5.25", "MISSED", "10.50", " 2.0"] {
            assert!(row.contains(part), "{part}: {row}");
        }
    }
}
