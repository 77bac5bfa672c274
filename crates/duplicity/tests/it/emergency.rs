//! The way back without any of the programs: the lines of the document, run as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;

use crate::own::fill;
use crate::support::{Place, Seen, on_disk};

/// The lines of the document, for an archive in this folder and paths in it.
fn recipe(paths: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/duplicity.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, after) = page.split_once("## By hand").unwrap();
    let (_, script) = after.split_once("```sh\n").unwrap();
    let (script, _) = script.split_once("\n```").unwrap();
    let given = "archive=/mnt/offsite\npaths=()\n";
    assert!(script.starts_with(given), "{script}");
    script.replace(given, &format!("archive=.\npaths=({paths})\n"))
}

/// What the document promises: names, kinds, content, targets.
fn promised(folder: &Path) -> Vec<(String, String)> {
    on_disk(folder)
        .into_iter()
        .filter(|(name, _)| name != ".")
        .map(|(name, seen): (String, Seen)| (name, format!("{:?} {}", seen.kind, seen.sha1())))
        .collect()
}

/// Names that go, and are hard to read in a list: digits behind a control character, and backslashes.
const GOING: [&str; 4] = [
    "bell \u{1}7",
    "\u{1b}[0m",
    "slash \\0017",
    "both \\\u{1}7\\",
];

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
        // Names may be any bytes, also one that goes and leaves one that begins like it.
        place.write("line", "stays");
        place.write("line\nbreak", "goes");
        for name in GOING {
            place.write(name, "goes");
        }
        let archive = place.archive(protection);
        place.back_up(&archive, Wanted::Full, 0);
        place.write("old chain", "1");
        place.back_up(&archive, Wanted::Increment, 1);
        fs::remove_file(place.path("source/old chain")).unwrap();
        place.back_up(&archive, Wanted::Full, 2);
        fs::remove_file(place.path("source/line\nbreak")).unwrap();
        for name in GOING {
            fs::remove_file(place.path("source").join(name)).unwrap();
        }
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
        let by_hand = |paths: &str| {
            let output = Command::new("bash")
                .arg("-c")
                .arg(recipe(paths))
                .current_dir(place.path("store"))
                .env("PASSPHRASE", "correct horse")
                .env("GNUPGHOME", gnupg.path())
                .env("LC_ALL", "C.UTF-8")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
        };
        by_hand("");
        let expected = promised(&place.path("source"));
        assert_eq!(promised(&place.path("store/tree")), expected);

        // Only some of it: a file that came as a delta, one in pieces, one that is no folder any more.
        fs::remove_dir_all(place.path("store/tree")).unwrap();
        by_hand("sizes/65536 sizes/3000001 ord");
        let some = ["sizes", "sizes/65536", "sizes/3000001", "ord"];
        let expected: Vec<_> = expected
            .into_iter()
            .filter(|(name, _)| some.contains(&name.as_str()))
            .collect();
        assert_eq!(promised(&place.path("store/tree")), expected);

        // A volume that is damaged is said, whatever is wanted.
        for entry in fs::read_dir(place.path("store")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".vol1.difftar") {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        let ended = Command::new("bash")
            .args(["-c", &recipe("ord")])
            .current_dir(place.path("store"))
            .env("PASSPHRASE", "correct horse")
            .env("GNUPGHOME", gnupg.path())
            .output()
            .unwrap();
        assert!(!ended.status.success());
    }
}
