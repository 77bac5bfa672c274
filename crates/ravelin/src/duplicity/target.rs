//! The store behind a URL of duplicity's.

use std::sync::Arc;

use engine::Machine;
use store::{Location, Secret, Store};

use super::failure::Failure;
use super::options::Options;
use super::rehearsal::Rehearsal;
use super::session::patience;

/// Opens the store. Nothing is written, and nothing has to be there yet.
///
/// Gives what it is in a word, too, for the collection's status.
pub(crate) fn open(
    url: &str,
    options: &Options,
    machine: &Machine,
) -> Result<(Arc<dyn Store>, &'static str), Failure> {
    let mut environment = machine.store_environment();
    environment.patience = patience(options);
    environment.password = ["BACKEND_PASSWORD", "FTP_PASSWORD"]
        .iter()
        .filter_map(std::env::var_os)
        .map(|password| Secret::new(password.to_string_lossy()))
        .next();
    if let Some(path) = url.strip_prefix("fortestsonly://") {
        let location: Location = format!("file://{path}").parse().map_err(bad)?;
        let store = store::open(&location, &environment).map_err(failed)?;
        return Ok((Arc::new(Rehearsal::new(store)), "Rehearsal"));
    }
    let url = &without_gio(url);
    let location = match url.parse::<Location>().map_err(bad)? {
        Location::S3(place) => Location::S3(with_s3_options(place, options)?),
        location => location,
    };
    let kind = match &location {
        Location::Disk(_) | Location::Memory => "LocalBackend",
        Location::Sftp { .. } => "SFTPBackend",
        Location::S3(_) => "S3Boto3Backend",
        Location::B2 { .. } => "B2Backend",
        Location::Drive { .. } => "GDriveBackend",
        Location::Dropbox { .. } => "DPBXBackend",
        Location::WebDav { .. } => "WebDAVBackend",
        Location::Rclone(_) => "RcloneBackend",
    };
    Ok((store::open(&location, &environment).map_err(failed)?, kind))
}

/// Déjà Dup of years ago reaches everything through GIO, `gio+file:///…`: the same places, without
/// it.
fn without_gio(url: &str) -> String {
    let Some(place) = url.strip_prefix("gio+") else {
        return url.to_owned();
    };
    match place.strip_prefix("dav") {
        Some(rest) => format!("webdav{rest}"),
        None => place.to_owned(),
    }
}

/// Puts `--s3-endpoint-url` and `--s3-region-name` into a place of S3.
fn with_s3_options(
    mut place: store::S3Location,
    options: &Options,
) -> Result<store::S3Location, Failure> {
    if let Some(region) = &options.s3_region {
        place.region = Some(region.clone());
    }
    if let Some(endpoint) = &options.s3_endpoint {
        let (tls, host) = match endpoint.split_once("://") {
            Some((scheme, host)) => (scheme != "http", host),
            None => (true, endpoint.as_str()),
        };
        let scheme = if tls { "s3+https" } else { "s3+http" };
        let host = host.trim_end_matches('/');
        let other: Location = format!("{scheme}://{host}/bucket").parse().map_err(bad)?;
        if let Location::S3(other) = other {
            // Keys that stand in the URL stay.
            let key = place
                .server
                .as_ref()
                .and_then(|server| Some((server.user.clone()?, server.password.clone())));
            let key = key.or(place.key.take());
            place.server = other.server;
            if let (Some(server), Some((user, password))) = (&mut place.server, key) {
                server.user = Some(user);
                server.password = password;
            }
            place.tls = tls;
        }
    }
    if options.s3_plain {
        place.tls = false;
    }
    Ok(place)
}

fn bad(error: store::BadLocation) -> Failure {
    match error {
        store::BadLocation::Scheme(_) => {
            Failure::usage(format!("This URL cannot be used: {error}."))
        }
        _ => Failure::usage(format!("This URL cannot be understood: {error}.")),
    }
}

fn failed(error: store::Error) -> Failure {
    duplicity::Error::Store(error).into()
}
