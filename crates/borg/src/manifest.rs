//! The manifest: the list of archives, and the one object that everything is found from.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use crate::msgpack::{Malformed, MapWriter, Others, Reader, Writer, fill, required};
use crate::tam::{self, BadTam, Purpose, TAM_SIZE, Tam};
use crate::{ITEM_KEYS, Id, Key, Timestamp};

/// Most archives that a repository may hold.
///
/// Source: `MAX_ARCHIVES` in Borg 1.4's `constants.py`.
const ARCHIVES_MAX: usize = 400_000;

/// Longest name of an archive, in characters; and most item keys that a manifest names.
///
/// Source: `Manifest.write` in Borg 1.4's `helpers/manifest.py`.
const NAME_LENGTH_MAX: usize = 255;
const ITEM_KEYS_MAX: usize = 100;

/// With these bytes a manifest begins that no version of Borg 1.x can read.
const FUTURE: [u8; 4] = [0xc1; 4];

/// What is in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// All archives, by name.
    pub archives: BTreeMap<BString, ArchiveEntry>,
    /// When it was written. `None` before that. Each one is later than the one before.
    pub timestamp: Option<Timestamp>,
    /// Keys that items of this repository may have, besides those of [`ITEM_KEYS`].
    pub item_keys: BTreeSet<BString>,
    /// Settings, as they were read.
    config: Others,
}

/// What the manifest says of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// What the archive object is stored under.
    pub id: Id,
    /// When the archive was begun.
    pub time: Timestamp,
}

/// What is about to be done with a repository: a feature of it may forbid that to programs that
/// do not know the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// List and extract.
    Read,
    /// Check and repair, and what else needs to understand everything.
    Check,
    /// Add archives.
    Write,
    /// Delete archives, and so count references.
    Delete,
}

