//! Signing in to B2: one token for all, renewed by one thread while the others wait.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use crate::http::{Http, Method, Refusal, Request, Service};
use crate::{Error, ErrorKind, Operation, Secret};

pub(super) struct Account {
    id: String,
    secret: Secret,
    pub(super) bucket: String,
    session: Mutex<Option<Arc<Session>>>,
    bucket_id: Mutex<Option<String>>,
}

/// What signing in gave.
pub(super) struct Session {
    token: Secret,
    account: String,
    pub(super) api: String,
    pub(super) download: String,
    pub(super) part_size: u64,
    pub(super) capabilities: Vec<String>,
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorized {
    account_id: String,
    authorization_token: String,
    api_info: ApiInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiInfo {
    storage_api: StorageApi,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StorageApi {
    api_url: String,
    download_url: String,
    recommended_part_size: u64,
    allowed: Allowed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allowed {
    capabilities: Vec<String>,
    #[serde(default)]
    buckets: Option<Vec<Bucket>>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bucket {
    #[serde(alias = "bucketId")]
    id: String,
    #[serde(alias = "bucketName")]
    name: Option<String>,
    file_lock_configuration: Option<FileLock>,
}

/// What the service tells of locks: the value only to keys that may read it.
#[derive(Deserialize, Clone)]
struct FileLock {
    value: Option<FileLockValue>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct FileLockValue {
    is_file_lock_enabled: Option<bool>,
    default_retention: Option<DefaultRetention>,
}

#[derive(Deserialize, Clone)]
struct DefaultRetention {
    mode: Option<String>,
}

impl Bucket {
    /// Whether objects can be locked, and whether new ones are, without a way around for a key
    /// with these capabilities. `None` when the key may not know.
    pub(super) fn object_lock(&self, capabilities: &[String]) -> Option<(bool, bool)> {
        let value = self.file_lock_configuration.as_ref()?.value.as_ref()?;
        let mode = value.default_retention.as_ref();
        let locks = match mode.and_then(|retention| retention.mode.as_deref()) {
            Some("compliance") => true,
            Some("governance") => !capabilities.iter().any(|has| has == "bypassGovernance"),
            _ => false,
        };
        Some((value.is_file_lock_enabled?, locks))
    }
}

#[derive(Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
}

/// The key itself, for signing in only.
struct Key<'a>(&'a Account);

impl Service for Key<'_> {
    fn sign(&self, _: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        use base64::Engine as _;
        let pair = format!("{}:{}", self.0.id, self.0.secret.expose());
        let value = base64::engine::general_purpose::STANDARD.encode(pair);
        request.set_header("authorization", format!("Basic {value}"));
        Ok(())
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        kind_of(refusal)
    }
}

impl Account {
    pub(super) fn new(id: String, secret: Secret, bucket: &str) -> Self {
        Self {
            id,
            secret,
            bucket: bucket.to_owned(),
            session: Mutex::new(None),
            bucket_id: Mutex::new(None),
        }
    }

    /// Whether the key may do something; `None` before the first sign-in.
    pub(super) fn may(&self, capability: &str) -> Option<bool> {
        let kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = kept.as_ref()?;
        Some(session.capabilities.iter().any(|has| has == capability))
    }

    /// The session, signed in now if there is none. Others wait for the one that signs in.
    pub(super) fn session(&self, http: &Http) -> Result<Arc<Session>, Error> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = kept.as_ref() {
            return Ok(Arc::clone(session));
        }
        let url = format!(
            "{}/b2api/v4/b2_authorize_account",
            http.environment.endpoints.b2
        );
        let request = Request::new(
            Method::Get,
            url,
            "b2_authorize_account",
            Operation::Open,
            "B2",
        );
        let told: Authorized = http.call(&Key(self), &request)?.json()?;
        let storage = told.api_info.storage_api;
        let session = Arc::new(Session {
            token: Secret::new(told.authorization_token),
            account: told.account_id,
            api: storage.api_url,
            download: storage.download_url,
            part_size: storage.recommended_part_size,
            capabilities: storage.allowed.capabilities,
            buckets: storage.allowed.buckets.unwrap_or_default(),
        });
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    /// The id of the bucket: told at signing in when the key is for one bucket, else asked for.
    pub(super) fn bucket_id(&self, http: &Http) -> Result<String, Error> {
        if let Some(id) = self
            .bucket_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        {
            return Ok(id);
        }
        let session = self.session(http)?;
        let mut found = self.ours(&session.buckets);
        if found.is_none() && session.buckets.is_empty() {
            found = self.ask_bucket(http)?;
        }
        let Some(found) = found else {
            return Err(Error::new(ErrorKind::NotFound, Operation::Open)
                .on(&self.bucket)
                .because("there is no such bucket, or the key is not for it"));
        };
        *self
            .bucket_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(found.id.clone());
        Ok(found.id)
    }

    fn ours(&self, buckets: &[Bucket]) -> Option<Bucket> {
        let mut buckets = buckets.iter();
        buckets
            .find(|bucket| bucket.name.as_deref() == Some(&self.bucket))
            .cloned()
    }

    /// What the service tells of the bucket.
    pub(super) fn ask_bucket(&self, http: &Http) -> Result<Option<Bucket>, Error> {
        let session = self.session(http)?;
        let url = format!("{}/b2api/v4/b2_list_buckets", session.api);
        let arguments = json!({"accountId": session.account, "bucketName": self.bucket});
        let class = "b2_list_buckets";
        let request =
            Request::new(Method::Post, url, class, Operation::Open, &self.bucket).json(&arguments);
        let told: Buckets = http.call(self, &request)?.json()?;
        Ok(self.ours(&told.buckets))
    }
}

impl Service for Account {
    fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        let session = self.session(http)?;
        request.set_header("authorization", session.token.expose().to_owned());
        Ok(())
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        kind_of(refusal)
    }

    /// The token has expired: forgets it, so that the next request signs in. When another thread
    /// has renewed it meanwhile, that is enough.
    fn renew(&self, _: &Http, refusal: &Refusal) -> Result<bool, Error> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .as_ref()
            .is_some_and(|session| refusal.used(session.token.expose()))
        {
            *kept = None;
        }
        Ok(true)
    }
}

/// Source: Backblaze's documentation, "API Error Handling".
pub(super) fn kind_of(refusal: &Refusal) -> ErrorKind {
    let json = refusal.json();
    match json
        .get("code")
        .and_then(|code| code.as_str())
        .unwrap_or_default()
    {
        "expired_auth_token" | "bad_auth_token" => ErrorKind::SignIn,
        "unauthorized" | "access_denied" => ErrorKind::Denied,
        "storage_cap_exceeded"
        | "cap_exceeded"
        | "transaction_cap_exceeded"
        | "download_cap_exceeded" => ErrorKind::Full,
        "file_not_present" | "no_such_file" | "not_found" => ErrorKind::NotFound,
        "too_many_requests" => ErrorKind::Busy,
        _ if refusal.status == 503 => ErrorKind::Unavailable,
        _ => refusal.usual_kind(),
    }
}
