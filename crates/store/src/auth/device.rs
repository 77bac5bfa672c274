//! Signing in from a machine without a browser: a short code is typed in on another one.
//!
//! Source: RFC 8628.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Client, Granted, Provider, keep};
use crate::http::{Anonymous, Http, Method, Request, form};
use crate::{Environment, Error, ErrorKind, Operation};

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
    pub fn wait(self, account: Option<&str>) -> Result<(), Error> {
        let mut interval = Duration::from_secs(self.told.interval.min(60));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(self.told.expires_in) {
            std::thread::sleep(interval);
            match self.ask()? {
                Asked::Granted(granted) => {
                    return keep(
                        self.provider,
                        account,
                        &self.client,
                        granted,
                        &self.http.environment,
                    );
                }
                Asked::NotYet => {}
                Asked::TooOften => interval += Duration::from_secs(5),
                Asked::Refused => {
                    return Err(self
                        .provider
                        .error(ErrorKind::SignIn, "the sign-in was refused"));
                }
            }
        }
        Err(self
            .provider
            .error(ErrorKind::SignIn, "nobody signed in in time"))
    }

    fn ask(&self) -> Result<Asked, Error> {
        #[derive(Deserialize)]
        struct Told {
            error: String,
        }
        let secret = self
            .client
            .secret
            .as_ref()
            .map(|secret| secret.expose().to_owned())
            .unwrap_or_default();
        let values = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", self.told.device_code.as_str()),
            ("client_id", self.client.id.as_str()),
            ("client_secret", &secret),
        ];
        let url = self.provider.token_url(&self.http.environment);
        let request = Request::new(
            Method::Post,
            url,
            "token",
            Operation::SignIn,
            self.provider.name(),
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .bytes(form(&values))
        .accept(&[400, 401, 403, 428]);
        let answer = self.http.call(&Anonymous, &request)?;
        if answer.status < 300 {
            return Ok(Asked::Granted(answer.json()?));
        }
        let told: Told = answer.json()?;
        Ok(match told.error.as_str() {
            "authorization_pending" => Asked::NotYet,
            "slow_down" => Asked::TooOften,
            _ => Asked::Refused,
        })
    }
}

enum Asked {
    Granted(Granted),
    NotYet,
    TooOften,
    Refused,
}
