//! Looking at many machines: each account is asked once for all of its machines, and all accounts at the same time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use machine_core::{Answers, Cx, Driver, DriverError, DriverState, ErrorKind, Observed};

use super::hint;

/// How many accounts are asked at the same time. Each needs a socket, and so does each engine that is asked meanwhile; 1,024
/// open files are a common limit.
const AT_ONCE: usize = 128;
/// How long an account may take: longer than a call is tried, so that what is wrong is said where it can be.
const LIMIT: Duration = Duration::from_secs(150);

/// Where hosts are asked about, and what is known of them.
type Hosts<'h, 'c, 's> = &'h [(Cx<'c>, &'s DriverState)];
/// What is seen of one host.
type Seen = Result<Observed, DriverError>;
/// The machines of one account: their places among the questions, and themselves.
type Members<'h, 'c, S> = (Vec<usize>, Vec<(&'h Cx<'c>, S)>);

/// Asks each account once. `read` gives of a record what its machine has in common with the others of its account, and its
/// state; or the answer, where there is nothing to ask. `list` looks at the machines of one account and answers in their
/// order, or gives the error that is the answer about all of them. An account that takes too long costs its own machines
/// their answers.
pub(crate) async fn each_account<'h, 'c, 's, K, S, F>(
    hosts: Hosts<'h, 'c, 's>,
    answer: Answers<'_>,
    read: impl Fn(&DriverState) -> Result<(K, S), DriverError>,
    list: impl Fn(Vec<(&'h Cx<'c>, S)>) -> F,
) where
    K: Ord,
    F: Future<Output = Result<Vec<Seen>, DriverError>>,
{
    within(LIMIT, hosts, answer, read, list).await;
}

async fn within<'h, 'c, 's, K, S, F>(
    limit: Duration,
    hosts: Hosts<'h, 'c, 's>,
    answer: Answers<'_>,
    read: impl Fn(&DriverState) -> Result<(K, S), DriverError>,
    list: impl Fn(Vec<(&'h Cx<'c>, S)>) -> F,
) where
    K: Ord,
    F: Future<Output = Result<Vec<Seen>, DriverError>>,
{
    let mut accounts: BTreeMap<K, Members<'h, 'c, S>> = BTreeMap::new();
    for (at, (cx, state)) in hosts.iter().enumerate() {
        match read(state) {
            Ok((key, state)) => {
                let (places, members) = accounts.entry(key).or_default();
                places.push(at);
                members.push((cx, state));
            }
            Err(error) => answer(at, Err(error)),
        }
    }
    let looks: Vec<_> = accounts
        .into_values()
        .map(|(places, members)| {
            let listed = list(members);
            async move {
                match tokio::time::timeout(limit, listed).await.unwrap_or_else(|_| Err(silent(limit))) {
                    Ok(seen) => places.into_iter().zip(seen).for_each(|(at, seen)| answer(at, seen)),
                    Err(error) => places.into_iter().for_each(|at| answer(at, Err(error.again()))),
                }
            }
        })
        .collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect::<()>().await;
}

fn silent(limit: Duration) -> DriverError {
    let text = format!("the provider did not answer within {} s", limit.as_secs());
    DriverError::new(ErrorKind::Unavailable, text).with_hint(hint::NETWORK)
}

/// [`Driver::observe_many`] by [`Driver::observe_each`].
pub(crate) async fn all_answers(driver: &dyn Driver, hosts: Hosts<'_, '_, '_>) -> Vec<Seen> {
    let answers: Mutex<Vec<Option<Seen>>> = Mutex::new(hosts.iter().map(|_| None).collect());
    let keep = |at: usize, seen: Seen| {
        answers.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(seen);
    };
    driver.observe_each(hosts, &keep).await;
    let unseen =
        || Err(DriverError::new(ErrorKind::Other, "the provider's answer says nothing of the machine"));
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.into_iter().map(|seen| seen.unwrap_or_else(unseen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine_core::{MachineName, Silent, State};
    use std::path::Path;

    /// An answer, and its place.
    type Told = (usize, Result<State, ErrorKind>);

    /// Machines of these accounts, each answered with what its account does: `hangs`, `refuses`, or runs; and how many lists
    /// that took.
    fn ask(accounts: &[&str], limit: Duration) -> (Vec<Told>, usize) {
        let (name, here) = (MachineName::new("m").unwrap(), Path::new("."));
        let cx = || Cx {
            name: &name,
            machine_dir: here,
            store_path: here,
            store_id: "",
            report: &Silent,
            seed: None,
            allow_from: &[],
            narrowed_later: false,
        };
        let states: Vec<DriverState> = accounts
            .iter()
            .map(|account| {
                let mut state = DriverState::default();
                state.0.insert("Account".into(), (*account).into());
                state
            })
            .collect();
        let hosts: Vec<_> = states.iter().map(|state| (cx(), state)).collect();
        let (answers, lists) = (Mutex::new(Vec::new()), Mutex::new(0));
        let answer = |at: usize, seen: Seen| {
            let seen = seen.map(|seen| seen.state).map_err(|error| error.kind());
            answers.lock().unwrap().push((at, seen));
        };
        let read = |state: &DriverState| match state.str("Account") {
            "unread" => Err(DriverError::new(ErrorKind::Config, "no account")),
            account => Ok((account.to_owned(), account.to_owned())),
        };
        let list = async |members: Vec<(&Cx<'_>, String)>| {
            *lists.lock().unwrap() += 1;
            match members[0].1.as_str() {
                "hangs" => std::future::pending().await,
                "refuses" => Err(DriverError::new(ErrorKind::Credentials, "no")),
                _ => Ok(members
                    .iter()
                    .map(|_| Ok(Observed { state: State::Running, ..Observed::default() }))
                    .collect()),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(within(limit, &hosts, &answer, read, list));
        (answers.into_inner().unwrap(), lists.into_inner().unwrap())
    }

    #[test]
    fn each_account_is_asked_once_and_hurts_nobody_else() {
        let accounts = ["hangs", "a", "refuses", "b", "a", "unread", "hangs", "refuses"];
        let (mut seen, lists) = ask(&accounts, Duration::from_millis(50));
        assert_eq!(lists, 4);
        let late = seen.split_off(6);
        assert!(late.iter().all(|(_, seen)| *seen == Err(ErrorKind::Unavailable)), "{seen:?} {late:?}");
        seen.extend(late);
        seen.sort_by_key(|(at, _)| *at);
        for ((at, seen), account) in seen.iter().zip(accounts) {
            let wanted = match account {
                "hangs" => Err(ErrorKind::Unavailable),
                "refuses" => Err(ErrorKind::Credentials),
                "unread" => Err(ErrorKind::Config),
                _ => Ok(State::Running),
            };
            assert_eq!(*seen, wanted, "{at}");
        }
        assert_eq!(seen.len(), accounts.len());
    }
}
