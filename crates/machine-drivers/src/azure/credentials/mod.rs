//! Who we are: tokens of Entra ID, from a service principal, a person who signs in, Azure's command line, or the identity
//! of the machine that this program runs on.

mod cache;
mod cli;
mod device;
mod tenant;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use machine_core::{DriverError, ErrorKind, Event, Reporter, Secret};
use machine_http::api::{Access, Anonymous, Answer, Api, ApiError, Call, Dialect, Outgoing, Token};
use machine_http::header::{HeaderName, HeaderValue};
use machine_http::{Client, Settings, Url};
use serde_json::Value;

use super::environment;
use super::flags::invalid;
use super::state::AzureState;
use super::trouble::{READING, dialect};
use crate::cloud;

/// A token is fetched anew this long before it ends, seconds.
const EARLY: u64 = 120;
/// Where a machine of Azure's is told who it is. Source: "How managed identities work with virtual machines".
const METADATA: &str = "http://169.254.169.254";
/// The version of that service's answers.
const METADATA_VERSION: &str = "2018-02-01";

/// How to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// With an id and a secret.
    ServicePrincipal,
    /// A person opens a page and enters a code.
    Device,
    /// As `az login` did.
    Cli,
    /// As the machine that this program runs on.
    ManagedIdentity,
    /// As a person who signed in before, else as `az login` did, else [`Self::Device`].
    Person,
}

impl Auth {
    /// What the flags say.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where they make no sense.
    pub(super) fn of(state: &AzureState) -> Result<Self, DriverError> {
        let principal = !state.client_id.is_empty() && !state.client_secret.is_empty();
        match state.auth.as_str() {
            "" if principal => Ok(Self::ServicePrincipal),
            // An application's id alone is the one as which a person signs in.
            "" if !state.client_id.is_empty() => Ok(Self::Device),
            "" => Ok(Self::Person),
            "service-principal" if principal => Ok(Self::ServicePrincipal),
            "service-principal" => Err(DriverError::new(
                ErrorKind::Config,
                "--azure-auth service-principal needs --azure-client-id and --azure-client-secret",
            )),
            "device" => Ok(Self::Device),
            "cli" => Ok(Self::Cli),
            "managed-identity" => Ok(Self::ManagedIdentity),
            other => Err(invalid("azure-auth", other, "service-principal, device, cli or managed-identity")),
        }
    }
}

/// A token and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    token: Secret,
    /// Seconds since 1970.
    ends: u64,
}

impl Held {
    fn is_fresh(&self) -> bool {
        !self.token.is_empty() && self.ends > now() + EARLY
    }

    /// Of an answer of Entra ID or of the metadata service.
    fn of(answer: &Value) -> Option<Self> {
        let token = answer.get("access_token")?.as_str()?;
        let ends = number(answer, "expires_on");
        let ends = ends.or_else(|| Some(now() + number(answer, "expires_in")?))?;
        Some(Self { token: Secret::new(token), ends })
    }
}

/// A number, which some of these services write as a text.
fn number(value: &Value, key: &str) -> Option<u64> {
    let value = value.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// For whom a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    auth: Auth,
    endpoint: String,
    tenant: String,
    subscription: String,
    client_id: String,
    client_secret: Secret,
}

/// The tokens of a process: one sign-in serves all its machines.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<Mutex<Vec<Account>>>);

#[derive(Debug)]
struct Account {
    key: Key,
    held: Held,
    /// Locked by whoever signs in: the others wait for the token that he gets.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Tokens {
    fn account<T>(&self, key: &Key, work: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.iter_mut().find(|account| account.key == *key) {
            return work(known);
        }
        let mut account = Account { key: key.clone(), held: Held::default(), turn: Arc::default() };
        let worked = work(&mut account);
        accounts.push(account);
        worked
    }

    /// A token that has not ended and is not the one that was refused.
    fn get(&self, key: &Key, refused: &Secret) -> Option<Held> {
        let held = self.account(key, |account| account.held.clone());
        Some(held).filter(|held| held.is_fresh() && held.token != *refused)
    }

    fn put(&self, key: &Key, held: &Held) {
        self.account(key, |account| account.held.clone_from(held));
    }

    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        self.account(key, |account| Arc::clone(&account.turn))
    }
}

