//! What was done through the page, and when: one line a deed, in the state home.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When the file has grown to this, it makes room for a new one and is kept beside it.
const SIZE_MAX: u64 = 1 << 20;

/// A deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deed {
    /// When.
    pub(crate) at: Timestamp,
    /// What, as the end of a key: `did.NAME`.
    pub(crate) did: String,
    /// To what.
    #[serde(default)]
    pub(crate) what: String,
}

/// The list of deeds.
#[derive(Debug)]
pub(crate) struct Audit {
    folder: PathBuf,
    /// One writes at a time.
    turn: Mutex<()>,
}

impl Audit {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            folder: state.join("page"),
            turn: Mutex::default(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    fn old_file(&self) -> PathBuf {
        self.folder.join("audit.old.jsonl")
    }

    /// Writes a deed down. A full disk must not keep anybody from a restore: what cannot be written
    /// is not.
    pub(crate) fn note(&self, at: Timestamp, did: &str, what: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let deed = Deed {
            at,
            did: did.to_owned(),
            what: what.chars().take(400).collect(),
        };
        let _ = self.append(&deed);
    }

    fn append(&self, deed: &Deed) -> io::Result<()> {
        engine::create_private_folder(&self.folder)?;
        let file = self.file();
        if fs::metadata(&file).is_ok_and(|found| found.len() > SIZE_MAX) {
            fs::rename(&file, self.old_file())?;
        }
        let mut line = serde_json::to_vec(deed).map_err(io::Error::other)?;
        line.push(b'\n');
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(file)?
            .write_all(&line)
    }

    /// The newest deeds, newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Deed> {
        let mut deeds = read(&self.old_file());
        deeds.extend(read(&self.file()));
        deeds.reverse();
        deeds.truncate(count);
        deeds
    }
}

fn read(file: &Path) -> Vec<Deed> {
    let Ok(file) = File::open(file) else {
        return Vec::new();
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    lines
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}
