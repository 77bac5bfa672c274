//! Getting files back through the page.

use std::fs;
use std::path::Path;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::visitor::{House, Visitor};

/// A house with one backup of its documents.
fn protected() -> (House, Visitor) {
    let house = House::new();
    let visitor = house.visitor();
    house.write("Documents/report.txt", "the first report");
    house.write("Documents/letters/ann.txt", "dear Ann");
    let folder = house.home().join("Documents").display().to_string();
    let fields = [
        ("folder", folder.as_str()),
        ("where", "here"),
        ("often", "daily"),
    ];
    visitor
        .do_and_wait("/welcome", &fields)
        .must_say("one file restored as proof");
    (house, visitor)
}

fn key(path: &Path) -> String {
    let text = path.display().to_string();
    URL_SAFE_NO_PAD.encode(text.trim_start_matches('/'))
}

#[test]
fn a_deleted_file_is_found_by_its_name_and_put_back() {
    let (house, visitor) = protected();
    let report = house.home().join("Documents/report.txt");
    visitor
        .get("/restore?q=REPORT")
        .must_say("there, as backed up");
    fs::remove_file(&report).unwrap();
    visitor
        .get("/restore?q=report")
        .must_say("1 found")
        .must_say("not there any more")
        .must_say("Put back");
    let back = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", &key(&report)),
        ("where", "back"),
    ];
    let done = visitor.do_and_wait("/restore", &back);
    done.must_say("Your files are back").must_say("Created");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the first report");
    visitor
        .get("/activity")
        .must_say("Restore started")
        .must_say("report.txt");
    visitor
        .get("/restore?q=nothing-of-the-kind")
        .must_say("No backup holds this");
}

#[test]
fn what_stands_in_the_way_is_shown_first_and_never_lost_unasked() {
    let (house, visitor) = protected();
    let report = house.home().join("Documents/report.txt");
    fs::write(&report, "the second report, longer").unwrap();
    visitor
        .get("/restore?q=report")
        .must_say("there, but different");
    let name = key(&report);
    let back = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", name.as_str()),
        ("where", "back"),
    ];
    let reply = visitor.post("/restore", &back);
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let place = reply.header("location").to_owned();
    assert!(place.starts_with("/restore/plan"), "{place}");
    visitor.get(&place).must_say("Put beside what stands there");

    let sure = [back.as_slice(), &[("sure", "yes")]].concat();
    visitor
        .do_and_wait("/restore", &sure)
        .must_say("came back beside it");
    assert_eq!(
        fs::read_to_string(&report).unwrap(),
        "the second report, longer"
    );
    let beside = house.home().join("Documents/report (restored).txt");
    assert_eq!(fs::read_to_string(beside).unwrap(), "the first report");

    let place = format!("{place}&conflict=overwrite");
    visitor.get(&place).must_say("Replaced");
    let over = [sure.as_slice(), &[("conflict", "overwrite")]].concat();
    visitor.do_and_wait("/restore", &over).must_say("Replaced");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the first report");
}

#[test]
fn several_files_come_back_into_another_folder() {
    let (house, visitor) = protected();
    let target = house.folder.path().join("elsewhere").display().to_string();
    let (report, letters) = (
        key(&house.home().join("Documents/report.txt")),
        key(&house.home().join("Documents/letters")),
    );
    let wish = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", report.as_str()),
        ("path", letters.as_str()),
        ("where", "elsewhere"),
        ("to", target.as_str()),
    ];
    visitor
        .do_and_wait("/restore", &wish)
        .must_say("Your files are back");
    let read = |path: &str| fs::read_to_string(Path::new(&target).join(path)).unwrap();
    assert_eq!(read("report.txt"), "the first report");
    assert_eq!(read("letters/ann.txt"), "dear Ann");
    let mut relative = wish;
    relative[5].1 = "relative";
    let reply = visitor.post("/restore", &relative);
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let reply = visitor.post("/restore", &wish[..2]);
    reply.must_say("Nothing was ticked");
}

#[test]
fn folders_are_browsed_as_they_were_and_files_downloaded() {
    let (house, visitor) = protected();
    let documents = key(&house.home().join("Documents"));
    let listed = visitor.get(&format!("/restore/browse?layer=disk&path={documents}"));
    listed
        .must_say("report.txt")
        .must_say("letters")
        .must_say("<option");
    assert!(!listed.text().contains("ann.txt"));
    let report = key(&house.home().join("Documents/report.txt"));
    let file = visitor.get(&format!(
        "/restore/download?layer=disk&snapshot=latest&path={report}"
    ));
    assert_eq!(file.text(), "the first report");
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert!(
        file.header("content-disposition")
            .starts_with("attachment; filename*=UTF-8''report")
    );
    visitor
        .get(&format!("/restore/versions?path={report}"))
        .must_say("All versions of this path")
        .must_say("Download");
    // A folder is no file, and what is not there is not given.
    for path in [&documents, &key(Path::new("/etc/passwd"))] {
        let reply = visitor.get(&format!("/restore/download?layer=disk&path={path}"));
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!reply.text().contains("root:"));
    }
    let reply = visitor.get("/restore/browse?layer=nowhere");
    reply.must_say("No layer of the configuration has this name");
}

#[test]
fn a_name_that_is_markup_is_text_wherever_it_is_shown() {
    let house = House::new();
    let visitor = house.visitor();
    let evil = "<img src=x onerror=alert(1)>\"' \u{202e}txt.exe\r\nX-Evil: 1";
    house.write(&format!("Documents/{evil}"), "x");
    let folder = house.home().join("Documents").display().to_string();
    let fields = [
        ("folder", folder.as_str()),
        ("where", "here"),
        ("often", "daily"),
    ];
    visitor.do_and_wait("/welcome", &fields);
    let documents = key(&house.home().join("Documents"));
    let file = URL_SAFE_NO_PAD.encode(
        house
            .home()
            .join("Documents")
            .join(evil)
            .display()
            .to_string()
            .trim_start_matches('/'),
    );
    for path in [
        "/restore?q=img".to_owned(),
        format!("/restore/browse?layer=disk&path={documents}"),
        format!("/restore/versions?path={file}"),
        format!("/restore/plan?layer=disk&path={file}"),
        "/restore?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
    ] {
        let text = visitor.get(&path).text();
        assert!(
            !text.contains("<img src=x") && !text.contains("<script>alert"),
            "{path}"
        );
        assert!(!text.contains("\r\nX-Evil"), "{path}");
    }
    let reply = visitor.get(&format!("/restore/download?layer=disk&path={file}"));
    assert_eq!(reply.bytes, b"x");
    assert!(reply.headers.get("x-evil").is_none());
    assert!(reply.header("content-disposition").is_ascii());
}
