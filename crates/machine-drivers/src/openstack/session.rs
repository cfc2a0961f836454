//! A token of keystone's, the catalog that came with it, and calls with both.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use machine_core::{DriverError, ErrorKind, Reporter};
use machine_http::api::{Access, Anonymous, Answer, ApiError, Call, Outgoing};
use machine_http::header::{HeaderName, HeaderValue};
use machine_http::{Client, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::credentials::Credentials;
use super::trouble::{dialect, no_token, trouble};
use crate::cloud;

/// The header that carries the token.
const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The most that one page is asked for; nova gives a thousand unless it is set up otherwise.
const PAGE: usize = 1000;
/// The most pages that are read of one list.
const MAX_PAGES: usize = 1000;

/// What to do about a token that keystone does not know.
const ENDED: &str = "the token ended, or is of another cloud: `openstack token issue` gives a new one (in a machine's config.json it \
                     is \"Token\"); an application credential goes on working";

/// A service of OpenStack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// nova.
    Compute,
    /// neutron.
    Network,
    /// glance.
    Image,
    /// cinder.
    Volume,
}

impl Service {
    /// Its types in the catalog, the one of today first (service-types-authority and what was used before).
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::Compute => &["compute"],
            Self::Network => &["network"],
            Self::Image => &["image"],
            Self::Volume => &["block-storage", "volumev3", "block-store", "volume"],
        }
    }

    /// The address of its API below what the catalog says, which may have a version in it or not.
    fn versioned(self, url: &str, project: &str) -> String {
        let url = url.trim_end_matches('/');
        let is_version =
            |part: &str| part.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
        let root = match url.rsplit_once('/') {
            Some((root, last)) if is_version(last) => root,
            _ => url,
        };
        match self {
            Self::Compute if url.split('/').any(is_version) => url.to_owned(),
            Self::Compute => format!("{url}/v2.1"),
            Self::Network => format!("{root}/v2.0"),
            Self::Image => format!("{root}/v2"),
            Self::Volume if url.split('/').any(is_version) => url.to_owned(),
            Self::Volume => format!("{url}/v3/{project}"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compute => "compute (nova)",
            Self::Network => "network (neutron)",
            Self::Image => "image (glance)",
            Self::Volume => "volume (cinder)",
        })
    }
}

#[derive(Deserialize)]
struct Issued {
    token: Issue,
}

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    project: Option<Project>,
    #[serde(default)]
    catalog: Vec<Entry>,
}

#[derive(Default, Deserialize)]
struct Project {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Endpoint {
    fn is_in(&self, region: &str) -> bool {
        region.is_empty() || [&self.region, &self.region_id].iter().any(|r| r.as_deref() == Some(region))
    }
}

/// A token and what it is good for.
struct Pass {
    token: HeaderValue,
    project: String,
    project_name: String,
    catalog: Vec<Entry>,
}

/// What a driver keeps of an account: its token, for as long as it lives.
pub(super) struct Session {
    credentials: Credentials,
    client: Client,
    pass: Mutex<Option<Arc<Pass>>>,
}

impl Session {
    pub(super) fn new(credentials: Credentials, client: Client) -> Self {
        Self { credentials, client, pass: Mutex::new(None) }
    }
}

/// An account, opened for one operation.
pub(super) struct Cloud<'a> {
    session: Arc<Session>,
    report: &'a dyn Reporter,
    pass: Arc<Pass>,
}

/// The token, for each call; another one where it ended.
struct Renewing<'a> {
    session: &'a Session,
    report: &'a dyn Reporter,
}

impl Renewing<'_> {
    /// The token; a new one where there is none or `anew`.
    async fn pass(&self, anew: Option<&Arc<Pass>>) -> Result<Arc<Pass>, ApiError> {
        let mut kept = self.session.pass.lock().await;
        match (&*kept, anew) {
            (Some(pass), None) => return Ok(Arc::clone(pass)),
            // Somebody else was faster.
            (Some(pass), Some(old)) if !Arc::ptr_eq(pass, old) => return Ok(Arc::clone(pass)),
            _ => {}
        }
        *kept = None;
        let pass = Arc::new(self.issue().await?);
        *kept = Some(Arc::clone(&pass));
        Ok(pass)
    }

    /// Asks keystone for a token. That makes nothing that matters, so it may be asked again.
    async fn issue(&self) -> Result<Pass, ApiError> {
        let credentials = &self.session.credentials;
        let url = Url::parse(&format!("{}/auth/tokens", credentials.auth_url))
            .map_err(|_| ApiError::NoAccess { why: format!("{} is no address", credentials.auth_url) })?;
        let call = Call::post(url).json(&credentials.request()).repeatable();
        let api = cloud::api(self.session.client.clone(), dialect, &Anonymous, self.report);
        let answer = api.send(&call).await?;
        let issued: Issued = answer.json()?;
        let mut token = HeaderValue::from_str(answer.header("x-subject-token"))
            .ok()
            .filter(|token| !token.is_empty())
            .ok_or_else(|| answer.unreadable("there is no token in it: is this keystone, version 3?"))?;
        token.set_sensitive(true);
        let Project { id: project, name: project_name } = issued.token.project.unwrap_or_default();
        Ok(Pass { token, project, project_name, catalog: issued.token.catalog })
    }
}

