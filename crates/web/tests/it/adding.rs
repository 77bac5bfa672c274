//! A layer that is added through the page.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use axum::http::StatusCode;

use crate::visitor::{House, Visitor};

fn house() -> (House, Visitor) {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    (house, visitor)
}

fn fields<'a>(kind: &'a str, place: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("do", "add"),
        ("kind", kind),
        ("place", place),
        ("name", name),
        ("schedule", "weekly"),
    ]
}

#[test]
fn a_layer_is_tried_added_backed_up_to_and_proved() {
    let (house, visitor) = house();
    visitor.get("/layers/add").must_say("Add a layer");
    let before = fs::read_to_string(house.config_file()).unwrap();
    for (kind, name) in [("duplicity", "away"), ("borg", "second")] {
        let place = house.folder.path().join(format!("other/{name}"));
        let place = place.to_str().unwrap();
        fs::create_dir_all(house.folder.path().join("other")).unwrap();
        let mut test = fields(kind, place, name);
        test[0] = ("do", "test");
        visitor.post("/layers/add", &test).must_say("It works");
        let text = fs::read_to_string(house.config_file()).unwrap();
        assert!(!text.contains(name), "a test changes nothing");
        let done = visitor.do_and_wait("/layers/add", &fields(kind, place, name));
        done.must_say("one file restored as proof")
            .must_say(&format!("<code>{name}.passphrase</code>"));
        // The same name, and the same place, once more.
        let again = visitor.post("/layers/add", &fields(kind, place, "third"));
        again.must_say("Something stands at this place");
        let elsewhere = house.folder.path().join("other/new");
        let again = fields(kind, elsewhere.to_str().unwrap(), name);
        visitor.post("/layers/add", &again).must_say("kept already");
    }
    let after = fs::read_to_string(house.config_file()).unwrap();
    assert!(after.starts_with(&before), "{after}");
    visitor.get("/layers").must_say("away").must_say("second");
    let secret = house.home().join(".config/ravelin/away.passphrase");
    let mode = fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = fs::read_to_string(secret).unwrap();
    for screen in ["/layers", "/layers/add", "/activity", "/sheet", "/"] {
        assert!(!visitor.get(screen).text().contains(secret.trim()));
    }
}

#[test]
fn a_drop_folder_is_added_and_made() {
    let (house, visitor) = house();
    visitor.get("/drop").must_say("names no drop folder");
    let place = house.folder.path().join("nas");
    let mut drop = fields("drop", place.to_str().unwrap(), "");
    drop.push(("folder", "~/Drop"));
    let reply = visitor.post("/layers/add", &drop);
    assert_eq!(reply.header("location"), "/drop", "{}", reply.text());
    visitor.post("/drop/create", &[]);
    visitor.get("/drop").must_say("Nothing is here yet");
}

#[test]
fn no_place_runs_a_program_holds_a_secret_or_breaks_the_file() {
    let (house, visitor) = house();
    let before = fs::read_to_string(house.config_file()).unwrap();
    for place in [
        "",
        "backups",
        "../backups",
        "rclone:remote:path",
        "rclone://:sftp,ssh='touch /tmp/x':/",
        "memory:x",
        "file:///etc",
        "ext::sh -c true",
        "sftp://-oProxyCommand=true/x",
        "sftp://me:password@nas/x",
        "webdav+http://nas/x",
        "webdav+https://me:password@nas/x",
        "s3://key:secret@/bucket/x",
        "s3+http://127.0.0.1:1/bucket",
        "b2://key:secret@bucket",
        "ssh://-oProxyCommand=true/./x",
        "ssh://me@nas/./x",
        "http://169.254.169.254/",
        "/backups\nkind = \"borg\"",
        "/nowhere/at/all",
    ] {
        let reply = visitor.post("/layers/add", &fields("duplicity", place, "evil"));
        assert_eq!(reply.status, StatusCode::OK, "{place}");
        assert!(reply.text().contains("role=\"alert\""), "{place}");
    }
    let place = house.folder.path().join("new");
    let place = place.to_str().unwrap();
    for name in ["a b", "x]\n[[hook]]", "x.y", "-x", "../x", "ä", "\""] {
        let reply = visitor.post("/layers/add", &fields("duplicity", place, name));
        reply.must_say("does not take this name");
    }
    let reply = visitor.post("/layers/add", &fields("borg", "sftp://nas/x", "evil"));
    reply.must_say("ssh://");
    for kind in ["", "hook", "command", "memory"] {
        let reply = visitor.post("/layers/add", &fields(kind, place, "evil"));
        reply.must_say("Choose what the layer is for");
    }
    assert_eq!(fs::read_to_string(house.config_file()).unwrap(), before);
    let secrets = fs::read_dir(house.home().join(".config/ravelin")).unwrap();
    assert_eq!(secrets.count(), 1, "nothing but the configuration");
}

#[test]
fn a_duplicity_archive_is_adopted_with_its_own_passphrase_and_no_other() {
    let (first, visitor) = house();
    let place = first.folder.path().join("other/away");
    let place = place.to_str().unwrap();
    fs::create_dir_all(first.folder.path().join("other")).unwrap();
    visitor
        .do_and_wait("/layers/add", &fields("duplicity", place, "away"))
        .must_say("one file restored as proof");

    // On a new machine its list of snapshots can be seen without any passphrase.
    let other = House::new();
    other.write("Documents/report.txt", "a report");
    let stranger = other.visitor();
    let documents = other.home().join("Documents").display().to_string();
    let adopt = |passphrase| {
        let fields = [
            ("folder", documents.as_str()),
            ("often", "daily"),
            ("where", "there"),
            ("place", place),
            ("do", "adopt"),
            ("adopt", place),
            ("passphrase", passphrase),
        ];
        stranger.post("/welcome", &fields)
    };
    for wrong in ["a guess", "another", ""] {
        adopt(wrong).must_say("not the passphrase of this backup");
        assert!(!other.config_file().exists());
        let kept = other.home().join(".config/ravelin/disk.passphrase");
        assert!(!kept.exists());
    }
    let known = first.home().join(".config/ravelin/away.passphrase");
    let known = fs::read_to_string(known).unwrap();
    let adopted = adopt(known.trim());
    assert_eq!(adopted.status, StatusCode::SEE_OTHER, "{}", adopted.text());
    assert!(other.config_file().exists());
}

