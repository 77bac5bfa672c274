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

    /// Takes out that it must be authenticated; what the key says counts when it is written.
    pub(crate) fn forget_tam_required(&mut self) {
        self.config.remove(b"tam_required".as_slice());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encryption, SystemRandom};

    const SALT: [u8; TAM_SIZE] = [5; TAM_SIZE];

    fn key() -> Key {
        Key::generate(Encryption::Repokey, Id([1; 32]), &mut SystemRandom).unwrap()
    }

    fn instant(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::default();
        manifest.archives.insert(
            "a".into(),
            ArchiveEntry {
                id: Id([2; 32]),
                time: Timestamp::parse("2016-01-01T00:00:00").unwrap(),
            },
        );
        manifest.advance(instant("2026-01-01T00:00:00Z"));
        manifest
    }

    /// A manifest whose `config` is this MessagePack.
    fn with_config(config: &[u8]) -> Manifest {
        let mut manifest = manifest();
        let mut reader = Reader::new(config);
        manifest.config = read_config(&mut reader).unwrap();
        reader.end().unwrap();
        manifest
    }

    #[test]
    fn a_manifest_is_believed_only_if_it_is_authentic() {
        let key = key();
        let packed = manifest().pack(&key, &SALT).unwrap();
        let (read, tam) = Manifest::open(&key, &packed, true).unwrap();
        assert_eq!(tam, Tam::Verified { salt: SALT });
        assert_eq!(read.archives, manifest().archives);
        assert!(read.tam_required());
        for at in 0..packed.len() {
            let mut forged = packed.clone();
            forged[at] ^= 1;
            assert!(Manifest::open(&key, &forged, true).is_err(), "byte {at}");
        }
        let stranger = Manifest::open(&self::key(), &packed, false);
        assert_eq!(stranger, Err(BadManifest::Tam(BadTam::Wrong)));
        // An archive in the place of the manifest, or the other way round.
        let misplaced = tam::verify(&key, Purpose::Archive, &packed, false);
        assert_eq!(misplaced, Err(BadTam::Wrong));
    }

    #[test]
    fn a_manifest_without_authentication_is_read_only_if_none_is_asked_for() {
        let key = key();
        let none = Others::new();
        let mut packed = Vec::new();
        let mut map = MapWriter::new(&mut packed, &none);
        map.key("archives").map(0);
        map.key("config").map(0);
        map.key("version").unsigned(1);
        map.finish();
        let refused = Manifest::open(&key, &packed, true);
        assert_eq!(refused, Err(BadManifest::Tam(BadTam::Missing)));
        let (manifest, tam) = Manifest::open(&key, &packed, false).unwrap();
        assert_eq!((manifest, tam), (Manifest::default(), Tam::Absent));

        let mut packed = Vec::new();
        let mut map = MapWriter::new(&mut packed, &none);
        map.key("archives").map(0);
        map.key("config").map(0);
        let mut w = map.key("tam");
        w.map(1);
        w.raw("type");
        w.raw("NEW");
        map.key("version").unsigned(1);
        map.finish();
        let suite = "NEW".to_owned();
        let refused = Manifest::open(&key, &packed, true);
        assert_eq!(
            refused,
            Err(BadManifest::Tam(BadTam::Unsupported { suite }))
        );
        let (_, tam) = Manifest::open(&key, &packed, false).unwrap();
        assert_eq!(tam, Tam::Absent);
    }

    #[test]
    fn a_manifest_of_the_future_is_refused() {
        let refused = Manifest::open(&key(), b"\xc1\xc1\xc1\xc1whatever", false);
        assert_eq!(refused, Err(BadManifest::Future));
    }

    #[test]
    fn time_only_goes_forward() {
        let mut manifest = manifest();
        let first = manifest.timestamp.clone().unwrap();
        manifest.advance(instant("2020-01-01T00:00:00Z"));
        let second = manifest.timestamp.clone().unwrap();
        assert_eq!(second.as_str(), "2026-01-01T00:00:00.000001");
        assert!(second.as_str() > first.as_str());
        manifest.advance(instant("2026-01-01T00:00:01.5Z"));
        let third = manifest.timestamp.unwrap();
        assert_eq!(third.as_str(), "2026-01-01T00:00:01.500000");
    }

    #[test]
    fn a_feature_forbids_what_it_is_mandatory_for() {
        let config = b"\x81\xadfeature_flags\x82\
            \xa5write\x81\xa9mandatory\x91\xa3new\xa6delete\x81\xa9mandatory\x90";
        let manifest = with_config(config);
        assert_eq!(
            manifest.check_features(Operation::Write),
            Err(BadManifest::Features {
                features: "new".into()
            })
        );
        for operation in [Operation::Read, Operation::Delete, Operation::Check] {
            assert_eq!(manifest.check_features(operation), Ok(()));
        }
        // They survive being written.
        let key = key();
        let packed = manifest.pack(&key, &SALT).unwrap();
        let (again, _) = Manifest::open(&key, &packed, true).unwrap();
        assert!(again.check_features(Operation::Write).is_err());
        let nonsense = with_config(b"\x81\xadfeature_flags\x01");
        assert!(nonsense.check_features(Operation::Read).is_err());
    }

    #[test]
    fn what_readers_would_refuse_is_not_written() {
        let mut manifest = manifest();
        let entry = manifest.archives.values().next().unwrap().clone();
        manifest.archives.insert("x".repeat(256).into(), entry);
        let result = manifest.pack(&key(), &SALT);
        assert!(matches!(result, Err(BadManifest::Limit { limit: 255, .. })));
    }
}