#[async_trait]
impl Access for Renewing<'_> {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        let pass = self.pass(None).await?;
        request.headers.insert(TOKEN, pass.token.clone());
        Ok(())
    }

    async fn renew(&self) -> bool {
        let old = self.session.pass.lock().await.clone();
        match old {
            // Whoever was refused without a token will be refused again.
            None => false,
            Some(old) => self.pass(Some(&old)).await.is_ok(),
        }
    }
}

/// Why keystone gave no token.
fn not_let_in(credentials: &Credentials, error: &ApiError) -> DriverError {
    // Keystone does not find a token that ended or never was one, and says so in its own words.
    if credentials.is_token() && error.is_not_found() && !error.code().is_empty() {
        let text = format!("can't log in to OpenStack: {error}");
        return DriverError::new(ErrorKind::Credentials, text).with_hint(ENDED);
    }
    match error.status() {
        // 300 is how other services list their versions.
        Some(status @ (300..=399 | 404 | 405 | 410)) => {
            let text = format!("no keystone answers at {}: its answer is {status}", credentials.auth_url);
            DriverError::new(ErrorKind::Config, text)
                .with_hint("give the address that the dashboard shows under API Access, up to /v3")
        }
        _ => no_token(error),
    }
}

/// One page of a list. nova, neutron and cinder have `X` and `X_links`, glance `images` and `next`.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(
        alias = "servers",
        alias = "flavors",
        alias = "images",
        alias = "networks",
        alias = "ports",
        alias = "floatingips",
        alias = "floating_ips",
        alias = "security_groups",
        alias = "security_group_rules",
        alias = "volumes",
        alias = "volume_types",
        alias = "keypairs",
        alias = "server_groups",
        alias = "availabilityZoneInfo"
    )]
    items: Vec<T>,
    #[serde(
        default,
        alias = "servers_links",
        alias = "flavors_links",
        alias = "networks_links",
        alias = "ports_links",
        alias = "floatingips_links",
        alias = "security_groups_links",
        alias = "security_group_rules_links",
        alias = "volumes_links",
        alias = "keypairs_links"
    )]
    links: Vec<Link>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
    href: String,
}

impl<T> Page<T> {
    /// Where the next page begins: the marker of the address that is given for it. Its host may not be reachable from
    /// here, so only that counts.
    fn marker(&self) -> Option<String> {
        let link = self.links.iter().find(|link| link.rel == "next").map(|link| &link.href);
        let (_, query) = link.or(self.next.as_ref())?.split_once('?')?;
        let url = Url::parse(&format!("http://x/?{query}")).ok()?;
        url.query_pairs().find(|(key, _)| key == "marker").map(|(_, marker)| marker.into_owned())
    }
}

