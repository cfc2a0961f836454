//! Finding and removing what a store made and has no record of, and records whose host is gone.
//!
//! What a store makes at a provider carries its mark. Something is rubbish when the machine that it was made for has no
//! record. A record is on disk before the first resource of its machine is asked for, and goes after the last one was
//! removed; so the provider is asked first, then the records are read, and what belongs to a machine that is being made at
//! this moment is never rubbish. Removing looks again, with the machine's lock held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use machine_core::{
    AccountCx, ConfigureContext, Driver, DriverError, DriverState, ErrorKind, FlagValues, Machine,
    MachineName, Observed, Owned, Reporter,
};
use machine_store::{Operation, Phase, StoreError};

use crate::{Error, Host, Lifecycle};

/// How long a provider may take to list what it has, or to say what hosts are doing.
const LOOK_LIMIT: Duration = Duration::from_secs(180);
/// How long the removal of one thing may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(900);
/// How many hosts are looked at, and how many things of one kind are removed, at the same time.
const AT_ONCE: usize = 10;
/// With how many records' credentials is tried to open an account: some providers lock whoever is wrong too often.
const WAYS: usize = 3;
/// The name under which flags are read where they only name an account.
const PLACEHOLDER: &str = "gc";

/// What was found in all accounts.
#[derive(Debug, Default)]
pub struct Rubbish {
    /// Each account that was looked at.
    pub accounts: Vec<AccountRubbish>,
    /// Records of which it can't be said in which account their hosts are: the machine and why.
    pub unreadable: Vec<(String, Error)>,
}

/// What was found in one account.
#[derive(Debug, Default)]
pub struct AccountRubbish {
    /// The driver.
    pub driver: String,
    /// The account and region, as [`Driver::account`] has it.
    pub account: String,
    /// What carries the store's mark and has no record, in the order in which it can be removed.
    pub resources: Vec<Owned>,
    /// Machines whose hosts are gone.
    pub hosts: Vec<GoneHost>,
    /// What could not be looked at.
    pub problems: Vec<Error>,
    /// The machines for which anything is there, rubbish or not.
    named: BTreeSet<String>,
    /// By which the account is reached.
    state: DriverState,
}

/// A record whose host is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoneHost {
    /// The machine.
    pub machine: String,
    /// Why the machine is not complete, where it is not.
    pub incomplete: Option<String>,
}

/// What became of something that was to be removed.
#[derive(Debug)]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// It is in use by now, and was left alone; how so.
    InUse(String),
    /// It could not be removed.
    Failed(Error),
}

/// What became of everything in an account, in the order of [`AccountRubbish`].
#[derive(Debug, Default)]
pub struct Collected {
    /// Of [`AccountRubbish::resources`].
    pub resources: Vec<Outcome>,
    /// Of [`AccountRubbish::hosts`].
    pub hosts: Vec<Outcome>,
}

/// A driver's name and one of its accounts.
type AccountKey = (String, String);

/// A record under a name that a machine can have.
type Named = (MachineName, Machine);

/// The records of drivers that mark what they make, by account.
#[derive(Default)]
struct Records {
    accounts: BTreeMap<AccountKey, Vec<Named>>,
    unreadable: Vec<Unreadable>,
}

/// A record of which the account can't be told.
struct Unreadable {
    machine: String,
    /// Its driver, where at least that can be told.
    driver: Option<String>,
    why: Error,
}

impl Lifecycle {
    /// Looks into every account that the records name, and into the one that these flags of a driver name, for what carries
    /// the store's mark and has no record, and for records whose host is gone. Nothing is changed or made; an account that
    /// can't be looked into is told of in its place.
    ///
    /// # Errors
    /// The store can't be read; there is no such driver, it marks nothing, or the flags make no sense to it.
    pub async fn rubbish(
        &self,
        also: Option<(&str, &FlagValues)>,
        report: &dyn Reporter,
    ) -> Result<Rubbish, Error> {
        let mut records = self.records()?;
        let mut states: BTreeMap<AccountKey, DriverState> = BTreeMap::new();
        if let Some((driver, flags)) = also {
            let (key, state) = self.account_of_flags(driver, flags)?;
            records.accounts.entry(key.clone()).or_default();
            states.insert(key, state);
        }
        let store_id = self.store.known_id()?.unwrap_or_default();
        let accounts = std::mem::take(&mut records.accounts);
        let looks = accounts.into_iter().map(|(key, machines)| {
            // What was said on the command line may be newer than what a record holds.
            let mut ways: Vec<DriverState> = states.remove(&key).into_iter().collect();
            ways.extend(self.newest(&machines));
            self.look_into(key, ways, machines, &store_id, report)
        });
        let mut accounts = join_all(looks.collect::<Vec<_>>()).await;
        // Only now: whatever was in the lists had its record before it was made.
        let records = self.records()?;
        for account in &mut accounts {
            let in_use = records.use_account(account, self);
            account.resources.retain(|owned| {
                if owned.machine.is_empty() { !in_use } else { !self.store.exists(&owned.machine) }
            });
        }
        let unreadable = records.unreadable.into_iter().map(|record| (record.machine, record.why));
        Ok(Rubbish { accounts, unreadable: unreadable.collect() })
    }

