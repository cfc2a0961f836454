//! Who we are for keystone, and where it is: from flags, from clouds.yaml, or from both.

use std::fmt;
use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind, Secret};
use serde_json::{Value, json};

use super::state::OpenstackState;
use super::yaml::Node;

/// How large a file of clouds may be, bytes.
const MAX_FILE: u64 = 1 << 20;
/// The domain where nobody names one: every keystone begins with it.
const DEFAULT_DOMAIN: &str = "default";

/// Something by id or by name.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    id: String,
    name: String,
}

impl Named {
    fn is_empty(&self) -> bool {
        self.id.is_empty() && self.name.is_empty()
    }

    fn or(self, other: &Self) -> Self {
        if self.is_empty() { other.clone() } else { self }
    }

    /// As keystone takes it: the id, else the name.
    fn json(&self) -> Value {
        if self.id.is_empty() { json!({"name": self.name}) } else { json!({"id": self.id}) }
    }

    fn text(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }
}

/// What proves who we are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    Password {
        user: Named,
        domain: Named,
        password: Hidden,
    },
    /// By id, or by name with the user that it is of.
    Application {
        credential: Named,
        user: Named,
        domain: Named,
        secret: Hidden,
    },
    Token(Hidden),
}

/// A secret that can be compared, so that sessions are told apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Hidden(String);

impl Drop for Hidden {
    fn drop(&mut self) {
        // Clears the memory.
        drop(Secret::new(std::mem::take(&mut self.0)));
    }
}

/// All that is needed to get a token and to find services.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Credentials {
    /// Keystone's address, which ends with `/v3`.
    pub(super) auth_url: String,
    proof: Proof,
    project: Named,
    project_domain: Named,
    /// The region; empty for the first of the catalog.
    pub(super) region: String,
    /// `public`, `internal` or `admin`.
    pub(super) interface: String,
    /// A file with certificates to trust; empty for none.
    pub(super) ca: String,
    /// Whether certificates count.
    pub(super) insecure: bool,
}

/// Says no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.account())
    }
}

impl Credentials {
    /// Those of a record. Reads clouds.yaml where the record names an entry of it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the file is no good; [`ErrorKind::Credentials`] where something is missing.
    pub(super) fn of(state: &OpenstackState) -> Result<Self, DriverError> {
        let entry = if state.cloud.is_empty() { Node::Nothing } else { entry(state)? };
        Given { state, entry: &entry }.credentials()
    }

    /// Whom this is, in a text without secrets: the same for all machines of one project and region.
    pub(super) fn account(&self) -> String {
        let who = match &self.proof {
            Proof::Password { user, .. } => user.text(),
            Proof::Application { credential, .. } => credential.text(),
            Proof::Token(_) => "token",
        };
        let project = self.project.text();
        format!("{who}@{}/{project}/{}", self.auth_url, self.region)
    }

    /// Whether it is a token that proves who we are.
    pub(super) fn is_token(&self) -> bool {
        matches!(self.proof, Proof::Token(_))
    }

    /// The body of `POST /v3/auth/tokens`. An application credential brings its project along.
    pub(super) fn request(&self) -> Value {
        let (method, proof) = match &self.proof {
            Proof::Password { user, domain, password } => {
                let mut user = with_domain(user, domain);
                user["password"] = password.0.as_str().into();
                ("password", json!({"user": user}))
            }
            Proof::Application { credential, user, domain, secret } => {
                let mut proof = credential.json();
                proof["secret"] = secret.0.as_str().into();
                if credential.id.is_empty() {
                    proof["user"] = with_domain(user, domain);
                }
                ("application_credential", proof)
            }
            Proof::Token(token) => ("token", json!({"id": token.0})),
        };
        let mut auth = json!({"identity": {"methods": [method], method: proof}});
        if !self.project.is_empty() && !matches!(self.proof, Proof::Application { .. }) {
            auth["scope"] = json!({"project": with_domain(&self.project, &self.project_domain)});
        }
        json!({"auth": auth})
    }
}

/// A user or project: a name is only one within a domain.
fn with_domain(named: &Named, domain: &Named) -> Value {
    let mut value = named.json();
    if named.id.is_empty() {
        value["domain"] = domain.json();
    }
    value
}

/// What flags and clouds.yaml say; flags count more.
struct Given<'a> {
    state: &'a OpenstackState,
    entry: &'a Node,
}

