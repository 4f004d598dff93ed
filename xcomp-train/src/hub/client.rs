//! Requests to a hub.

use std::io::Read;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::listing::Listing;
use super::{Hub, HubError, Kind, Name};

/// To resolve a host, to connect to it, and between two pieces of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest list of files that is read.
const MAX_LISTING_BYTES: u64 = 256 << 20;

/// What asks a hub.
#[derive(Debug)]
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("xcomp/", env!("CARGO_PKG_VERSION")));
        Self { hub, agent: config.build().into() }
    }

    /// The files of a repository at a revision.
    pub(super) fn listing(&self, name: &Name) -> Result<Listing, HubError> {
        let kind = match name.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        let Name { repo, revision, .. } = name;
        let url = format!("{}/api/{kind}/{repo}/revision/{revision}?blobs=true", self.hub.endpoint);
        let whole = Name { path: String::new(), ..name.clone() };
        let answer = self.get(&url, None, &whole)?;
        let wrong = |reason: String| HubError::Listing { url: url.clone(), reason };
        let mut text = String::new();
        let body = answer.into_body().into_reader().take(MAX_LISTING_BYTES);
        body.take(MAX_LISTING_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| wrong(error.to_string()))?;
        Listing::read(&text).map_err(wrong)
    }

    /// A file from a byte on; whether the answer begins there is for the caller to see.
    pub(super) fn file(&self, pinned: &Name, from: u64) -> Result<Response<Body>, HubError> {
        let kind = match pinned.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        let Name { repo, revision, path, .. } = pinned;
        let path = escaped(path);
        let url = format!("{}/{kind}{repo}/resolve/{revision}/{path}", self.hub.endpoint);
        self.get(&url, Some(from), pinned)
    }

    fn get(&self, url: &str, from: Option<u64>, name: &Name) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.hub.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(from) = from.filter(|from| *from > 0) {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|source| HubError::Unreachable {
            url: url.into(),
            source: Box::new(source),
        })?;
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            status => Err(self.refusal(status, url, name)),
        }
    }

    fn refusal(&self, status: u16, url: &str, name: &Name) -> HubError {
        let (name, endpoint) = (name.to_string(), self.hub.endpoint.clone());
        match (status, &self.hub.token) {
            (404, _) => HubError::NoRepository { name, endpoint },
            (401 | 403, None) => {
                let advice = "if it exists, it is private or asks for consent: set HF_TOKEN to a token that may read it";
                HubError::Denied { name, endpoint, status, advice }
            }
            (401 | 403, Some(_)) => {
                let advice = "the token in HF_TOKEN (or of the login) may not read it: take another, or give consent on its page";
                HubError::Denied { name, endpoint, status, advice }
            }
            _ => HubError::Status { url: url.into(), status },
        }
    }
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escaped("a/b-1.json"), "a/b-1.json");
        assert_eq!(escaped("a b?#%é"), "a%20b%3F%23%25%C3%A9");
    }
}
