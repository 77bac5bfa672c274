//! What comes on standard error of a server, and of the `ssh` that leads to it.
//!
//! Servers that know of it write lines of JSON, older ones `$LOG LEVEL NAME MESSAGE`; `ssh` and
//! login scripts write what they like, which counts as a warning.

use std::fmt;
use std::sync::Arc;

/// Bytes of one such line that are kept.
const LINE_SIZE_MAX: usize = 1000;

/// How much something matters that a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For who looks for a mistake.
    Debug,
    /// What happens.
    Info,
    /// What is not as it should be; all that is no message of a server.
    Warning,
    /// What has failed.
    Error,
    /// What has ended the server.
    Critical,
}

impl Severity {
    /// As messages have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// A line that a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// For people.
    Message {
        /// How much it matters.
        severity: Severity,
        /// Without anything that could move the cursor of a terminal.
        text: String,
    },
    /// How far it is.
    Progress {
        /// The line, as frontends read it: an object of JSON.
        line: String,
        /// What people read of it; empty at the end.
        text: String,
    },
}

/// Hears what a server says, while it says it, from a thread of its own.
#[derive(Clone)]
pub struct ServerListener(Arc<dyn Fn(&Said) + Send + Sync>);

impl ServerListener {
    /// Calls this for each line.
    pub fn new(hear: impl Fn(&Said) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(super) fn hear(&self, said: &Said) {
        (self.0)(said);
    }
}

/// The same one, that is; two are never alike.
impl PartialEq for ServerListener {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ServerListener {}

impl fmt::Debug for ServerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerListener")
    }
}

impl Said {
    /// Reads a line; nothing where it is empty.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if let Ok(object) = serde_json::from_str::<serde_json::Value>(text)
            && let Some(kind) = object.get("type").and_then(serde_json::Value::as_str)
        {
            let word = |key: &str| object.get(key).and_then(serde_json::Value::as_str);
            let message = shown(word("message").unwrap_or_default());
            return match kind {
                "log_message" => Some(Self::Message {
                    severity: severity(word("levelname").unwrap_or_default()),
                    text: message,
                }),
                // Written anew: nothing but JSON gets through.
                kind if kind.starts_with("progress") => Some(Self::Progress {
                    line: object.to_string(),
                    text: message,
                }),
                _ => None,
            };
        }
        if let Some(rest) = text.strip_prefix("$LOG ") {
            let mut words = rest.splitn(3, ' ');
            let severity = severity(words.next().unwrap_or_default());
            let text = words.nth(1).unwrap_or_default();
            let text = shown(text.strip_prefix("Remote: ").unwrap_or(text));
            return Some(Self::Message { severity, text });
        }
        (!text.is_empty()).then(|| Self::Message {
            severity: Severity::Warning,
            text: shown(text),
        })
    }
}

fn severity(name: &str) -> Severity {
    let all = [
        Severity::Debug,
        Severity::Info,
        Severity::Error,
        Severity::Critical,
    ];
    let mut named = all.into_iter().filter(|severity| severity.name() == name);
    named.next().unwrap_or(Severity::Warning)
}

/// Bounded, and without what could move the cursor of a terminal.
pub(super) fn shown(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(LINE_SIZE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_what_they_are() {
        let message = |severity, text: &str| {
            let text = text.into();
            Some(Said::Message { severity, text })
        };
        let json =
            br#"{"type":"log_message","message":"segment 3 is damaged","levelname":"ERROR"}"#;
        assert_eq!(
            Said::read(json),
            message(Severity::Error, "segment 3 is damaged")
        );
        assert_eq!(
            Said::read(b"$LOG INFO borg.repository Remote: freed 3 kB\n"),
            message(Severity::Info, "freed 3 kB")
        );
        assert_eq!(
            Said::read(b"Permission \x1b[1mdenied\r\n"),
            message(Severity::Warning, "Permission [1mdenied")
        );
        let progress = br#"{"type":"progress_percent","message":"50%"}"#;
        let Some(Said::Progress { line, text }) = Said::read(progress) else {
            panic!("no progress")
        };
        assert_eq!((line.len(), text.as_str()), (progress.len(), "50%"));
        for nothing in [b"\n".as_slice(), b"", br#"{"type":"question_prompt"}"#] {
            assert_eq!(Said::read(nothing), None);
        }
    }
}