/// All that is needed to sign in.
pub(super) struct SignIn<'a> {
    pub(super) client: Client,
    /// The Resource Manager, without a slash at the end.
    pub(super) endpoint: String,
    /// Entra ID; empty to be found by the Resource Manager's challenge.
    authority: String,
    metadata: String,
    /// The folder of tokens and tenants, as docker/machine has it below a store.
    folder: PathBuf,
    report: &'a dyn Reporter,
    /// Whether somebody may be asked to open a page.
    ask: bool,
    tokens: Tokens,
    key: Key,
}

impl<'a> SignIn<'a> {
    /// For a machine's account. `ask` says whether a person may be asked to sign in.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the record makes no sense.
    pub(super) fn new(
        client: Client,
        tokens: &Tokens,
        state: &AzureState,
        store: &std::path::Path,
        report: &'a dyn Reporter,
        ask: bool,
    ) -> Result<Self, DriverError> {
        let cloud = environment::named(&state.environment)?;
        let own = !state.endpoint.is_empty();
        let endpoint = if own { state.endpoint.clone() } else { cloud.manager.to_owned() };
        let authority = match state.authority_host.as_str() {
            "" if own => String::new(),
            "" => cloud.authority.to_owned(),
            given => given.trim_end_matches('/').to_owned(),
        };
        let metadata = match state.metadata_endpoint.as_str() {
            "" => METADATA.to_owned(),
            given => given.trim_end_matches('/').to_owned(),
        };
        let key = Key {
            auth: Auth::of(state)?,
            endpoint: endpoint.clone(),
            tenant: state.tenant_id.clone(),
            subscription: state.subscription_id.clone(),
            client_id: state.client_id.clone(),
            client_secret: state.client_secret.clone(),
        };
        let folder = store.join("credentials").join("azure");
        Ok(Self { client, endpoint, authority, metadata, folder, report, ask, tokens: tokens.clone(), key })
    }

    /// Signs in, unless a token is here already.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] with what to do; [`ErrorKind::Unavailable`] where nobody answers.
    pub(super) async fn granted(self) -> Result<Granted<'a>, DriverError> {
        let held = self.token(&Secret::default()).await?;
        Ok(Granted { sign_in: self, held: Mutex::new(held) })
    }

    /// A token, another one than the one that was refused. Several machines of one account sign in once.
    async fn token(&self, refused: &Secret) -> Result<Held, DriverError> {
        if let Some(held) = self.tokens.get(&self.key, refused) {
            return Ok(held);
        }
        let turn = self.tokens.turn(&self.key);
        let _turn = turn.lock().await;
        if let Some(held) = self.tokens.get(&self.key, refused) {
            return Ok(held);
        }
        let held = match self.key.auth {
            Auth::ServicePrincipal => self.principal().await?,
            Auth::ManagedIdentity => self.managed_identity().await?,
            Auth::Cli => cli::token(&self.endpoint, &self.key.subscription).await?,
            Auth::Device => self.device(refused).await?,
            Auth::Person => self.person(refused).await?,
        };
        self.tokens.put(&self.key, &held);
        Ok(held)
    }

    async fn principal(&self) -> Result<Held, DriverError> {
        let place = tenant::find(self).await?;
        let call = Call::post(place.url("oauth2/v2.0/token")?).repeatable().form([
            ("grant_type", "client_credentials"),
            ("client_id", &self.key.client_id),
            ("client_secret", self.key.client_secret.expose()),
            ("scope", &self.scope()),
        ]);
        self.sent(&call, dialect).await
    }

    async fn managed_identity(&self) -> Result<Held, DriverError> {
        let resource = format!("{}/", self.endpoint);
        let mut query = vec![("api-version", METADATA_VERSION), ("resource", resource.as_str())];
        if !self.key.client_id.is_empty() {
            query.push(("client_id", &self.key.client_id));
        }
        let url = cloud::url(&self.metadata, &["metadata", "identity", "oauth2", "token"], &query)?;
        let header = (HeaderName::from_static("metadata"), HeaderValue::from_static("true"));
        let call = Call::get(url).header(header.0, header.1);
        // It is on this machine's own link: no proxy leads there, and elsewhere nobody answers.
        let settings = Settings {
            proxies: false,
            redirects: false,
            connect: Duration::from_secs(3),
            ..Settings::default()
        };
        let client =
            Client::new(&settings).map_err(|error| DriverError::new(ErrorKind::Config, error.to_string()))?;
        let retries = machine_http::api::Retries { tries: 3, ..machine_http::api::Retries::default() };
        let api = cloud::api(client, dialect, &Anonymous, self.report).retrying(retries);
        let answer = api.send(&call).await.map_err(|error| {
            DriverError::new(
                ErrorKind::Credentials,
                format!("no token can be had of the managed identity: {error}"),
            )
            .with_hint(
                "--azure-auth managed-identity works on virtual machines of Azure that have an identity (`az vm identity assign`)",
            )
        })?;
        held(&answer)
    }

    /// What is there of a person.
    async fn person(&self, refused: &Secret) -> Result<Held, DriverError> {
        if let Some(held) = device::known(self, &tenant::find(self).await?, refused).await? {
            return Ok(held);
        }
        match cli::token(&self.endpoint, &self.key.subscription).await {
            Ok(held) => Ok(held),
            Err(error) => {
                self.report.report(Event::Debug(format!("azure: {error}")));
                self.device(refused).await
            }
        }
    }

    async fn device(&self, refused: &Secret) -> Result<Held, DriverError> {
        let place = tenant::find(self).await?;
        match device::known(self, &place, refused).await? {
            Some(held) => Ok(held),
            None if self.ask => device::ask(self, &place).await,
            None => Err(DriverError::new(ErrorKind::Credentials, "nobody is signed in to Azure").with_hint(
                "sign in with `docker-machine status NAME`, or `az login`; or give --azure-client-id and --azure-client-secret at create",
            )),
        }
    }

    /// What the token is to open.
    fn scope(&self) -> String {
        format!("{}/.default", self.endpoint)
    }

    async fn sent(&self, call: &Call, dialect: Dialect) -> Result<Held, DriverError> {
        let answer = self.anonymous(dialect).send(call).await.map_err(|error| refused(&error))?;
        held(&answer)
    }

    fn anonymous(&self, dialect: Dialect) -> Api<'_> {
        cloud::api(self.client.clone(), dialect, &Anonymous, self.report)
    }
}

