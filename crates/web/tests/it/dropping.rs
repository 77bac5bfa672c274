//! The drop folder through the page, its links, and those who follow them.

use std::fs;

use axum::body::Body;
use axum::http::StatusCode;

use crate::visitor::{House, Reply, Visitor};

fn house() -> (House, Visitor) {
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

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Sends a part of an upload.
fn part(visitor: &Visitor, id: &str, at: usize, bytes: &str) -> Reply {
    let request = visitor
        .request("PUT", &format!("/drop/part?id={id}&at={at}"))
        .header("x-ravelin-token", &visitor.token);
    visitor.send(request.body(Body::from(bytes.to_owned())).unwrap())
}

fn finish(visitor: &Visitor, name: &str, size: &str) -> Reply {
    let fields = [
        ("id", ID),
        ("name", name),
        ("size", size),
        ("modified", "1800000000000"),
    ];
    visitor.post("/drop/finish", &fields)
}

/// A form with files as browsers write it without script.
fn form(visitor: &Visitor, path: &str, fields: &[(&str, &str)], files: &[(&str, &str)]) -> Reply {
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
        ".ravelin/index",
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

/// The address behind a prefix that stands on the page of links.
fn link(visitor: &Visitor, prefix: &str) -> String {
    let page = visitor.get("/drop/links").text();
    let rest = page.split(prefix).nth(1).unwrap();
    format!("{prefix}{}", rest.split('<').next().unwrap())
}

#[test]
fn a_guest_gets_one_file_by_its_link_and_nothing_else() {
    let (house, visitor) = house();
    part(&visitor, ID, 0, "secret plans");
    finish(&visitor, "plans.txt", "12");
    let fields = [
        ("path", "plans.txt"),
        ("days", "7"),
        ("password", "open sesame"),
    ];
    let reply = visitor.post("/drop/share", &fields);
    assert_eq!(reply.header("location"), "/drop/links?told=shared");
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    let shown = guest.get(&address);
    shown.must_say("plans.txt").must_say("Password");
    assert!(!shown.text().contains("12 B") && !shown.text().contains("/activity"));
    assert_eq!(guest.post(&address, &[]).status, StatusCode::FORBIDDEN);
    guest
        .post(&address, &[("password", "wrong")])
        .must_say("password is wrong");
    let file = guest.post(&address, &[("password", "open sesame")]);
    assert_eq!(file.text(), "secret plans");
    assert!(file.header("content-disposition").starts_with("attachment"));
    visitor.get("/activity").must_say("A link was used");

    let forged = format!("{}x", &address[..address.len() - 1]);
    for other in [forged.as_str(), "/s/", "/s/..%2f..", "/s/plans.txt"] {
        let reply = guest.get(other);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{other}");
    }
    assert_eq!(guest.get("/drop").status, StatusCode::UNAUTHORIZED);
    visitor.post("/drop/revoke-all", &[]);
    assert_eq!(guest.get(&address).status, StatusCode::NOT_FOUND);
}

#[test]
fn a_link_for_one_use_is_used_up_by_taking_and_not_by_looking() {
    let (house, visitor) = house();
    part(&visitor, ID, 0, "x");
    finish(&visitor, "one.txt", "1");
    visitor.post(
        "/drop/share",
        &[("path", "one.txt"), ("days", "1"), ("once", "yes")],
    );
    let address = link(&visitor, "/s/");
    let guest = house.stranger();
    for _ in 0..3 {
        assert_eq!(guest.get(&address).status, StatusCode::OK);
    }
    assert_eq!(guest.post(&address, &[]).text(), "x");
    assert_eq!(guest.post(&address, &[]).status, StatusCode::GONE);
}

#[test]
fn guests_send_files_into_quarantine_and_no_further() {
    let (house, visitor) = house();
    visitor.post("/drop/request", &[("title", "Photos <b>"), ("days", "7")]);
    let address = link(&visitor, "/r/");
    let guest = house.stranger();
    let shown = guest.get(&address);
    shown.must_say("Photos &lt;b&gt;");
    let sent = form(
        &guest,
        &address,
        &[],
        &[("sea.jpg", "the sea"), ("hill.jpg", "the hill")],
    );
    sent.must_say("2 files");
    for name in [".hidden", "../evil", "a/b"] {
        let reply = form(&guest, &address, &[], &[(name, "x")]);
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
    assert!(!visitor.get("/drop").text().contains("sea.jpg"));
    let page = visitor.get("/drop/links");
    page.must_say("sea.jpg").must_say("hill.jpg");
    let hidden = |name: &str| {
        let text = visitor.get("/drop/links").text();
        let before = text.split(name).nth(1).unwrap().to_owned();
        let field = |field: &str| {
            let rest = before
                .split(&format!("name=\"{field}\" value=\""))
                .nth(1)
                .unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        (field("id"), field("object"))
    };
    let (id, object) = hidden("sea.jpg</bdi>");
    visitor.post("/drop/accept", &[("id", &id), ("object", &object)]);
    visitor.get("/drop?in=Received").must_say("sea.jpg");
    let (id, object) = hidden("hill.jpg</bdi>");
    visitor.post("/drop/reject", &[("id", &id), ("object", &object)]);
    assert!(!visitor.get("/drop/links").text().contains("hill.jpg"));
    // What is no upload of this request cannot be taken in.
    let reply = visitor.post("/drop/accept", &[("id", &id), ("object", "plans.txt")]);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    visitor.post("/drop/close", &[("id", &id)]);
    assert_eq!(guest.get(&address).status, StatusCode::NOT_FOUND);
    let late = form(&guest, &address, &[], &[("late.jpg", "x")]);
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
}
