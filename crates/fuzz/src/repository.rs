//! A Borg repository on a disk, one file of which is what came from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use borg::{Access, Host, OpenOptions, Repository};
use tempfile::TempDir;

/// Made by the real program; see crates/borg/testdata.
const GOLDEN: &str = "../borg/testdata/borg-1.2.4/none/repository";

/// Reads a repository in which the file `name` has this content, and `missing` are not there.
pub(crate) fn read(name: &str, content: &[u8], missing: &[&str]) {
    static PLACE: OnceLock<Option<Mutex<TempDir>>> = OnceLock::new();
    let Some(place) = PLACE.get_or_init(|| place().map(Mutex::new)) else {
        return;
    };
    let place = place.lock().unwrap_or_else(PoisonError::into_inner);
    // The digests would have to be right, too: without them a file counts as it is.
    let gone = [&["integrity.17"], missing].concat();
    let kept = gone.iter().chain([&name]).filter_map(|name| {
        let path = place.path().join(name);
        let content = fs::read(&path).ok()?;
        Some((path, content))
    });
    let kept: Vec<(PathBuf, Vec<u8>)> = kept.collect();
    for name in gone {
        let _ = fs::remove_file(place.path().join(name));
    }
    if fs::write(place.path().join(name), content).is_ok() {
        look(place.path());
    }
    for (path, content) in kept {
        let _ = fs::write(path, content);
    }
}

fn look(path: &Path) {
    let options = OpenOptions::new(Access::NoLock, &Host::named("fuzz@1"));
    let Ok(repository) = Repository::open(path, &options) else {
        return;
    };
    for id in repository.ids().unwrap_or_default() {
        drop(repository.get(&id));
    }
    drop(repository.check(|_, _| {}));
}

fn place() -> Option<TempDir> {
    let place = tempfile::tempdir().ok()?;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    copy(&golden, place.path()).ok()?;
    Some(place)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
