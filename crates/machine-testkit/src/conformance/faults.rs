//! What goes wrong at the counterpart, and what nobody may see.

use machine_core::{Driver, DriverError, ErrorKind, FlagValue, State};

use super::bench::{Bench, Cut, Journal, full_text};
use super::life::{is_gone, ok};
use super::{Fault, Subject};

/// Each fault that the counterpart can have is called what it is, leaves nothing behind, and once it is over, create
/// goes on.
///
/// # Panics
/// Where it is otherwise.
pub async fn faults_are_survived(driver: &dyn Driver, subject: &dyn Subject) {
    for fault in [Fault::LostReply, Fault::Unavailable, Fault::Throttled] {
        passing(driver, subject, fault).await;
    }
    lasting(driver, subject, Fault::WrongCredentials, ErrorKind::Credentials).await;
    lasting(driver, subject, Fault::Quota, ErrorKind::Quota).await;
    gone(driver, subject).await;
}

/// A fault of one moment: create rides it out, or fails and goes on when called again.
async fn passing(driver: &dyn Driver, subject: &dyn Subject, fault: Fault) {
    let (bench, before) = (Bench::new(), subject.resources());
    let wish = bench.wish(driver, &subject.good_flags());
    if !subject.inject(fault) {
        return;
    }
    let mut journal = Journal::new(Cut::Never);
    let made = match driver.create(&bench.cx(), wish.clone(), &mut journal).await {
        Ok(made) => made,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {}", full_text(&error));
            let left = journal.last_or(&wish);
            ok(&format!("create after {fault:?}"), driver.create(&bench.cx(), left, &mut journal).await)
        }
    };
    subject.heal();
    ok("remove", driver.remove(&bench.cx(), &made).await);
    assert_eq!(subject.resources(), before, "{fault:?}: remove left something");
}

/// A fault that lasts until somebody does something: it is named, and what was made until then can be removed.
async fn lasting(driver: &dyn Driver, subject: &dyn Subject, fault: Fault, kind: ErrorKind) {
    let (bench, before) = (Bench::new(), subject.resources());
    let wish = bench.wish(driver, &subject.good_flags());
    if !subject.inject(fault) {
        return;
    }
    let mut journal = Journal::new(Cut::Never);
    let error = match driver.precreate(&bench.cx(), &wish).await {
        Err(error) => error,
        Ok(()) => match driver.create(&bench.cx(), wish.clone(), &mut journal).await {
            Err(error) => error,
            Ok(_) => panic!("create worked in spite of {fault:?}"),
        },
    };
    assert_eq!(error.kind(), kind, "{fault:?}: {}", full_text(&error));
    assert!(error.hint().is_some(), "{fault:?}: the error gives no hint what to do");
    subject.heal();
    ok("remove", driver.remove(&bench.cx(), &journal.last_or(&wish)).await);
    assert_eq!(subject.resources(), before, "{fault:?}: remove left something");
}

/// The host disappears: that is seen, and remove is content.
async fn gone(driver: &dyn Driver, subject: &dyn Subject) {
    let (bench, before) = (Bench::new(), subject.resources());
    let wish = bench.wish(driver, &subject.good_flags());
    let made = ok("create", driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)).await);
    let makes_hosts = subject.resources() > before;
    if subject.inject(Fault::HostGone) {
        if makes_hosts {
            is_gone(driver, &bench, &made).await;
        } else {
            let seen = ok("observe", driver.observe(&bench.cx(), &made).await).state;
            assert!(seen != State::Running, "a host that is gone is seen as running");
        }
    }
    ok("remove", driver.remove(&bench.cx(), &made).await);
    subject.heal();
}

/// The values of secret flags are in no error, hint or event, whatever goes wrong.
///
/// # Panics
/// Where one is.
pub async fn secrets_stay_secret(driver: &dyn Driver, subject: &dyn Subject) {
    let secrets = secrets(driver, subject);
    let hidden = |what: &str, text: &str| {
        for (flag, secret) in &secrets {
            assert!(!text.contains(secret.as_str()), "the value of --{flag} shows in {what}");
        }
    };
    let bench = Bench::new();
    let seen = |result: Result<(), DriverError>| {
        if let Err(error) = result {
            hidden("an error", &full_text(&error));
        }
    };
    for (_, flags) in subject.bad_flags() {
        seen(driver.configure(&bench.configure_context(), &flags).map(drop));
    }
    let wish = bench.wish(driver, &subject.good_flags());
    for fault in Fault::ALL {
        if !subject.inject(fault) {
            continue;
        }
        let mut journal = Journal::new(Cut::Never);
        seen(driver.precreate(&bench.cx(), &wish).await);
        seen(driver.create(&bench.cx(), wish.clone(), &mut journal).await.map(drop));
        let left = journal.last_or(&wish);
        seen(driver.observe(&bench.cx(), &left).await.map(drop));
        subject.heal();
        ok("remove", driver.remove(&bench.cx(), &left).await);
    }
    hidden("an event", &bench.heard.text());
    hidden("the state's Debug", &format!("{wish:?}"));
}

fn secrets(driver: &dyn Driver, subject: &dyn Subject) -> Vec<(String, String)> {
    let flags = subject.good_flags();
    let mut found = Vec::new();
    for spec in driver.spec().flags.iter().filter(|spec| spec.secret) {
        let value = match spec.default_value() {
            FlagValue::List(_) => flags.list(&spec.name).concat(),
            _ => flags.str(&spec.name).to_owned(),
        };
        // A short one could stand in a text by chance.
        if value.len() >= 8 {
            found.push((spec.name.to_string(), value));
        }
    }
    let any = driver.spec().flags.iter().any(|spec| spec.secret);
    assert!(!any || !found.is_empty(), "the subject must give a secret flag a value of 8 bytes or more");
    found
}
