//! Signing in to a cloud on the way to a layer that is kept there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use testkit::emulator::{DriveEmulator, DropboxEmulator};
use testkit::servers::fetch;

use crate::visitor::{House, Reply, Visitor};

const CLIENT: &str = r#"{"installed":{"client_id":"id.apps.example","client_secret":"canary"}}"#;

fn at_dropbox(emulator: &DropboxEmulator) -> House {
    let url = emulator.url().to_owned();
    let house = House::with_variables(vec![
        ("RAVELIN_ENDPOINT_DROPBOX_API", url.clone()),
        ("RAVELIN_ENDPOINT_DROPBOX_CONTENT", url.clone()),
        (
            "RAVELIN_ENDPOINT_DROPBOX_AUTHORIZE",
            format!("{url}/oauth2/authorize"),
        ),
    ]);
    house.configure_simply();
    house
}

fn at_google(emulator: &DriveEmulator) -> House {
    let url = emulator.url().to_owned();
    let house = House::with_variables(vec![
        ("RAVELIN_ENDPOINT_DRIVE", url.clone()),
        (
            "RAVELIN_ENDPOINT_GOOGLE_AUTHORIZE",
            format!("{url}/authorize"),
        ),
        ("RAVELIN_ENDPOINT_GOOGLE_TOKEN", format!("{url}/token")),
        (
            "RAVELIN_ENDPOINT_GOOGLE_DEVICE",
            format!("{url}/device/code"),
        ),
    ]);
    house.configure_simply();
    house
}

/// The page of the service that a person is led to.
fn link(reply: &Reply) -> String {
    let text = reply.text();
    let link = text.split("class=\"button main\" href=\"").nth(1).unwrap();
    link.split('"').next().unwrap().replace("&amp;", "&")
}

/// Follows the page to where it leads when the service has answered.
fn wait(visitor: &Visitor, place: &str) -> Reply {
    let since = Instant::now();
    loop {
        let reply = visitor.get(place);
        if reply.status == StatusCode::SEE_OTHER || !reply.text().contains("hx-trigger") {
            return reply;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{}",
            reply.text()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_layer_at_dropbox_is_added_after_a_code_was_pasted() {
    let emulator = DropboxEmulator::start();
    let house = at_dropbox(&emulator);
    let visitor = house.visitor();
    let layer = [
        ("kind", "duplicity"),
        ("place", "dropbox:/Backups"),
        ("name", "cloud"),
        ("schedule", "weekly"),
    ];
    let test = [layer.as_slice(), &[("do", "test")]].concat();
    let needed = visitor.post("/layers/add", &test);
    needed.must_say("Nobody is signed in to Dropbox");
    let form = link(&needed);
    visitor
        .get(&form)
        .must_say("App key")
        .must_say("value=\"cloud\"");

    let begin = |client: &str| {
        let fields = [layer.as_slice(), &[("do", "paste"), ("client", client)]].concat();
        visitor.post("/layers/sign-in", &fields)
    };
    begin("").must_say("Name the program");
    let begun = begin("app");
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text());
    let shown = visitor.get(begun.header("location"));
    shown.must_say("paste it here").must_say("noreferrer");
    let code = |code: &str| {
        let fields = [layer.as_slice(), &[("do", "code"), ("code", code)]].concat();
        visitor.post("/layers/sign-in", &fields)
    };
    code("a guess").must_say("does not accept the code");
    // Another one may be tried.
    let page = link(&visitor.get(begun.header("location")));
    let signed_in = code(&fetch(&page));
    assert_eq!(
        signed_in.status,
        StatusCode::SEE_OTHER,
        "{}",
        signed_in.text()
    );
    let form = visitor.get(signed_in.header("location"));
    form.must_say("Signed in.")
        .must_say("value=\"dropbox:/Backups\"")
        .must_say("value=\"cloud\"")
        .must_say("value=\"weekly\" selected");

    visitor.post("/layers/add", &test).must_say("It works");
    let add = [layer.as_slice(), &[("do", "add")]].concat();
    let added = visitor.do_and_wait("/layers/add", &add);
    added.must_say("one file restored as proof");
    visitor.get("/layers").must_say("Sign in to Dropbox again");
    visitor
        .get("/layers/sign-in?place=dropbox%3A%2FBackups")
        .must_say("from the last sign-in");
    let activity = visitor.get("/activity");
    activity.must_say("Signed in to a cloud: <bdi>Dropbox</bdi>");
    assert_eq!(kept(&house), 1);
    code("once more").must_say("This sign-in is over");
}

/// Counts the sign-ins that are kept, each readable by its owner alone.
fn kept(house: &House) -> usize {
    let mut folders = vec![house.home()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("refresh_token")) {
                count += 1;
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            }
        }
    }
    count
}

#[test]
fn google_is_signed_in_to_with_a_code_for_devices_or_by_a_browser_that_comes_back() {
    for way in ["device", "browser"] {
        let emulator = DriveEmulator::start();
        let house = at_google(&emulator);
        let visitor = house.visitor();
        let place = ("place", "gdrive:/Backups");
        let fields = [place, ("kind", "duplicity"), ("do", way), ("client", "{}")];
        visitor
            .post("/layers/sign-in", &fields)
            .must_say("not the file of a client");
        let mut fields = fields;
        fields[3].1 = CLIENT;
        let begun = visitor.post("/layers/sign-in", &fields);
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text());
        let address = begun.header("location").to_owned();
        assert!(!address.contains("canary"));
        let shown = visitor.get(&address);
        if way == "device" {
            shown.must_say("ABCD-EFGH");
        } else {
            assert_eq!(fetch(&link(&shown)), "Signed in. This page can be closed.");
        }
        let done = wait(&visitor, &address);
        let form = visitor.get(done.header("location"));
        form.must_say("Signed in.");
        let test = [place, ("kind", "duplicity"), ("do", "test")];
        visitor.post("/layers/add", &test).must_say("It works");
        assert_eq!(kept(&house), 1);
        // What was typed never comes back.
        for screen in [address.as_str(), "/layers", "/activity"] {
            assert!(!visitor.get(screen).text().contains("canary"), "{screen}");
        }
    }
}

#[test]
fn a_sign_in_can_be_given_up_and_is_for_clouds_alone() {
    let emulator = DriveEmulator::start();
    let house = at_google(&emulator);
    let visitor = house.visitor();
    let fields = [
        ("place", "gdrive:/Backups"),
        ("do", "browser"),
        ("client", CLIENT),
    ];
    let begun = visitor.post("/layers/sign-in", &fields);
    let address = begun.header("location").to_owned();
    visitor.get(&address).must_say("Waiting for Google Drive");
    // The other way takes the place of the first one.
    let device = [fields[0], ("do", "device"), fields[2]];
    let begun = visitor.post("/layers/sign-in", &device);
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text());
    visitor.post("/layers/sign-in", &[fields[0], ("do", "stop")]);
    visitor.get(&address).must_say("Sign in with a code");
    for place in ["/etc", "sftp://nas/x", "rclone:x:", "", "dropbox"] {
        let reply = visitor.post("/layers/sign-in", &[("place", place), ("do", "paste")]);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{place}");
    }
}