    /// Removes what [`Lifecycle::rubbish`] found in an account. Each thing is looked at again, with the lock of its machine
    /// held; whatever somebody is at work on is left alone. Things of one kind that follow each other are removed at the same
    /// time, the kinds one after the other.
    pub async fn collect(&self, rubbish: &AccountRubbish, report: &dyn Reporter) -> Collected {
        let mut collected = Collected::default();
        let work = async {
            let driver = self.driver(&rubbish.driver)?;
            Ok::<_, Error>((driver, self.store.known_id()?.unwrap_or_default()))
        };
        match work.await {
            Ok((driver, store_id)) => {
                let cx = AccountCx { store_id: &store_id, store_path: self.store.root(), report };
                for run in rubbish.resources.chunk_by(|a, b| a.kind == b.kind) {
                    let removed = self.remove_run(&*driver, &cx, rubbish, run).await;
                    collected.resources.extend(removed);
                }
                let hosts = rubbish.hosts.iter().map(|host| self.forget(&*driver, &host.machine, report));
                collected.hosts = stream::iter(hosts).buffered(AT_ONCE).collect().await;
            }
            Err(error) => {
                // The driver was there a moment ago: the store can't be read any more.
                let text = error.to_string();
                let failed = || {
                    let source = DriverError::new(ErrorKind::Other, text.clone());
                    Outcome::Failed(Error::driver("", source))
                };
                collected.resources = rubbish.resources.iter().map(|_| failed()).collect();
                collected.hosts = rubbish.hosts.iter().map(|_| failed()).collect();
            }
        }
        collected
    }

    fn records(&self) -> Result<Records, Error> {
        let mut records = Records::default();
        for name in self.store.machine_names()? {
            let machine = match self.store.load(&name) {
                Ok(machine) => machine,
                // Removed between the two looks.
                Err(_) if !self.store.exists(&name) => continue,
                Err(error) => {
                    let why = error.into();
                    records.unreadable.push(Unreadable { machine: name, driver: None, why });
                    continue;
                }
            };
            // Machines of drivers that are not here have nothing to do with accounts of those that are.
            let Ok(driver) = self.driver(&machine.driver_name) else { continue };
            if !driver.spec().capabilities.marks {
                continue;
            }
            let Ok(valid) = MachineName::new(name.as_str()) else {
                // A copy that a careless hand made: whose host it means is not known.
                let why = StoreError::UnsafeName { name: name.clone() }.into();
                let driver = Some(machine.driver_name);
                records.unreadable.push(Unreadable { machine: name, driver, why });
                continue;
            };
            match driver.account(&machine.driver) {
                Ok(account) => {
                    let key = (machine.driver_name.clone(), account);
                    records.accounts.entry(key).or_default().push((valid, machine));
                }
                Err(error) => {
                    let why = Error::driver(&name, error);
                    let driver = Some(machine.driver_name);
                    records.unreadable.push(Unreadable { machine: name, driver, why });
                }
            }
        }
        Ok(records)
    }

    fn account_of_flags(&self, name: &str, flags: &FlagValues) -> Result<(AccountKey, DriverState), Error> {
        let driver = self.driver(name)?;
        if !driver.spec().capabilities.marks {
            return Err(Error::NoDriver(Box::new(driver.spec().cannot("find what it made"))));
        }
        let placeholder = MachineName::new(PLACEHOLDER).map_err(Error::BadName)?;
        let context = ConfigureContext { name: &placeholder, store_path: self.store.root() };
        let state = driver.configure(&context, flags).map_err(|error| Error::Configure(Box::new(error)))?;
        let account = driver.account(&state).map_err(|error| Error::Configure(Box::new(error)))?;
        Ok(((driver.spec().name.to_string(), account), state))
    }

