//! What services say to their stores.

use store::fuzz::answers;

/// The stores whose answers are tried, by the names of their parsers.
pub const LOCATIONS: [(&str, &str); 5] = [
    ("store-b2", "b2://key:secret@bucket/top"),
    ("store-dropbox", "dropbox:/top"),
    ("store-drive", "gdrive:/top"),
    ("store-s3", "s3://key:secret@host.example/bucket/top"),
    (
        "store-webdav",
        "webdav+https://user:secret@host.example/top",
    ),
];

/// Lets a service give these answers to all that its store at `location` can be asked. Gives which of
/// the questions it answered.
pub fn read(location: &str, bytes: &[u8]) -> Vec<usize> {
    // The sign-ins that stand in it are renewed when an answer says so.
    let state = tempfile::tempdir();
    state.map_or_else(
        |_| Vec::new(),
        |state| answers(location, bytes, state.path()),
    )
}
