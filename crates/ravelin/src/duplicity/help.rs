//! `--help` and `--version`.

use std::io::Write;

use super::options;

/// The release whose command line this is.
pub(crate) const VERSION: &str = "3.2.1";

/// Prints a line for a person. Nobody may be reading.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints how the program is called. A topic is the end of `--help-backup` and the like.
pub(crate) fn print(topic: &str) {
    let actions: &[(&str, &str)] = &[
        (
            "backup SOURCE_PATH TARGET_URL",
            "back up, as an increment where there is a chain",
        ),
        ("full SOURCE_PATH TARGET_URL", "back up everything"),
        ("incremental SOURCE_PATH TARGET_URL", "back up what changed"),
        (
            "restore SOURCE_URL TARGET_PATH",
            "restore into a folder that is empty or not there",
        ),
        (
            "verify SOURCE_URL TARGET_PATH",
            "read the archive back; --compare-data: compare with the folder",
        ),
        (
            "collection-status TARGET_URL",
            "say which backups there are",
        ),
        (
            "list-current-files TARGET_URL",
            "list what the newest backup, or one at --time, holds",
        ),
        (
            "cleanup TARGET_URL",
            "find what broken-off runs have left; --force: delete it",
        ),
        (
            "synthetic-full TARGET_URL",
            "make a full backup of the newest chain, without the source",
        ),
        (
            "remove-older-than TIME TARGET_URL",
            "find old chains; --force: delete them",
        ),
        (
            "remove-all-but-n-full COUNT TARGET_URL",
            "the same, by the number of chains to keep",
        ),
        (
            "remove-all-inc-of-but-n-full COUNT TARGET_URL",
            "the same for the increments of old chains",
        ),
    ];
    say(&format!("duplicity {VERSION}, as Ravelin speaks it\n"));
    say("Actions (a path and then a URL mean backup, a URL and then a path restore):");
    for (words, what) in actions {
        if topic.is_empty() || topic == "urls" || words.starts_with(topic) {
            say(&format!("  duplicity {words}\n        {what}"));
        }
    }
    say(
        "\nURLs: file:///path, sftp://user@host//path, s3://host/bucket/prefix, b2://bucket/folder,\n\
         gdrive:/Folder, dpbx:///Folder, webdavs://user@host/path, rclone://remote:path.",
    );
    say(
        "\nEnvironment: PASSPHRASE, SIGN_PASSPHRASE, BACKEND_PASSWORD or FTP_PASSWORD, TMPDIR,\n\
         XDG_CACHE_HOME, GNUPGHOME, and those of the store.",
    );
    say("\nOptions, which may be shortened as long as it is clear which is meant:");
    for (name, value) in options::names() {
        say(&format!("  --{name}{value}"));
    }
}