impl Given<'_> {
    fn pick(&self, flag: &str, keys: &[&str]) -> String {
        if !flag.is_empty() {
            return flag.to_owned();
        }
        let auth = self.entry.get("auth");
        let found = keys.iter().flat_map(|key| [auth.text(key), self.entry.text(key)]);
        found.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned()
    }

    /// Id and name of one thing, both from flags or both from the file: an id in the file is that of another name.
    fn named(&self, id: &str, name: &str, keys: &[(&str, &str)]) -> Named {
        if !id.is_empty() || !name.is_empty() {
            return Named { id: id.to_owned(), name: name.to_owned() };
        }
        let (ids, names): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
        Named { id: self.pick("", &ids), name: self.pick("", &names) }
    }

    /// The domain of a user or project: what flags say of it, or of all domains, then what the file does.
    fn domain(&self, id: &str, name: &str, keys: &[(&str, &str)]) -> Named {
        let state = self.state;
        let of_flags = Named { id: id.to_owned(), name: name.to_owned() }
            .or(&Named { id: state.domain_id.clone(), name: state.domain_name.clone() });
        let of_all = [("domain_id", "domain_name"), ("default_domain_id", "default_domain_name")];
        of_flags
            .or(&self.named("", "", keys))
            .or(&self.named("", "", &of_all))
            .or(&Named { id: DEFAULT_DOMAIN.to_owned(), name: String::new() })
    }

    fn credentials(&self) -> Result<Credentials, DriverError> {
        let (state, text) = (self.state, |key: &str| self.entry.text(key).to_lowercase());
        let keys = [("project_id", "project_name"), ("tenant_id", "tenant_name")];
        let project = self.named(&state.tenant_id, &state.tenant_name, &keys);
        let keys = [("project_domain_id", "project_domain_name"), ("tenant_domain_id", "tenant_domain_name")];
        let project_domain = self.domain(&state.tenant_domain_id, &state.tenant_domain_name, &keys);
        let proof = self.proof()?;
        if project.is_empty() && matches!(proof, Proof::Password { .. }) {
            return Err(self.missing("project_name or project_id"));
        }
        Ok(Credentials {
            auth_url: self.auth_url()?,
            proof,
            project,
            project_domain,
            region: self.region(),
            interface: self.interface(),
            ca: self.pick(&state.ca_cert, &["cacert"]),
            insecure: state.insecure || matches!(text("verify").as_str(), "false" | "no" | "off" | "0"),
        })
    }

    /// What proves who we are. What the flags have a secret of counts, whatever else the file has.
    fn proof(&self) -> Result<Proof, DriverError> {
        let state = self.state;
        let user = self.named(&state.user_id, &state.username, &[("user_id", "username"), ("", "user_name")]);
        let keys = [("user_domain_id", "user_domain_name")];
        let domain = self.domain(&state.user_domain_id, &state.user_domain_name, &keys);
        let (id, name) = (&state.application_credential_id, &state.application_credential_name);
        let keys = [("application_credential_id", "application_credential_name")];
        let credential = self.named(id, name, &keys);
        let secret = |given: &Secret, key: &str| Hidden(self.pick(given.expose(), &[key]));
        let by_flag = !id.is_empty() || !name.is_empty() || !state.application_credential_secret.is_empty();
        if !by_flag && !state.token.is_empty() {
            return Ok(Proof::Token(Hidden(state.token.expose().to_owned())));
        }
        if !credential.is_empty() && (by_flag || state.password.is_empty()) {
            let secret = secret(&state.application_credential_secret, "application_credential_secret");
            if secret.0.is_empty() {
                return Err(self.missing("application_credential_secret"));
            }
            return Ok(Proof::Application { credential, user, domain, secret });
        }
        let token = Hidden(self.pick("", &["token"]));
        if !token.0.is_empty() && state.password.is_empty() {
            return Ok(Proof::Token(token));
        }
        let password = secret(&state.password, "password");
        if user.is_empty() || password.0.is_empty() {
            return Err(self.missing("username and password"));
        }
        Ok(Proof::Password { user, domain, password })
    }

    /// Keystone's address at version 3, whatever version was given: others are gone.
    fn auth_url(&self) -> Result<String, DriverError> {
        let given = self.pick(&self.state.auth_url, &["auth_url"]);
        if given.is_empty() {
            return Err(self.missing("auth_url"));
        }
        let base = crate::cloud::endpoint("openstack-auth-url", &given, "")?;
        let base = base.trim_end_matches('/');
        let root = ["/v3", "/v2.0"].iter().find_map(|version| base.strip_suffix(version)).unwrap_or(base);
        Ok(format!("{root}/v3"))
    }

    fn region(&self) -> String {
        let region = self.pick(&self.state.region, &["region_name", "region"]);
        let first = match self.entry.get("regions") {
            Node::List(regions) if region.is_empty() => regions.first(),
            _ => None,
        };
        match first {
            Some(Node::Text(name)) => name.clone(),
            Some(map) => map.text("name").to_owned(),
            None => region,
        }
    }

    fn interface(&self) -> String {
        let word = self.pick(&self.state.endpoint_type, &["interface", "endpoint_type"]);
        match word.trim_end_matches("URL") {
            "" => "public".to_owned(),
            word => word.to_owned(),
        }
    }

    fn missing(&self, what: &str) -> DriverError {
        let cloud = &self.state.cloud;
        let text = match cloud.is_empty() {
            true => format!("the credentials of OpenStack are not complete: {what} is missing"),
            false => format!("the cloud {cloud:?} of clouds.yaml is not complete: {what} is missing"),
        };
        DriverError::new(ErrorKind::Credentials, text).with_hint(
            "compare it with the clouds.yaml or openrc file that the dashboard offers for download",
        )
    }
}

