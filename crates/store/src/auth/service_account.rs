//! Google's service accounts: a key file instead of a person.
//!
//! Source: RFC 7523, and Google's "Using OAuth 2.0 for Server to Server Applications".

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

use super::{Granted, MARGIN, NotGranted, Provider, grant};
use crate::http::{Http, Refusal, Request};
use crate::{Environment, Error, ErrorKind, Secret};

/// A difference between the clocks that cannot be the reason of a refusal.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// What is used of a key file.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
}

/// A service account with its token of the moment.
pub(crate) struct ServiceAccount {
    email: String,
    key: ring::signature::RsaKeyPair,
    access: Mutex<Option<(Secret, Instant)>>,
}

impl ServiceAccount {
    /// The account whose key file `GOOGLE_APPLICATION_CREDENTIALS` or duplicity's
    /// `GOOGLE_SERVICE_JSON_FILE` names, or whose content is the configured password.
    pub(crate) fn find(environment: &Environment) -> Result<Option<Self>, Error> {
        let path = environment
            .variable("GOOGLE_APPLICATION_CREDENTIALS")
            .or_else(|| environment.variable("GOOGLE_SERVICE_JSON_FILE"));
        let text = match (&environment.password, path) {
            (Some(password), _) => Secret::new(password.expose()),
            (None, Some(path)) => Secret::new(std::fs::read_to_string(&path).map_err(|error| {
                Provider::Drive.error(
                    ErrorKind::SignIn,
                    format!("cannot read the key file {path}: {error}"),
                )
            })?),
            (None, None) => return Ok(None),
        };
        Self::read(&text).map(Some)
    }

    fn read(text: &Secret) -> Result<Self, Error> {
        // What is wrong with it is not shown: the text is a key.
        let bad = || {
            Provider::Drive.error(
                ErrorKind::SignIn,
                "the key file of the service account cannot be used",
            )
        };
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|_| bad())?;
        let base64: String = file
            .private_key
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = STANDARD.decode(base64.trim()).map_err(|_| bad())?;
        let key = ring::signature::RsaKeyPair::from_pkcs8(&der).map_err(|_| bad())?;
        Ok(Self {
            email: file.client_email,
            key,
            access: Mutex::new(None),
        })
    }

    pub(crate) fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        let mut kept = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let token = match kept.as_ref().filter(|(_, end)| Instant::now() < *end) {
            Some((token, _)) => token.clone(),
            None => {
                let granted = self.granted(http)?;
                let token = Secret::new(granted.access_token);
                let life =
                    Duration::from_secs(granted.expires_in.unwrap_or(3600)).saturating_sub(MARGIN);
                *kept = Some((token.clone(), Instant::now() + life));
                token
            }
        };
        request.set_header("authorization", format!("Bearer {}", token.expose()));
        Ok(())
    }

    /// Asks for a token. The assertion holds the time: when ours is refused and the service's is
    /// another, that is taken.
    fn granted(&self, http: &Http) -> Result<Granted, Error> {
        let ask = |now| {
            let assertion = self.assertion(now, &http.environment.endpoints.google_token)?;
            let values = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.expose()),
            ];
            grant(Provider::Drive, http, &values)
        };
        let ours = (http.environment.clock)();
        let mut answer = ask(ours)?;
        if let Err(NotGranted {
            time: Some(theirs), ..
        }) = &answer
        {
            let distance = theirs
                .duration_since(ours)
                .unwrap_or_else(|behind| behind.duration());
            if distance > CLOCK_TOLERANCE {
                answer = ask(*theirs)?;
            }
        }
        answer.map_err(|not| {
            let why = format!(
                "the service account {} is refused: {}",
                self.email,
                not.why()
            );
            Provider::Drive.error(ErrorKind::SignIn, why)
        })
    }

    pub(crate) fn renew(&self, refusal: &Refusal) {
        let mut kept = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let used = kept
            .as_ref()
            .is_some_and(|(token, _)| refusal.used(&format!("Bearer {}", token.expose())));
        if used {
            *kept = None;
        }
    }

    /// A statement of who we are, signed, good for an hour.
    fn assertion(&self, now: SystemTime, audience: &str) -> Result<Secret, Error> {
        let bad = |_| {
            Provider::Drive.error(
                ErrorKind::SignIn,
                "cannot sign with the key of the service account",
            )
        };
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = json!({"iss": self.email, "scope": Provider::Drive.scope(), "aud": audience, "iat": now, "exp": now + 3600});
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        self.key
            .sign(
                &ring::signature::RSA_PKCS1_SHA256,
                &random,
                text.as_bytes(),
                &mut signature,
            )
            .map_err(bad)?;
        Ok(Secret::new(format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }
}
