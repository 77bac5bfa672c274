//! The real program reads what is written here, and the other way round.

use std::fs;
use std::path::Path;
use std::process::Command;

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;

use crate::own::fill;
use crate::support::{Place, assert_same, in_archive, on_disk};

const PASSPHRASE: &str = "correct horse";

fn url(place: &Place) -> String {
    format!("file://{}", place.path("store").display())
}

fn run(command: &mut Command) {
    let output = command.env("PASSPHRASE", PASSPHRASE).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&said)
    );
}

fn protections() -> [(Protection, &'static [&'static str]); 2] {
    [
        (Protection::None, &["--no-encryption"]),
        (Protection::Passphrase(Passphrase::new(PASSPHRASE)), &[]),
    ]
}

fn touch(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// Changes of a day, the times set so that the real program sees them, too.
fn change(place: &Place, step: u8) {
    let mut big = testkit::Random::new(3_000_001).noise(3_000_001);
    big[usize::from(step) * 100_000] = step;
    place.write("sizes/3000001", &big);
    place.write("sizes/1", [step]);
    place.write(&format!("new/{step}"), vec![step; 70_000]);
    if step == 2 {
        fs::remove_file(place.path("source/text")).unwrap();
        fs::remove_dir_all(place.path("source/ord")).unwrap();
    }
    for name in [
        "sizes/3000001".to_owned(),
        "sizes/1".to_owned(),
        format!("new/{step}"),
    ] {
        touch(
            &place.path("source").join(name),
            1_600_000_000 + u64::from(step),
        );
    }
}

#[test]
fn the_real_program_restores_and_continues_what_is_written_here() {
    let Some(real) = testkit::stock_duplicity() else {
        return;
    };
    for (protection, options) in protections() {
        let place = Place::new();
        fill(&place);
        let archive = place.archive(protection);
        let mut states = Vec::new();
        for step in 0..3_u8 {
            if step > 0 {
                change(&place, step);
            }
            let wanted = if step == 0 {
                Wanted::Full
            } else {
                Wanted::Increment
            };
            place.back_up(&archive, wanted, step.into());
            states.push(on_disk(&place.path("source")));
        }
        for (step, state) in (0..).zip(&states) {
            let target = place.path(&format!("restored-{step}"));
            let time = crate::support::at(step).to_string();
            run(real
                .command(["restore", &url(&place)])
                .arg(&target)
                .args(["--time", &time])
                .args(options));
            assert_same(&on_disk(&target), state);
        }
        run(real
            .command(["verify", "--compare-data", &url(&place)])
            .arg(place.path("source"))
            .args(options));
        // It makes an increment on our chain, and we read that.
        change(&place, 3);
        run(real
            .command(["incremental"])
            .arg(place.path("source"))
            .arg(url(&place))
            .args(options)
            .args(["--allow-source-mismatch", "--volsize", "1"]));
        let minute = 10_000_000;
        let collection = archive.collection(crate::support::at(minute)).unwrap();
        assert_eq!(collection.chains.len(), 1);
        assert_eq!(collection.chains[0].sets.len(), 4);
        let (found, problems) = in_archive(&archive, minute, "");
        assert_eq!(problems, [""; 0]);
        assert_same(&found, &on_disk(&place.path("source")));
    }
}

#[test]
fn what_the_real_program_writes_is_restored_and_continued_here() {
    let Some(real) = testkit::stock_duplicity() else {
        return;
    };
    for (protection, options) in protections() {
        let place = Place::new();
        fill(&place);
        let mut states = Vec::new();
        for step in 0..3_u8 {
            let action = if step == 0 { "full" } else { "incremental" };
            if step > 0 {
                change(&place, step);
            }
            let time = (crate::support::START + 60 * i64::from(step)).to_string();
            run(real
                .command([action, "--volsize", "1", "--current-time", &time])
                .arg(place.path("source"))
                .arg(url(&place))
                .args(options));
            states.push(on_disk(&place.path("source")));
        }
        let mut settings = place.settings(protection);
        settings.host = Vec::new();
        let archive = place.archive_with(settings);
        for (minute, state) in (0..).zip(&states) {
            let (found, problems) = in_archive(&archive, minute, "");
            assert_eq!(problems, [""; 0]);
            assert_same(&found, state);
        }
        change(&place, 3);
        place.back_up(&archive, Wanted::Increment, 4);
        let target = place.path("restored");
        run(real
            .command(["restore", &url(&place)])
            .arg(&target)
            .args(options));
        assert_same(&on_disk(&target), &on_disk(&place.path("source")));
    }
}