/// Where clouds.yaml is: the file that was named, else the first of the usual places that has one.
pub(super) fn config_file(state: &OpenstackState) -> Result<PathBuf, DriverError> {
    if !state.client_config_file.is_empty() {
        return Ok(PathBuf::from(&state.client_config_file));
    }
    let places = places();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        DriverError::new(
            ErrorKind::Config,
            format!(
                "there is no clouds.yaml with the cloud {:?}; looked for {}",
                state.cloud,
                looked.join(", ")
            ),
        )
        .with_hint(
            "download one from the dashboard (API Access), or name it with --openstack-client-config-file",
        )
    })
}

fn places() -> Vec<PathBuf> {
    let mut folders = vec![std::env::current_dir().unwrap_or_default()];
    let home = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    folders.extend(home.map(|config| config.join("openstack")));
    folders.push(PathBuf::from("/etc/openstack"));
    folders.iter().flat_map(|folder| ["clouds.yaml", "clouds.yml"].map(|name| folder.join(name))).collect()
}

/// The entry of the cloud: clouds-public.yaml's profile, then clouds.yaml, then secure.yaml, each counting more.
fn entry(state: &OpenstackState) -> Result<Node, DriverError> {
    let path = config_file(state)?;
    let all = read(&path)?.ok_or_else(|| wrong(&path, "there is no such file"))?;
    let clouds = all.get("clouds");
    let Node::Map(_) = clouds.get(&state.cloud) else {
        let text = format!("there is no cloud {:?} in {}", state.cloud, path.display());
        let known = clouds.keys().join(", ");
        return Err(DriverError::new(ErrorKind::Config, text).with_hint(format!("there are: {known}")));
    };
    let beside = |name: &str| read(&path.with_file_name(name)).map(Option::unwrap_or_default);
    let own = clouds.get(&state.cloud).clone();
    let profile = [own.text("profile"), own.text("cloud")].into_iter().find(|name| !name.is_empty());
    let public = match profile {
        None => Node::Nothing,
        Some(profile) => {
            let public = beside("clouds-public.yaml")?;
            match public.get("public-clouds").get(profile) {
                Node::Nothing => {
                    let why = format!("its profile {profile:?} is not in clouds-public.yaml beside it");
                    return Err(wrong(&path, &why));
                }
                found => found.clone(),
            }
        }
    };
    let secure = beside("secure.yaml")?.get("clouds").get(&state.cloud).clone();
    Ok(public.overlaid(own).overlaid(secure))
}

fn wrong(path: &Path, why: &str) -> DriverError {
    DriverError::new(ErrorKind::Config, format!("{}: {why}", path.display()))
        .with_hint("docs/drivers/openstack.md shows what a clouds.yaml looks like")
}

/// A file of YAML; `None` where there is none.
fn read(path: &Path) -> Result<Option<Node>, DriverError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, &error.to_string())),
    };
    if metadata.len() > MAX_FILE {
        return Err(wrong(path, "it is too large for a list of clouds"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(path, &error.to_string()))?;
    Node::read(&text).map(Some).map_err(|why| wrong(path, &why))
}
