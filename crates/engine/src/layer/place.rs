//! The store of a layer, opened on this machine.

use std::sync::Arc;
use std::time::Duration;

use store::{Disk, Location, Store};

use super::{Access, Error};
use crate::{Machine, config, create_private_folder};

/// Opens the store of a layer.
///
/// A folder of this machine has to be there, unless the layer is to be created: it may be a drive
/// that is not mounted. Other places are asked when something is wanted from them.
pub(super) fn open(
    layer: &config::Layer,
    access: Access,
    machine: &Machine,
) -> Result<Arc<dyn Store>, Error> {
    let location: Location = layer.store.parse()?;
    if let Location::Disk(path) = &location {
        if access == Access::Create {
            create_private_folder(path).map_err(|source| Error::Io {
                action: format!("create {}", path.display()),
                source,
            })?;
        } else if !path.is_dir() {
            return Err(not_created(layer));
        }
    }
    let environment = machine.store_environment();
    if let (Location::Disk(path), Access::Write) = (&location, access) {
        // What stays is seen again next time.
        let _ = Disk::new(path, &environment).tidy(UNFINISHED_AGE);
    }
    Ok(store::open(&location, &environment)?)
}

/// Unfinished writes that are older belong to a program that was killed.
const UNFINISHED_AGE: Duration = Duration::from_secs(3600);

/// Nothing stands at the store of this layer.
pub(super) fn not_created(layer: &config::Layer) -> Error {
    let location: Result<Location, _> = layer.store.parse();
    Error::NotCreated {
        store: location.map_or_else(|_| layer.store.clone(), |location| location.to_string()),
    }
}
