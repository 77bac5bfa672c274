//! What each screen says, and what its buttons do.

use std::fs;

use axum::http::StatusCode;

use crate::visitor::{House, Visitor};

pub(crate) fn protected() -> (House, Visitor) {
    let house = House::new();
    let visitor = house.visitor();
    house.write("Documents/report.txt", "a report");
    let begun = begin(&house, &visitor, &[]);
    begun.must_say("Backed up, read back, and one file restored as proof");
    (house, visitor)
}

/// Answers the three questions: the documents, into the place that is the usual one.
fn begin(house: &House, visitor: &Visitor, more: &[(&str, &str)]) -> crate::visitor::Reply {
    let folder = house.home().join("Documents").display().to_string();
    let mut fields = vec![("folder", folder.as_str()), ("often", "daily")];
    if !more.iter().any(|(name, _)| *name == "where") {
        fields.push(("where", "here"));
    }
    fields.extend(more);
    visitor.do_and_wait("/welcome", &fields)
}

#[test]
fn a_first_visit_asks_three_questions_and_protects_from_then_on() {
    let house = House::new();
    let visitor = house.visitor();
    let reply = visitor.get("/");
    assert_eq!(reply.header("location"), "/welcome");
    visitor.get("/welcome").must_say("Protect your files");
    house.write("Documents/report.txt", "a report");
    let done = begin(&house, &visitor, &[]);
    done.must_say("one file restored as proof")
        .must_say("Now copy the passphrase");
    let config = fs::read_to_string(house.config_file()).unwrap();
    assert!(config.contains("schedule = \"daily\""), "{config}");
    let tab = fs::read_to_string(house.folder.path().join("tab")).unwrap();
    assert!(tab.contains("/usr/bin/ravelin"), "{tab}");
    let secret = fs::read_to_string(house.home().join(".config/ravelin/disk.passphrase")).unwrap();
    for path in ["/", "/activity", "/sheet", "/settings"] {
        let reply = visitor.get(path);
        assert!(
            !reply.text().contains(secret.trim()),
            "{path} tells the passphrase"
        );
    }
    visitor
        .get("/")
        .must_say("Your files are protected")
        .must_say("2 files");
    assert_eq!(visitor.get("/welcome").header("location"), "/");
    let again = visitor.post("/welcome", &[("home", "yes"), ("often", "daily")]);
    assert_eq!(again.header("location"), "/");
}

#[test]
fn wrong_answers_are_told_and_nothing_is_written() {
    let house = House::new();
    let visitor = house.visitor();
    let home: &[(&str, &str)] = &[("home", "yes"), ("often", "daily")];
    for (fields, text) in [
        (vec![("often", "daily")], "Choose something to protect"),
        (
            vec![("folder", "/no/such/place"), ("often", "daily")],
            "There is no such folder",
        ),
        (
            vec![("folder", "relative"), ("often", "daily")],
            "There is no such folder",
        ),
        (
            vec![("home", "yes"), ("often", "sometimes")],
            "Choose how often",
        ),
        (
            [home, &[("where", "there"), ("place", "x")]].concat(),
            "Type the full path",
        ),
        (
            [home, &[("do", "adopt"), ("adopt", "/etc")]].concat(),
            "Choose one of the backups",
        ),
    ] {
        let reply = visitor.post("/welcome", &fields);
        assert_eq!(reply.status, StatusCode::OK);
        reply.must_say(text);
    }
    assert!(!house.config_file().exists());
}

#[test]
fn backups_of_other_programs_are_offered_and_go_on() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let house = House::new();
    let visitor = house.visitor();
    house.write("Documents/report.txt", "a report");
    let store = house.folder.path().join("drive/backups");
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    let base = house.folder.path().join("borg-base");
    let stock = |arguments: &[&str]| {
        let mut command = borg.command(arguments);
        command
            .env("BORG_BASE_DIR", &base)
            .env("BORG_PASSPHRASE", "of the old days");
        testkit::run(&mut command)
    };
    let place = store.display().to_string();
    let _ = stock(&["init", "--encryption", "repokey", &place]);
    let documents = house.home().join("Documents").display().to_string();
    let _ = stock(&["create", &format!("{place}::old"), &documents]);

    let drive = store.parent().unwrap().display().to_string();
    let fields = [
        ("folder", documents.as_str()),
        ("often", "daily"),
        ("where", "there"),
        ("place", drive.as_str()),
    ];
    let reply = visitor.post("/welcome", &fields);
    reply
        .must_say("Backups stand there already")
        .must_say(&place);
    assert!(!house.config_file().exists());

    let adopt = |passphrase| {
        let more = [
            ("do", "adopt"),
            ("adopt", place.as_str()),
            ("passphrase", passphrase),
        ];
        [fields.as_slice(), &more].concat()
    };
    let reply = visitor.post("/welcome", &adopt("a guess"));
    reply.must_say("not the passphrase of this backup");
    assert!(!reply.text().contains("a guess"));
    assert!(!house.config_file().exists());
    assert!(
        !house
            .home()
            .join(".config/ravelin/disk.passphrase")
            .exists()
    );

    let done = visitor.do_and_wait("/welcome", &adopt("of the old days"));
    done.must_say("one file restored as proof");
    let listed = stock(&["list", "--short", &place]);
    assert!(
        listed.contains("old\n") && listed.lines().count() == 2,
        "{listed}"
    );
}

