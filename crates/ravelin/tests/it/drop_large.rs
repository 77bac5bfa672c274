//! A file of several gigabytes on its way to Dropbox.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use snapbox::cmd::cargo_bin;
use testkit::emulator::{DropboxEmulator, Fault, Trouble};

use crate::bench::Bench;
use crate::stores::sign_in;

/// More than 32 bits can count, and no multiple of what Dropbox hashes at once.
const SIZE: u64 = (4 << 30) + (5 << 20) + 3;

/// Bytes of memory that the program gets for it, stacks included.
const MEMORY_MAX: u64 = 256 << 20;

#[test]
fn a_file_of_several_gigabytes_travels_in_a_session_with_little_memory() {
    let bench = Bench::new();
    let emulator = DropboxEmulator::start();
    let (done, said) = sign_in(&bench, &emulator, &["--client-id", "app"]);
    assert!(done, "{said}");
    fs::create_dir(bench.home().join("Drop")).unwrap();
    let file = File::create_new(bench.home().join("Drop/film.mkv")).unwrap();
    file.set_len(SIZE).unwrap();
    // A little of it is no hole, here and there and at its end.
    let places = (0..SIZE).step_by(1_500_000_007).chain([SIZE - 5]);
    for place in places.clone() {
        file.write_all_at(b"frame", place).unwrap();
    }
    drop(file);
    // Later than a moment ago, so that its times tell that it is not written to.
    std::thread::sleep(Duration::from_millis(2100));
    // The connection breaks off on the way, and an answer is lost.
    for (skip, trouble) in [
        (100, Trouble::CutRequest(1 << 20)),
        (40, Trouble::LoseAnswer),
    ] {
        emulator.faults.add(Fault {
            on: "append_v2".into(),
            skip,
            times: 1,
            trouble,
        });
    }
    let synced = Command::new("prlimit")
        .arg(format!("--data={MEMORY_MAX}"))
        .arg("--")
        .arg(cargo_bin!("ravelin"))
        .args(["drop", "sync", "Drop", "--store", "dropbox:/Drop"])
        .env_clear()
        .env("HOME", bench.home())
        .env("RAVELIN_ENDPOINT_DROPBOX_API", emulator.url())
        .env("RAVELIN_ENDPOINT_DROPBOX_CONTENT", emulator.url())
        .current_dir(bench.home())
        .status()
        .unwrap();
    assert!(synced.success());
    let (size, hash) = emulator.size_and_hash("/Drop/film.mkv").unwrap();
    assert_eq!(size as u64, SIZE);
    assert_eq!(hash, content_hash(places));
    // 256 parts, in one session.
    assert!(emulator.faults.count("append_v2") >= SIZE.div_ceil(16 << 20));
    assert_eq!(emulator.faults.count("upload_session/start"), 1);
}

/// Dropbox's hash of the file, from what is in it and where.
fn content_hash(places: impl Iterator<Item = u64> + Clone) -> String {
    use sha2::{Digest as _, Sha256};
    let block_size = 4 << 20;
    let zeros = vec![0; 4 << 20];
    let hole: [u8; 32] = Sha256::digest(&zeros).into();
    let mut all = Sha256::new();
    for start in (0..SIZE).step_by(4 << 20) {
        let end = SIZE.min(start + block_size);
        let inside = |place: &u64| *place + 5 > start && *place < end;
        if end - start == block_size && !places.clone().any(|place| inside(&place)) {
            all.update(hole);
            continue;
        }
        let mut block = vec![0; usize::try_from(end - start).unwrap()];
        for place in places.clone().filter(inside) {
            for (at, byte) in (place..).zip(b"frame") {
                if (start..end).contains(&at) {
                    block[usize::try_from(at - start).unwrap()] = *byte;
                }
            }
        }
        all.update(Sha256::digest(&block));
    }
    hex::encode(all.finalize())
}