fn held(answer: &Answer) -> Result<Held, DriverError> {
    let body: Value = answer.json().map_err(|error| refused(&error))?;
    Held::of(&body).ok_or_else(|| refused(&answer.unreadable("there is no token in it")))
}

/// Signing in failed. That is about credentials, unless nobody answered.
fn refused(error: &ApiError) -> DriverError {
    let wrong = cloud::trouble(&READING, "signing in to Azure failed", error);
    match (wrong.kind(), wrong.hint()) {
        (ErrorKind::Unavailable | ErrorKind::Credentials, _) => wrong,
        (_, hint) => DriverError::new(ErrorKind::Credentials, wrong.to_string())
            .with_hint(hint.unwrap_or(READING.credentials)),
    }
}

/// A directory of Entra ID.
pub(super) struct Place {
    authority: String,
    tenant: String,
}

impl Place {
    fn url(&self, path: &str) -> Result<Url, DriverError> {
        let segments: Vec<&str> = std::iter::once(self.tenant.as_str()).chain(path.split('/')).collect();
        cloud::url(&self.authority, &segments, &[])
    }
}

/// Whoever signed in.
pub(super) struct Granted<'a> {
    pub(super) sign_in: SignIn<'a>,
    held: Mutex<Held>,
}

impl Granted<'_> {
    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self, refused: &Secret) -> Result<Held, DriverError> {
        let held = self.sign_in.token(refused).await?;
        held.clone_into(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(held)
    }
}

#[async_trait]
impl Access for Granted<'_> {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        let mut held = self.held();
        if !held.is_fresh() {
            held = self
                .fetch(&Secret::default())
                .await
                .map_err(|error| ApiError::NoAccess { why: error.to_string() })?;
        }
        Token::bearer(held.token.expose())?.grant(request).await
    }

    /// The token was refused although it has not ended: another one may be had, e.g. after roles changed.
    async fn renew(&self) -> bool {
        let before = self.held().token;
        self.fetch(&before).await.is_ok_and(|held| held.token != before)
    }
}
