//! Signing in from a machine without a browser: a short code is typed in on another one.
//!
//! Source: RFC 8628.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::kept::Account;
use super::{Client, KeptIn, Provider, grant, keep};
use crate::http::{Anonymous, Http, Method, Request, form};
use crate::{Environment, Error, ErrorKind, Operation};

/// How often it is looked whether the person has had enough.
const LOOK: Duration = Duration::from_millis(100);

/// A sign-in under way.
pub struct DeviceSignIn {
    provider: Provider,
    client: Client,
    http: Http,
    told: Told,
}

#[derive(Deserialize)]
struct Told {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_uri")]
    verification_url: String,
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
}

fn five() -> u64 {
    5
}

impl DeviceSignIn {
    /// Begins a sign-in. Of the services here, Google has this.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for Dropbox: there, a code is copied.
    pub fn begin(
        provider: Provider,
        client: Client,
        environment: &Environment,
    ) -> Result<Self, Error> {
        if provider != Provider::Drive {
            return Err(provider.error(
                ErrorKind::Unsupported,
                "this service has no sign-in for devices",
            ));
        }
        let http = Http::new(environment);
        let values = [
            ("client_id", client.id.as_str()),
            ("scope", provider.scope()),
        ];
        let request = Request::new(
            Method::Post,
            environment.endpoints.google_device.clone(),
            "device",
            Operation::SignIn,
            provider.name(),
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .bytes(form(&values));
        let told = http.call(&Anonymous, &request)?.json()?;
        Ok(Self {
            provider,
            client,
            http,
            told,
        })
    }

    /// What the person types in.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.told.user_code
    }

    /// Where.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.told.verification_url
    }

    /// Waits until the person has done so, and keeps the sign-in for `account`.
    ///
    /// # Errors
    ///
    /// When the person refuses or does not come before the code ends.
    pub fn wait(self, account: Option<&str>) -> Result<KeptIn, Error> {
        self.wait_unless(account, &|| ControlFlow::Continue(()))
    }

    /// The same, given up when `stop` breaks; it is asked ten times a second.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Self::wait), and when it was given up.
    pub fn wait_unless(
        self,
        account: Option<&str>,
        stop: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<KeptIn, Error> {
        let error = |why| self.provider.error(ErrorKind::SignIn, why);
        let account = Account::new(self.provider, account, &self.http.environment)?;
        let secret = self
            .client
            .secret
            .as_ref()
            .map_or("", |secret| secret.expose());
        let values = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", self.told.device_code.as_str()),
            ("client_id", self.client.id.as_str()),
            ("client_secret", secret),
        ];
        let mut interval = Duration::from_secs(self.told.interval.min(60));
        let began = Instant::now();
        let mut next = began + interval;
        while began.elapsed() < Duration::from_secs(self.told.expires_in) {
            if stop().is_break() {
                return Err(error("the sign-in was given up"));
            }
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(LOOK));
                continue;
            }
            match grant(self.provider, &self.http, &values)? {
                Ok(granted) => {
                    return keep(&account, &self.client, granted, &self.http.environment);
                }
                Err(not) => match not.error.as_str() {
                    "authorization_pending" => {}
                    "slow_down" => interval += Duration::from_secs(5),
                    "access_denied" => return Err(error("the sign-in was refused")),
                    _ => return Err(error(not.why())),
                },
            }
            next = Instant::now() + interval;
        }
        Err(error("nobody signed in in time"))
    }
}
