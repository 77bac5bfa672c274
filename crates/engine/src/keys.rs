//! The key of a layer over time: another passphrase, copies for a safe place, where it is kept.

use jiff::Timestamp;

use crate::Secret;
use crate::layer::Error;

/// What can be done with the key of a layer that has one of its own.
pub trait Keys {
    /// Locks the key with another passphrase. The configuration must lead to it from then on, and
    /// copies of the key keep their former one.
    ///
    /// # Errors
    ///
    /// When the key cannot be opened or written; the former passphrase opens it then.
    fn change_passphrase(&mut self, new: &Secret) -> Result<(), Error>;

    /// A copy of the key, locked as it is: as a file, or with checks for what is typed from paper.
    ///
    /// # Errors
    ///
    /// When there is no key, or none that could be used.
    fn export(&mut self, paper: bool) -> Result<String, Error>;

    /// Puts a copy back, in either form, after it was shown to open the layer.
    ///
    /// # Errors
    ///
    /// When it does not, or cannot be written; nothing has changed then.
    fn import(&mut self, copy: &str) -> Result<(), Error>;

    /// Keeps the key elsewhere.
    ///
    /// # Errors
    ///
    /// When it cannot be kept there, or not be written; it is where it was then, or at both places.
    fn move_to(&mut self, place: Place, now: Timestamp) -> Result<(), Error>;
}

/// Where a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With what it opens. The passphrase is all that it takes to restore.
    Repository,
    /// In a file of this machine. Who has the store and the passphrase still needs it.
    File,
}
