//! Settings of other programs, made into a configuration of ours.
//!
//! Nothing is run and no store is touched: a text is read, and another is made. What has no
//! counterpart is named in the new file, so that nobody believes it was taken over. A passphrase
//! never goes into the new file: it goes into a file of its own.

mod borgmatic;
mod deja_dup;
mod draft;
mod script;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use engine::{Places, Secret};

use draft::Draft;

/// Largest file that is read: 1 MiB.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Whose settings they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// `config.yaml` of borgmatic, of any version
    Borgmatic,
    /// A shell script that calls duplicity
    DuplicityScript,
    /// What `dconf dump /org/gnome/deja-dup/` prints
    DejaDup,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The configuration, with comments.
    pub(crate) text: String,
    /// Passphrases that stood in the settings, and the files that are to keep them.
    pub(crate) secrets: Vec<(PathBuf, Secret)>,
    /// What was not taken over: `setting: why`.
    pub(crate) left_out: Vec<String>,
}

/// Why nothing can be made of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The text is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is nothing in it that could be taken over.
    #[error("there is no {0} in it")]
    Missing(&'static str),
}

impl Program {
    /// Where its settings usually are, the first that exists counts.
    pub(crate) fn usual_files(self, places: &Places) -> Vec<PathBuf> {
        match self {
            Self::Borgmatic => {
                let homes = places.config.parent().map(|home| home.join("borgmatic"));
                let folders = homes.into_iter().chain([PathBuf::from("/etc/borgmatic")]);
                folders.map(|folder| folder.join("config.yaml")).collect()
            }
            Self::DuplicityScript | Self::DejaDup => Vec::new(),
        }
    }

    /// Makes a configuration of its settings.
    pub(crate) fn import(self, text: &str, places: &Places) -> Result<Imported, ImportError> {
        let mut draft = Draft::new(places);
        match self {
            Self::Borgmatic => borgmatic::read(text, &mut draft)?,
            Self::DuplicityScript => script::read(text, &mut draft)?,
            Self::DejaDup => deja_dup::read(text, &mut draft)?,
        }
        draft.finish()
    }
}

/// Reads a file of settings; `-` is stdin.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().take(FILE_SIZE_MAX).read_to_string(&mut text)?;
    } else {
        File::open(path)?
            .take(FILE_SIZE_MAX)
            .read_to_string(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_settings_are_taken_over_or_refused() {
        let examples = [
            "source_directories: [~/files]\nrepositories: [{path: /mnt/disk/repo}]\nkeep_daily: 7\n",
            "export PASSPHRASE='x'\nduplicity --full-if-older-than 30D \"$HOME\" file:///mnt/x\n",
            "[/]\nbackend='local'\nexclude-list=['$TRASH']\ndelete-after=uint32 182\n\n[local]\nfolder='/mnt'\n",
        ];
        let places = Places::from_environment(Path::new("/home/ada"), |_| None);
        let examples = examples.map(|text| text.as_bytes().to_vec()).to_vec();
        for bytes in testkit::Changes::new(examples, 1).take(2000) {
            let text = String::from_utf8_lossy(&bytes);
            for program in [
                Program::Borgmatic,
                Program::DuplicityScript,
                Program::DejaDup,
            ] {
                drop(program.import(&text, &places));
            }
        }
    }
}
