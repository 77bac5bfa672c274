//! `[layer.NAME]`: one independent copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use borg::{Compression, Encryption, KeyStorage};
use store::Location;

use super::reader::Section;
use super::{Fault, absolute, schedule, value};
use crate::secret::Reference;
use crate::{Places, Schedule};

/// One independent copy with its own format, store, key and schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What people call it.
    pub name: String,
    /// Its format.
    pub kind: Kind,
    /// Where its bytes are kept, as typed, a leading `~` expanded.
    pub store: String,
    /// Where its passphrase is kept.
    pub passphrase: Option<Reference>,
    /// When it is due.
    pub schedule: Schedule,
    /// Which snapshots stay.
    pub keep: Keep,
    /// The line of the configuration where it begins.
    pub line: usize,
}

impl Layer {
    /// The folder of this machine that is its store; `None` when it is elsewhere.
    #[must_use]
    pub fn local_store(&self) -> Option<PathBuf> {
        if self.store.starts_with('/') {
            return Some(PathBuf::from(&self.store));
        }
        match self.store.parse() {
            Ok(Location::Disk(path)) if path.is_absolute() => Some(path),
            _ => None,
        }
    }

    /// Whether this version can run it: others are understood and left alone.
    #[must_use]
    pub fn is_runnable(&self) -> bool {
        match self.kind {
            Kind::Borg { .. } => match self.borg_location() {
                Some(borg::Location::Local(path)) => path.is_absolute(),
                Some(borg::Location::Ssh(_)) => true,
                None => false,
            },
            Kind::Duplicity(_) => true,
            Kind::Drop { ref folder, .. } => folder.is_some(),
        }
    }

    /// Whether this version acts on its `keep` rules.
    #[must_use]
    pub fn is_prunable(&self) -> bool {
        matches!(self.kind, Kind::Borg { .. } | Kind::Duplicity(_)) && self.is_runnable()
    }

    /// Whether nothing that opening it needs can ask a person: its store is on this machine, and its passphrase
    /// is where no program has to fetch it from.
    pub(crate) fn opens_unasked(&self) -> bool {
        use Reference::{Credential, Environment, File};
        let asks_nobody = matches!(
            self.passphrase,
            None | Some(File(_) | Environment(_) | Credential(_))
        );
        asks_nobody && self.local_store().is_some()
    }

    /// The store as the place of a Borg repository.
    pub(crate) fn borg_location(&self) -> Option<borg::Location> {
        if self.store.starts_with('/') {
            return Some(Path::new(&self.store).into());
        }
        self.store.parse().ok()
    }
}

/// The format of a layer, with the settings of that format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A Borg 1.x repository.
    Borg {
        /// How a new repository is encrypted.
        encryption: Encryption,
        /// How new data is compressed.
        compression: Compression,
        /// How long to wait for another program that writes to it.
        lock_wait: Duration,
    },
    /// A duplicity archive.
    Duplicity(Duplicity),
    /// Plain files with a hidden history.
    Drop {
        /// The folder of this machine that it mirrors.
        folder: Option<PathBuf>,
        /// Whether changes are followed as they happen, while the schedule is installed.
        watch: bool,
    },
}

/// Settings of a duplicity archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Duplicity {
    /// A new full backup is made when the last is older; only the first is full when not set.
    pub full_every: Option<Duration>,
    /// It is put together out of the last chain, and then gets an increment: not all files are read
    /// and sent again.
    pub synthetic_full: bool,
    /// Whether new files are encrypted.
    pub encryption: ArchiveEncryption,
    /// Keys of GnuPG that are encrypted to.
    pub encrypt_to: Vec<String>,
    /// The key of GnuPG that signs, and that must have signed what is read.
    pub sign_with: Option<String>,
    /// Target size of a volume in bytes; duplicity's own 200 MiB when not set.
    pub volume_size: Option<u64>,
    /// What the machine is called in the archive, when not by its name.
    pub host: Option<String>,
}

/// How the files of a duplicity archive are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveEncryption {
    /// Encrypted with the passphrase.
    #[default]
    Passphrase,
    /// Encrypted to keys of GnuPG.
    Keys,
    /// Only compressed.
    None,
}

impl ArchiveEncryption {
    /// With their words in the configuration.
    const ALL: [(&str, Self); 3] = [
        ("passphrase", Self::Passphrase),
        ("keys", Self::Keys),
        ("none", Self::None),
    ];
}

impl Kind {
    /// The word of the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Borg { .. } => "borg",
            Self::Duplicity(_) => "duplicity",
            Self::Drop { .. } => "drop",
        }
    }

    /// Whether the format has room for extended attributes and access control lists.
    #[must_use]
    pub fn keeps_attributes(&self) -> bool {
        matches!(self, Self::Borg { .. })
    }
}