#[test]
fn back_up_now_adds_a_snapshot_and_stands_in_the_activity() {
    let (_house, visitor) = protected();
    let done = visitor.do_and_wait("/backup", &[]);
    done.must_say("Backed up");
    let activity = visitor.get("/activity");
    activity
        .must_say("Backup")
        .must_say("Read back")
        .must_say("every byte was read back")
        .must_say("Backup started")
        .must_say("First configuration written");
    assert_eq!(activity.text().matches("backed up, ").count(), 2);
}

#[test]
fn a_failure_is_told_with_its_next_step_in_the_language_of_the_reader() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    // The store was never created.
    let done = visitor.do_and_wait("/backup", &[]);
    done.must_say("Nothing was backed up")
        .must_say("layer-not-created");
    visitor
        .get("/")
        .must_say("Nothing stands at the store of the layer");
    visitor
        .get_german("/")
        .must_say("Am Ort der Ebene steht nichts")
        .must_say("Was zu tun ist:")
        .must_say("lang=\"de\"");
}

#[test]
fn mistakes_in_the_file_are_told_and_the_page_lives_on() {
    let house = House::new();
    house.configure("[[source]]\npathz = [\"~\"]\n");
    let visitor = house.visitor();
    let reply = visitor.get("/");
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    reply
        .must_say("The configuration holds mistakes")
        .must_say("pathz");
    house.configure_simply();
    assert_eq!(visitor.get("/").status, StatusCode::OK);
}

#[test]
fn work_on_its_own_is_turned_on_and_off() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    visitor
        .get("/")
        .must_say("Nothing starts backups on its own");
    let reply = visitor.post("/settings/schedule", &[("do", "install")]);
    visitor
        .get(reply.header("location"))
        .must_say("Backups start on their own from now on");
    let tab = fs::read_to_string(house.folder.path().join("tab")).unwrap();
    assert!(tab.contains("/usr/bin/ravelin"), "{tab}");
    assert!(!visitor.get("/").text().contains("Nothing starts backups"));
    visitor.post("/settings/schedule", &[("do", "remove")]);
    visitor.get("/settings").must_say("Turn on");
}

#[test]
fn the_language_is_what_the_browser_asks_for_or_what_was_set() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    visitor.get("/").must_say("Nothing is backed up yet");
    visitor
        .get_german("/")
        .must_say("Noch ist nichts gesichert");
    visitor.post("/settings/language", &[("language", "de")]);
    visitor.get("/").must_say("Noch ist nichts gesichert");
    visitor.post("/settings/language", &[("language", "")]);
    visitor.get("/").must_say("Nothing is backed up yet");
}

#[test]
fn the_recovery_sheet_names_the_stock_commands_and_no_secret() {
    let (house, visitor) = protected();
    let secret = fs::read_to_string(house.home().join(".config/ravelin/disk.passphrase")).unwrap();
    let sheet = visitor.get("/sheet");
    sheet
        .must_say("borg")
        .must_say("How to get everything back");
    let german = visitor.get_german("/sheet");
    german
        .must_say("borg")
        .must_say("Wie Sie alles zurückbekommen");
    for sheet in [sheet, german] {
        assert!(!sheet.text().contains(secret.trim()));
    }
}

#[test]
fn names_of_files_are_text_on_every_screen() {
    let house = House::new();
    let visitor = house.visitor();
    let evil = "<img src=x onerror=alert(1)>\"'&\u{202e}.txt";
    house.write(&format!("Documents/{evil}"), "x");
    begin(&house, &visitor, &[]);
    for path in crate::attacks::SCREENS {
        let text = visitor.get(path).text();
        assert!(!text.contains("<img src=x"), "{path}");
    }
}
