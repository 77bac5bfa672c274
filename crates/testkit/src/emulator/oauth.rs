//! Tokens as OAuth 2 has them: authorisation code with PKCE, devices, renewal, expiry, revocation.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::http::{Answer, Request, now_seconds};

/// The tokens of one emulated account.
#[derive(Debug)]
pub(super) struct Tokens {
    generation: u64,
    refresh: u64,
    /// A new refresh token with each renewal, the old one worth nothing.
    pub(super) rotate: bool,
    revoked: bool,
    /// Challenges of the codes that were given out.
    codes: BTreeMap<String, String>,
    /// How often a device asks before the person has agreed.
    device_waits: u32,
    next: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            generation: 0,
            refresh: 0,
            rotate: false,
            revoked: false,
            codes: BTreeMap::new(),
            device_waits: 1,
            next: 0,
        }
    }
}

impl Tokens {
    pub(super) fn access(&self) -> String {
        format!("access-{}", self.generation)
    }

    pub(super) fn refresh(&self) -> String {
        format!("refresh-{}", self.refresh)
    }

    pub(super) fn expire(&mut self) {
        self.generation += 1;
    }

    pub(super) fn revoke(&mut self) {
        self.revoked = true;
        self.generation += 1;
    }

    /// Whether a request is signed in.
    pub(super) fn accepts(&self, request: &Request) -> bool {
        !self.revoked && request.header("authorization") == format!("Bearer {}", self.access())
    }

    /// The page where a person agrees: here, at once.
    pub(super) fn authorize(&mut self, request: &Request) -> Answer {
        let query = &request.query;
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        self.next += 1;
        let code = format!("code-{}", self.next);
        self.codes.insert(code.clone(), get("code_challenge"));
        match query.get("redirect_uri") {
            Some(target) => Answer::new(302).header(
                "location",
                format!("{target}?code={code}&state={}", get("state")),
            ),
            None => Answer::new(200).body(code.into_bytes()),
        }
    }

    pub(super) fn device(&self, base: &str) -> Answer {
        Answer::json(
            200,
            &json!({"device_code": "device", "user_code": "ABCD-EFGH", "verification_url": format!("{base}/device"),
            "expires_in": 60, "interval": 1}),
        )
    }

    pub(super) fn token(&mut self, request: &Request) -> Answer {
        let form = request.form();
        let get = |name: &str| form.get(name).cloned().unwrap_or_default();
        let refuse = |error: &str| Answer::json(400, &json!({"error": error}));
        let good = match get("grant_type").as_str() {
            "refresh_token" => !self.revoked && get("refresh_token") == self.refresh(),
            "authorization_code" => {
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
                self.codes
                    .remove(&get("code"))
                    .is_some_and(|wanted| wanted == challenge)
            }
            "urn:ietf:params:oauth:grant-type:device_code" if self.device_waits > 0 => {
                self.device_waits -= 1;
                return Answer::json(428, &json!({"error": "authorization_pending"}));
            }
            "urn:ietf:params:oauth:grant-type:device_code" => get("device_code") == "device",
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => is_of_now(&get("assertion")),
            _ => false,
        };
        if !good {
            return refuse("invalid_grant");
        }
        self.revoked = false;
        let renewal = get("grant_type") == "refresh_token";
        if renewal && self.rotate {
            self.refresh += 1;
        }
        let mut answer =
            json!({"access_token": self.access(), "token_type": "bearer", "expires_in": 14400});
        if !renewal || self.rotate {
            answer["refresh_token"] = json!(self.refresh());
        }
        Answer::json(200, &answer)
    }
}

/// Whether a statement was made in the last minutes, as Google wants it. Its signature is not looked
/// at.
fn is_of_now(assertion: &str) -> bool {
    let claims = assertion.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
    let made = claims["iat"].as_u64().unwrap_or(0);
    made.abs_diff(now_seconds()) <= 300
}
