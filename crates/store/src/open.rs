//! From a location to a store.

use std::sync::Arc;

use crate::{Disk, Environment, Error, ErrorKind, Location, Memory, Operation, Store};

/// Opens the store at a location, with patience around it.
///
/// Nothing is written, and nothing has to be there yet. Services are asked when the first
/// operation needs them.
///
/// # Errors
///
/// [`SignIn`](ErrorKind::SignIn) when credentials are missing, saying where they are looked for.
pub fn open(location: &Location, environment: &Environment) -> Result<Arc<dyn Store>, Error> {
    match location {
        Location::Disk(path) => Ok(Arc::new(Disk::new(path, environment))),
        Location::Memory => Ok(Arc::new(Memory::new())),
        _ => Err(Error::new(ErrorKind::Unsupported, Operation::Open).on(location)),
    }
}
