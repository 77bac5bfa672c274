//! What looks like an attack, and what does not.

use std::fs;
use std::path::PathBuf;

use ravelin_engine::guard::{self, Alarm, Change};
use ravelin_engine::{Config, Error, Outcome, Schedule, Wanted};
use testkit::emulator::Inbox;

use crate::workshop::{Workshop, wait_hours};

const TEXT: &str = "The quick brown fox jumps over the lazy dog. ";

/// A workshop with so many files of text, backed up once.
fn workshop(files: usize) -> Workshop {
    let workshop = Workshop::new(&["disk"]);
    for number in 0..files {
        let text = format!("{number}: {}", TEXT.repeat(40));
        workshop.write(&format!("{}/{number}.txt", number % 10), &text);
    }
    back_up(&workshop);
    assert_eq!(guard::alarm(&workshop.machine), None, "a first backup");
    workshop
}

fn back_up(workshop: &Workshop) -> Option<Alarm> {
    wait_hours(1);
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, Outcome::Good);
    assert_eq!(report.guard, guard::alarm(&workshop.machine));
    report.guard
}

fn paths(workshop: &Workshop) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in fs::read_dir(workshop.source()).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            let files = fs::read_dir(folder).unwrap();
            paths.extend(files.map(|file| file.unwrap().path()));
        }
    }
    paths.sort();
    paths
}

fn noise(size: usize) -> Vec<u8> {
    let mut noise = vec![0; size];
    getrandom::fill(&mut noise).unwrap();
    noise
}

fn seen(alarm: &Alarm) -> Vec<(Change, u64, u64)> {
    let signs = alarm.signs.iter();
    signs
        .map(|sign| (sign.what, sign.files, sign.of_files))
        .collect()
}

#[test]
fn a_small_folder_and_everyday_work_raise_no_alarm() {
    let small = workshop(100);
    for path in paths(&small) {
        fs::remove_file(path).unwrap();
    }
    small.write("left", "alone");
    assert_eq!(back_up(&small), None, "fewer files than are judged");

    let work = workshop(250);
    for (index, path) in paths(&work).into_iter().enumerate() {
        match index % 10 {
            // A tenth goes, a tenth is renamed, the rest is edited.
            0 => fs::remove_file(path).unwrap(),
            1 => fs::rename(&path, path.with_extension("md")).unwrap(),
            _ => fs::write(&path, TEXT.repeat(50)).unwrap(),
        }
    }
    assert_eq!(back_up(&work), None);
    // What is added does no harm, even if it is encrypted.
    for number in 0..300 {
        fs::write(work.source().join(format!("{number}.gpg")), noise(2000)).unwrap();
    }
    assert_eq!(back_up(&work), None);
    // It was encrypted when it came, and is still.
    for number in 0..300 {
        fs::write(work.source().join(format!("{number}.gpg")), noise(2000)).unwrap();
    }
    assert_eq!(back_up(&work), None);
}

#[test]
fn files_that_are_gone_renamed_or_encrypted_raise_an_alarm_that_only_a_person_ends() {
    let deleted = workshop(250);
    for path in paths(&deleted).into_iter().take(100) {
        fs::remove_file(path).unwrap();
    }
    let alarm = back_up(&deleted).unwrap();
    assert_eq!(seen(&alarm), [(Change::Deleted, 100, 250)]);
    assert_eq!(alarm.signs[0].percent, 40);
    assert_eq!(alarm.signs[0].examples.len(), 5);
    assert_eq!(
        alarm.since.duration_since(alarm.good_until).as_hours(),
        1,
        "the reading before was good"
    );

    let renamed = workshop(250);
    for path in paths(&renamed).into_iter().take(100) {
        let mut name = path.clone().into_os_string();
        name.push(".locked");
        fs::rename(&path, name).unwrap();
    }
    let alarm = back_up(&renamed).unwrap();
    assert_eq!(seen(&alarm), [(Change::Renamed, 100, 250)]);

    let encrypted = workshop(250);
    for path in paths(&encrypted).into_iter().take(50) {
        let size = fs::metadata(&path).unwrap().len();
        fs::write(&path, noise(usize::try_from(size).unwrap())).unwrap();
    }
    let alarm = back_up(&encrypted).unwrap();
    assert_eq!(seen(&alarm), [(Change::Scrambled, 50, 250)]);

    let both = workshop(250);
    for path in paths(&both).into_iter().take(50) {
        fs::remove_file(&path).unwrap();
        fs::write(path.with_extension("locked"), noise(3000)).unwrap();
    }
    let alarm = back_up(&both).unwrap();
    assert_eq!(seen(&alarm), [(Change::Scrambled, 50, 250)]);
    let named = alarm.signs[0].examples.iter();
    assert!(named.into_iter().all(|path| path.path.ends_with(".locked")));

    // It stands, whatever the next runs find, until somebody says so.
    for _ in 0..3 {
        assert_eq!(back_up(&both), Some(alarm.clone()));
    }
    assert_eq!(guard::go_on(&both.machine).unwrap(), Some(alarm));
    assert_eq!(back_up(&both), None);
    assert_eq!(guard::go_on(&both.machine).unwrap(), None);
}