    /// Lists what carries the mark, and looks at the hosts of these records, at the same time.
    async fn look_into(
        &self,
        (driver_name, account): AccountKey,
        ways: Vec<DriverState>,
        machines: Vec<Named>,
        store_id: &str,
        report: &dyn Reporter,
    ) -> AccountRubbish {
        let mut found = AccountRubbish {
            driver: driver_name,
            account,
            resources: Vec::new(),
            hosts: Vec::new(),
            problems: Vec::new(),
            named: BTreeSet::new(),
            state: DriverState::default(),
        };
        let driver = match self.driver(&found.driver) {
            Ok(driver) => driver,
            Err(error) => {
                found.problems.push(error);
                return found;
            }
        };
        let cx = AccountCx { store_id, store_path: self.store.root(), report };
        let owned = owned_by(&*driver, &cx, &ways);
        let (owned, hosts) = futures_util::join!(owned, self.gone_hosts(&*driver, &machines, report));
        match owned {
            Ok((owned, state)) => {
                found.named = owned.iter().map(|owned| owned.machine.clone()).collect();
                (found.resources, found.state) = (owned, state);
            }
            Err(error) => found.problems.push(Error::driver("", error)),
        }
        let mut any_there = false;
        for ((name, _), host) in machines.iter().zip(hosts) {
            match host {
                Ok(Look::There) => any_there = true,
                Ok(Look::Busy) => {}
                Ok(Look::Gone(host)) => found.hosts.push(host),
                Err(error) => found.problems.push(Error::driver(name.as_str(), error)),
            }
        }
        if !any_there && found.resources.is_empty() {
            self.doubt(&*driver, &machines, &mut found);
        }
        found
    }

    /// An account in which there is nothing of this store at all is probably another one than that in which its machines were
    /// made: the credentials at hand may open today what they did not open then. What is gone there is only believed of records
    /// that name their account, which the driver has compared, and of those for which nothing had been asked for yet.
    fn doubt(&self, driver: &dyn Driver, machines: &[Named], found: &mut AccountRubbish) {
        let believed = |host: &GoneHost| {
            let record = machines.iter().find(|(name, _)| name.as_str() == host.machine);
            record.is_some_and(|(_, machine)| driver.made_in(&machine.driver).is_some())
                || self.store.load_journal(&host.machine).ok().flatten().is_some_and(|journal| {
                    journal.operation == Operation::Create && journal.phase <= Phase::Record
                })
        };
        let (hosts, doubted) = std::mem::take(&mut found.hosts).into_iter().partition::<Vec<_>, _>(believed);
        found.hosts = hosts;
        if doubted.is_empty() {
            return;
        }
        let names: Vec<String> = doubted.into_iter().map(|host| host.machine).collect();
        let text = format!(
            "nothing that this store made is in the account which these credentials open, and the hosts of all its machines there \
             are said to be gone: {}",
            names.join(", ")
        );
        let error = DriverError::new(ErrorKind::Credentials, text)
            .with_hint("check that it is the right account; `docker-machine rm NAME` removes single records");
        found.problems.push(Error::driver("", error));
    }

    /// By what an account may be opened: the records that were worked on last, for they have the newest credentials.
    fn newest(&self, machines: &[Named]) -> Vec<DriverState> {
        let worked_on = |name: &MachineName| {
            let journal = self.store.load_journal(name.as_str()).ok().flatten();
            journal.map(|journal| journal.started).unwrap_or_default()
        };
        let mut newest: Vec<(String, &Named)> =
            machines.iter().map(|named| (worked_on(&named.0), named)).collect();
        newest.sort_by(|(a, _), (b, _)| b.cmp(a));
        newest.into_iter().take(WAYS).map(|(_, (_, machine))| machine.driver.clone()).collect()
    }