impl Operation {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Read => b"read",
            Self::Check => b"check",
            Self::Write => b"write",
            Self::Delete => b"delete",
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Written by a version of Borg that this program cannot read.
    #[error("the manifest is from a newer version of Borg")]
    Future,
    /// It is not authentic.
    #[error("the manifest cannot be trusted")]
    Tam(#[source] BadTam),
    /// It is damaged.
    #[error("the manifest is damaged")]
    Malformed(#[from] Malformed),
    /// It asks for features that this program does not have.
    #[error("the repository needs features that are not known here: {features}")]
    Features {
        /// Their names.
        features: String,
    },
    /// It would hold more than readers accept.
    #[error("{what}: {limit} at most")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl Manifest {
    /// Checks the authentication of a manifest and reads it.
    ///
    /// # Errors
    ///
    /// [`BadManifest`]: wrong authentication is always an error, a missing one if it is
    /// `required`.
    pub fn open(key: &Key, packed: &[u8], required: bool) -> Result<(Self, Tam), BadManifest> {
        if packed.starts_with(&FUTURE) {
            return Err(BadManifest::Future);
        }
        let tam =
            tam::verify(key, Purpose::Manifest, packed, required).map_err(|bad| match bad {
                BadTam::Malformed(malformed) => BadManifest::Malformed(malformed),
                bad => BadManifest::Tam(bad),
            })?;
        Ok((Self::read(packed)?, tam))
    }

    fn read(packed: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(packed);
        let r = &mut reader;
        let (mut version, mut archives, mut timestamp) = (None, None, None);
        let (mut config, mut item_keys) = (None, None);
        for _ in 0..r.map()? {
            match r.raw()? {
                b"version" => {
                    let start = r.clone();
                    fill(&mut version, r.unsigned()?, "version")?;
                    if !matches!(version, Some(1 | 2)) {
                        return Err(start.unexpected("version 1 of a manifest"));
                    }
                }
                b"archives" => fill(&mut archives, read_archives(r)?, "archives")?,
                b"timestamp" => fill(&mut timestamp, Timestamp::read(r)?, "timestamp")?,
                b"config" => fill(&mut config, read_config(r)?, "config")?,
                b"item_keys" => fill(&mut item_keys, read_item_keys(r)?, "item_keys")?,
                _ => r.skip()?,
            }
        }
        r.end()?;
        required(version, "version")?;
        Ok(Self {
            archives: required(archives, "archives")?,
            timestamp,
            config: required(config, "config")?,
            item_keys: item_keys.unwrap_or_default(),
        })
    }

    /// Writes the manifest, authenticated. Its `timestamp` must have been moved forward with
    /// [`Self::advance`]; `salt` is random.
    ///
    /// # Errors
    ///
    /// [`BadManifest::Limit`] when readers would refuse it.
    pub fn pack(&self, key: &Key, salt: &[u8; TAM_SIZE]) -> Result<Vec<u8>, BadManifest> {
        let limited = |what, limit, number: usize| match number <= limit {
            true => Ok(()),
            false => Err(BadManifest::Limit { what, limit }),
        };
        limited("archives", ARCHIVES_MAX, self.archives.len())?;
        for name in self.archives.keys() {
            let length = String::from_utf8_lossy(name).chars().count();
            limited("characters in an archive's name", NAME_LENGTH_MAX, length)?;
        }
        let item_keys: BTreeSet<&[u8]> = ITEM_KEYS
            .iter()
            .map(|key| key.as_bytes())
            .chain(self.item_keys.iter().map(|key| key.as_slice()))
            .collect();
        limited("item keys", ITEM_KEYS_MAX, item_keys.len())?;

        let none = Others::new();
        let mut packed = Vec::with_capacity(1024 + 128 * self.archives.len());
        let mut map = MapWriter::new(&mut packed, &none);
        let mut w = map.key("archives");
        w.map(self.archives.len());
        for (name, archive) in &self.archives {
            w.raw(name);
            w.map(2);
            w.raw("id");
            w.raw(archive.id.0);
            w.raw("time");
            w.raw(archive.time.as_str());
        }
        let mut config = self.config.clone();
        if key.tam_required() {
            let mut value = Vec::new();
            Writer::new(&mut value).boolean(true);
            config.insert(b"tam_required".to_vec(), value);
        }
        let mut w = map.key("config");
        w.map(config.len());
        for (key, value) in &config {
            w.raw(key);
            w.encoded(value);
        }
        let mut w = map.key("item_keys");
        w.array(item_keys.len());
        for key in item_keys {
            w.raw(key);
        }
        let hmac_at = tam::write(&mut map.key("tam"), salt);
        if let Some(timestamp) = &self.timestamp {
            map.key("timestamp").raw(timestamp.as_str());
        }
        map.key("version").unsigned(1);
        let moved = map.finish();
        tam::sign(key, Purpose::Manifest, salt, &mut packed, hmac_at + moved);
        Ok(packed)
    }

    /// Moves the timestamp to `now`, or just behind the last one, if a clock went back: an older
    /// manifest in the place of a newer one is how a replay is noticed.
    pub fn advance(&mut self, now: jiff::Timestamp) {
        let after = self.timestamp.as_ref().and_then(|last| {
            let microsecond = jiff::Span::new().microseconds(1);
            last.instant().checked_add(microsecond).ok()
        });
        self.timestamp = Some(Timestamp::new(after.map_or(now, |after| after.max(now))));
    }

    /// Whether the manifest says that it must be authenticated. Only a verified one counts.
    #[must_use]
    pub fn tam_required(&self) -> bool {
        let value = self.config.get(b"tam_required".as_slice());
        value.is_some_and(|value| Reader::new(value).boolean() == Ok(true))
    }

    /// Makes sure that nothing forbids `operation` to this program.
    ///
    /// # Errors
    ///
    /// [`BadManifest::Features`]: no feature is known to any Borg 1.x.
    pub fn check_features(&self, operation: Operation) -> Result<(), BadManifest> {
        let Some(flags) = self.config.get(b"feature_flags".as_slice()) else {
            return Ok(());
        };
        let mut reader = Reader::new(flags);
        if reader.nil() {
            return Ok(());
        }
        for _ in 0..reader.map()? {
            if reader.raw()? != operation.word() {
                reader.skip()?;
                continue;
            }
            for _ in 0..reader.map()? {
                if reader.raw()? != b"mandatory" {
                    reader.skip()?;
                    continue;
                }
                let features = (0..reader.array()?)
                    .map(|_| Ok(reader.raw()?.escape_ascii().to_string()))
                    .take(ITEM_KEYS_MAX)
                    .collect::<Result<Vec<_>, Malformed>>()?;
                if !features.is_empty() {
                    return Err(BadManifest::Features {
                        features: features.join(", "),
                    });
                }
            }
        }
        Ok(())
    }
}

fn read_archives(reader: &mut Reader<'_>) -> Result<BTreeMap<BString, ArchiveEntry>, Malformed> {
    let mut archives = BTreeMap::new();
    for _ in 0..reader.map()? {
        let name = reader.raw()?.into();
        let (mut id, mut time) = (None, None);
        for _ in 0..reader.map()? {
            match reader.raw()? {
                b"id" => fill(&mut id, Id(*reader.raw_array()?), "id")?,
                b"time" => fill(&mut time, Timestamp::read(reader)?, "time")?,
                _ => reader.skip()?,
            }
        }
        let entry = ArchiveEntry {
            id: required(id, "id")?,
            time: required(time, "time")?,
        };
        if archives.insert(name, entry).is_some() {
            return Err(Malformed::DuplicateKey { key: "archives" });
        }
    }
    Ok(archives)
}

fn read_config(reader: &mut Reader<'_>) -> Result<Others, Malformed> {
    let mut config = Others::new();
    for _ in 0..reader.map()? {
        let key = reader.raw()?;
        reader.other(key, &mut config)?;
    }
    Ok(config)
}

fn read_item_keys(reader: &mut Reader<'_>) -> Result<BTreeSet<BString>, Malformed> {
    let start = reader.clone();
    let length = reader.array()?;
    if length > 10 * ITEM_KEYS_MAX {
        return Err(start.unexpected("fewer item keys"));
    }
    (0..length).map(|_| Ok(reader.raw()?.into())).collect()
}
