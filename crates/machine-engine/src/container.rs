//! Images and containers, as far as the agents of the retired standalone Swarm need them.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::connection::{Call, http_error};
use crate::{Client, EngineError};

/// How long a pull may say nothing, in seconds. A registry that throttles can be quiet for long.
const PULL_SILENCE: Duration = Duration::from_secs(180);
/// The longest line of a pull's report, in bytes.
const MAX_LINE: usize = 1 << 20;

/// A line of an image pull's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PullProgress {
    /// What is done, e.g. `Downloading`.
    pub status: String,
    /// Which layer it is about; empty for the image as a whole.
    pub id: String,
}

/// A container: a part of the answer to `GET /containers/ID/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerState {
    /// Its id.
    pub id: String,
    /// Its name, with a slash before it.
    #[serde(default)]
    pub name: String,
    /// What it is doing.
    pub state: ContainerStatus,
}

/// What a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerStatus {
    /// Whether its process runs.
    pub running: bool,
    /// The exit status of its process when it ended.
    pub exit_code: i64,
    /// Why it could not be started; empty where it could.
    pub error: String,
}

impl Client {
    /// Pulls an image; `name` may have a tag or digest, `latest` is taken otherwise. Each line of the engine's report
    /// goes to `on_progress`. It may take as long as the engine has something to report.
    ///
    /// # Errors
    /// [`EngineError::Engine`] or [`EngineError::Http`] with the engine's message where the image can't be had.
    pub async fn pull_image(
        &self,
        name: &str,
        mut on_progress: impl FnMut(&PullProgress),
    ) -> Result<(), EngineError> {
        let api = self.api_version().await?;
        let query = Serializer::new(String::new())
            .append_pair("fromImage", repository(name).0)
            .append_pair("tag", repository(name).1)
            .finish();
        let path = format!("/v{api}/images/create?{query}");
        let call = Call { method: Method::POST, path: &path, body: Vec::new(), limit: PULL_SILENCE };
        let response = self.connection.send(call).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        while self.more(&path, &mut body, &mut buffer).await? {
            if !status.is_success() {
                continue;
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                self.pull_line(&line, &mut on_progress)?;
            }
        }
        if status.is_success() {
            self.pull_line(&buffer, &mut on_progress)
        } else {
            Err(http_error(status, &buffer, api))
        }
    }

    /// Reads the next part of a report; false at its end.
    async fn more(
        &self,
        path: &str,
        body: &mut Incoming,
        buffer: &mut BytesMut,
    ) -> Result<bool, EngineError> {
        let frame = timeout(PULL_SILENCE, body.frame()).await.map_err(|_| {
            self.connection.silent(format!("next line of the answer to POST {path}"), PULL_SILENCE)
        })?;
        match frame {
            None => Ok(false),
            Some(Err(error)) => Err(self.connection.body_error(&error)),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    buffer.extend_from_slice(data);
                }
                if buffer.len() > MAX_LINE {
                    return Err(self.connection.protocol("a line of the pull's report is too long"));
                }
                Ok(true)
            }
        }
    }

    fn pull_line(&self, line: &[u8], on_progress: &mut impl FnMut(&PullProgress)) -> Result<(), EngineError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        #[derive(Deserialize)]
        struct Line {
            error: Option<String>,
            #[serde(flatten)]
            progress: PullProgress,
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| self.connection.protocol(format!("the pull's report can't be read: {error}")))?;
        match line.error {
            Some(message) => Err(EngineError::Engine { message }),
            None => {
                on_progress(&line.progress);
                Ok(())
            }
        }
    }

    /// Makes a container and gives its id. `config` is the body of `POST /containers/create`
    /// (<https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Container/operation/ContainerCreate>),
    /// `HostConfig` included.
    ///
    /// # Errors
    /// [`EngineError::Http`] with the engine's message: 404 where the image is missing, 409 where the name is taken.
    pub async fn create_container(&self, name: &str, config: &Value) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let path = format!("/containers/create?name={}", escape(name));
        let answer = self.versioned(Method::POST, &path, config.to_string().into_bytes()).await?;
        self.read::<Created>(&path, &answer).map(|created| created.id)
    }

    /// Starts a container, by id or name. One that runs already is success.
    ///
    /// # Errors
    /// [`EngineError::Http`] with the engine's message.
    pub async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{}/start", escape(id));
        match self.versioned(Method::POST, &path, Vec::new()).await {
            // "not modified": it runs already
            Ok(_) | Err(EngineError::Http { status: 304, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks at a container, by id or name; `None` where there is none.
    ///
    /// # Errors
    /// [`EngineError::Http`] with the engine's message.
    pub async fn inspect_container(&self, id: &str) -> Result<Option<ContainerState>, EngineError> {
        match self.get(&format!("/containers/{}/json", escape(id))).await {
            Ok(container) => Ok(Some(container)),
            Err(EngineError::Http { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a container, by id or name, with `force` even while it runs. One that is gone is success.
    ///
    /// # Errors
    /// [`EngineError::Http`] with the engine's message.
    pub async fn remove_container(&self, id: &str, force: bool) -> Result<(), EngineError> {
        let path = format!("/containers/{}?force={force}&v=true", escape(id));
        match self.versioned(Method::DELETE, &path, Vec::new()).await {
            Ok(_) | Err(EngineError::Http { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn escape(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// Splits an image's name into repository and tag (or digest): a colon in a registry's port is no tag.
fn repository(name: &str) -> (&str, &str) {
    if let Some(parts) = name.split_once('@') {
        return parts;
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        assert_eq!(repository("swarm"), ("swarm", "latest"));
        assert_eq!(repository("swarm:1.2"), ("swarm", "1.2"));
        assert_eq!(repository("r.example:5000/swarm"), ("r.example:5000/swarm", "latest"));
        assert_eq!(repository("r.example:5000/swarm:1"), ("r.example:5000/swarm", "1"));
        assert_eq!(repository("swarm@sha256:00"), ("swarm", "sha256:00"));
    }
}
