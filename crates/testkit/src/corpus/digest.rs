//! One number for all that a directory holds.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use super::{everything_below, in_parallel};

/// SHA-256, in hexadecimal, over names, kinds, modes, sizes, times, link counts, targets,
/// extended attributes and contents of everything below a directory, and nothing else: two
/// directories with the same digest are the same wherever they are.
///
/// # Errors
///
/// When something cannot be read.
pub fn digest(directory: &Path) -> io::Result<String> {
    let entries: Vec<(usize, (PathBuf, Metadata))> = everything_below(directory)?
        .into_iter()
        .enumerate()
        .collect();
    let digests = Mutex::new(vec![[0; 32]; entries.len()]);
    in_parallel(&entries, |(index, (path, metadata))| {
        let one = digest_one(directory, path, metadata)?;
        if let Ok(mut digests) = digests.lock() {
            digests[*index] = one;
        }
        Ok(())
    })?;
    let all = digests.into_inner().unwrap_or_default().concat();
    Ok(hex::encode(Sha256::digest(all)))
}

fn digest_one(directory: &Path, path: &Path, metadata: &Metadata) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let name = path.strip_prefix(directory).unwrap_or(path);
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(name.as_os_str().as_bytes());
    part(&metadata.mode().to_le_bytes());
    part(&metadata.mtime().to_le_bytes());
    part(&metadata.mtime_nsec().to_le_bytes());
    if metadata.is_symlink() {
        part(std::fs::read_link(path)?.as_os_str().as_bytes());
    }
    if metadata.is_file() {
        part(&metadata.nlink().to_le_bytes());
        for (name, value) in xattrs(path)? {
            part(&name);
            part(&value);
        }
        part(&metadata.len().to_le_bytes());
        let mut file = File::open(path)?;
        io::copy(&mut file, &mut Writer(&mut hash))?;
    }
    Ok(hash.finalize().into())
}

struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut found = Vec::new();
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        found.push((name.to_vec(), value[..length].to_vec()));
    }
    found.sort();
    Ok(found)
}
