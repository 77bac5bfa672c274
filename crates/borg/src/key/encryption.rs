//! The modes that a repository can be in.

use std::fmt;
use std::str::FromStr;

use super::Passphrase;

/// How the content of a repository is named, hidden and authenticated, as
/// `borg init --encryption` says it.
///
/// The forms with BLAKE2b are about twice as fast where the processor has no instructions for
/// SHA-256, and also where it has them, because several chunks are hashed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// No key at all: anybody can read it, and anybody with access can forge it.
    None,
    /// Anybody can read it, only the key can make it. SHA-256.
    Authenticated,
    /// Anybody can read it, only the key can make it. BLAKE2b.
    AuthenticatedBlake2,
    /// Encrypted; the key is in the repository, under a passphrase. SHA-256.
    Repokey,
    /// Encrypted; the key is in the repository, under a passphrase. BLAKE2b.
    RepokeyBlake2,
    /// Encrypted; the key is in a file on this machine, under a passphrase. SHA-256.
    Keyfile,
    /// Encrypted; the key is in a file on this machine, under a passphrase. BLAKE2b.
    KeyfileBlake2,
}

/// Where the key blob of a mode is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStorage {
    /// There is none.
    Nowhere,
    /// In the configuration of the repository.
    Repository,
    /// In a file on this machine.
    File,
}

/// A word or a type byte that stands for no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown encryption `{what}` (known: none, authenticated, authenticated-blake2, repokey, \
     repokey-blake2, keyfile, keyfile-blake2)"
)]
pub struct UnknownEncryption {
    /// The word, or the byte as a number.
    pub what: String,
}

/// Type byte of a mode that died with Borg 1.0, whose key was made from the passphrase alone.
/// What was written in it is read by the `repokey` that such a repository was moved to.
pub(super) const TYPE_PASSPHRASE: u8 = 0x01;

impl Encryption {
    /// Whether an object was written in the mode that is gone.
    pub(crate) fn is_of_passphrase(stored: &[u8]) -> bool {
        stored.first() == Some(&TYPE_PASSPHRASE)
    }

    /// All modes.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Authenticated,
        Self::AuthenticatedBlake2,
        Self::Repokey,
        Self::RepokeyBlake2,
        Self::Keyfile,
        Self::KeyfileBlake2,
    ];

    /// The mode of the repository that a stored object comes from.
    ///
    /// # Errors
    ///
    /// [`UnknownEncryption`] when the object is empty or from another program.
    pub fn of_object(stored: &[u8]) -> Result<Self, UnknownEncryption> {
        let unknown = |what: &dyn fmt::Display| UnknownEncryption {
            what: what.to_string(),
        };
        let type_byte = *stored.first().ok_or_else(|| unknown(&"nothing"))?;
        if type_byte == TYPE_PASSPHRASE {
            return Ok(Self::Repokey);
        }
        Self::ALL
            .into_iter()
            .find(|mode| mode.type_byte() == type_byte)
            .ok_or_else(|| unknown(&type_byte))
    }

    /// First byte of every stored object.
    ///
    /// The two authenticated modes have their numbers the other way round than the rest.
    #[must_use]
    pub fn type_byte(self) -> u8 {
        match self {
            Self::Keyfile => 0x00,
            Self::None => 0x02,
            Self::Repokey => 0x03,
            Self::KeyfileBlake2 => 0x04,
            Self::RepokeyBlake2 => 0x05,
            Self::AuthenticatedBlake2 => 0x06,
            Self::Authenticated => 0x07,
        }
    }

    /// Whether an object with this first byte belongs to a repository in this mode.
    pub(super) fn reads(self, type_byte: u8) -> bool {
        type_byte == self.type_byte() || (self == Self::Repokey && type_byte == TYPE_PASSPHRASE)
    }

    /// Where the key blob is kept.
    #[must_use]
    pub fn key_storage(self) -> KeyStorage {
        match self {
            Self::None => KeyStorage::Nowhere,
            Self::Keyfile | Self::KeyfileBlake2 => KeyStorage::File,
            _ => KeyStorage::Repository,
        }
    }

    /// The mode that differs in nothing but where the key is kept, if there is one.
    pub(crate) fn with_storage(self, storage: KeyStorage) -> Option<Self> {
        match (self, storage) {
            (Self::Repokey | Self::Keyfile, KeyStorage::Repository) => Some(Self::Repokey),
            (Self::Repokey | Self::Keyfile, KeyStorage::File) => Some(Self::Keyfile),
            (Self::RepokeyBlake2 | Self::KeyfileBlake2, KeyStorage::Repository) => {
                Some(Self::RepokeyBlake2)
            }
            (Self::RepokeyBlake2 | Self::KeyfileBlake2, KeyStorage::File) => {
                Some(Self::KeyfileBlake2)
            }
            _ => None,
        }
    }

    /// Whether stored objects are encrypted.
    #[must_use]
    pub fn encrypts(self) -> bool {
        !matches!(
            self,
            Self::None | Self::Authenticated | Self::AuthenticatedBlake2
        )
    }

    /// Whether a stranger with access to the repository cannot read it.
    ///
    /// With an empty passphrase, a key that lies in the repository keeps nobody out.
    #[must_use]
    pub fn keeps_secret(self, passphrase: &Passphrase) -> bool {
        self.encrypts() && (self.key_storage() == KeyStorage::File || !passphrase.is_empty())
    }

    /// Whether ids and MACs are made with BLAKE2b.
    #[must_use]
    pub fn uses_blake2(self) -> bool {
        matches!(
            self,
            Self::AuthenticatedBlake2 | Self::RepokeyBlake2 | Self::KeyfileBlake2
        )
    }
}

/// The word of `borg init --encryption`.
impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Authenticated => "authenticated",
            Self::AuthenticatedBlake2 => "authenticated-blake2",
            Self::Repokey => "repokey",
            Self::RepokeyBlake2 => "repokey-blake2",
            Self::Keyfile => "keyfile",
            Self::KeyfileBlake2 => "keyfile-blake2",
        })
    }
}

impl FromStr for Encryption {
    type Err = UnknownEncryption;

    fn from_str(text: &str) -> Result<Self, UnknownEncryption> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or_else(|| UnknownEncryption { what: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_a_word_and_a_byte_of_its_own() {
        for mode in Encryption::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(Encryption::of_object(&[mode.type_byte(), 9]), Ok(mode));
        }
        assert_eq!(Encryption::of_object(&[1]), Ok(Encryption::Repokey));
        assert!(Encryption::of_object(&[8]).is_err());
        assert!(Encryption::of_object(&[]).is_err());
        assert!("passphrase".parse::<Encryption>().is_err());
    }

    #[test]
    fn an_empty_passphrase_keeps_nobody_out_of_a_repokey() {
        let empty = Passphrase::new("");
        assert!(!Encryption::Repokey.keeps_secret(&empty));
        assert!(Encryption::Repokey.keeps_secret(&Passphrase::new("x")));
        assert!(Encryption::Keyfile.keeps_secret(&empty));
        assert!(!Encryption::Authenticated.keeps_secret(&Passphrase::new("x")));
    }
}
