//! Key files: `BORG_KEY`, the repository's id, and the blob.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::KeyError;
use crate::Id;

/// First word of a key file.
const MAGIC: &str = "BORG_KEY";

/// Longest key file that is read.
const SIZE_MAX: u64 = 64 * 1024;

/// Longest name that is made for a key file.
const NAME_LENGTH_MAX: usize = 100;

/// The content of a key file.
#[must_use]
pub fn key_file_text(repository_id: &Id, blob: &str) -> String {
    format!("{MAGIC} {repository_id}\n{blob}\n")
}

/// Reads the blob out of the key file of a repository.
///
/// # Errors
///
/// [`KeyError::OtherRepository`] for the key file of another one, [`KeyError::Damaged`] for what
/// is no key file, [`KeyError::Io`].
pub fn read_key_file(path: &Path, repository_id: &Id) -> Result<String, KeyError> {
    let bytes = read_bounded(path).map_err(|source| KeyError::Io {
        path: path.into(),
        source,
    })?;
    match take_apart(&bytes) {
        Some((id, blob)) if id == *repository_id => Ok(blob.into()),
        Some(_) => Err(KeyError::OtherRepository {
            repository_id: *repository_id,
            path: path.into(),
        }),
        None => Err(KeyError::Damaged {
            what: "the file is no key file",
        }),
    }
}

/// Finds the key file of a repository in the folder of key files, whatever its name.
///
/// # Errors
///
/// [`KeyError::NotFound`]; [`KeyError::Io`] when the folder cannot be read. A file in it that
/// cannot be read is passed over.
pub fn find_key_file(keys_directory: &Path, repository_id: &Id) -> Result<PathBuf, KeyError> {
    let not_found = || KeyError::NotFound {
        repository_id: *repository_id,
        path: keys_directory.into(),
    };
    let unreadable = |source| KeyError::Io {
        path: keys_directory.into(),
        source,
    };
    let entries = match fs::read_dir(keys_directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = None;
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let belongs = read_bounded(&path)
            .is_ok_and(|bytes| take_apart(&bytes).is_some_and(|(id, _)| id == *repository_id));
        // The first by name, so that two copies give the same answer each time.
        if belongs && found.as_ref().is_none_or(|other| path < *other) {
            found = Some(path);
        }
    }
    found.ok_or_else(not_found)
}

/// Names a new key file after where the repository stands: host and path with `_` for all that
/// is not a letter or digit, and `.2`, `.3` … if there is such a file already.
#[must_use]
pub fn new_key_file(keys_directory: &Path, host: Option<&str>, repository_path: &str) -> PathBuf {
    let words = |text: &str| -> String {
        text.chars()
            .map(|character| if is_word(character) { character } else { '_' })
            .collect()
    };
    let path = words(repository_path);
    let path = path.trim_matches('_');
    let name: String = match host {
        Some(host) => format!("{}__{path}", words(host)),
        None => path.to_owned(),
    };
    let name: String = name.chars().take(NAME_LENGTH_MAX).collect();
    let first = keys_directory.join(&name);
    std::iter::once(first)
        .chain((2..).map(|number: u32| keys_directory.join(format!("{name}.{number}"))))
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_default()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The repository and the blob that a key file holds.
fn take_apart(bytes: &[u8]) -> Option<(Id, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, blob) = text.split_once('\n')?;
    let id = first.strip_prefix(MAGIC)?.strip_prefix(' ')?;
    Some((id.trim_end().parse().ok()?, blob))
}

/// Never waits on a pipe that somebody put there: only regular files are read.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = Id([0xab; 32]);

    #[test]
    fn the_key_file_of_a_repository_is_found_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("a"), key_file_text(&Id([1; 32]), "other")).unwrap();
        fs::write(path("b"), b"\xff\0 not text").unwrap();
        fs::write(path("c"), "BORG_KEY nonsense\nblob").unwrap();
        fs::create_dir(path("d")).unwrap();
        let missing = find_key_file(folder.path(), &ID);
        assert!(matches!(missing, Err(KeyError::NotFound { .. })));
        fs::write(path("f"), key_file_text(&ID, "copy")).unwrap();
        fs::write(path("e"), key_file_text(&ID, "two\nlines")).unwrap();
        assert_eq!(find_key_file(folder.path(), &ID).unwrap(), path("e"));
        assert_eq!(read_key_file(&path("e"), &ID).unwrap(), "two\nlines\n");
        let other = read_key_file(&path("a"), &ID);
        assert!(matches!(other, Err(KeyError::OtherRepository { .. })));
        assert!(matches!(
            read_key_file(&path("b"), &ID),
            Err(KeyError::Damaged { .. })
        ));
        assert!(matches!(
            read_key_file(&path("d"), &ID),
            Err(KeyError::Io { .. })
        ));
        let nowhere = find_key_file(&path("nowhere"), &ID);
        assert!(matches!(nowhere, Err(KeyError::NotFound { .. })));
    }

    #[test]
    fn a_new_key_file_is_named_after_the_repository_and_never_one_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let name = |host: Option<&str>, path: &str| {
            let file = new_key_file(folder.path(), host, path);
            file.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name(None, "/mnt/my backup/répo/"), "mnt_my_backup_répo");
        assert_eq!(name(Some("nas.local"), "/./x"), "nas_local__x");
        assert_eq!(name(None, &"x".repeat(300)).len(), 100);
        fs::write(folder.path().join("x"), "").unwrap();
        fs::write(folder.path().join("x.2"), "").unwrap();
        assert_eq!(name(None, "/x"), "x.3");
    }
}