#[test]
fn a_backup_that_stands_at_the_place_becomes_a_layer_if_it_opens() {
    let (first, visitor) = house();
    for (kind, name) in [("borg", "second"), ("duplicity", "away")] {
        let place = first.folder.path().join(name);
        let place = place.to_str().unwrap();
        visitor
            .do_and_wait("/layers/add", &fields(kind, place, name))
            .must_say("one file restored as proof");
        let known = format!(".config/ravelin/{name}.passphrase");
        let known = fs::read_to_string(first.home().join(known)).unwrap();

        let (other, stranger) = house();
        let before = fs::read_to_string(other.config_file()).unwrap();
        let asked = stranger.post("/layers/add", &fields(kind, place, "old"));
        asked.must_say("stands at this place. It can become this layer");
        let mut adopt = fields(kind, place, "old");
        adopt[0] = ("do", "adopt");
        adopt.push(("passphrase", "a wrong one"));
        let refused = stranger.post("/layers/add", &adopt);
        refused.must_say("not the passphrase of this backup");
        assert!(!refused.text().contains("a wrong one"));
        assert_eq!(fs::read_to_string(other.config_file()).unwrap(), before);
        let kept = other.home().join(".config/ravelin/old.passphrase");
        assert!(!kept.exists());
        // It is opened as what it is, and a place where nothing is has nothing to go on with.
        let mut wrong = adopt.clone();
        wrong[1].1 = if kind == "borg" { "duplicity" } else { "borg" };
        stranger
            .post("/layers/add", &wrong)
            .must_say("Something stands at this place");
        let nowhere = other.folder.path().join("nothing");
        wrong[2].1 = nowhere.to_str().unwrap();
        let reply = stranger.post("/layers/add", &wrong);
        assert!(reply.text().contains("role=\"alert\""));

        adopt.pop();
        adopt.push(("passphrase", known.trim()));
        if kind == "borg" {
            let done = stranger.do_and_wait("/layers/add", &adopt);
            done.must_say("one file restored as proof");
            let browsed = stranger.get("/restore/browse?layer=old").text();
            assert_eq!(browsed.matches("<option").count(), 2, "{browsed}");
        } else {
            // The archive is of another machine's files: it can be looked into, and nothing is added.
            stranger.post("/layers/add", &adopt);
            stranger
                .get("/restore/browse?layer=old")
                .must_say("<option");
        }
        assert_eq!(fs::read_to_string(kept).unwrap(), known);
    }
}

/// The same away from this machine: by SFTP, and where a stock Borg speaks for the repository.
#[test]
fn a_backup_on_another_machine_becomes_a_layer_if_it_opens() {
    let (Some(server), Some(stock)) = (testkit::sshd(None), testkit::stock_borg()) else {
        return;
    };
    let shell = server.rsh();
    let program = stock.program().display().to_string();
    let variables = || {
        vec![
            ("RAVELIN_SSH", shell.clone()),
            ("BORG_RSH", shell.clone()),
            ("BORG_REMOTE_PATH", program.clone()),
        ]
    };
    let house = || {
        let house = House::with_variables(variables());
        house.configure_simply();
        let visitor = house.visitor();
        (house, visitor)
    };
    let (first, visitor) = house();
    for (kind, scheme, name) in [("borg", "ssh", "second"), ("duplicity", "sftp", "away")] {
        let place = first.folder.path().join(name).display().to_string();
        let place = format!("{scheme}://server{place}");
        visitor
            .do_and_wait("/layers/add", &fields(kind, &place, name))
            .must_say("one file restored as proof");
        let known = format!(".config/ravelin/{name}.passphrase");
        let known = fs::read_to_string(first.home().join(known)).unwrap();
        let taken = visitor.post("/layers/add", &fields(kind, &place, "again"));
        assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());

        let (other, stranger) = house();
        let before = fs::read_to_string(other.config_file()).unwrap();
        let asked = stranger.post("/layers/add", &fields(kind, &place, "old"));
        asked.must_say("stands at this place. It can become this layer");
        let kept = other.home().join(".config/ravelin/old.passphrase");
        assert!(!kept.exists());
        let mut adopt = fields(kind, &place, "old");
        adopt[0] = ("do", "adopt");
        adopt.push(("passphrase", "a wrong one"));
        let refused = stranger.post("/layers/add", &adopt);
        refused.must_say("not the passphrase of this backup");
        refused.must_say("name=\"passphrase\"");
        assert!(!refused.text().contains("a wrong one"));
        assert_eq!(fs::read_to_string(other.config_file()).unwrap(), before);
        assert!(!kept.exists());

        adopt.pop();
        adopt.push(("passphrase", known.trim()));
        stranger.post("/layers/add", &adopt);
        assert_eq!(fs::read_to_string(kept).unwrap(), known);
        stranger
            .get("/restore/browse?layer=old")
            .must_say("<option");
    }
}
