//! `ravelin drop …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// Which layer of kind `drop` [default: the first of the configuration]
    #[arg(long, short, global = true, value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// A store instead of a layer: a folder, or an address such as `dropbox:/Ravelin`
    #[arg(long, global = true, value_name = "STORE", conflicts_with = "layer")]
    pub(crate) store: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a drop folder of the store; files that stand there become its first files
    Init,
    /// Put files and folders there; what stands there already gets a new version
    Put {
        /// Files and folders of this machine
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder there [default: the top]
        #[arg(long, value_name = "FOLDER")]
        to: Option<String>,
    },
    /// Fetch a file: to a file or folder of this machine, or to stdout
    Get {
        /// Which file there
        path: String,
        /// Which version [default: the present one]
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// Where to put it [default: stdout]. Nothing is ever replaced
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
    },
    /// List the files
    Ls {
        /// Only below this folder
        path: Option<String>,
    },
    /// List the versions of a file
    History {
        /// Which file there
        path: String,
    },
    /// Make an old version the present one. That is a new version: nothing is taken away
    Restore {
        /// Which file there
        path: String,
        /// Which version [default: the last content of a deleted file]
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
    /// Delete files. Their versions stay
    Rm {
        /// Which files there
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<String>,
    },
    /// List what was deleted, or bring it back
    Deleted {
        /// Bring these back
        #[arg(long, value_name = "PATH", num_args = 1..)]
        restore: Vec<String>,
    },
    /// Show the whole folder as it was at a time, or copy it
    AsOf {
        /// `2026-11-25 22:40`, `2026-11-25`, or how long ago: `2 days`
        time: String,
        /// Copy it into this folder of this machine, which must be new or empty
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Make a link to a file, for people without access to the store
    Share(Share),
    /// List all links, or take them back
    Links {
        /// Take this one back
        #[arg(long, value_name = "LINK")]
        revoke: Option<String>,
        /// Take all back
        #[arg(long, conflicts_with = "revoke")]
        revoke_all: bool,
        #[command(flatten)]
        served: Served,
    },
    /// Ask for files: make a link for uploads only, or look at what came
    Request(Request),
    /// Keep a folder of this machine and the drop folder the same, both ways
    Sync(Sync),
    /// Let old versions go by a rule
    Thin {
        /// Which versions stay
        #[arg(
            long,
            value_name = "RULE",
            default_value = "all 1 day, daily 1 month, weekly 1 year"
        )]
        rule: String,
        /// Only show what would go
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Read every kept copy back and check it
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct Served {
    /// The web page that serves the links, as others reach it [default: where `ravelin ui` was
    /// served last on this machine]
    #[arg(long, value_name = "URL")]
    pub(crate) page: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Share {
    /// Which file there
    pub(crate) path: String,
    /// When the link ends: `7 days`, `2 hours`, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) expires: String,
    /// Guests have to type a password. It is read from the variable RAVELIN_LINK_PASSWORD, or a
    /// line of stdin
    #[arg(long)]
    pub(crate) password: bool,
    /// The link ends with its first use
    #[arg(long)]
    pub(crate) once: bool,
    /// Guests may look, and are not offered to save: pictures and text only
    #[arg(long)]
    pub(crate) no_download: bool,
    /// An address that the store itself signs (S3): no page is needed. It lives 7 days at most, and
    /// nobody can take it back
    #[arg(long, conflicts_with_all = ["password", "once", "no_download", "page"])]
    pub(crate) presigned: bool,
    #[command(flatten)]
    pub(crate) served: Served,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// What is asked for; nothing lists the requests and what came
    pub(crate) title: Option<String>,
    /// Until when files are taken: `7 days`, or a time
    #[arg(long, value_name = "WHEN", requires = "title")]
    pub(crate) deadline: Option<String>,
    /// Bytes of all files together
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000_000)]
    pub(crate) quota: u64,
    /// Take no more files for this request
    #[arg(long, value_name = "REQUEST", conflicts_with = "title")]
    pub(crate) close: Option<String>,
    /// Take what came for this request out of quarantine
    #[arg(long, value_name = "REQUEST", conflicts_with_all = ["title", "close"])]
    pub(crate) accept: Option<String>,
    /// Into this folder there
    #[arg(long, value_name = "FOLDER", default_value = "Received")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) served: Served,
}

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The folder of this machine [default: `folder` of the layer]
    pub(crate) folder: Option<PathBuf>,
    /// Go on until stopped: follow changes on both sides
    #[arg(long)]
    pub(crate) watch: bool,
    /// As the schedule calls it: only while the configuration says `watch = true`, and until the
    /// schedule is removed. A drive that is away is waited for
    #[arg(long, requires = "watch")]
    pub(crate) scheduled: bool,
    /// Only these folders there; this device does not have the others
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    pub(crate) only: Vec<String>,
    /// All files here are gone, and that is meant: delete them there, too
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Only show what would be done
    #[arg(long, short = 'n', conflicts_with = "watch")]
    pub(crate) dry_run: bool,
}