impl<'a> Cloud<'a> {
    /// Opens an account: there is a token then, and its project and catalog are known.
    ///
    /// # Errors
    /// What keystone says.
    pub(super) async fn open(session: Arc<Session>, report: &'a dyn Reporter) -> Result<Self, DriverError> {
        let asked = Renewing { session: &session, report }.pass(None).await;
        let pass = asked.map_err(|error| not_let_in(&session.credentials, &error))?;
        let cloud = Self { session, report, pass };
        if cloud.pass.project.is_empty() || cloud.pass.catalog.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Credentials,
                format!("the token of {} is for no project", cloud.session.credentials.auth_url),
            )
            .with_hint("name the project with --openstack-project-name or --openstack-project-id"));
        }
        Ok(cloud)
    }

    /// The project's id.
    pub(super) fn project(&self) -> &str {
        &self.pass.project
    }

    /// That the account is of the project that the flags name: an application credential brings its own along.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where it is another one.
    pub(super) fn check_project(&self, id: &str, name: &str) -> Result<(), DriverError> {
        let (its, called) = (&self.pass.project, &self.pass.project_name);
        let other = if id.is_empty() { !called.eq_ignore_ascii_case(name) } else { its != id };
        if (id.is_empty() && (name.is_empty() || called.is_empty())) || !other {
            return Ok(());
        }
        let wanted = if id.is_empty() { name } else { id };
        let text = format!("the credentials are for the project {called:?} ({its}), not for {wanted:?}");
        Err(DriverError::new(ErrorKind::Config, text).with_hint(
            "an application credential belongs to one project: make one there, or leave --openstack-project-name and -id out",
        ))
    }

    pub(super) fn report(&self) -> &'a dyn Reporter {
        self.report
    }

    /// Whether the catalog has a service.
    pub(super) fn has(&self, service: Service) -> bool {
        self.endpoint(service).is_ok()
    }

    fn endpoint(&self, service: Service) -> Result<String, DriverError> {
        let Credentials { region, interface, .. } = &self.session.credentials;
        let of_type = |kind: &&str| {
            let entries = self.pass.catalog.iter().filter(|entry| entry.kind == **kind);
            entries.flat_map(|entry| &entry.endpoints).collect::<Vec<_>>()
        };
        let offered: Vec<&Endpoint> = service.types().iter().flat_map(of_type).collect();
        let fits = |end: &&&Endpoint| end.interface == *interface && end.is_in(region);
        if let Some(found) = offered.iter().find(fits) {
            return Ok(service.versioned(&found.url, &self.pass.project));
        }
        let mut there: Vec<String> = offered
            .iter()
            .map(|end| {
                let region = end.region.as_deref().or(end.region_id.as_deref()).unwrap_or_default();
                format!("{region:?} ({})", end.interface)
            })
            .collect();
        there.sort();
        there.dedup();
        let place = if region.is_empty() { String::new() } else { format!(" in the region {region:?}") };
        let text = format!("the cloud has no {service}{place} with the endpoint type {interface:?}");
        let hint = match there.is_empty() {
            true => "its catalog does not have this service".to_owned(),
            false => format!(
                "there is: {}; see --openstack-region and --openstack-endpoint-type",
                there.join(", ")
            ),
        };
        Err(DriverError::new(ErrorKind::Config, text).with_hint(hint))
    }

    /// An address of a service.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the catalog does not have it.
    pub(super) fn url(
        &self,
        service: Service,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Url, DriverError> {
        cloud::url(&self.endpoint(service)?, path, query)
    }

    /// Makes a call.
    ///
    /// # Errors
    /// All of [`ApiError`].
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, ApiError> {
        let access = Renewing { session: &self.session, report: self.report };
        cloud::api(self.session.client.clone(), dialect, &access, self.report).send(call).await
    }

    /// What is at an address; `None` where there is nothing.
    ///
    /// # Errors
    /// `doing`, and why not.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        service: Service,
        path: &[&str],
        doing: &str,
    ) -> Result<Option<T>, DriverError> {
        let call = Call::get(self.url(service, path, &[])?);
        match self.send(&call).await.and_then(|answer| answer.json()) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(trouble(doing, &error)),
        }
    }

    /// A whole list, page by page.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        service: Service,
        path: &[&str],
        query: &[(&str, &str)],
        doing: &str,
    ) -> Result<Vec<T>, DriverError> {
        let (mut all, mut marker) = (Vec::new(), None::<String>);
        let paged = matches!(service, Service::Compute) && path.first() == Some(&"servers");
        let size = PAGE.to_string();
        for _ in 0..MAX_PAGES {
            let mut query = query.to_vec();
            if paged {
                query.push(("limit", &size));
            }
            if let Some(marker) = &marker {
                query.push(("marker", marker));
            }
            let call = Call::get(self.url(service, path, &query)?);
            let page: Page<T> = self
                .send(&call)
                .await
                .and_then(|answer| answer.json())
                .map_err(|error| trouble(doing, &error))?;
            let next = page.marker();
            let empty = page.items.is_empty();
            all.extend(page.items);
            if empty || next.is_none() || next == marker {
                break;
            }
            marker = next;
        }
        Ok(all)
    }

    /// Deletes what is at an address; "gone" is success.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn delete(
        &self,
        service: Service,
        path: &[&str],
        doing: &str,
    ) -> Result<(), DriverError> {
        let call = Call::delete(self.url(service, path, &[])?);
        match self.send(&call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(trouble(doing, &error)),
        }
    }
}
