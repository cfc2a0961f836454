//! Signatures of requests: AWS Signature Version 4, by Amazon's own crate.

use std::time::SystemTime;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use machine_http::api::{Access, ApiError, Outgoing};
use machine_http::header::{HeaderName, HeaderValue};

/// Signs for one service in one region.
pub(super) struct Signer {
    pub(super) credentials: Credentials,
    pub(super) region: String,
    /// As the service signs, e.g. `ec2`.
    pub(super) service: &'static str,
}

impl Signer {
    fn add(&self, request: &mut Outgoing<'_>, at: SystemTime) -> Result<(), String> {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let signable = SignableRequest::new(
            request.method.as_str(),
            request.url.as_str(),
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(request.body),
        )
        .map_err(|error| error.to_string())?;
        let signed = sign(signable, &params).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        for (name, value) in instructions.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| "the credentials have characters in them that none have".to_owned())?;
            value.set_sensitive(true);
            request.headers.insert(name, value);
        }
        Ok(())
    }
}

#[async_trait]
impl Access for Signer {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        let signed = self.add(request, SystemTime::now());
        signed.map_err(|why| ApiError::NoAccess { why: format!("the request can't be signed: {why}") })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use machine_http::header::HeaderMap;
    use machine_http::{Bytes, Method, Url};

    use super::*;

    /// The case `get-vanilla` of Amazon's test suite for Signature Version 4.
    #[test]
    fn a_request_of_amazons_test_suite_is_signed_as_there() {
        let signer = Signer {
            credentials: Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                None,
                None,
                "test",
            ),
            region: "us-east-1".into(),
            service: "service",
        };
        let url = Url::parse("https://example.amazonaws.com/").unwrap();
        let (mut headers, body) = (HeaderMap::new(), Bytes::new());
        let mut request = Outgoing { method: &Method::GET, url: &url, headers: &mut headers, body: &body };
        // 2015-08-30T12:36:00Z.
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        signer.add(&mut request, at).unwrap();
        let signed = headers["authorization"].to_str().unwrap();
        assert_eq!(
            signed,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }
}