    /// Which of these machines have no host any more.
    async fn gone_hosts(
        &self,
        driver: &dyn Driver,
        machines: &[Named],
        report: &dyn Reporter,
    ) -> Vec<Result<Look, DriverError>> {
        let seen = self.observe_hosts(driver, machines, report).await;
        let judge = |((_, machine), seen): (&Named, Result<Observed, DriverError>)| match seen {
            Ok(_) => Ok(Look::There),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let text = format!("machine {:?}: {error}", machine.name);
                let told = DriverError::new(error.kind(), text);
                Err(match error.hint() {
                    Some(hint) => told.with_hint(hint),
                    None => told,
                })
            }
            Err(_) if self.store.is_locked(&machine.name) || !self.store.exists(&machine.name) => {
                Ok(Look::Busy)
            }
            Err(_) => {
                let journal = self.store.load_journal(&machine.name).ok().flatten();
                let incomplete = journal.and_then(|journal| self.store.incomplete(&machine.name, &journal));
                Ok(Look::Gone(GoneHost { machine: machine.name.clone(), incomplete }))
            }
        };
        machines.iter().zip(seen).map(judge).collect()
    }

    async fn observe_hosts(
        &self,
        driver: &dyn Driver,
        machines: &[Named],
        report: &dyn Reporter,
    ) -> Vec<Result<Observed, DriverError>> {
        let hosts: Result<Vec<Host<'_>>, Error> =
            machines.iter().map(|(name, _)| self.host(driver, name, report)).collect();
        let hosts = match hosts {
            Ok(hosts) => hosts,
            Err(error) => {
                let failed = || Err(DriverError::new(ErrorKind::Other, error.to_string()));
                return machines.iter().map(|_| failed()).collect();
            }
        };
        let asked: Vec<_> =
            hosts.iter().zip(machines).map(|(host, (_, machine))| (host.cx(), &machine.driver)).collect();
        let what = "what hosts are doing";
        if driver.spec().capabilities.batch {
            let many = async { Ok(driver.observe_many(&asked).await) };
            return within(LOOK_LIMIT, what, many).await.unwrap_or_else(|error| {
                let text = error.to_string();
                asked.iter().map(|_| Err(DriverError::new(error.kind(), text.clone()))).collect()
            });
        }
        let looks: Vec<_> =
            asked.iter().map(|(cx, state)| within(LOOK_LIMIT, what, driver.observe(cx, state))).collect();
        stream::iter(looks).buffered(AT_ONCE).collect().await
    }

    /// Removes things of one kind, those of one machine one after the other, under its lock.
    async fn remove_run(
        &self,
        driver: &dyn Driver,
        cx: &AccountCx<'_>,
        rubbish: &AccountRubbish,
        run: &[Owned],
    ) -> Vec<Outcome> {
        let mut of_machines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, owned) in run.iter().enumerate() {
            of_machines.entry(&owned.machine).or_default().push(at);
        }
        let removals: Vec<_> = of_machines
            .into_iter()
            .map(|(machine, places)| async move {
                let things: Vec<&Owned> = places.iter().map(|at| &run[*at]).collect();
                let outcomes = self.remove_of_machine(driver, cx, rubbish, machine, &things).await;
                places.into_iter().zip(outcomes).collect::<Vec<_>>()
            })
            .collect();
        let removed: Vec<_> = stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
        let mut outcomes: Vec<(usize, Outcome)> = removed.into_iter().flatten().collect();
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn remove_of_machine(
        &self,
        driver: &dyn Driver,
        cx: &AccountCx<'_>,
        rubbish: &AccountRubbish,
        machine: &str,
        things: &[&Owned],
    ) -> Vec<Outcome> {
        let lock = match self.still_rubbish(rubbish, machine).await {
            Ok(lock) => lock,
            Err(why) => return things.iter().map(|_| why.again()).collect(),
        };
        let mut outcomes = Vec::with_capacity(things.len());
        for owned in things {
            let what = format!("the removal of {} {}", owned.kind, owned.id);
            let removal = driver.remove_owned(cx, &rubbish.state, owned);
            outcomes.push(match within(REMOVE_LIMIT, &what, removal).await {
                Ok(()) => Outcome::Removed,
                Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Removed,
                Err(error) => Outcome::Failed(Error::driver(machine, error)),
            });
        }
        drop(lock);
        outcomes
    }

    /// Looks again, so that nothing is removed that came to be used meanwhile. The answer is the lock of the machine to hold
    /// while it is removed; what is shared has none.
    async fn still_rubbish(
        &self,
        rubbish: &AccountRubbish,
        machine: &str,
    ) -> Result<Option<machine_store::MachineLock>, WhyNot> {
        if machine.is_empty() {
            let records = self.records().map_err(|error| WhyNot::Failed(error.to_string()))?;
            return match records.use_account(rubbish, self) {
                true => Err(WhyNot::InUse("machines of this account have a record by now".to_owned())),
                false => Ok(None),
            };
        }
        if MachineName::new(machine).is_err() {
            return Err(WhyNot::Failed(format!(
                "its mark names the machine {machine:?}, which can't be one of this program: remove it at the provider"
            )));
        }
        let lock = match self.lock_now(machine).await {
            Ok(lock) => lock,
            Err(error @ StoreError::Locked { .. }) => return Err(WhyNot::InUse(error.to_string())),
            Err(error) => return Err(WhyNot::Failed(error.to_string())),
        };
        if self.store.exists(machine) {
            return Err(WhyNot::InUse(format!("the machine {machine:?} has a record by now")));
        }
        Ok(Some(lock))
    }

    /// Removes a record whose host is still gone, and what else was made for it.
    async fn forget(&self, driver: &dyn Driver, name: &str, report: &dyn Reporter) -> Outcome {
        let lock = match self.lock_now(name).await {
            Ok(lock) => lock,
            Err(error @ StoreError::Locked { .. }) => return Outcome::InUse(error.to_string()),
            Err(error) => return Outcome::Failed(error.into()),
        };
        let machine = match self.store.load(name) {
            Ok(machine) => machine,
            Err(StoreError::NoSuchMachine { .. }) => return Outcome::Removed,
            Err(error) => return Outcome::Failed(error.into()),
        };
        if machine.driver_name != driver.spec().name {
            return Outcome::InUse("it is another driver's by now".to_owned());
        }
        let host = match self.name(name).and_then(|name| self.host(driver, &name, report)) {
            Ok(host) => host,
            Err(error) => return Outcome::Failed(error),
        };
        let cx = host.cx();
        let look = driver.observe(&cx, &machine.driver);
        match within(LOOK_LIMIT, "what its host is doing", look).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Outcome::Failed(Error::driver(name, error)),
            Ok(_) => return Outcome::InUse("its host is there".to_owned()),
        }
        let removal = async {
            self.remove_host(&machine, &lock, false, &mut Vec::new(), report).await?;
            Ok(self.store.remove(&lock)?)
        };
        match tokio::time::timeout(REMOVE_LIMIT, removal).await {
            Ok(Ok(())) => Outcome::Removed,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(Error::driver(name, too_long(REMOVE_LIMIT, "its removal"))),
        }
    }
}