/// Which snapshots stay. All stay when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Everything younger than this.
    pub within: Option<Duration>,
    /// The newest so many.
    pub last: Option<u32>,
    /// The last of each of so many hours.
    pub hourly: Option<u32>,
    /// The last of each of so many days.
    pub daily: Option<u32>,
    /// The last of each of so many weeks.
    pub weekly: Option<u32>,
    /// The last of each of so many months.
    pub monthly: Option<u32>,
    /// The last of each of so many years.
    pub yearly: Option<u32>,
    /// The newest so many chains of a duplicity layer.
    pub full: Option<u32>,
}

impl Keep {
    /// Whether everything stays.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// Keys that only one kind knows.
const OF_ONE_KIND: [(&str, &str); 11] = [
    ("encryption", "borg"),
    ("compression", "borg"),
    ("lock-wait", "borg"),
    ("full-every", "duplicity"),
    ("synthetic-full", "duplicity"),
    ("encrypt-to", "duplicity"),
    ("sign-with", "duplicity"),
    ("volume-size", "duplicity"),
    ("host", "duplicity"),
    ("folder", "drop"),
    ("watch", "drop"),
];

pub(super) fn read(root: &Section<'_>, places: &Places) -> Vec<Layer> {
    let tables = root.table("layer").map(|section| section.named_tables());
    let layers: Vec<Layer> = tables
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, section)| read_one(name, section, places))
        .collect();
    if !root.has("layer") {
        root.mistake("layer", Fault::Missing);
    }
    layers
}

fn read_one(name: &str, section: Section<'_>, places: &Places) -> Option<Layer> {
    check_name(name, &section);
    if !section.has("kind") {
        section.mistake("kind", Fault::Missing);
    }
    let kind = section.word(
        "kind",
        &[
            ("borg", "borg"),
            ("duplicity", "duplicity"),
            ("drop", "drop"),
        ],
    );
    if let Some(kind) = kind {
        section.settled("kind", kind);
    }
    let store = section.required_string("store").map(|typed| {
        if typed == "~" || typed.starts_with("~/") {
            places.expand(typed).display().to_string()
        } else {
            typed.to_owned()
        }
    });
    if let Some(store) = &store {
        let is_url = store.contains(':');
        if !is_url && !store.starts_with('/') {
            let path = store.clone();
            section.mistake("store", Fault::RelativePath { path });
        }
        // A location prints without the password that it may have.
        match store.parse::<Location>() {
            Ok(location) if is_url => section.settled("store", location.to_string()),
            _ => section.settled("store", store.as_str()),
        }
    }
    let passphrase = secret(&section, "passphrase", places);
    let schedule = schedule(
        &section,
        "schedule",
        Schedule::Daily(jiff::civil::Time::midnight()),
    );
    let keep = section.table("keep").map(read_keep).unwrap_or_default();

    // Without a kind the keys of all kinds are let through: one mistake is enough.
    let settings = match kind {
        Some("borg") | None => read_borg(&section, passphrase.as_ref(), kind.is_some()),
        Some("duplicity") => read_duplicity(&section, store.as_deref()),
        Some(_) => {
            let watch = section.flag("watch", false);
            if watch && !section.has("folder") {
                section.mistake("folder", Fault::Missing);
            }
            Kind::Drop {
                folder: section
                    .string("folder")
                    .map(|typed| absolute(&section, "folder", typed, places)),
                watch,
            }
        }
    };
    let line = section.line();
    if kind.is_some() {
        section.end(&OF_ONE_KIND);
    }
    kind?;
    Some(Layer {
        name: name.to_owned(),
        kind: settings,
        store: store?,
        passphrase,
        schedule,
        keep,
        line,
    })
}

fn read_borg(section: &Section<'_>, passphrase: Option<&Reference>, known: bool) -> Kind {
    let modes: Vec<(String, Encryption)> = Encryption::ALL
        .into_iter()
        .map(|mode| (mode.to_string(), mode))
        .collect();
    let modes: Vec<(&str, Encryption)> = modes
        .iter()
        .map(|(name, mode)| (name.as_str(), *mode))
        .collect();
    let encryption = section
        .word("encryption", &modes)
        .unwrap_or(Encryption::RepokeyBlake2);
    section.settled("encryption", encryption.to_string());
    let compression: Compression = section
        .read(
            "compression",
            "a compression like `lz4`, `zstd,3` or `auto,zstd,10`",
            |text| text.parse().ok(),
        )
        .unwrap_or_default();
    section.settled("compression", compression.to_string());
    let lock_wait = section
        .read("lock-wait", "a duration like `30 s`", value::duration)
        .unwrap_or(Duration::from_secs(1));
    section.settled("lock-wait", format!("{} s", lock_wait.as_secs()));
    let has_key = encryption.key_storage() != KeyStorage::Nowhere;
    if known && has_key && passphrase.is_none() && !section.has("passphrase") {
        section.mistake("passphrase", Fault::Missing);
    }
    Kind::Borg {
        encryption,
        compression,
        lock_wait,
    }
}

