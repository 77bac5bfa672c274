//! `[[notify]]`: who is told what, and how.

use super::layer::secret;
use super::reader::Section;
use super::{Fault, Places};
use crate::secret::Reference;

/// One way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// What is told.
    pub on: Vec<Occasion>,
    /// How it is told.
    pub sender: Sender,
}

/// What somebody can be told about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A layer got no snapshot, or damage was found in it.
    Failure,
    /// A layer got a snapshot that lacks files.
    Partial,
    /// A layer got no snapshot for too long.
    Stale,
    /// A layer that failed or was stale is good again.
    Recovered,
    /// A drill did not bring back what was backed up.
    Drill,
    /// A layer got a snapshot.
    Success,
    /// Once a week: how things stand.
    Digest,
}

impl Occasion {
    /// All, with their words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("failure", Self::Failure),
        ("partial", Self::Partial),
        ("stale", Self::Stale),
        ("recovered", Self::Recovered),
        ("drill", Self::Drill),
        ("success", Self::Success),
        ("digest", Self::Digest),
    ];

    /// What is told when nothing is said. Success is silence.
    const USUAL: [Self; 5] = [
        Self::Failure,
        Self::Partial,
        Self::Stale,
        Self::Recovered,
        Self::Drill,
    ];

    /// The word of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|&&(_, occasion)| occasion == self);
        found.map_or("", |&(name, _)| name)
    }
}

/// How news travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// To a topic of an ntfy server.
    Ntfy {
        /// The address of the topic.
        url: String,
        /// An access token, where the server wants one.
        token: Option<Reference>,
    },
    /// As a POST.
    Webhook {
        /// Where to.
        url: String,
        /// The body, with `{title}`, `{text}`, `{host}`, `{layer}`, `{occasion}` and `{at}` to be
        /// filled in; JSON of all of these when there is none.
        template: Option<String>,
        /// What the body is.
        content_type: String,
    },
    /// As pings of a Healthchecks server: at the start, at the end, with the log.
    Healthchecks {
        /// The address of the check.
        url: String,
    },
    /// By mail, through the local `sendmail`.
    Email {
        /// To whom.
        to: String,
        /// Who seems to write; the user at the machine when nothing is said.
        from: Option<String>,
    },
    /// As a notification of the desktop.
    Desktop,
    /// Into a room of Slack, Discord, Matrix or Telegram. The reference holds its address.
    Chat {
        /// Where the address is kept: it is a secret.
        address: Reference,
    },
}

pub(super) fn read(root: &Section<'_>, places: &Places) -> Vec<Notify> {
    root.tables("notify")
        .into_iter()
        .filter_map(|section| read_one(section, places))
        .collect()
}

/// The ways to tell, each a key.
const WAYS: [&str; 6] = [
    "ntfy",
    "webhook",
    "healthchecks",
    "email",
    "desktop",
    "chat",
];

fn read_one(section: Section<'_>, places: &Places) -> Option<Notify> {
    let mut on = Vec::new();
    for word in section.strings("on") {
        match Occasion::ALL.iter().find(|(known, _)| *known == word) {
            Some(&(_, occasion)) => on.push(occasion),
            None => section.unknown_word("on", word, Occasion::ALL.iter().map(|&(known, _)| known)),
        }
    }
    let given: Vec<&str> = WAYS.into_iter().filter(|&key| section.has(key)).collect();
    if given.len() != 1 {
        let allowed = WAYS.map(str::to_owned).to_vec();
        section.mistake("", Fault::NotExactlyOne { allowed });
    }
    let sender = match given.first().copied() {
        Some("ntfy") => url(&section, "ntfy").map(|url| Sender::Ntfy {
            url,
            token: secret(&section, "token", places),
        }),
        Some("webhook") => url(&section, "webhook").map(|url| Sender::Webhook {
            url,
            template: section.string("template").map(str::to_owned),
            content_type: section
                .read("content-type", "a type like `text/plain`", |text| {
                    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
                    (text.contains('/') && text.bytes().all(plain)).then(|| text.to_owned())
                })
                .unwrap_or_else(|| "application/json".to_owned()),
        }),
        Some("healthchecks") => {
            url(&section, "healthchecks").map(|url| Sender::Healthchecks { url })
        }
        Some("email") => email(&section),
        Some("desktop") => section.flag("desktop", false).then_some(Sender::Desktop),
        Some("chat") => secret(&section, "chat", places).map(|address| Sender::Chat { address }),
        _ => None,
    };
    if !section.has("on") {
        on = match &sender {
            // A service that waits for a ping has to get one each time.
            Some(Sender::Healthchecks { .. }) => Occasion::ALL.map(|(_, on)| on).to_vec(),
            _ => Occasion::USUAL.to_vec(),
        };
    }
    section.end(&[]);
    Some(Notify {
        on,
        sender: sender?,
    })
}

fn url(section: &Section<'_>, key: &'static str) -> Option<String> {
    section.read(
        key,
        "an address that starts with `https://` or `http://`",
        |text| {
            let is_url = text.starts_with("https://") || text.starts_with("http://");
            let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            (is_url && is_plain).then(|| text.to_owned())
        },
    )
}

fn email(section: &Section<'_>) -> Option<Sender> {
    let address = |key| section.read(key, "a mail address", address);
    let (to, from) = (address("email"), address("from"));
    Some(Sender::Email { to: to?, from })
}

/// A mail address that can stand in a header as it is: no display name, no comments, ASCII.
fn address(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_plain = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(character)
    };
    let is_good = |part: &str| !part.is_empty() && part.chars().all(is_plain);
    (is_good(local) && is_good(domain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_bring_headers_or_receivers_of_its_own() {
        assert!(address("ada+backup@mail.example").is_some());
        for wrong in [
            "ada",
            "@mail.example",
            "ada@",
            "ada@mail.example\nBcc: eve@mail.example",
            "ada@mail.example, eve@mail.example",
            "Ada <ada@mail.example>",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
