//! Signing in to services that persons sign in to: tokens, their renewal, and how to get them.
//!
//! A refresh token is kept in a file that only its owner can read. It is renewed under a lock on
//! that file: of two programs that renew at once, the second one takes what the first one wrote, so
//! that a service that gives a new refresh token each time does not lose us. Within a program, one
//! thread renews while the others wait.

mod device;
mod service_account;
mod signin;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use device::DeviceSignIn;
pub(crate) use service_account::ServiceAccount;
pub use signin::SignIn;

use crate::http::{Http, Method, Refusal, Request, Service, form};
use crate::resume::write_private;
use crate::{Environment, Error, ErrorKind, Operation, Secret};

/// An access token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(120);

/// A service that a person signs in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Google Drive. Scope `drive.file`: only what the same client has written can be seen.
    Drive,
    /// Dropbox. Best with an app of the kind "App folder".
    Dropbox,
}

/// An application that is registered with a service: bring your own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The public id.
    pub id: String,
    /// The secret, where the service gives one to applications of this kind.
    pub secret: Option<Secret>,
}

impl Provider {
    /// As it stands in locations and on the command line: `gdrive`, `dropbox`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drive => "gdrive",
            Self::Dropbox => "dropbox",
        }
    }

    fn scope(self) -> &'static str {
        match self {
            Self::Drive => "https://www.googleapis.com/auth/drive.file",
            Self::Dropbox => {
                "account_info.read files.metadata.read files.metadata.write files.content.read files.content.write"
            }
        }
    }

    fn token_url(self, environment: &Environment) -> String {
        match self {
            Self::Drive => environment.endpoints.google_token.clone(),
            Self::Dropbox => format!("{}/oauth2/token", environment.endpoints.dropbox_api),
        }
    }

    fn error(self, kind: ErrorKind, why: impl Into<String>) -> Error {
        Error::new(kind, Operation::SignIn)
            .on(self.name())
            .because(why.into())
    }

    /// The one sentence of a lost sign-in, with what mends it.
    fn lost(self, why: &str) -> Error {
        let why = format!("{why}; sign in with `ravelin store login {}`", self.name());
        Error::new(ErrorKind::SignIn, Operation::Open)
            .on(self.name())
            .because(why)
    }
}

/// Where the token of an account is kept.
///
/// # Errors
///
/// When there is no state folder.
pub fn token_path(
    provider: Provider,
    account: Option<&str>,
    environment: &Environment,
) -> Result<PathBuf, Error> {
    let state = environment
        .state
        .as_ref()
        .ok_or_else(|| provider.error(ErrorKind::SignIn, "there is no folder to keep tokens in"))?;
    // An account is a person's word for it: what could lead elsewhere is replaced.
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "@-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    let account: String = account.unwrap_or("default").chars().map(safe).collect();
    Ok(state
        .join("tokens")
        .join(format!("{}-{account}.json", provider.name())))
}

/// What is kept of a sign-in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    client_id: String,
    client_secret: Option<String>,
    refresh_token: String,
    access_token: Option<String>,
    /// Seconds since 1970.
    access_ends: Option<u64>,
}

/// A service's answer to any way of asking for a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Kept {
    fn read(path: &Path, provider: Provider) -> Result<Self, Error> {
        let bytes = match std::fs::metadata(path) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                let why = format!("others can read {}: run `chmod 600` on it", path.display());
                return Err(provider.error(ErrorKind::SignIn, why));
            }
            Ok(_) => std::fs::read(path)
                .map_err(|error| Error::from_io(error, Operation::SignIn, provider.name()))?,
            Err(_) => return Err(provider.lost("nobody has signed in yet")),
        };
        serde_json::from_slice(&bytes).map_err(|_| provider.lost("the kept sign-in cannot be read"))
    }

    fn save(&self, path: &Path, provider: Provider) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| provider.error(ErrorKind::Io, error.to_string()))?;
        write_private(path, &bytes)
            .map_err(|error| Error::from_io(error, Operation::SignIn, provider.name()))
    }

    fn take(&mut self, granted: Granted, now: SystemTime) {
        self.access_token = Some(granted.access_token);
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.access_ends = granted
            .expires_in
            .map(|seconds| now.saturating_add(seconds));
        if let Some(refresh) = granted.refresh_token {
            self.refresh_token = refresh;
        }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        let end = self
            .access_ends
            .map(|end| SystemTime::UNIX_EPOCH + Duration::from_secs(end));
        self.access_token.is_some() && end.is_none_or(|end| now + MARGIN < end)
    }
}

