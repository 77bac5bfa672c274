//! What is known of a big upload under way, kept on disk so that it survives this program.
//!
//! A part counts as sent when the service confirmed it *and* the record of that is on disk. When
//! the program dies in between, the part is sent again. A record is used only for parts whose
//! checksum is the same now: if the content has changed meanwhile, the part is sent again, too.
//! Losing the record costs time, nothing else: so when it cannot be written (the disk is full, the
//! folder is read-only), the upload goes on without one.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{Content, DigestKind, Environment, Name, digest_of};

/// The record of one upload. Its id may be a secret (Drive's session address is), so the file can be
/// read by its owner only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upload {
    /// What the service calls the upload.
    pub(crate) id: String,
    /// Size of the whole object.
    pub(crate) size: u64,
    /// Size of each part but the last.
    pub(crate) part_size: u64,
    /// What was sent, by part number.
    pub(crate) parts: BTreeMap<u32, PartSent>,
}

/// A part that the service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartSent {
    /// Checksum of the part, as we computed it.
    pub(crate) digest: String,
    /// What the service calls it.
    pub(crate) tag: String,
}

/// Where the record of one object's upload is kept. Without a state folder, in memory only.
pub(crate) struct Record {
    path: Option<PathBuf>,
    upload: Mutex<Option<Upload>>,
}

impl Record {
    /// The record of an upload to `place` (a description of the store, unique) under `name`.
    ///
    /// A record of another size, or one that cannot be read, is as good as none.
    pub(crate) fn find(
        environment: &Environment,
        place: &str,
        name: &Name,
        content: &dyn Content,
    ) -> Self {
        let path = environment.state.as_ref().map(|state| {
            let key = format!("{place}\n{name}").into_bytes();
            let digest = digest_of(&key, DigestKind::Sha256)
                .map_or_else(|_| hex::encode(&key), super::Digest::to_hex);
            state.join("uploads").join(format!("{digest}.json"))
        });
        let upload = path
            .as_ref()
            .and_then(|path| fs::read(path).ok())
            .and_then(|bytes| serde_json::from_slice::<Upload>(&bytes).ok())
            .filter(|upload| upload.size == content.size() && upload.part_size > 0);
        Self {
            path,
            upload: Mutex::new(upload),
        }
    }

    pub(crate) fn get(&self) -> Option<Upload> {
        self.upload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Begins anew.
    pub(crate) fn start(&self, upload: Upload) {
        let mut kept = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        self.save(&upload);
        *kept = Some(upload);
    }

    /// Notes a part that the service confirmed.
    pub(crate) fn sent(&self, number: u32, part: PartSent) {
        let mut kept = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upload) = kept.as_mut() {
            upload.parts.insert(number, part);
            self.save(upload);
        }
    }

    /// Whether the service has this part already; gives what it calls it.
    pub(crate) fn tag(&self, number: u32, digest: &str) -> Option<String> {
        let kept = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        let part = kept.as_ref()?.parts.get(&number)?;
        (part.digest == digest).then(|| part.tag.clone())
    }

    /// Forgets the upload: it is done, or given up.
    pub(crate) fn end(&self) {
        *self.upload.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(path) = &self.path {
            // One that stays is found to be of no use later.
            let _ = fs::remove_file(path);
        }
    }

    /// An older record that stays names less than was sent, or an upload that the service has
    /// forgotten: both are found out.
    fn save(&self, upload: &Upload) {
        if let (Some(path), Ok(bytes)) = (&self.path, serde_json::to_vec(upload)) {
            let _ = write_private(path, &bytes);
        }
    }
}

/// Writes a file that only its owner can read, from its first byte, in one step: never in part.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{file_name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    fs::File::open(folder)?.sync_all()
}

/// The parts of `size` bytes: number from 1, start, size.
pub(crate) fn parts(size: u64, part_size: u64) -> impl Iterator<Item = (u32, u64, u64)> + Send {
    let count = size.div_ceil(part_size.max(1));
    (0..count).map(move |index| {
        let start = index * part_size;
        (
            u32::try_from(index + 1).unwrap_or(u32::MAX),
            start,
            part_size.min(size - start),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_record_survives_and_knows_its_parts_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment {
            state: Some(folder.path().join("state")),
            ..Environment::fixed()
        };
        let name = Name::new("big").unwrap();
        let content = vec![0; 100];
        let find = || Record::find(&environment, "s3:bucket", &name, &content);
        assert_eq!(find().get(), None);
        let upload = Upload {
            id: "u1".into(),
            size: 100,
            part_size: 60,
            parts: BTreeMap::new(),
        };
        find().start(upload);
        let record = find();
        record.sent(
            1,
            PartSent {
                digest: "d1".into(),
                tag: "t1".into(),
            },
        );
        assert_eq!(find().tag(1, "d1").as_deref(), Some("t1"));
        assert_eq!(find().tag(1, "other"), None);
        assert_eq!(find().tag(2, "d1"), None);
        assert_eq!(
            Record::find(&environment, "s3:bucket", &name, &vec![0; 99]).get(),
            None
        );
        assert_eq!(
            Record::find(&environment, "s3:other", &name, &content).get(),
            None
        );
        let file = fs::read_dir(folder.path().join("state/uploads"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        find().end();
        assert_eq!(find().get(), None);
    }

    #[test]
    fn without_a_place_for_the_record_an_upload_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the folder should be: nobody can write below it, not even root.
        fs::write(folder.path().join("state"), "").unwrap();
        let environment = Environment {
            state: Some(folder.path().join("state")),
            ..Environment::fixed()
        };
        let record = Record::find(
            &environment,
            "s3:bucket",
            &Name::new("big").unwrap(),
            &vec![0],
        );
        record.start(Upload {
            id: "u1".into(),
            size: 1,
            part_size: 1,
            ..Upload::default()
        });
        let part = PartSent {
            digest: "d1".into(),
            tag: "t1".into(),
        };
        record.sent(1, part);
        assert_eq!(record.tag(1, "d1").as_deref(), Some("t1"));
        record.end();
    }

    #[test]
    fn parts_cover_the_whole() {
        assert_eq!(
            parts(100, 60).collect::<Vec<_>>(),
            [(1, 0, 60), (2, 60, 40)]
        );
        assert_eq!(parts(120, 60).count(), 2);
        assert_eq!(parts(0, 60).count(), 0);
    }
}
