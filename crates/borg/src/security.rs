//! What this machine remembers of a repository, so that a replaced or rolled back one is noticed.
//!
//! The store of a repository may be hostile: it can hand out an older state, another repository
//! or an unencrypted one in place of an encrypted one. Nothing inside the repository can tell.
//! So its location, the type of its key and the time of its newest manifest are remembered here,
//! in Borg's own files, and compared each time it is opened.
//!
//! Each file is replaced whole (written aside, synced, renamed). They are written after the
//! repository has committed: a crash between the two leaves an older memory, which a newer
//! repository satisfies.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Error, Timestamp, save_file};

/// What a person has confirmed about a repository that looks unlike what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// It is not encrypted and was never seen by this machine: open it all the same.
    pub unknown_unencrypted: bool,
    /// It was last seen at another place: it has been moved there on purpose.
    pub relocated: bool,
    /// It shows an older state than was seen: it was set back on purpose.
    pub replayed: bool,
    /// Its manifest is not authenticated though it should be: an old program has written it.
    pub unauthenticated: bool,
}

/// What a repository shows of itself when it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Appearance {
    /// Where it stands: an absolute path, or `ssh://…`.
    pub(crate) location: String,
    /// The type byte of its key.
    pub(crate) key_type: u8,
    /// Whether reading it takes a secret.
    pub(crate) encrypted: bool,
    /// Time of the manifest as it stands there. Compared as text.
    pub(crate) manifest_timestamp: String,
}

/// The folder that remembers one repository.
#[derive(Debug)]
pub(crate) struct SecurityDir {
    path: PathBuf,
}

/// What the cache remembers of the same repository; it may be newer than the folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheMemory {
    pub(crate) location: Option<String>,
    pub(crate) key_type: Option<String>,
    pub(crate) manifest_timestamp: Option<String>,
}

const LOCATION: &str = "location";
const KEY_TYPE: &str = "key-type";
const MANIFEST_TIMESTAMP: &str = "manifest-timestamp";
const TAM_REQUIRED: &str = "tam_required";

impl SecurityDir {
    /// Names the folder; it is created when something is first remembered.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Whether an authenticated manifest was seen: from then on an unauthenticated one is refused.
    pub(crate) fn tam_was_required(&self) -> bool {
        self.path.join(TAM_REQUIRED).exists()
    }

    /// Remembers whether an unauthenticated manifest is refused.
    pub(crate) fn set_tam_required(&self, required: bool) -> Result<(), Error> {
        if required {
            return self.write(TAM_REQUIRED, "");
        }
        let path = self.path.join(TAM_REQUIRED);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error::LocalState { path, source }),
            Ok(()) => Ok(()),
        }
    }

    /// Compares what the repository shows with what is remembered.
    ///
    /// A repository seen for the first time is remembered from now on.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownUnencrypted`], [`Error::Relocated`] unless confirmed by `trust`;
    /// [`Error::KeyTypeChanged`] and [`Error::Replayed`] always.
    pub(crate) fn check(
        &self,
        shown: &Appearance,
        cache: &CacheMemory,
        trust: Trust,
    ) -> Result<(), Error> {
        let remembered = self.read()?;
        let known = remembered.is_complete();
        if !shown.encrypted && !known && !trust.unknown_unencrypted {
            return Err(Error::UnknownUnencrypted {
                location: shown.location.clone(),
            });
        }
        // The cache is written at the same times; where the two differ, it is the newer one.
        let location = cache.location.as_ref().or(remembered.location.as_ref());
        let moved = location.is_some_and(|location| *location != shown.location);
        if let Some(previous) = location.filter(|_| moved && !trust.relocated) {
            return Err(Error::Relocated {
                previous: previous.clone(),
                location: shown.location.clone(),
            });
        }
        let key_type = shown.key_type.to_string();
        let remembered_type = remembered.key_type.as_ref().filter(|_| known);
        if [cache.key_type.as_ref(), remembered_type]
            .into_iter()
            .flatten()
            .any(|remembered| !is_same_key(remembered, &key_type))
        {
            return Err(Error::KeyTypeChanged {
                location: shown.location.clone(),
            });
        }
        let newest = remembered
            .manifest_timestamp
            .iter()
            .chain(cache.manifest_timestamp.iter())
            .max();
        let is_replay = newest.is_some_and(|newest| *newest > shown.manifest_timestamp);
        if let Some(newest) = newest.filter(|_| is_replay && !trust.replayed) {
            return Err(Error::Replayed {
                remembered: newest.clone(),
                found: shown.manifest_timestamp.clone(),
            });
        }
        // A program that has moved the key may have been killed before it remembered that.
        let key_moved = remembered_type.is_some_and(|remembered| *remembered != key_type);
        if !known || key_moved {
            self.save(shown)?;
        } else if moved {
            self.write(LOCATION, &shown.location)?;
        }
        Ok(())
    }

    /// Remembers the repository as it is now.
    pub(crate) fn save(&self, shown: &Appearance) -> Result<(), Error> {
        self.write(LOCATION, &shown.location)?;
        self.write(KEY_TYPE, &shown.key_type.to_string())?;
        self.write(MANIFEST_TIMESTAMP, &shown.manifest_timestamp)
    }

    /// What no program has written is as good as not there: it tells nothing about the repository.
    fn read(&self) -> Result<Remembered, Error> {
        let is_place = |text: &String| text.starts_with('/') || text.starts_with("ssh://");
        let is_type = |text: &String| text.parse::<u8>().is_ok();
        let is_time = |text: &String| Timestamp::parse(text).is_ok();
        Ok(Remembered {
            location: self.read_one(LOCATION)?.filter(is_place),
            key_type: self.read_one(KEY_TYPE)?.filter(is_type),
            manifest_timestamp: self.read_one(MANIFEST_TIMESTAMP)?.filter(is_time),
        })
    }

    fn read_one(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(Error::LocalState { path, source }),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        crate::home::create_private_dir(&self.path)
            .and_then(|()| save_file::write(&path, text.as_bytes()))
            .map_err(|source| Error::LocalState { path, source })
    }
}