impl Records {
    /// Whether what machines of an account share is in use: by a record of it, by anything there of a machine that has a
    /// record (which may say other credentials of the same account), or perhaps by a record that can't be read.
    fn use_account(&self, account: &AccountRubbish, lifecycle: &Lifecycle) -> bool {
        let key = (account.driver.clone(), account.account.clone());
        let perhaps = |record: &Unreadable| record.driver.as_ref().is_none_or(|name| *name == account.driver);
        self.unreadable.iter().any(perhaps)
            || self.accounts.get(&key).is_some_and(|machines| !machines.is_empty())
            || account.named.iter().any(|name| lifecycle.store.exists(name))
    }
}

/// What a look at a machine's host found.
enum Look {
    /// It is there.
    There,
    /// Somebody is at work on the machine: it has a host, or is about to.
    Busy,
    /// It is gone.
    Gone(GoneHost),
}

/// What carries the mark in an account, and the state by which that was found out: where credentials are refused, those of the
/// next record are tried.
async fn owned_by(
    driver: &dyn Driver,
    cx: &AccountCx<'_>,
    ways: &[DriverState],
) -> Result<(Vec<Owned>, DriverState), DriverError> {
    if cx.store_id.is_empty() {
        // What has no mark can't be told from what is somebody else's.
        return Ok((Vec::new(), ways.first().cloned().unwrap_or_default()));
    }
    let mut refused = None;
    for state in ways {
        match within(LOOK_LIMIT, "the list of what this store made", driver.owned(cx, state)).await {
            Ok(owned) => return Ok((owned, state.clone())),
            Err(error) if error.kind() == ErrorKind::Credentials => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| DriverError::new(ErrorKind::Other, "no record opens the account")))
}

/// Why something is left as it is.
enum WhyNot {
    InUse(String),
    Failed(String),
}

impl WhyNot {
    fn again(&self) -> Outcome {
        match self {
            Self::InUse(why) => Outcome::InUse(why.clone()),
            Self::Failed(why) => {
                Outcome::Failed(Error::driver("", DriverError::new(ErrorKind::Other, why.clone())))
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(too_long(limit, what)))
}

fn too_long(limit: Duration, what: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Unavailable,
        format!("waited {} s for {what}, and the provider did not answer", limit.as_secs()),
    )
}
