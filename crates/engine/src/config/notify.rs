//! `[[notify]]`: who is told what.

use super::Fault;
use super::reader::Section;

/// One receiver of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// What is told.
    pub on: Vec<Occasion>,
    /// How it is told.
    pub sender: Sender,
}

/// What somebody can be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A layer got no snapshot.
    Failure,
    /// A layer got a snapshot that lacks files.
    Partial,
    /// A layer got no snapshot for too long.
    Stale,
    /// A layer that failed or was stale is good again.
    Recovered,
    /// A layer got a snapshot.
    Success,
}

const OCCASIONS: [(&str, Occasion); 5] = [
    ("failure", Occasion::Failure),
    ("partial", Occasion::Partial),
    ("stale", Occasion::Stale),
    ("recovered", Occasion::Recovered),
    ("success", Occasion::Success),
];

/// How news travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// To a topic of an ntfy server.
    Ntfy(String),
    /// As a POST with JSON.
    Webhook(String),
    /// As pings of a Healthchecks server.
    Healthchecks(String),
    /// By mail to an address.
    Email(String),
}

pub(super) fn read(root: &Section<'_>) -> Vec<Notify> {
    root.tables("notify")
        .into_iter()
        .filter_map(read_one)
        .collect()
}

fn read_one(section: Section<'_>) -> Option<Notify> {
    let mut on = Vec::new();
    for word in section.strings("on") {
        match OCCASIONS.iter().find(|(known, _)| *known == word) {
            Some(&(_, occasion)) => on.push(occasion),
            None => section.unknown_word("on", word, OCCASIONS.iter().map(|&(known, _)| known)),
        }
    }
    if !section.has("on") {
        on = vec![Occasion::Failure, Occasion::Stale, Occasion::Recovered];
    }
    let url = |key| {
        section.read(
            key,
            "an address that starts with `https://` or `http://`",
            |text| {
                let is_url = text.starts_with("https://") || text.starts_with("http://");
                is_url.then(|| text.to_owned())
            },
        )
    };
    let senders = [
        url("ntfy").map(Sender::Ntfy),
        url("webhook").map(Sender::Webhook),
        url("healthchecks").map(Sender::Healthchecks),
        section
            .read("email", "a mail address", |text| {
                text.contains('@').then(|| text.to_owned())
            })
            .map(Sender::Email),
    ];
    let keys = ["ntfy", "webhook", "healthchecks", "email"];
    let given = keys.iter().filter(|&&key| section.has(key)).count();
    if given != 1 {
        let allowed = keys.map(str::to_owned).to_vec();
        section.mistake("", Fault::NotExactlyOne { allowed });
    }
    let sender = senders.into_iter().flatten().next();
    section.end(&[]);
    Some(Notify {
        on,
        sender: sender?,
    })
}
