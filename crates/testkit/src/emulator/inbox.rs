//! A server that takes what is posted to it and remembers it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::http::{Answer, Faults, HttpServer};

/// What somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// `POST`, `PUT` and so on.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl Letter {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// An HTTP server that answers 200 to everything, unless a fault says otherwise.
#[derive(Debug)]
pub struct Inbox {
    letters: Arc<Mutex<Vec<Letter>>>,
    /// What goes wrong.
    pub faults: Faults,
    server: HttpServer,
}

impl Inbox {
    /// Starts on a free port of this machine.
    #[must_use]
    pub fn start() -> Self {
        let letters = Arc::new(Mutex::new(Vec::new()));
        let faults = Faults::default();
        let kept = Arc::clone(&letters);
        let server = HttpServer::start(&faults, move |request| {
            let letter = Letter {
                method: request.method.clone(),
                path: request.path.clone(),
                query: request.query.clone(),
                headers: request.headers.clone(),
                body: String::from_utf8_lossy(&request.body).into_owned(),
            };
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(letter);
            Answer::new(200)
        });
        Self {
            letters,
            faults,
            server,
        }
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What came since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *letters)
    }
}