/// The token of a signed-in account, always fresh.
pub(crate) struct Token {
    provider: Provider,
    path: PathBuf,
    access: Mutex<Option<Kept>>,
}

impl Token {
    pub(crate) fn new(
        provider: Provider,
        account: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Error> {
        Ok(Self {
            provider,
            path: token_path(provider, account, environment)?,
            access: Mutex::new(None),
        })
    }

    /// The access token for now.
    fn access(&self, http: &Http) -> Result<Secret, Error> {
        let now = (http.environment.clock)();
        let mut kept = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.is_fresh(now)) {
            *kept = Some(self.renewed(http, None)?);
        }
        let token = kept
            .as_ref()
            .and_then(|kept| kept.access_token.clone())
            .unwrap_or_default();
        Ok(Secret::new(token))
    }

    /// Adds the token to a request.
    pub(crate) fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        let token = self.access(http)?;
        request.set_header("authorization", format!("Bearer {}", token.expose()));
        Ok(())
    }

    /// The service has refused our token: gets another, unless another thread just did.
    pub(crate) fn renew(&self, http: &Http, refusal: &Refusal) -> Result<bool, Error> {
        let mut kept = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let token = kept
            .as_ref()
            .and_then(|kept| kept.access_token.clone())
            .unwrap_or_default();
        if refusal.used(&format!("Bearer {token}")) {
            *kept = Some(self.renewed(http, Some(&token))?);
        }
        Ok(true)
    }

    /// Reads the file, and asks for a new token when what it holds is old or `refused`.
    fn renewed(&self, http: &Http, refused: Option<&str>) -> Result<Kept, Error> {
        let _alone = self.lock()?;
        let mut kept = Kept::read(&self.path, self.provider)?;
        let now = (http.environment.clock)();
        if kept.is_fresh(now) && kept.access_token.as_deref() != refused {
            return Ok(kept);
        }
        let secret = kept.client_secret.clone().unwrap_or_default();
        let mut values = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", kept.refresh_token.as_str()),
            ("client_id", kept.client_id.as_str()),
        ];
        if !secret.is_empty() {
            values.push(("client_secret", &secret));
        }
        let granted = grant(self.provider, http, &values)?;
        kept.take(granted, now);
        kept.save(&self.path, self.provider)?;
        Ok(kept)
    }

    fn lock(&self) -> Result<File, Error> {
        let fail = |error| Error::from_io(error, Operation::SignIn, self.provider.name());
        let path = self.path.with_extension("lock");
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            return Err(self.provider.lost("nobody has signed in yet"));
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }
}

/// What a token service says when it refuses.
struct Grants;

impl Service for Grants {
    fn sign(&self, _: &Http, _: &mut Request<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        match refusal.status {
            400..=403 => ErrorKind::SignIn,
            _ => refusal.usual_kind(),
        }
    }
}

/// Asks for a token.
fn grant(provider: Provider, http: &Http, values: &[(&str, &str)]) -> Result<Granted, Error> {
    let url = provider.token_url(&http.environment);
    let request = Request::new(
        Method::Post,
        url,
        "token",
        Operation::SignIn,
        provider.name(),
    )
    .header("content-type", "application/x-www-form-urlencoded")
    .bytes(form(values));
    match http.call(&Grants, &request) {
        Err(error) if error.kind == ErrorKind::SignIn => {
            let said = error
                .source
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            Err(provider.lost(if said.contains("invalid_grant") {
                "the sign-in was revoked or has expired"
            } else {
                "the service does not accept the sign-in"
            }))
        }
        answer => answer?.json(),
    }
}

/// Keeps a sign-in.
fn keep(
    provider: Provider,
    account: Option<&str>,
    client: &Client,
    granted: Granted,
    environment: &Environment,
) -> Result<(), Error> {
    let Some(refresh_token) = granted.refresh_token.clone() else {
        return Err(provider.error(ErrorKind::SignIn, "the service gave no lasting token"));
    };
    let mut kept = Kept {
        client_id: client.id.clone(),
        client_secret: client
            .secret
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
        refresh_token,
        access_token: None,
        access_ends: None,
    };
    kept.take(granted, (environment.clock)());
    kept.save(&token_path(provider, account, environment)?, provider)
}