#[test]
fn of_many_files_a_sketch_tells_about_how_many_are_gone() {
    let workshop = workshop(3000);
    for path in paths(&workshop).into_iter().step_by(2) {
        fs::remove_file(path).unwrap();
    }
    let alarm = back_up(&workshop).unwrap();
    let [(Change::Deleted, files, 3000)] = seen(&alarm)[..] else {
        panic!("{alarm:?}");
    };
    assert!((1300..1700).contains(&files), "{files}");
}

#[test]
fn what_was_taken_out_of_the_sources_on_purpose_is_no_loss() {
    let mut workshop = workshop(250);
    let text = "[[source]]\npaths = [\"~/source\"]\nexclude = [\"*.txt\"]\n\
                [layer.disk]\nkind = \"borg\"\nencryption = \"none\"\nstore = \"/r\"\n";
    let file = PathBuf::from("ravelin.toml");
    workshop.config = Config::parse(text, &file, &workshop.machine.places).unwrap();
    workshop.write("kept", "kept");
    assert_eq!(back_up(&workshop), None);
    // With `never` nothing of it is looked for.
    let text = text.replace("exclude = [\"*.txt\"]\n", "")
        + "[guard]\ndeleted = \"never\"\nrenamed = \"99 %\"\n";
    workshop.config = Config::parse(&text, &file, &workshop.machine.places).unwrap();
    assert_eq!(back_up(&workshop), None);
    for path in paths(&workshop).into_iter().take(200) {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(back_up(&workshop), None);
}

#[test]
fn a_reading_that_did_not_come_to_its_end_is_not_judged() {
    let workshop = workshop(250);
    workshop.stop.request();
    let report = workshop.back_up(&Wanted::All);
    assert_eq!((report.outcome, report.guard), (Outcome::Stopped, None));
    assert_eq!(guard::alarm(&workshop.machine), None);
}

#[test]
fn an_alarm_that_cannot_be_read_stands() {
    let workshop = workshop(10);
    let file = workshop.machine.places.state.join("guard-alarm.json");
    fs::write(&file, "{\"since\": \"20").unwrap();
    let alarm = guard::alarm(&workshop.machine).unwrap();
    assert_eq!(alarm.signs, []);
    let shown = ravelin_engine::explain(&Error::Guarded { alarm });
    assert_eq!(shown.code.name(), "guard-alarm");
    assert_eq!(shown.next.to_string(), "run `ravelin guard`");
}

#[test]
fn the_alarm_is_told_once_and_each_day_while_it_stands() {
    let inbox = Inbox::start();
    let mut workshop = workshop(250);
    let text = format!(
        "[[source]]\npaths = [\"~/source\"]\n[layer.disk]\nkind = \"borg\"\nencryption = \"none\"\n\
         store = \"/r\"\n[[notify]]\nwebhook = \"{}/hook\"\n",
        inbox.url()
    );
    let file = PathBuf::from("ravelin.toml");
    let parsed = Config::parse(&text, &file, &workshop.machine.places).unwrap();
    workshop.config.notify = parsed.notify;
    workshop.config.verify.structure = Schedule::Manual;
    workshop.config.verify.data = Schedule::Manual;
    workshop.config.verify.drill = Schedule::Manual;
    workshop.config.layers[0].schedule = Schedule::parse("hourly").unwrap();
    workshop.run_due();
    for path in paths(&workshop).into_iter().take(150) {
        fs::remove_file(path).unwrap();
    }
    let mut heard = Vec::new();
    for _ in 0..30 {
        wait_hours(1);
        let due = workshop.run_due();
        assert_eq!(due.undelivered, []);
        assert_eq!(due.outcome(), Some(Outcome::Partial));
        heard.extend(inbox.take());
    }
    assert_eq!(heard.len(), 2, "{heard:?}");
    let news = heard[0].json();
    assert_eq!(news["occasion"], "failure");
    let title = news["title"].as_str().unwrap();
    assert_eq!(title, "nas: many files changed at once: ransomware?");
    let text = news["text"].as_str().unwrap();
    assert!(
        text.starts_with("about 150 of 250 files (60 %) are gone.\n"),
        "{text}"
    );
    assert!(text.contains("ravelin guard --go-on"), "{text}");
    guard::go_on(&workshop.machine).unwrap();
    wait_hours(25);
    workshop.run_due();
    assert_eq!(inbox.take(), []);
}