/// Whether two types of key differ in nothing but where the key is kept. It was shown to open the
/// repository either way.
fn is_same_key(one: &str, other: &str) -> bool {
    const SIBLINGS: [[&str; 2]; 2] = [["0", "3"], ["4", "5"]];
    one == other
        || SIBLINGS
            .iter()
            .any(|siblings| siblings.contains(&one) && siblings.contains(&other))
}

#[derive(Debug, Default)]
struct Remembered {
    location: Option<String>,
    key_type: Option<String>,
    manifest_timestamp: Option<String>,
}

impl Remembered {
    fn is_complete(&self) -> bool {
        self.location.is_some() && self.key_type.is_some() && self.manifest_timestamp.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Appearance {
        Appearance {
            location: "/backup".into(),
            key_type: 5,
            encrypted: true,
            manifest_timestamp: "2026-01-02T00:00:00.000000".into(),
        }
    }

    fn remembering() -> (tempfile::TempDir, SecurityDir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = SecurityDir::new(scratch.path().join("security/id"));
        dir.check(&shown(), &CacheMemory::default(), Trust::default())
            .unwrap();
        (scratch, dir)
    }

    fn check(dir: &SecurityDir, shown: &Appearance) -> Result<(), Error> {
        dir.check(shown, &CacheMemory::default(), Trust::default())
    }

    #[test]
    fn what_is_as_remembered_passes() {
        let (_scratch, dir) = remembering();
        check(&dir, &shown()).unwrap();
    }

    #[test]
    fn an_older_manifest_is_a_replay_and_a_newer_one_is_not() {
        let (_scratch, dir) = remembering();
        let mut older = shown();
        older.manifest_timestamp = "2026-01-01T23:59:59.999999".into();
        assert!(matches!(check(&dir, &older), Err(Error::Replayed { .. })));
        let mut newer = shown();
        newer.manifest_timestamp = "2026-01-02T00:00:00.000001".into();
        check(&dir, &newer).unwrap();
    }

    #[test]
    fn the_cache_may_remember_a_newer_manifest() {
        let (_scratch, dir) = remembering();
        let cache = CacheMemory {
            manifest_timestamp: Some("2026-01-03T00:00:00.000000".into()),
            ..CacheMemory::default()
        };
        let result = dir.check(&shown(), &cache, Trust::default());
        assert!(matches!(result, Err(Error::Replayed { .. })));
    }

    #[test]
    fn an_encrypted_repository_cannot_be_swapped_for_a_plain_one() {
        let (_scratch, dir) = remembering();
        let mut plain = shown();
        plain.key_type = 2;
        plain.encrypted = false;
        let result = dir.check(
            &plain,
            &CacheMemory::default(),
            Trust {
                unknown_unencrypted: true,
                relocated: true,
                replayed: true,
                unauthenticated: true,
            },
        );
        assert!(matches!(result, Err(Error::KeyTypeChanged { .. })));
    }

    #[test]
    fn what_is_garbled_is_forgotten_and_remembered_anew() {
        let (_scratch, dir) = remembering();
        for name in [LOCATION, KEY_TYPE, MANIFEST_TIMESTAMP] {
            for garbage in [&b""[..], b"U\xff", b"x2026-01-0"] {
                fs::write(dir.path.join(name), garbage).unwrap();
                check(&dir, &shown()).unwrap();
                assert!(dir.read().unwrap().is_complete());
            }
        }
    }

    #[test]
    fn an_unknown_plain_repository_needs_a_word() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = SecurityDir::new(scratch.path().join("id"));
        let mut plain = shown();
        plain.key_type = 2;
        plain.encrypted = false;
        let result = check(&dir, &plain);
        assert!(matches!(result, Err(Error::UnknownUnencrypted { .. })));
    }

    #[test]
    fn a_moved_repository_needs_a_word_once() {
        let (_scratch, dir) = remembering();
        let mut moved = shown();
        moved.location = "/elsewhere".into();
        assert!(matches!(check(&dir, &moved), Err(Error::Relocated { .. })));
        let trust = Trust {
            relocated: true,
            ..Trust::default()
        };
        dir.check(&moved, &CacheMemory::default(), trust).unwrap();
        check(&dir, &moved).unwrap();
    }
}
