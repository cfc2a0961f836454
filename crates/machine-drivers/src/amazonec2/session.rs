//! EC2 as a machine's record and the environment say: where it is, and who we are there.

use std::time::Duration;

use machine_core::{DriverError, Reporter, Secret};
use machine_http::api::{ApiError, Call, Retries};
use machine_http::header::{HeaderName, HeaderValue};
use machine_http::{Client, Url};
use roxmltree::Document;
use serde_json::{Value, json};

use super::api::Ec2;
use super::credentials::{Environment, Login, Logins, Wanted};
use super::endpoint;
use super::sign::Signer;
use super::state::Ec2State;
use super::trouble::dialect;
use crate::cloud::{self, Clients};

/// For how long a request is made again.
pub(super) const BUDGET: Duration = Duration::from_secs(120);
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// An account in a region.
pub(super) struct Session {
    client: Client,
    ec2: Signer,
    ssm: Signer,
    sts: Signer,
    ec2_url: Url,
    ssm_url: Url,
    sts_url: Url,
    /// Whether a flag says where the services are.
    custom: bool,
    retries: Retries,
    settling: Duration,
}

impl Session {
    /// Finds out who we are.
    ///
    /// # Errors
    /// Without credentials, or where the endpoint is none.
    pub(super) async fn open(
        clients: &Clients,
        logins: &Logins,
        environment: &Environment,
        state: &Ec2State,
        report: &dyn Reporter,
    ) -> Result<Self, DriverError> {
        let client = clients.get(&state.ca_cert, "amazonec2-ca-cert")?;
        let secret = |secret: &'_ Secret| (!secret.is_empty()).then(|| secret.clone());
        let (key, token) = (secret(&state.secret_key), secret(&state.session_token));
        let wanted = Wanted {
            access_key: state.access_key.expose(),
            secret_key: key.as_ref(),
            session_token: token.as_ref(),
            profile: &state.profile,
            region: &state.region,
        };
        let login = logins.get(&wanted, environment, &client, report).await?;
        let [ec2_url, ssm_url, sts_url] = urls(state, environment, &login.region)?;
        let Login { credentials, region } = login;
        let signer = |service| Signer { credentials: credentials.clone(), region: region.clone(), service };
        let (ec2, ssm, sts) = (signer("ec2"), signer("ssm"), signer("sts"));
        let (custom, retries) = (!state.endpoint.is_empty(), retries(state.retry_count));
        let settling = Duration::ZERO;
        Ok(Self { client, ec2, ssm, sts, ec2_url, ssm_url, sts_url, custom, retries, settling })
    }

    /// With the time within which EC2 knows everywhere what it has made.
    pub(super) fn settling_within(self, settling: Duration) -> Self {
        Self { settling, ..self }
    }

    /// The region.
    pub(super) fn region(&self) -> &str {
        &self.ec2.region
    }

    /// EC2.
    pub(super) fn ec2<'a>(&'a self, report: &'a dyn Reporter) -> Ec2<'a> {
        Ec2::new(self.client.clone(), self.ec2_url.clone(), &self.ec2, report)
            .retrying(self.retries)
            .settling_within(self.settling)
    }

    /// A public parameter of the Systems Manager.
    pub(super) async fn parameter(&self, name: &str, report: &dyn Reporter) -> Result<String, ApiError> {
        let api = cloud::api(self.client.clone(), dialect, &self.ssm, report).retrying(self.retries);
        let mut call = Call::post(self.ssm_url.clone()).named("GetParameter").repeatable();
        call = call.header(TARGET, HeaderValue::from_static("AmazonSSM.GetParameter"));
        let body = serde_json::to_vec(&json!({ "Name": name })).unwrap_or_default();
        let answer = api.send(&call.body("application/x-amz-json-1.1", body)).await?;
        let found: Value = answer.json()?;
        let value = found.pointer("/Parameter/Value").and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| answer.unreadable("it has no Parameter.Value"))
    }

    /// The account that our credentials open. No permission is needed for that.
    pub(super) async fn account(&self, report: &dyn Reporter) -> Result<String, ApiError> {
        let api = cloud::api(self.client.clone(), dialect, &self.sts, report).retrying(self.retries);
        let form = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
        let call = Call::post(self.sts_url.clone()).form(form).named("GetCallerIdentity").repeatable();
        let answer = api.send(&call).await?;
        let text = answer.text();
        let document = Document::parse(&text).map_err(|error| answer.unreadable(&error.to_string()))?;
        let account = document.descendants().find(|node| node.tag_name().name() == "Account");
        let account = account.and_then(|node| node.text()).map(|text| text.trim().to_owned());
        account.ok_or_else(|| answer.unreadable("it has no Account"))
    }

    /// Whether the services may be another's than Amazon's: a flag says where they are.
    pub(super) fn is_custom(&self) -> bool {
        self.custom
    }
}

/// Where EC2, the Systems Manager and the Security Token Service are: a custom endpoint serves all.
fn urls(state: &Ec2State, environment: &Environment, region: &str) -> Result<[Url; 3], DriverError> {
    let of = |service: &str| {
        if state.endpoint.is_empty() {
            Ok(environment.endpoint(service, endpoint::of(service, region)))
        } else {
            endpoint::custom(&state.endpoint, state.disable_ssl)
        }
    };
    let url = |service| cloud::url(&of(service)?, &[""], &[]);
    Ok([url("ec2")?, url("ssm")?, url("sts")?])
}

/// The flag says how often a request is made again; -1 is never.
fn retries(count: i64) -> Retries {
    let again = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
    Retries { tries: again.saturating_add(1), budget: BUDGET, ..Retries::default() }
}
