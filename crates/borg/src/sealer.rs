//! From plain bytes to what a repository stores: with everything that this takes in one place.

use crate::counters_store::StoredCounters;
use crate::{Compression, Compressor, Counters, Error, Key, Object, SystemRandom};

/// Compresses, encrypts and authenticates objects of one repository, on any number of threads.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: Key,
    compression: Compression,
    counters: Counters<StoredCounters>,
}

impl Sealer {
    pub(crate) fn new(
        key: Key,
        compression: Compression,
        counters: Counters<StoredCounters>,
    ) -> Self {
        Self {
            key,
            compression,
            counters,
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// A compressor for one thread.
    pub(crate) fn compressor(&self) -> Result<Compressor, Error> {
        Compressor::new(&self.compression, SystemRandom).map_err(|source| Error::Memory { source })
    }

    /// Puts the compressed form of `plain` into `object`; it must be sealed next.
    pub(crate) fn pack(
        &self,
        plain: &[u8],
        compressor: &mut Compressor,
        object: &mut Object,
    ) -> Result<(), Error> {
        self.key
            .pack(plain, compressor, object)
            .map_err(|source| Error::Random { source })
    }

    /// Encrypts and authenticates packed objects under counters that nobody else gets.
    pub(crate) fn seal_many(&self, objects: &mut [Object]) -> Result<(), Error> {
        self.encrypt_many(objects)?;
        self.key.authenticate(objects, &[]);
        Ok(())
    }

    /// Encrypts packed objects under counters that nobody else gets. They have to be
    /// authenticated next.
    pub(crate) fn encrypt_many(&self, objects: &mut [Object]) -> Result<(), Error> {
        if objects.is_empty() {
            return Ok(());
        }
        let counter = if self.key.encryption().encrypts() {
            self.counters
                .take(objects.iter().map(Object::blocks).sum())?
        } else {
            0
        };
        self.key.encrypt_many(objects, counter);
        Ok(())
    }
}
