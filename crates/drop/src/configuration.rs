//! Copies of the devices' configurations: `.ravelin-drop/config/DEVICE.toml`.
//!
//! A drop folder holds plain files of a person and nothing else, so the settings of the machines that
//! keep it in step stand in the hidden folder, where no device takes them for a file. Each device
//! replaces its own, whole or not at all: that is what a store promises of a write. On Dropbox, where
//! there is no history of ours, the folder holds nothing but these copies.

use std::ops::ControlFlow;

use jiff::Timestamp;
use store::{ErrorKind, Folder as StoreFolder, Name, Scope, Store, WriteMode};

use crate::hidden::{self, HIDDEN};
use crate::{Device, Error};

/// Largest configuration that is read: 1 MiB.
const SIZE_MAX: u64 = 1 << 20;

/// Most devices that are looked at.
const DEVICES_MAX: usize = 1000;

/// The copy of one device's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptConfiguration {
    /// The name of the device.
    pub device: String,
    /// When it was written, by the store's clock.
    pub at: Option<Timestamp>,
    name: Name,
}

/// Keeps a device's configuration beside the files. One that is there already is not written again.
///
/// # Errors
///
/// When the store cannot be read or written: the copy that was there still is.
pub fn keep_configuration(store: &dyn Store, device: &Device, text: &str) -> Result<(), Error> {
    let name = hidden::name(&format!("{HIDDEN}/config/{device}.toml"))?;
    match store::read_all(store, &name, SIZE_MAX) {
        Ok(bytes) if bytes == text.as_bytes() => return Ok(()),
        Ok(_) => {}
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {}
        Err(error) => return Err(error.into()),
    }
    store.write(&name, &text.as_bytes().to_vec(), WriteMode::Replace)?;
    Ok(())
}

/// The copies that stand at a store, by the names of their devices.
///
/// # Errors
///
/// When the store cannot be read.
pub fn configurations(store: &dyn Store) -> Result<Vec<KeptConfiguration>, Error> {
    let folder = StoreFolder::new(format!("{HIDDEN}/config"));
    let folder = folder.map_err(|source| Error::BadName {
        name: HIDDEN.to_owned(),
        source,
    })?;
    let mut found = Vec::new();
    store.list(&folder, Scope::Folder, &mut |object| {
        if let Some(device) = object.name.file_name().strip_suffix(".toml") {
            found.push(KeptConfiguration {
                device: device.to_owned(),
                at: object.modified.and_then(|at| Timestamp::try_from(at).ok()),
                name: object.name.clone(),
            });
        }
        if found.len() < DEVICES_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    found.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(found)
}

impl KeptConfiguration {
    /// The text; bytes that are none are replaced.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn read(&self, store: &dyn Store) -> Result<String, Error> {
        let bytes = store::read_all(store, &self.name, SIZE_MAX)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_replaces_its_own_copy_and_reads_all() {
        let store = store::Memory::new();
        assert_eq!(configurations(&store).unwrap(), []);
        let (laptop, nas) = (Device::new("laptop"), Device::new("nas.local"));
        keep_configuration(&store, &laptop, "one").unwrap();
        keep_configuration(&store, &nas, "two").unwrap();
        keep_configuration(&store, &laptop, "three").unwrap();
        let found = configurations(&store).unwrap();
        let texts: Vec<_> = found
            .iter()
            .map(|kept| (kept.device.as_str(), kept.read(&store).unwrap()))
            .collect();
        assert_eq!(
            texts,
            [
                ("laptop", "three".to_owned()),
                ("nas.local", "two".to_owned())
            ]
        );
    }
}
