//! The way back without any of the programs: the lines of the document, run as they stand there.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;

use crate::own::fill;
use crate::support::{Place, Seen, on_disk};

/// The lines of the document.
fn recipe() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/duplicity.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, after) = page.split_once("## By hand").unwrap();
    let (_, script) = after.split_once("```sh\n").unwrap();
    script.split_once("\n```").unwrap().0.to_owned()
}

/// What the document promises: names, kinds, content, targets.
fn promised(folder: &Path) -> Vec<(String, String)> {
    on_disk(folder)
        .into_iter()
        .filter(|(name, _)| name != ".")
        .map(|(name, seen): (String, Seen)| (name, format!("{:?} {}", seen.kind, seen.sha1())))
        .collect()
}

#[test]
fn an_archive_is_put_together_by_hand() {
    if ["gpg", "rdiff"]
        .into_iter()
        .any(|name| testkit::require(name).is_none())
    {
        return;
    }
    let passphrase = Protection::Passphrase(Passphrase::new("correct horse"));
    for protection in [Protection::None, passphrase] {
        let place = Place::new();
        fill(&place);
        // The lines take names line by line.
        let odd = std::ffi::OsStr::from_bytes(b"not utf-8 \xff\xfe\n");
        fs::remove_file(place.path("source").join(odd)).unwrap();
        let archive = place.archive(protection);
        place.back_up(&archive, Wanted::Full, 0);
        place.write("old chain", "1");
        place.back_up(&archive, Wanted::Increment, 1);
        fs::remove_file(place.path("source/old chain")).unwrap();
        place.back_up(&archive, Wanted::Full, 2);
        for step in 1..=2_u8 {
            let mut big = testkit::Random::new(3_000_001).noise(3_000_001);
            big[usize::from(step) * 1000] = step;
            big.truncate(3_000_000 - usize::from(step) * 70_000);
            place.write("sizes/3000001", big);
            place.write(
                "sizes/65536",
                testkit::Random::new(step.into()).noise(65_536),
            );
            if step == 2 {
                fs::remove_dir_all(place.path("source/names")).unwrap();
                fs::remove_dir_all(place.path("source/ord")).unwrap();
                place.write("ord", "a file now");
                fs::remove_file(place.path("source/text")).unwrap();
                place.write("text/inside", "a folder now");
            }
            place.back_up(&archive, Wanted::Increment, 2 + i64::from(step));
        }
        let gnupg = tempfile::tempdir().unwrap();
        let output = Command::new("sh")
            .arg("-c")
            .arg(recipe())
            .current_dir(place.path("store"))
            .env("PASSPHRASE", "correct horse")
            .env("GNUPGHOME", gnupg.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found = promised(&place.path("store/tree"));
        let expected = promised(&place.path("source"));
        assert_eq!(found, expected);
    }
}
