//! From a location to a store.

use std::sync::Arc;

use crate::{
    B2, Disk, Drive, Dropbox, Environment, Error, Location, Memory, Rclone, Retry, S3, Sftp, Store,
    WebDav,
};

/// Opens the store at a location, with patience around it.
///
/// Nothing is written, and nothing has to be there yet. Services are asked when the first
/// operation needs them.
///
/// # Errors
///
/// [`SignIn`](crate::ErrorKind::SignIn) when credentials are missing, saying where they are looked for.
pub fn open(location: &Location, environment: &Environment) -> Result<Arc<dyn Store>, Error> {
    let store: Arc<dyn Store> = match location {
        // These two know no passing faults.
        Location::Disk(path) => return Ok(Arc::new(Disk::new(path, environment))),
        Location::Memory => return Ok(Arc::new(Memory::new())),
        Location::S3(location) => Arc::new(S3::new(location, environment)),
        Location::WebDav { tls, server, path } => {
            Arc::new(WebDav::new(*tls, server, path, environment))
        }
        Location::Sftp { server, path } => Arc::new(Sftp::new(server, path, environment)?),
        Location::B2 {
            key,
            bucket,
            prefix,
        } => Arc::new(B2::new(key.as_ref(), bucket, prefix, environment)?),
        Location::Dropbox { account, path } => {
            Arc::new(Dropbox::new(account.as_deref(), path, environment)?)
        }
        Location::Drive { account, path } => {
            Arc::new(Drive::new(account.as_deref(), path, environment)?)
        }
        Location::Rclone(remote) => Arc::new(Rclone::new(remote, environment)),
    };
    Ok(Arc::new(Retry::new(store, environment)))
}
