//! The key of a Borg repository.

use borg::{Archives, KeyForm, KeyStorage, Passphrase};

use super::{Error, Way};
use crate::Secret;
use crate::keys::{Keys, Place};

/// The way to a repository whose key is asked for; it is opened by what is done.
pub(super) struct BorgKeys(pub(super) Way);

impl BorgKeys {
    fn open(&self) -> Result<Archives, Error> {
        let way = &self.0;
        let opened = Archives::open(
            &way.location,
            &way.home,
            &way.options(borg::Access::Write),
            &way.passphrase,
            way.trust(),
        );
        opened.map_err(|error| way.explain(error))
    }
}

impl Keys for BorgKeys {
    fn change_passphrase(&mut self, new: &Secret) -> Result<(), Error> {
        let new = Passphrase::new(new.expose());
        Ok(self.open()?.change_passphrase(&new)?)
    }

    fn export(&mut self, paper: bool) -> Result<String, Error> {
        let way = &self.0;
        let form = match paper {
            true => KeyForm::Paper,
            false => KeyForm::File,
        };
        Ok(borg::export_key(&way.location, &way.home, &way.host, form)?)
    }

    fn import(&mut self, copy: &str) -> Result<(), Error> {
        let way = &self.0;
        Ok(borg::import_key(
            &way.location,
            &way.home,
            &way.host,
            copy,
            &way.passphrase,
        )?)
    }

    fn move_to(&mut self, place: Place, now: jiff::Timestamp) -> Result<(), Error> {
        let storage = match place {
            Place::Repository => KeyStorage::Repository,
            Place::File => KeyStorage::File,
        };
        let way = &self.0;
        Ok(self
            .open()?
            .move_key(storage, &way.passphrase, &way.host, now)?)
    }
}
