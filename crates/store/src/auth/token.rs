//! The access token of a signed-in account, always fresh.
//!
//! It is renewed under a lock that other programs respect: of two that renew at once, the second
//! one takes what the first one wrote, so that a service that gives a new refresh token each time
//! does not lose us. Within a program, one thread renews while the others wait.

use std::sync::{Mutex, PoisonError};

use super::kept::{Account, Kept};
use super::{Provider, grant};
use crate::http::{Http, Refusal, Request};
use crate::{Environment, Error, Secret};

/// The token of an account.
pub(crate) struct Token {
    account: Account,
    access: Mutex<Option<Kept>>,
}

impl Token {
    pub(crate) fn new(
        provider: Provider,
        account: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Error> {
        Ok(Self {
            account: Account::new(provider, account, environment)?,
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
        let token = kept.as_ref().and_then(|kept| kept.access_token.clone());
        Ok(Secret::new(token.unwrap_or_default()))
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
        let token = kept.as_ref().and_then(|kept| kept.access_token.clone());
        let token = token.unwrap_or_default();
        if refusal.used(&format!("Bearer {token}")) {
            *kept = Some(self.renewed(http, Some(&token))?);
        }
        Ok(true)
    }

    /// Reads what is kept, and asks for a new token when that is old or `refused`.
    fn renewed(&self, http: &Http, refused: Option<&str>) -> Result<Kept, Error> {
        let _alone = self.account.lock()?;
        let mut kept = self.account.read()?;
        let now = (http.environment.clock)();
        if kept.is_fresh(now) && kept.access_token.as_deref() != refused {
            return Ok(kept);
        }
        let secret = kept.client_secret.clone().map(Secret::new);
        let mut values = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", kept.refresh_token.as_str()),
            ("client_id", kept.client_id.as_str()),
        ];
        if let Some(secret) = &secret {
            values.push(("client_secret", secret.expose()));
        }
        let granted = grant(self.account.provider, http, &values)?
            .map_err(|refused| self.account.lost(refused.why()))?;
        kept.take(granted, now);
        self.account.renew(&kept)?;
        Ok(kept)
    }
}
