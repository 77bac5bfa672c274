//! Signing in to services that persons sign in to: how to get a token, where it is kept, and its
//! silent renewal.

mod device;
mod kept;
mod keyring;
mod service_account;
mod signin;
mod token;

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

pub use device::DeviceSignIn;
pub use kept::{Keep, KeptIn};
pub(crate) use service_account::ServiceAccount;
pub use signin::SignIn;
pub(crate) use token::Token;

use crate::http::{Anonymous, Http, Method, Request, form, parse_http_date};
use crate::{Environment, Error, ErrorKind, Operation, Secret};
use kept::{Account, Kept};

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

impl Client {
    /// Reads the file that Google's console offers for download.
    ///
    /// # Errors
    ///
    /// [`SignIn`](ErrorKind::SignIn) when it is no such file, without showing what it is.
    pub fn read_google_file(text: &Secret) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(alias = "web")]
            installed: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            client_id: String,
            client_secret: Option<String>,
        }
        let file: File = serde_json::from_str(text.expose()).map_err(|_| {
            let why = "this is not the file of a client that Google's console offers for download";
            Provider::Drive.error(ErrorKind::SignIn, why)
        })?;
        Ok(Self {
            id: file.installed.client_id,
            secret: file.installed.client_secret.map(Secret::new),
        })
    }
}

/// Nobody is signed in any more, or not yet: a person has to act. The source of an [`Error`] of
/// kind [`SignIn`](ErrorKind::SignIn).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInNeeded {
    /// With which service.
    pub provider: Provider,
    /// With which account; `None` is the only one.
    pub account: Option<String>,
    /// What happened to the last sign-in.
    pub why: String,
}

impl SignInNeeded {
    /// The arguments of the command that mends it: `store login gdrive`.
    #[must_use]
    pub fn arguments(&self) -> Vec<&str> {
        let mut words = vec!["store", "login", self.provider.name()];
        if let Some(account) = &self.account {
            words.extend(["--account", account]);
        }
        words
    }
}

impl fmt::Display for SignInNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.arguments().join(" ");
        write!(f, "{}; sign in with `ravelin {command}`", self.why)
    }
}

impl std::error::Error for SignInNeeded {}

impl Provider {
    /// As it stands in locations and on the command line: `gdrive`, `dropbox`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drive => "gdrive",
            Self::Dropbox => "dropbox",
        }
    }

    /// As its maker writes it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Drive => "Google Drive",
            Self::Dropbox => "Dropbox",
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
}

/// A service's answer to any way of asking for a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// A service's refusal of a token.
struct NotGranted {
    /// By the words of OAuth.
    error: String,
    /// The service's time.
    time: Option<SystemTime>,
}

impl NotGranted {
    /// In our words.
    fn why(&self) -> &'static str {
        match self.error.as_str() {
            "invalid_grant" => "the sign-in was revoked or has expired",
            "invalid_client" | "unauthorized_client" => {
                "the service does not know the client id, or not its secret"
            }
            _ => "the service does not accept the sign-in",
        }
    }
}

/// Asks for a token.
///
/// Source: RFC 6749, sections 5.1 and 5.2.
fn grant(
    provider: Provider,
    http: &Http,
    values: &[(&str, &str)],
) -> Result<Result<Granted, NotGranted>, Error> {
    #[derive(Deserialize)]
    struct Told {
        error: String,
    }
    let url = provider.token_url(&http.environment);
    let object = provider.name();
    let request = Request::new(Method::Post, url, "token", Operation::SignIn, object)
        .header("content-type", "application/x-www-form-urlencoded")
        .bytes(form(values))
        .accept(&[400, 401, 403, 428]);
    let answer = http.call(&Anonymous, &request)?;
    if answer.status < 300 {
        return answer.json().map(Ok);
    }
    let time = answer.header("date").and_then(parse_http_date);
    // A refusal without the words of OAuth is a refusal all the same.
    let error = answer
        .json()
        .map_or_else(|_| String::new(), |told: Told| told.error);
    Ok(Err(NotGranted { error, time }))
}

/// Keeps a sign-in that has just been granted.
fn keep(
    account: &Account,
    client: &Client,
    granted: Granted,
    environment: &Environment,
) -> Result<KeptIn, Error> {
    let kept = Kept::new(client, granted, (environment.clock)()).ok_or_else(|| {
        let why = "the service gave no lasting token";
        account.provider.error(ErrorKind::SignIn, why)
    })?;
    account.keep(&kept)
}
