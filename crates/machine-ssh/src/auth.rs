//! Authentication with public keys.

use std::path::Path;
use std::time::Instant;

use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;

use crate::connect::{Client, closed};
use crate::credentials::{Identity, KeyRing};
use crate::error::{AuthFailure, Error, Result};
use crate::hostkey::RSA_HASHES;
use crate::target::Target;

type Agent = AgentClient<UnixStream>;

/// The plain keys that the agent at this socket holds, with their comments.
pub(crate) async fn agent_keys(
    socket: &Path,
) -> Result<Vec<(russh::keys::PublicKey, String)>, russh::keys::Error> {
    let mut agent = AgentClient::connect_uds(socket).await?;
    let identities = agent.request_identities().await?;
    let plain = |identity| match identity {
        AgentIdentity::PublicKey { key, comment } => Some((key, comment)),
        AgentIdentity::Certificate { .. } => None,
    };
    Ok(identities.into_iter().filter_map(plain).collect())
}

/// Offers the keys in order until the server takes one.
pub(crate) async fn authenticate(
    client: &mut Client,
    target: &Target,
    ring: &KeyRing,
    started: Instant,
) -> Result<()> {
    let mut attempt = Attempt {
        target,
        started,
        offered: Vec::new(),
        problems: ring.problems.clone(),
        accepts: None,
        only_key: ring.identities.len() == 1,
    };
    let mut agent = attempt.open_agent(client, ring).await;
    if ring.identities.is_empty() {
        // Nothing to offer: ask what would have been welcome (and some hosts want nothing).
        let result = client.handle.authenticate_none(target.user.as_str()).await;
        if attempt.judge(client, result)? {
            return Ok(());
        }
    }
    for identity in &ring.identities {
        attempt.offered.push(identity.offered());
        if attempt.offer(client, identity, agent.as_mut()).await? {
            return Ok(());
        }
        if attempt.accepts.as_ref().is_some_and(|methods| !methods.contains(&MethodKind::PublicKey)) {
            break;
        }
    }
    Err(attempt.failed())
}

struct Attempt<'a> {
    target: &'a Target,
    started: Instant,
    offered: Vec<crate::OfferedKey>,
    problems: Vec<String>,
    accepts: Option<MethodSet>,
    only_key: bool,
}

impl Attempt<'_> {
    async fn open_agent(&mut self, client: &Client, ring: &KeyRing) -> Option<Agent> {
        ring.identities.iter().find(|identity| matches!(identity, Identity::Agent { .. }))?;
        let mut agent = AgentClient::connect_uds(ring.agent_socket.as_ref()?).await.ok()?;
        if let Some(binding) = client.handle.agent_session_binding() {
            // Only OpenSSH's agent knows this, and only keys with destination constraints need it.
            let bound = agent.bind_session(binding, false).await;
            tracing::debug!(bound = bound.is_ok(), "agent session binding");
        }
        Some(agent)
    }

    async fn offer(
        &mut self,
        client: &mut Client,
        identity: &Identity,
        mut agent: Option<&mut Agent>,
    ) -> Result<bool> {
        for hash in self.signature_hashes(client, identity).await? {
            let accepted = match identity {
                Identity::File { key, .. } => {
                    let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                    let result = client.handle.authenticate_publickey(self.target.user.as_str(), key).await;
                    self.judge(client, result)?
                }
                Identity::Agent { key, comment } => {
                    let Some(agent) = agent.as_deref_mut() else { return Ok(false) };
                    let user = self.target.user.as_str();
                    let result =
                        client.handle.authenticate_publickey_with(user, key.clone(), hash, agent).await;
                    match result {
                        Ok(result) => self.judge(client, Ok(result))?,
                        Err(error) => {
                            self.problems.push(format!("the agent did not sign with {comment:?}: {error}"));
                            false
                        }
                    }
                }
            };
            if accepted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RSA keys sign with SHA-2 only; which one, the server says (RFC 8308), or else both are tried.
    async fn signature_hashes(
        &mut self,
        client: &Client,
        identity: &Identity,
    ) -> Result<Vec<Option<HashAlg>>> {
        if !matches!(identity.public().inner().algorithm(), Algorithm::Rsa { .. }) {
            return Ok(vec![None]);
        }
        let supported = client.handle.best_supported_rsa_hash().await;
        Ok(match supported.map_err(|e| closed(client, self.target, "authenticating", self.started, &e))? {
            // What the server lists is what it knows; OpenSSH 9.2 for one lists more than its configuration lets it
            // accept. With one key there are attempts to spare.
            Some(Some(hash)) if !self.only_key => vec![Some(hash)],
            Some(None) => {
                self.problems
                    .push("the server takes RSA keys only with SHA-1 signatures, which are not safe".into());
                Vec::new()
            }
            Some(Some(_)) | None => RSA_HASHES.into_iter().map(Some).collect(),
        })
    }

    fn judge(&mut self, client: &Client, result: Result<AuthResult, russh::Error>) -> Result<bool> {
        match result {
            Ok(AuthResult::Success) => Ok(true),
            // The library reports a lost connection as a failure without methods.
            Ok(AuthResult::Failure { .. }) if client.handle.is_closed() => Err(self.cut_off(client)),
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                self.accepts = Some(remaining_methods);
                Ok(false)
            }
            Err(error) => Err(closed(client, self.target, "authenticating", self.started, &error)),
        }
    }

    /// A server that has had enough of our keys hangs up: that is an authentication failure too.
    fn cut_off(&mut self, client: &Client) -> Error {
        let why = client.end();
        if why.contains("authentication failures") {
            self.problems.push(format!("the server hung up: {why}"));
            return self.failed();
        }
        closed(client, self.target, "authenticating", self.started, &russh::Error::Disconnect)
    }

    fn failed(&mut self) -> Error {
        let accepts = self.accepts.as_ref().map(|methods| methods.iter().map(Into::into).collect());
        Error::AuthFailed(Box::new(AuthFailure {
            address: self.target.address(),
            user: self.target.user.clone(),
            tried: vec![if self.offered.is_empty() { "none" } else { "publickey" }],
            offered: std::mem::take(&mut self.offered),
            problems: std::mem::take(&mut self.problems),
            accepts: accepts.unwrap_or_default(),
            after: self.started.elapsed(),
        }))
    }
}
