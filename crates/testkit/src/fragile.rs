//! A disk of its own for one test, whose power can be cut.
//!
//! It is an ext4 file system in a file. To cut the power is to tell the kernel that the disk is
//! gone, without what its journal still has to write: what no program has synced is lost, and what
//! was synced is there when the disk is mounted again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::program::{require, run, said};
use crate::skip::{require_root, say_skipped};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const CUT: &str = "import fcntl, os, struct, sys\n\
                   fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                   fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n";

/// The journal is written when somebody syncs, or after so many seconds; and a file that is
/// replaced by renaming is not synced unasked.
const OPTIONS: &str = "loop,noauto_da_alloc,commit=600";

/// How long others may hold a disk that was unmounted.
const PATIENCE: Duration = Duration::from_secs(60);

/// An ext4 file system in a file, mounted until it is dropped.
#[derive(Debug)]
pub struct FragileDisk {
    image: PathBuf,
    mount_point: PathBuf,
    _folder: tempfile::TempDir,
}

/// A new, empty disk of so many bytes.
///
/// `let Some(disk) = testkit::fragile_disk(64 << 20) else { return };`
///
/// # Panics
///
/// When its files cannot be made.
#[must_use]
pub fn fragile_disk(size: u64) -> Option<FragileDisk> {
    require_root()?;
    let mkfs = require("mkfs.ext4")?;
    require("python3")?;
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let disk = FragileDisk {
        image: folder.path().join("image"),
        mount_point: folder.path().join("disk"),
        _folder: folder,
    };
    let made = std::fs::create_dir(&disk.mount_point)
        .and_then(|()| std::fs::File::create(&disk.image))
        .and_then(|image| image.set_len(size));
    made.unwrap_or_else(|error| panic!("cannot make {}: {error}", disk.image.display()));
    drop(run(Command::new(mkfs)
        .args(["-q", "-F", "-E", "lazy_itable_init=0"])
        .arg(&disk.image)));
    match disk.mount().and_then(|()| disk.try_cut()) {
        Ok(()) => Some(disk),
        // A container may be root and have no devices.
        Err(why) => {
            say_skipped(format_args!("no disk can be mounted here: {why}"));
            None
        }
    }
}

impl FragileDisk {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Cuts the power, and mounts what is left.
    ///
    /// # Panics
    ///
    /// When that is not possible; also when a program still has something open there.
    pub fn cut(&self) {
        self.try_cut().unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_cut(&self) -> Result<(), String> {
        said(
            Command::new("python3")
                .args(["-c", CUT])
                .arg(&self.mount_point),
        )?;
        said(Command::new("umount").arg(&self.mount_point))?;
        self.wait_until_free()?;
        self.mount()
    }

    /// Waits until nothing holds the image. A program that took this mount into a name space of its
    /// own, as sandboxes do, has it a moment longer; to mount it meanwhile would give the file system
    /// that was shut down, where everything is an input/output error.
    fn wait_until_free(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut command = Command::new("losetup");
            let output = command.arg("--associated").arg(&self.image).output();
            let devices = output.map_err(|error| format!("losetup: {error}"))?.stdout;
            if devices.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                let devices = String::from_utf8_lossy(&devices).into_owned();
                return Err(format!("somebody still holds the disk: {devices}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn mount(&self) -> Result<(), String> {
        let mut command = Command::new("mount");
        command
            .args(["-o", OPTIONS])
            .args([&self.image, &self.mount_point]);
        said(&mut command)
    }
}

impl Drop for FragileDisk {
    fn drop(&mut self) {
        let _ = said(Command::new("umount").arg("-l").arg(&self.mount_point));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_synced_is_there_after_a_cut_and_what_was_not_is_lost() {
        let Some(disk) = fragile_disk(16 << 20) else {
            return;
        };
        let mut synced = File::create(disk.path().join("synced")).unwrap();
        synced.write_all(b"content").unwrap();
        synced.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::write(disk.path().join("not-synced"), "content").unwrap();
        drop(synced);
        disk.cut();
        assert_eq!(fs::read(disk.path().join("synced")).unwrap(), b"content");
        let lost = fs::read(disk.path().join("not-synced")).unwrap_or_default();
        assert_eq!(lost, b"");
    }
}
