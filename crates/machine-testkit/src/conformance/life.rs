//! Create, observe, remove, and what an interruption leaves.

use machine_core::{Driver, DriverError, DriverState, ErrorKind, State};

use super::Subject;
use super::bench::{Bench, CUT, Cut, Journal, full_text};
use super::declaration::{unknown_is_kept, with_unknown};

/// What `create` needs and is not there is seen by `precreate`, and nothing is made.
///
/// # Panics
/// Where it is not.
pub async fn unmet_conditions_are_seen_before_create(driver: &dyn Driver, subject: &dyn Subject) {
    let (bench, before) = (Bench::new(), subject.resources());
    let good = bench.wish(driver, &subject.good_flags());
    ok("precreate", driver.precreate(&bench.cx(), &good).await);
    for (what, flags) in subject.unmet_flags() {
        let wish = bench.wish(driver, &flags);
        match driver.precreate(&bench.cx(), &wish).await {
            Ok(()) => panic!("precreate passed without this: {what}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::AlreadyDone, "{what}: {}", full_text(&error)),
        }
    }
    assert_eq!(subject.resources(), before, "precreate made something");
}

/// A whole life. Remove leaves nothing, twice; what is gone is seen to be gone.
///
/// # Panics
/// Where it goes otherwise.
pub async fn create_observe_remove(driver: &dyn Driver, subject: &dyn Subject) {
    let (bench, before) = (Bench::new(), subject.resources());
    let wish = with_unknown(bench.wish(driver, &subject.good_flags()));
    let mut journal = Journal::new(Cut::Never);
    let made = ok("create", driver.create(&bench.cx(), wish, &mut journal).await);
    unknown_is_kept(&made, "create");
    for state in &journal.saved {
        unknown_is_kept(state, "a checkpoint");
    }
    assert!(journal.calls() > 0, "create never saved");
    let makes_hosts = subject.resources() > before;

    let observed = ok("observe", driver.observe(&bench.cx(), &made).await);
    let now = observed.changed.unwrap_or_else(|| made.clone());
    unknown_is_kept(&now, "observe");
    assert!(
        matches!(observed.state, State::Running | State::Starting),
        "a host just made is {:?}",
        observed.state
    );
    many_at_once(driver, &bench, &now).await;

    for time in ["", " for the second time"] {
        ok(&format!("remove{time}"), driver.remove(&bench.cx(), &now).await);
        assert_eq!(subject.resources(), before, "remove left something{time}");
    }
    if makes_hosts {
        is_gone(driver, &bench, &now).await;
    }
}

async fn many_at_once(driver: &dyn Driver, bench: &Bench, state: &DriverState) {
    let hosts = [(bench.cx(), state), (bench.cx(), state)];
    let answers = driver.observe_many(&hosts).await;
    assert_eq!(answers.len(), hosts.len(), "observe_many must answer every question");
    let alone = ok("observe", driver.observe(&bench.cx(), state).await).state;
    for answer in answers {
        assert_eq!(ok("observe_many", answer).state, alone, "observe_many sees something else than observe");
    }
}

/// What was removed is not found.
pub(super) async fn is_gone(driver: &dyn Driver, bench: &Bench, state: &DriverState) {
    match driver.observe(&bench.cx(), state).await {
        Ok(observed) => assert_eq!(observed.state, State::NotFound, "a host that is gone"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "a host that is gone: {}", full_text(&error))
        }
    }
}

/// A create that was cut off at any checkpoint goes on when called again, makes nothing twice, and can be removed.
///
/// # Panics
/// Where it does not.
pub async fn interrupted_creates_go_on(driver: &dyn Driver, subject: &dyn Subject) {
    let before = subject.resources();
    let (cuts, held) = uninterrupted(driver, subject).await;
    for cut in cuts {
        let bench = Bench::new();
        let left = interrupt(driver, subject, &bench, cut).await;
        let mut journal = Journal::new(Cut::Never);
        let made = ok(
            &format!("create after an interruption ({cut:?})"),
            driver.create(&bench.cx(), left, &mut journal).await,
        );
        assert_eq!(
            subject.resources() - before,
            held,
            "a create that was cut off ({cut:?}) and went on holds something else than one that was not"
        );
        ok("observe", driver.observe(&bench.cx(), &made).await);
        ok("remove", driver.remove(&bench.cx(), &made).await);
        assert_eq!(subject.resources(), before, "remove left something after a create cut off at {cut:?}");
    }
}

/// A create that was cut off at any checkpoint can be removed with what was saved until then.
///
/// # Panics
/// Where something is left.
pub async fn interrupted_creates_can_be_removed(driver: &dyn Driver, subject: &dyn Subject) {
    let before = subject.resources();
    let (cuts, _) = uninterrupted(driver, subject).await;
    for cut in cuts {
        let bench = Bench::new();
        let left = interrupt(driver, subject, &bench, cut).await;
        ok("remove", driver.remove(&bench.cx(), &left).await);
        assert_eq!(subject.resources(), before, "remove left something of a create cut off at {cut:?}");
    }
}

/// Creates and removes once; gives all places where a create can be cut off, and how much one holds.
async fn uninterrupted(driver: &dyn Driver, subject: &dyn Subject) -> (Vec<Cut>, usize) {
    let (bench, before) = (Bench::new(), subject.resources());
    let wish = bench.wish(driver, &subject.good_flags());
    let mut journal = Journal::new(Cut::Never);
    let made = ok("create", driver.create(&bench.cx(), wish, &mut journal).await);
    let held = subject.resources() - before;
    ok("remove", driver.remove(&bench.cx(), &made).await);
    let cuts = (0..journal.calls()).flat_map(|n| [Cut::Before(n), Cut::After(n)]).collect();
    (cuts, held)
}

/// Begins a create that is cut off; gives what the record holds then. Nothing may be made before the first save.
async fn interrupt(driver: &dyn Driver, subject: &dyn Subject, bench: &Bench, cut: Cut) -> DriverState {
    let before = subject.resources();
    let wish = bench.wish(driver, &subject.good_flags());
    let mut journal = Journal::new(cut);
    match driver.create(&bench.cx(), wish.clone(), &mut journal).await {
        Ok(_) => panic!("create went on although its state could not be saved ({cut:?})"),
        Err(error) => {
            let text = full_text(&error);
            assert!(text.contains(CUT), "create hid why its state could not be saved ({cut:?}): {text}");
        }
    }
    if matches!(cut, Cut::Before(0) | Cut::After(0)) {
        assert_eq!(subject.resources(), before, "something was made before the first save");
    }
    journal.last_or(&wish)
}

/// The value, or a panic with all that the error says.
pub(super) fn ok<T>(what: &str, result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {}", full_text(&error)))
}