fn read_duplicity(section: &Section<'_>, store: Option<&str>) -> Kind {
    match store.map(str::parse::<Location>) {
        Some(Err(source)) => {
            let what = source.to_string();
            section.mistake("store", Fault::BadStore { what });
        }
        Some(Ok(Location::Disk(path))) if !path.is_absolute() => {
            let path = path.display().to_string();
            section.mistake("store", Fault::RelativePath { path });
        }
        _ => {}
    }
    let encryption = section
        .word("encryption", &ArchiveEncryption::ALL)
        .unwrap_or_default();
    let word = ArchiveEncryption::ALL
        .iter()
        .find(|(_, value)| *value == encryption);
    section.settled("encryption", word.map_or("", |(word, _)| word));
    let strings = section.strings("encrypt-to").into_iter();
    let encrypt_to: Vec<String> = strings.map(str::to_owned).collect();
    let sign_with = section.string("sign-with").map(str::to_owned);
    match encryption {
        ArchiveEncryption::Passphrase if !section.has("passphrase") => {
            section.mistake("passphrase", Fault::Missing);
        }
        ArchiveEncryption::Keys if encrypt_to.is_empty() => {
            section.mistake("encrypt-to", Fault::Missing);
        }
        _ => {}
    }
    Kind::Duplicity(Duplicity {
        full_every: section.read("full-every", "a duration like `30 days`", value::duration),
        synthetic_full: section.flag("synthetic-full", false),
        encryption,
        encrypt_to,
        sign_with,
        volume_size: section.read("volume-size", "a size like `50 MiB`", value::size),
        host: section.string("host").map(str::to_owned),
    })
}

/// A name stands in file names, commands and mails: letters, digits, `-` and `_`.
fn check_name(name: &str, section: &Section<'_>) {
    let fine = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(fine) {
        let value = name.to_owned();
        let expected = "a name of letters, digits, `-` and `_`";
        section.mistake("", Fault::BadValue { value, expected });
    }
}

fn read_keep(section: Section<'_>) -> Keep {
    let keep = Keep {
        within: section.read("within", "a duration like `2 days`", value::duration),
        last: section.count("last"),
        hourly: section.count("hourly"),
        daily: section.count("daily"),
        weekly: section.count("weekly"),
        monthly: section.count("monthly"),
        yearly: section.count("yearly"),
        full: section.count("full"),
    };
    for (key, count) in [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
        ("full", keep.full),
    ] {
        if let Some(count) = count {
            section.settled(key, i64::from(count));
        }
    }
    if let Some(within) = keep.within {
        section.settled("within", format!("{} s", within.as_secs()));
    }
    section.end(&[]);
    keep
}

/// Reads a reference to a secret. A plain string is refused: the file may be shown to others.
pub(super) fn secret(
    section: &Section<'_>,
    key: &'static str,
    places: &Places,
) -> Option<Reference> {
    if !section.has(key) {
        return None;
    }
    if section.is_string(key) {
        section.mistake(key, Fault::PlainSecret);
        return None;
    }
    let table = section.table(key)?;
    let keyring = table
        .string("keyring")
        .map(|name| Reference::Keyring(name.to_owned()));
    let command = command(&table).map(Reference::Command);
    let file = table
        .string("file")
        .map(|typed| Reference::File(absolute(&table, "file", typed, places)));
    let env = table
        .string("env")
        .map(|name| Reference::Environment(name.to_owned()));
    let credential = table
        .string("credential")
        .map(|name| Reference::Credential(name.to_owned()));
    let keys = ["keyring", "command", "file", "env", "credential"];
    if keys.into_iter().filter(|&key| table.has(key)).count() != 1 {
        let allowed = keys.map(str::to_owned).to_vec();
        section.mistake(key, Fault::NotExactlyOne { allowed });
    }
    table.end_of_secret(&[]);
    let reference = [keyring, command, file, env, credential]
        .into_iter()
        .flatten()
        .next();
    if let Some(reference) = &reference {
        section.settled_as_written(key, reference.to_string());
    }
    reference
}

/// A command as a list of words, or as one string that is split at spaces; quotes keep words
/// together. No shell takes part, so nothing is expanded.
pub(super) fn command(table: &Section<'_>) -> Option<Vec<String>> {
    let strings = table.strings("command");
    let words = match strings.as_slice() {
        [] => return None,
        [_] if table.is_string("command") => {
            table.read("command", "a command like `pass show disk`", words)?
        }
        list => list.iter().map(|&word| word.to_owned()).collect(),
    };
    Some(words)
}

/// Splits a line into words; `None` when it has none or a quote stays open.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        end if end == character => break,
                        inside => word.push(inside),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_people_expect() {
        let split = |line: &str| words(line).unwrap();
        assert_eq!(split("pass show  disk"), ["pass", "show", "disk"]);
        assert_eq!(split(r#"a "b c" d'e f'"#), ["a", "b c", "de f"]);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("  "), None);
    }
}
