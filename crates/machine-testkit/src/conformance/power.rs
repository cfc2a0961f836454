//! Power operations, as declared.

use std::time::Duration;

use machine_core::{Driver, DriverState, ErrorKind, Power, PowerSupport, State};
use tokio::time::{Instant, sleep};

use super::Subject;
use super::bench::{Bench, Cut, Journal, full_text};
use super::life::ok;

/// What the driver says that it does, it does; what it does not do gives the declared text.
///
/// # Panics
/// Where it is otherwise.
pub async fn power_as_declared(driver: &dyn Driver, subject: &dyn Subject) {
    let bench = Bench::new();
    let wish = bench.wish(driver, &subject.good_flags());
    let made = ok("create", driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)).await);
    let can = &driver.spec().capabilities;
    for (op, support) in [
        (Power::Start, &can.start),
        (Power::Stop, &can.stop),
        (Power::Restart, &can.restart),
        (Power::Kill, &can.kill),
    ] {
        not_declared(driver, &bench, &made, op, support).await;
    }
    let mut machine = Running { driver, subject, bench: &bench, state: made };
    let does = |support: &PowerSupport| matches!(support, PowerSupport::Driver);
    machine.settles(State::Running).await;
    for (off, support) in [(Power::Stop, &can.stop), (Power::Kill, &can.kill)] {
        if does(support) && does(&can.start) {
            machine.goes(off, State::Stopped).await;
            machine.goes(Power::Start, State::Running).await;
        }
    }
    if does(&can.restart) {
        machine.does(Power::Restart).await;
        machine.settles(State::Running).await;
    }
    ok("remove", driver.remove(&bench.cx(), &machine.state).await);
}

async fn not_declared(
    driver: &dyn Driver,
    bench: &Bench,
    state: &DriverState,
    op: Power,
    support: &PowerSupport,
) {
    if matches!(support, PowerSupport::Driver) {
        return;
    }
    match (driver.power(&bench.cx(), state, op).await, support) {
        (Ok(_), _) => panic!("{op:?} worked although the driver declares that it does not do it"),
        (Err(error), PowerSupport::No(text)) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{op:?}: {}", full_text(&error));
            assert_eq!(error.to_string(), *text, "{op:?} gives another text than the declared one");
        }
        (Err(error), _) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{op:?}: {}", full_text(&error)),
    }
}

/// A machine while it is turned on and off.
struct Running<'a> {
    driver: &'a dyn Driver,
    subject: &'a dyn Subject,
    bench: &'a Bench,
    state: DriverState,
}

impl Running<'_> {
    /// The operation leads to the state, and once more says so or does nothing.
    async fn goes(&mut self, op: Power, to: State) {
        self.does(op).await;
        self.settles(to).await;
        match self.driver.power(&self.bench.cx(), &self.state, op).await {
            Ok(state) => self.state = state,
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::AlreadyDone,
                "{op:?} of a machine that is {to}: {}",
                full_text(&error)
            ),
        }
        self.settles(to).await;
    }

    async fn does(&mut self, op: Power) {
        self.state = ok(&format!("{op:?}"), self.driver.power(&self.bench.cx(), &self.state, op).await);
    }

    async fn settles(&mut self, to: State) {
        let deadline = Instant::now() + Duration::from_secs(self.subject.settle_seconds());
        loop {
            let observed = ok("observe", self.driver.observe(&self.bench.cx(), &self.state).await);
            if let Some(changed) = observed.changed {
                self.state = changed;
            }
            if observed.state == to {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the host did not become {to} within {} s; last seen: {}",
                self.subject.settle_seconds(),
                observed.state
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}
