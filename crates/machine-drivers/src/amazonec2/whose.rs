//! Whose account it is. EC2 knows an instance in one account only, and answers as if there were none in any other; and the
//! credentials at hand may open another account than those of `create` did: a profile, a role, keys of the environment.

use machine_core::{DriverError, ErrorKind, Event, Reporter};

use super::observe;
use super::session::Session;
use super::state::Ec2State;
use super::trouble::trouble;

/// What the credentials at hand open, asked for where something is not found.
pub(super) enum Opened {
    /// It was not asked: no record says in which account its instance was made.
    Unasked,
    /// This account.
    Account(String),
    /// It could not be asked.
    Unknown(DriverError),
}

impl Opened {
    /// Asks, where one of these machines, which EC2 does not know, says in which account it was made.
    pub(super) async fn ask<'a>(
        session: &Session,
        report: &dyn Reporter,
        missing: impl IntoIterator<Item = &'a Ec2State>,
    ) -> Self {
        if missing.into_iter().all(|state| state.owner_id.is_empty()) {
            return Self::Unasked;
        }
        match session.account(report).await {
            Ok(account) => Self::Account(account),
            // An imitation of EC2 may have no Security Token Service, and then has no accounts either.
            Err(error) if session.is_custom() && !error.may_pass() => {
                report.report(Event::Debug(format!("whose account it is can't be asked: {error}")));
                Self::Unasked
            }
            Err(error) => {
                let error = trouble("in which account the machine is looked for can't be asked", &error);
                Self::Unknown(match error.kind() {
                    // It is not the machine that is not found.
                    ErrorKind::NotFound => DriverError::new(ErrorKind::Other, error.to_string()),
                    _ => error,
                })
            }
        }
    }

    /// That what is not there is not in the account in which the machine was made either.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] where another account was asked; why that is not known.
    pub(super) fn is_home(&self, state: &Ec2State) -> Result<(), DriverError> {
        let home = state.owner_id.as_str();
        match self {
            _ if home.is_empty() => Ok(()),
            Self::Unasked => Ok(()),
            Self::Account(account) if account == home => Ok(()),
            Self::Account(account) => Err(DriverError::new(
                ErrorKind::Credentials,
                format!("the machine was made in the account {home}, and these credentials open the account {account}"),
            )
            .with_hint(
                "use credentials of the first: check AWS_PROFILE and AWS_ACCESS_KEY_ID; `aws sts get-caller-identity` shows whose they are",
            )),
            Self::Unknown(error) => Err(error.again()),
        }
    }

    /// The error of a machine that EC2 does not know here.
    pub(super) fn missing(&self, state: &Ec2State) -> DriverError {
        self.is_home(state).err().unwrap_or_else(|| observe::gone(state))
    }
}
