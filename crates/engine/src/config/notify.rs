//! `[[notify]]`: who is told what, and how.

use lettre::Address;

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

impl Notify {
    /// The secret that is needed to tell it.
    pub(crate) fn secret(&self) -> Option<&Reference> {
        match &self.sender {
            Sender::Ntfy { token, .. } => token.as_ref(),
            Sender::Email { smtp, .. } => smtp.as_ref()?.password.as_ref(),
            Sender::Chat { address } => Some(address),
            Sender::Webhook { .. } | Sender::Healthchecks { .. } | Sender::Desktop => None,
        }
    }
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
    /// By mail.
    Email {
        /// To whom.
        to: Address,
        /// Who seems to write; the user at the machine when nothing is said.
        from: Option<Address>,
        /// Through which server; through the local `sendmail` when there is none.
        smtp: Option<Smtp>,
    },
    /// As a notification of the desktop.
    Desktop,
    /// Into a room of Slack, Discord, Matrix or Telegram. The reference holds its address.
    Chat {
        /// Where the address is kept: it is a secret.
        address: Reference,
    },
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the line is protected.
    pub security: Security,
    /// Who signs in.
    pub user: Option<String>,
    /// With what.
    pub password: Option<Reference>,
}

/// How the line to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte: `smtps://`.
    Tls,
    /// TLS before anything is said, or nothing is said: `smtp://`.
    StartTls,
    /// None: `smtp://` to this very machine.
    None,
}

impl Smtp {
    /// Reads `smtps://USER@HOST:PORT` or `smtp://…`. A user may hold an `@` as `%40`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let rest = rest.trim_end_matches('/');
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user.replace("%40", "@")), host),
            None => (None, rest),
        };
        // A password would stand in the file.
        if user
            .as_ref()
            .is_some_and(|user| user.is_empty() || user.contains(':'))
        {
            return None;
        }
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, Some(port.parse().ok()?)),
            _ => (host, None),
        };
        let is_name =
            |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
        if host.is_empty() || !host.chars().all(is_name) {
            return None;
        }
        let is_here = host == "localhost" || host == "127.0.0.1";
        let (security, usual) = match scheme {
            "smtps" => (Security::Tls, 465),
            "smtp" if is_here && user.is_none() => (Security::None, 25),
            "smtp" => (Security::StartTls, 587),
            _ => return None,
        };
        Some(Self {
            host: host.to_owned(),
            port: port.unwrap_or(usual),
            security,
            user,
            password: None,
        })
    }
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
        Some("email") => email(&section, places),
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

fn email(section: &Section<'_>, places: &Places) -> Option<Sender> {
    let to = section.read("email", "a mail address", |text| text.parse().ok());
    let from = section.read("from", "a mail address", |text| text.parse().ok());
    let smtp = section.read(
        "smtp",
        "a mail server like `smtps://ada@mail.example` or `smtp://localhost`, without a password",
        Smtp::parse,
    );
    let password = secret(section, "password", places);
    let smtp = smtp.map(|smtp| Smtp { password, ..smtp });
    Some(Sender::Email {
        to: to?,
        from,
        smtp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_goes_over_a_line_that_others_can_read() {
        let parse = |text: &str| Smtp::parse(text).map(|smtp| (smtp.security, smtp.port));
        assert_eq!(
            parse("smtps://ada@mail.example"),
            Some((Security::Tls, 465))
        );
        assert_eq!(
            parse("smtp://mail.example"),
            Some((Security::StartTls, 587))
        );
        assert_eq!(parse("smtp://localhost:2525"), Some((Security::None, 2525)));
        assert_eq!(
            parse("smtp://ada@localhost"),
            Some((Security::StartTls, 587))
        );
        let user = Smtp::parse("smtps://ada%40mail.example@mail.example")
            .unwrap()
            .user;
        assert_eq!(user.as_deref(), Some("ada@mail.example"));
        for wrong in [
            "smtps://ada:secret@mail.example",
            "imap://mail.example",
            "mail.example",
            "smtp://",
            "smtp://mail.example:x",
            "smtp://mail example",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
