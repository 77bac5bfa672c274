//! Answers out of a text, in the network's place: for those who try whether answers do harm.
//!
//! An answer is a line with its status, lines with its headers, an empty line, and the body. A line
//! `---` stands between two answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Stands between two answers.
const BORDER: &[u8] = b"---";

/// Requests that a client may make at least, whatever it is told.
const ASKED_LEAST: usize = 100;

/// What a server says. The last answer is given to all that is asked after it, by a server that
/// repeats itself.
pub(crate) struct Script {
    answers: Vec<Said>,
    asked: AtomicUsize,
    asked_most: usize,
}

/// One answer.
#[derive(Clone, Default)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Script {
    /// Reads whatever is given.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        let answers = lines.split(|line| *line == BORDER).map(Said::read);
        Self {
            answers: answers.collect(),
            asked: AtomicUsize::new(0),
            // Each thing that a server tells of may be asked for twice.
            asked_most: ASKED_LEAST + 2 * bytes.len(),
        }
    }

    /// The next answer.
    ///
    /// # Panics
    ///
    /// When much more is asked than was ever told of: that would never end.
    pub(super) fn answer(&self) -> Said {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(
            asked < self.asked_most,
            "a server that repeats itself is asked without end"
        );
        let answer = self.answers.get(asked).or_else(|| self.answers.last());
        answer.cloned().unwrap_or_default()
    }
}

impl Said {
    fn read(lines: &[&[u8]]) -> Self {
        let mut lines = lines.iter();
        let status = lines.next().and_then(|line| {
            let text = str::from_utf8(line).ok()?;
            text.trim().parse().ok()
        });
        let mut headers = HeaderMap::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let mut parts = line.splitn(2, |&byte| byte == b':');
            let name = parts.next().map(HeaderName::from_bytes);
            let value = parts.next().map(|value| {
                let value = value.trim_ascii();
                HeaderValue::from_bytes(value)
            });
            if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
                headers.append(name, value);
            }
        }
        Self {
            status: status.unwrap_or(200),
            headers,
            body: lines.as_slice().join(&b'\n'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_their_order_and_the_last_one_again() {
        let script = Script::read(b"404\na: 1\n\nno\nno\n---\n200\n\n{}");
        let first = script.answer();
        assert_eq!((first.status, &*first.body), (404, &b"no\nno"[..]));
        assert_eq!(first.headers["a"], "1");
        for _ in 0..3 {
            let last = script.answer();
            assert_eq!((last.status, &*last.body), (200, &b"{}"[..]));
        }
    }
}
