//! The drop folder through the page.

use std::fs;

use axum::body::Body;
use axum::http::StatusCode;

use crate::visitor::{House, Reply, Visitor};

/// A house with an empty drop folder, and who lives there.
pub(crate) fn house() -> (House, Visitor) {
    let house = House::new();
    house.configure_simply();
    let text = fs::read_to_string(house.config_file()).unwrap();
    let store = house.folder.path().join("drop").display().to_string();
    fs::create_dir_all(&store).unwrap();
    house.configure(&format!(
        "{text}\n[layer.drop]\nkind = \"drop\"\nstore = \"{store}\"\n"
    ));
    let visitor = house.visitor();
    visitor.get("/drop").must_say("Make an empty one");
    visitor.post("/drop/create", &[]);
    visitor.get("/drop").must_say("Nothing is here yet");
    (house, visitor)
}

pub(crate) const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Puts a file into the drop folder.
pub(crate) fn put(visitor: &Visitor, name: &str, content: &str) {
    assert_eq!(part(visitor, ID, 0, content).status, StatusCode::OK);
    let reply = finish(visitor, name, &content.len().to_string());
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
}

/// Sends a part of an upload.
pub(crate) fn part(visitor: &Visitor, id: &str, at: usize, bytes: &str) -> Reply {
    let request = visitor
        .request("PUT", &format!("/drop/part?id={id}&at={at}"))
        .header("x-ravelin-token", &visitor.token);
    visitor.send(request.body(Body::from(bytes.to_owned())).unwrap())
}

pub(crate) fn finish(visitor: &Visitor, name: &str, size: &str) -> Reply {
    let fields = [
        ("id", ID),
        ("name", name),
        ("size", size),
        ("modified", "1800000000000"),
    ];
    visitor.post("/drop/finish", &fields)
}

