//! What a store needs from the outside: time, chance, variables, places. All of it an argument.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::http::Script;
use crate::{Bandwidth, Counters, Error, Keep, Patience, Secret};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Fills a buffer with random bytes.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Looks up an environment variable.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Tells whether somebody asked the program to end.
pub type Stopping = Arc<dyn Fn() -> bool + Send + Sync>;

/// Surroundings of a store. Cheap to clone: clones share bandwidth and counters.
#[derive(Clone)]
pub struct Environment {
    /// What time it is.
    pub clock: Clock,
    /// Fills a buffer with random bytes.
    pub random: Random,
    /// Looks up a variable such as `AWS_ACCESS_KEY_ID`.
    pub variable: Variables,
    /// The person's home folder, for `~/.aws/credentials`.
    pub home: Option<PathBuf>,
    /// Where tokens and the state of big uploads are kept. Without it, an upload does not
    /// survive the end of the program, and there is no signing in.
    pub state: Option<PathBuf>,
    /// Where new sign-ins are kept.
    pub keep: Keep,
    /// The program that asks the desktop's keyring: `secret-tool`, unless it is elsewhere.
    pub keyring: String,
    /// The password or secret key, when it is not in the location: it wins over one that is.
    pub password: Option<Secret>,
    /// How long passing faults are put up with.
    pub patience: Patience,
    /// Asked ten times a second while a store waits before it tries again: when it is true, the
    /// wait ends, and the fault is reported.
    pub stopping: Stopping,
    /// Limits on bytes per second.
    pub bandwidth: Arc<Bandwidth>,
    /// Counts requests.
    pub counters: Arc<Counters>,
    /// How many parts of one big object are sent at once. Memory is bounded by this times 128 KiB.
    pub parallel: usize,
    /// Where the services are. Others than the real ones: private clouds, tests.
    pub endpoints: Endpoints,
    /// What answers in the network's place.
    pub(crate) script: Option<Arc<Script>>,
}

/// Addresses of the services that have one place for all customers.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Backblaze B2: where to authorise.
    pub b2: String,
    /// Google Drive's API, uploads included.
    pub drive: String,
    /// Google's sign-in page.
    pub google_authorize: String,
    /// Google's token service.
    pub google_token: String,
    /// Google's device sign-in.
    pub google_device: String,
    /// Dropbox's calls.
    pub dropbox_api: String,
    /// Dropbox's uploads and downloads.
    pub dropbox_content: String,
    /// Where Dropbox tells that something changed.
    pub dropbox_notify: String,
    /// Dropbox's sign-in page.
    pub dropbox_authorize: String,
    /// The address where a machine of Amazon's asks for its credentials.
    pub instance_metadata: String,
}

impl Endpoints {
    /// The real ones, but where a variable says otherwise: `RAVELIN_ENDPOINT_B2`,
    /// `RAVELIN_ENDPOINT_DROPBOX_API` and so on, named like the fields.
    #[must_use]
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut endpoints = Self::default();
        for (name, address) in [
            ("B2", &mut endpoints.b2),
            ("DRIVE", &mut endpoints.drive),
            ("GOOGLE_AUTHORIZE", &mut endpoints.google_authorize),
            ("GOOGLE_TOKEN", &mut endpoints.google_token),
            ("GOOGLE_DEVICE", &mut endpoints.google_device),
            ("DROPBOX_API", &mut endpoints.dropbox_api),
            ("DROPBOX_CONTENT", &mut endpoints.dropbox_content),
            ("DROPBOX_AUTHORIZE", &mut endpoints.dropbox_authorize),
            ("INSTANCE_METADATA", &mut endpoints.instance_metadata),
        ] {
            if let Some(other) = variable(&format!("RAVELIN_ENDPOINT_{name}")) {
                *address = other.trim_end_matches('/').to_owned();
            }
        }
        endpoints
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            b2: "https://api.backblazeb2.com".into(),
            drive: "https://www.googleapis.com".into(),
            google_authorize: "https://accounts.google.com/o/oauth2/v2/auth".into(),
            google_token: "https://oauth2.googleapis.com/token".into(),
            google_device: "https://oauth2.googleapis.com/device/code".into(),
            dropbox_api: "https://api.dropboxapi.com".into(),
            dropbox_content: "https://content.dropboxapi.com".into(),
            dropbox_notify: "https://notify.dropboxapi.com".into(),
            dropbox_authorize: "https://www.dropbox.com/oauth2/authorize".into(),
            instance_metadata: "http://169.254.169.254".into(),
        }
    }
}

impl Environment {
    /// Surroundings with a clock and a source of randomness, and nothing else: no variables, no
    /// home, no state.
    #[must_use]
    pub fn new(
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
        random: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            clock: Arc::new(clock),
            random: Arc::new(random),
            variable: Arc::new(|_| None),
            home: None,
            state: None,
            keep: Keep::default(),
            keyring: "secret-tool".to_owned(),
            password: None,
            patience: Patience::default(),
            stopping: Arc::new(|| false),
            bandwidth: Arc::default(),
            counters: Arc::default(),
            parallel: 4,
            endpoints: Endpoints::default(),
            script: None,
        }
    }

    /// [`Patience::run`] with this environment's patience, chance and wish to stop.
    pub(crate) fn patiently<T>(
        &self,
        attempt: impl FnMut(u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.patience.run(&*self.random, &*self.stopping, attempt)
    }

    /// Twenty random hexadecimal digits: for names that nobody else uses.
    pub(crate) fn random_name(&self) -> String {
        let mut bytes = [0; 10];
        (self.random)(&mut bytes);
        hex::encode(bytes)
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The present time for our own tests.
    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        let calls = AtomicU64::new(0);
        Self::new(
            || SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000),
            move |bytes| {
                let call = calls.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                for (byte, value) in bytes.iter_mut().zip(call.iter().cycle()) {
                    *byte = *value;
                }
            },
        )
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