/// A form with files as browsers write it without script.
pub(crate) fn form(
    visitor: &Visitor,
    path: &str,
    fields: &[(&str, &str)],
    files: &[(&str, &str)],
) -> Reply {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    for (name, content) in files {
        body.push_str(&format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--frontier--\r\n");
    let request = visitor
        .request("POST", path)
        .header("content-type", "multipart/form-data; boundary=frontier");
    visitor.send(request.body(Body::from(body)).unwrap())
}

#[test]
fn an_upload_that_broke_off_goes_on_where_it_was() {
    let (house, visitor) = house();
    assert_eq!(
        part(&visitor, ID, 0, "the first half, ").text(),
        "{\"size\":16}"
    );
    // The same part once more, and one that is too far on: neither is taken.
    for at in [0, 99] {
        let reply = part(&visitor, ID, at, "the first half, ");
        assert_eq!(reply.status, StatusCode::CONFLICT);
        assert_eq!(reply.text(), "{\"size\":16}");
    }
    assert_eq!(
        visitor.get(&format!("/drop/part?id={ID}")).text(),
        "{\"size\":16}"
    );
    let reply = finish(&visitor, "letters/two.txt", "31");
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    part(&visitor, ID, 16, "the second half");
    assert_eq!(
        finish(&visitor, "letters/two.txt", "31").status,
        StatusCode::NO_CONTENT
    );
    visitor.get("/drop?in=letters").must_say("two.txt");
    let file = visitor.get("/drop/file?path=letters/two.txt");
    assert_eq!(file.text(), "the first half, the second half");
    assert!(file.header("content-disposition").starts_with("attachment"));
    let spools = house.home().join(".cache/ravelin/page-uploads");
    assert_eq!(fs::read_dir(spools).unwrap().count(), 0);
}

#[test]
fn uploads_of_others_and_to_other_places_are_refused() {
    let (house, visitor) = house();
    let mut thief = house.stranger();
    for (cookie, token) in [
        (None, visitor.token.clone()),
        (visitor.cookie.clone(), "x".to_owned()),
    ] {
        (thief.cookie, thief.token) = (cookie, token);
        assert_eq!(part(&thief, ID, 0, "x").status, StatusCode::FORBIDDEN);
        let reply = form(
            &thief,
            "/drop",
            &[("token", "x"), ("in", "")],
            &[("a.txt", "x")],
        );
        assert!(reply.status.is_client_error(), "{}", reply.status);
    }
    for id in ["../../../etc/passwd", "", "x", &ID[1..], "..%2f..%2fx"] {
        assert_eq!(
            part(&visitor, id, 0, "x").status,
            StatusCode::NOT_FOUND,
            "{id}"
        );
    }
    part(&visitor, ID, 0, "x");
    for name in [
        "../evil",
        "/../evil",
        "a/../../evil",
        ".ravelin-drop/index/00000001.txt",
        "",
        "a\u{0}b",
        ".ravelin-drop/x",
    ] {
        let reply = finish(&visitor, name, "1");
        assert!(reply.status.is_client_error(), "{name}: {}", reply.status);
    }
    let huge = "x".repeat((8 << 20) + 1);
    assert_eq!(
        part(&visitor, ID, 1, &huge).status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let late = form(
        &visitor,
        "/drop",
        &[("in", ""), ("token", &visitor.token)],
        &[("a.txt", "x")],
    );
    assert_eq!(late.status, StatusCode::FORBIDDEN);
    assert!(!visitor.get("/drop").text().contains("a.txt"));
}

#[test]
fn files_have_a_history_and_what_was_deleted_comes_back() {
    let (_house, visitor) = house();
    for content in ["draft", "final"] {
        let token = visitor.token.clone();
        let fields = [("token", token.as_str()), ("in", "")];
        let reply = form(
            &visitor,
            "/drop",
            &fields,
            &[("report.txt", content), ("<b>.txt", "x")],
        );
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    }
    visitor.get("/drop").must_say("This is no backup by itself");
    let history = visitor.get("/drop/history?path=report.txt").text();
    assert_eq!(history.matches("name=\"version\"").count(), 2);
    let oldest = history.rsplit("name=\"version\" value=\"").next().unwrap();
    let oldest = oldest.split('"').next().unwrap();
    visitor.post(
        "/drop/restore",
        &[("path", "report.txt"), ("version", oldest)],
    );
    assert_eq!(visitor.get("/drop/file?path=report.txt").text(), "draft");
    visitor.post("/drop/delete", &[("path", "report.txt")]);
    assert_eq!(
        visitor.get("/drop/file?path=report.txt").status,
        StatusCode::NOT_FOUND
    );
    let page = visitor.get("/drop");
    page.must_say("Deleted").must_say("Bring back");
    assert!(!page.text().contains("<b>.txt"));
    visitor.post("/drop/restore", &[("path", "report.txt")]);
    assert_eq!(visitor.get("/drop/file?path=report.txt").text(), "draft");
}

#[test]
fn names_of_files_are_text_and_what_is_in_them_never_runs_here() {
    let (_house, visitor) = house();
    let names = [
        "<script>alert(1)<\u{2215}script>.html",
        "\"><img src=x onerror=alert(1)>.html",
        "\" onmouseover=\"alert(1).html",
        "a&lt;b;filename=evil.exe",
    ];
    for name in names {
        put(&visitor, name, "<script>alert(1)</script>");
        let path: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        visitor.post("/drop/share", &[("path", name), ("days", "1")]);
        for screen in [
            "/drop".to_owned(),
            format!("/drop/history?path={path}"),
            format!("/drop/links?path={path}"),
            "/activity".to_owned(),
        ] {
            let text = visitor.get(&screen).text();
            for raw in ["<script>alert", "<img src=x", "\" onmouseover"] {
                assert!(!text.contains(raw), "{screen}: {raw}");
            }
        }
        let file = visitor.get(&format!("/drop/file?path={path}"));
        assert_eq!(file.text(), "<script>alert(1)</script>", "{name}");
        assert_eq!(file.header("content-type"), "application/octet-stream");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let saved = file.header("content-disposition");
        assert!(
            saved.starts_with("attachment; filename*=UTF-8''") && !saved.contains(['"', '<', '>']),
            "{saved}"
        );
        visitor.post("/drop/delete", &[("path", name)]);
        assert!(!visitor.get("/drop").text().contains("<img src=x"));
    }
}

#[test]
fn on_dropbox_files_versions_links_and_requests_are_dropboxs_own() {
    let emulator = testkit::emulator::DropboxEmulator::start();
    let house = House::with_variables(vec![
        ("RAVELIN_ENDPOINT_DROPBOX_API", emulator.url()),
        ("RAVELIN_ENDPOINT_DROPBOX_CONTENT", emulator.url()),
        (
            "RAVELIN_ENDPOINT_DROPBOX_AUTHORIZE",
            format!("{}/oauth2/authorize", emulator.url()),
        ),
    ]);
    house.configure_simply();
    let text = fs::read_to_string(house.config_file()).unwrap();
    house.configure(&format!(
        "{text}\n[layer.drop]\nkind = \"drop\"\nstore = \"dropbox:/Drop\"\n"
    ));
    let environment = house.page.machine().store_environment();
    let client = store::Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = store::SignIn::with_code(store::Provider::Dropbox, client, &environment);
    let code = testkit::servers::fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
    let visitor = house.visitor();
    for content in ["draft", "final"] {
        put(&visitor, "report.txt", content);
    }
    visitor.get("/drop").must_say("report.txt");
    assert_eq!(visitor.get("/drop/file?path=report.txt").text(), "final");
    let history = visitor.get("/drop/history?path=report.txt").text();
    assert_eq!(history.matches("name=\"version\"").count(), 2);
    visitor.post("/drop/delete", &[("path", "report.txt")]);
    visitor.get("/drop").must_say("Bring back");
    visitor.post("/drop/restore", &[("path", "report.txt")]);
    assert_eq!(visitor.get("/drop/file?path=report.txt").text(), "final");

    let fields = [("path", "report.txt"), ("days", "7"), ("password", "word")];
    let reply = visitor.post("/drop/share", &fields);
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let page = visitor.get(reply.header("location"));
    page.must_say("The new link").must_say("with a password");
    assert!(!page.text().contains("/s/"), "it is not ours");
    let again = visitor.post("/drop/share", &fields);
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    again.must_say("take that one back first");
    let photos = [("title", "Photos"), ("days", "7")];
    visitor.post("/drop/request", &photos);
    visitor.get("/drop/links").must_say("Photos");
    visitor.post("/drop/revoke-all", &[]);
    let page = visitor.get("/drop/links").text();
    assert!(!page.contains("Photos") && page.matches("None.").count() == 2);
    // What this page would serve elsewhere is not there.
    let guest = house.stranger();
    let address = format!("/s/{}", "A".repeat(64));
    assert_eq!(guest.get(&address).status, StatusCode::NOT_FOUND);
}

#[test]
fn the_folder_is_shown_as_it_was_and_a_file_of_then_comes_back() {
    let (house, visitor) = house();
    put(&visitor, "a/report.txt", "draft");
    put(&visitor, "a/gone.txt", "gone");
    put(&visitor, "a/same.txt", "same");
    let minute = |ahead: i64| {
        let at = engine::clock::system() + jiff::SignedDuration::from_mins(ahead);
        let at = at.strftime("%Y-%m-%dT%H:%M").to_string();
        at.replace(':', "%3A")
    };
    house.wait(jiff::SignedDuration::from_hours(2));
    put(&visitor, "a/report.txt", "final");
    put(&visitor, "a/new.txt", "new");
    visitor.post("/drop/delete", &[("path", "a/gone.txt")]);
    visitor.get("/drop").must_say("As of a time");
    let now = visitor.get("/drop/then?in=a");
    now.must_say("new.txt").must_say("the same today");
    assert!(!now.text().contains("gone.txt"));
    visitor
        .get(&format!("/drop/then?at={}", minute(1)))
        .must_say("in=a");
    let then = visitor.get(&format!("/drop/then?at={}&in=a", minute(1)));
    then.must_say("report.txt")
        .must_say("changed since")
        .must_say("gone.txt")
        .must_say("deleted since");
    let then = then.text();
    assert!(!then.contains("new.txt"));
    let version = then.split("value=\"a/report.txt\"").nth(1).unwrap();
    let version = version.split("name=\"version\" value=\"").nth(1).unwrap();
    let version = version.split('"').next().unwrap();
    let old = visitor.get(&format!(
        "/drop/file?path=a/report.txt&version={}",
        version.replace('.', "%2E")
    ));
    assert_eq!(old.text(), "draft");
    visitor.post(
        "/drop/restore",
        &[("path", "a/report.txt"), ("version", version)],
    );
    assert_eq!(visitor.get("/drop/file?path=a/report.txt").text(), "draft");
    let reply = visitor.get("/drop/then?at=yesterday");
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let before = visitor.get("/drop/then?at=2001-01-01T00%3A00");
    before.must_say("Nothing stands here");
}
