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
fn a_search_asks_the_catalogue_and_no_layer_that_is_wholly_in_it() {
    let (house, visitor) = protected();
    let text = fs::read_to_string(house.config_file()).unwrap();
    let store = text.split("store = \"").nth(1).unwrap();
    let store = store
        .split('"')
        .next()
        .unwrap()
        .replace('~', &house.home().display().to_string());
    let away = format!("{store}-away");
    fs::rename(&store, &away).unwrap();
    let report = key(&house.home().join("Documents/report.txt"));
    let versions = format!("/restore/versions?path={report}");
    visitor
        .get("/restore?q=report")
        .must_say("1 found")
        .must_say("there, as backed up");
    visitor
        .get(&versions)
        .must_say("16\u{a0}B")
        .must_say("Download");
    let letters = key(&house.home().join("Documents/letters"));
    visitor
        .get(&format!("/restore/versions?path={letters}"))
        .must_say("/restore/pack");
    let nothing = key(&house.home().join("Documents/nothing.txt"));
    visitor
        .get(&format!("/restore/versions?path={nothing}"))
        .must_say("No backup holds this");

    // Without the catalogue the layer itself is looked through, and until it is there it is told why not.
    for entry in fs::read_dir(house.home().join(".cache/ravelin")).unwrap() {
        let path = entry.unwrap().path();
        if path.display().to_string().contains("catalogue.sqlite") {
            fs::remove_file(path).unwrap();
        }
    }
    let reply = visitor.get("/restore?q=report");
    reply.must_say("0 found").must_say("note bad");
    fs::rename(&away, &store).unwrap();
    visitor.get("/restore?q=report").must_say("1 found");
    visitor.get(&versions).must_say("16\u{a0}B");
    visitor
        .do_and_wait("/restore/catalogue", &[])
        .must_say("Every backup is in the search now");
    fs::rename(&store, &away).unwrap();
    visitor.get("/restore?q=report").must_say("1 found");
}

#[test]
fn a_basket_gathers_what_comes_back_together() {
    let (house, visitor) = protected();
    let (report, letter) = (
        house.home().join("Documents/report.txt"),
        house.home().join("Documents/letters/ann.txt"),
    );
    let found = visitor.get("/restore?q=report").text();
    let snapshot = found.split("name=\"snapshot\" value=\"").nth(1).unwrap();
    let snapshot = snapshot.split('"').next().unwrap();
    assert!(!found.contains("Basket:"), "it is empty");
    let pick = |path: &Path, from: &str| {
        let fields = [
            ("layer", "disk"),
            ("snapshot", snapshot),
            ("path", &key(path)),
            ("from", from),
        ];
        visitor.post("/restore/basket", &fields)
    };
    let picked = pick(&report, "/restore?q=report");
    let back = picked.header("location");
    assert_eq!(back, "/restore?q=report&told=picked");
    visitor.get(back).must_say("It is in the basket.");
    // It leads to pages of ours alone.
    let elsewhere = pick(&report, "https://evil.example/restore?");
    assert_eq!(elsewhere.header("location"), "/restore/basket");
    let ticked = format!(
        "/restore/basket?layer=disk&snapshot={snapshot}&path={}",
        key(&letter)
    );
    visitor.get(&ticked).must_say("What you have ticked");
    pick(&letter, "");
    pick(&house.home().join("Documents/none"), "");
    let fields = [
        ("layer", "disk"),
        ("snapshot", snapshot),
        ("path", &key(&house.home().join("Documents/none"))),
        ("do", "remove"),
    ];
    visitor.post("/restore/basket", &fields);
    visitor.get("/restore").must_say("Basket: 2 things");

    fs::remove_file(&report).unwrap();
    fs::remove_file(&letter).unwrap();
    let of = format!("basket=1&layer=disk&snapshot={snapshot}");
    visitor
        .get("/restore/basket")
        .must_say("basket=1&amp;layer=disk&amp;snapshot=")
        .must_say("ann.txt");
    let packed = visitor.get(&format!("/restore/pack?{of}"));
    assert_eq!(packed.status, StatusCode::OK);
    visitor
        .get(&format!("/restore/plan?{of}"))
        .must_say("report.txt")
        .must_say("name=\"basket\"");
    let back = [
        ("layer", "disk"),
        ("snapshot", snapshot),
        ("basket", "1"),
        ("where", "back"),
    ];
    let done = visitor.do_and_wait("/restore", &back);
    done.must_say("Your files are back");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the first report");
    assert_eq!(fs::read_to_string(&letter).unwrap(), "dear Ann");
    visitor
        .get("/restore/basket")
        .must_say("Nothing is in the basket");
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

/// The files of a tar file and what is in them.
fn unpacked(bytes: &[u8]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.tar"), bytes).unwrap();
    let mut tar = std::process::Command::new("tar");
    let _ = testkit::run(tar.current_dir(folder.path()).args(["-xf", "x.tar"]));
    fs::remove_file(folder.path().join("x.tar")).unwrap();
    let mut find = std::process::Command::new("find");
    let find = find.current_dir(folder.path());
    let found = testkit::run(find.args([".", "-type", "f", "-printf", "%P\n"]));
    let mut files: Vec<(String, String)> = found
        .lines()
        .map(|path| {
            let content = fs::read_to_string(folder.path().join(path)).unwrap();
            (path.to_owned(), content)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn folders_and_what_is_ticked_come_as_one_tar_file() {
    let (house, visitor) = protected();
    let (documents, report, letters) = (
        key(&house.home().join("Documents")),
        key(&house.home().join("Documents/report.txt")),
        key(&house.home().join("Documents/letters")),
    );
    let ask = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| format!("&path={path}")).collect();
        visitor.get(&format!("/restore/pack?layer=disk{}", paths.concat()))
    };
    let listed = visitor.get(&format!("/restore/browse?layer=disk&path={documents}"));
    listed
        .must_say("Download this folder as a tar file")
        .must_say("Download what is ticked as a tar file");
    let folder = ask(&[&documents]);
    let name = folder.header("content-disposition");
    assert!(name.starts_with("attachment; filename*=UTF-8''Documents%20"));
    assert!(name.ends_with("%2Etar"), "{name}");
    let pair = |path: &str, content: &str| (path.to_owned(), content.to_owned());
    assert_eq!(
        unpacked(&folder.bytes),
        [
            pair("Documents/letters/ann.txt", "dear Ann"),
            pair("Documents/report.txt", "the first report"),
        ]
    );
    assert_eq!(
        unpacked(&ask(&[&report, &letters]).bytes),
        [
            pair("letters/ann.txt", "dear Ann"),
            pair("report.txt", "the first report"),
        ]
    );
    ask(&[]).must_say("Nothing was ticked");
    let reply = ask(&[&report, &key(Path::new("/etc/passwd"))]);
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!reply.text().contains("root:"));
}

#[test]
fn a_layer_that_writes_no_tar_file_gives_one_by_way_of_a_scratch_folder() {
    let house = House::new();
    house.configure_simply();
    let text = fs::read_to_string(house.config_file()).unwrap();
    let store = house.folder.path().join("drop");
    fs::create_dir_all(&store).unwrap();
    house.configure(&format!(
        "{text}\n[layer.drop]\nkind = \"drop\"\nstore = \"{}\"\nfolder = \"~/Drop\"\n",
        store.display()
    ));
    let visitor = house.visitor();
    visitor.post("/drop/create", &[]);
    crate::dropping::put(&visitor, "trip/plan.txt", "by train");
    let trip = key(&house.home().join("Drop/trip"));
    let reply = visitor.get(&format!("/restore/pack?layer=drop&path={trip}"));
    assert_eq!(
        unpacked(&reply.bytes),
        [("trip/plan.txt".to_owned(), "by train".to_owned())]
    );
    let left = house.home().join(".cache/ravelin/pack");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);
}

#[test]
fn what_a_restore_has_replaced_comes_back_and_that_can_be_undone_too() {
    let (house, visitor) = protected();
    let report = house.home().join("Documents/report.txt");
    let ann = house.home().join("Documents/letters/ann.txt");
    fs::write(&report, "a week of work").unwrap();
    fs::set_permissions(&report, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let modified = fs::metadata(&report).unwrap().modified().unwrap();
    fs::remove_file(&ann).unwrap();
    std::os::unix::fs::symlink("elsewhere", &ann).unwrap();
    let documents = key(&house.home().join("Documents"));
    let wish = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", documents.as_str()),
        ("where", "back"),
        ("conflict", "overwrite"),
        ("sure", "yes"),
    ];
    let undo_of = |page: &str| {
        let rest = page.split("name=\"undo\" value=\"").nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let done = visitor.do_and_wait("/restore", &wish);
    done.must_say("This can be undone for a week");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the first report");
    assert_eq!(fs::read_to_string(&ann).unwrap(), "dear Ann");

    visitor
        .get("/restore")
        .must_say("Restores that can be undone")
        .must_say("(+1)");
    let undo = undo_of(&done.text());
    let undone = visitor.do_and_wait("/restore/undo", &[("undo", &undo)]);
    undone.must_say("Undone");
    assert_eq!(fs::read_to_string(&report).unwrap(), "a week of work");
    let found = fs::metadata(&report).unwrap();
    assert_eq!(found.modified().unwrap(), modified);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777,
        0o640
    );
    assert_eq!(fs::read_link(&ann).unwrap(), Path::new("elsewhere"));

    // The one that was used is over, and what it replaced is kept in turn.
    let reply = visitor.post("/restore/undo", &[("undo", &undo)]);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let again = undo_of(&undone.text());
    visitor.do_and_wait("/restore/undo", &[("undo", &again)]);
    assert_eq!(fs::read_to_string(&report).unwrap(), "the first report");
    assert_eq!(fs::read_to_string(&ann).unwrap(), "dear Ann");

    for id in ["../../x", "", "0123"] {
        let reply = visitor.post("/restore/undo", &[("undo", id)]);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{id}");
    }
    // After a week nothing is left of it.
    house.wait(jiff::SignedDuration::from_hours(8 * 24));
    assert_eq!(
        fs::read_dir(house.home().join(".local/state/ravelin/undo"))
            .unwrap()
            .count(),
        1
    );
    let visitor = house.visitor();
    assert!(!visitor.get("/restore").text().contains("can be undone"));
    assert_eq!(
        fs::read_dir(house.home().join(".local/state/ravelin/undo"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_a_restore_has_created_goes_again_unless_it_was_changed_since() {
    let (house, visitor) = protected();
    let documents = house.home().join("Documents");
    fs::remove_dir_all(&documents).unwrap();
    let wish = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", &*key(&documents)),
    ];
    let done = visitor.do_and_wait("/restore", &wish);
    let (report, ann) = (
        documents.join("report.txt"),
        documents.join("letters/ann.txt"),
    );
    assert_eq!(fs::read_to_string(&ann).unwrap(), "dear Ann");
    // The clock of files stands still for some milliseconds, in which nobody writes by hand.
    std::thread::sleep(std::time::Duration::from_millis(20));
    // Written by hand since, and as long as before.
    let modified = fs::metadata(&report).unwrap().modified().unwrap();
    fs::write(&report, "the worst report").unwrap();
    fs::File::options()
        .write(true)
        .open(&report)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let id = done.text();
    let id = id.split("name=\"undo\" value=\"").nth(1).unwrap();
    let id = id.split('"').next().unwrap();
    let undone = visitor.do_and_wait("/restore/undo", &[("undo", id)]);
    undone
        .must_say("Taken away again")
        .must_say("Left, because it was changed since");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the worst report");
    assert!(!documents.join("letters").exists());
    // What was taken away comes back, should that have been wrong.
    let id = undone.text();
    let id = id.split("name=\"undo\" value=\"").nth(1).unwrap();
    let id = id.split('"').next().unwrap();
    visitor.do_and_wait("/restore/undo", &[("undo", id)]);
    assert_eq!(fs::read_to_string(&ann).unwrap(), "dear Ann");
    assert_eq!(fs::read_to_string(&report).unwrap(), "the worst report");
}

#[test]
fn nothing_is_taken_away_through_a_link_and_nothing_that_took_its_place() {
    let (house, visitor) = protected();
    let documents = house.home().join("Documents");
    let letters = documents.join("letters");
    fs::remove_dir_all(&letters).unwrap();
    let wish = [
        ("layer", "disk"),
        ("snapshot", "latest"),
        ("path", &*key(&letters)),
    ];
    let done = visitor.do_and_wait("/restore", &wish);
    // The folder stands elsewhere now, and a link to it in its place.
    let elsewhere = house.home().join("elsewhere");
    fs::rename(&letters, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &letters).unwrap();
    let id = done.text();
    let id = id.split("name=\"undo\" value=\"").nth(1).unwrap();
    let id = id.split('"').next().unwrap();
    visitor
        .do_and_wait("/restore/undo", &[("undo", id)])
        .must_say("Left, because it was changed since");
    assert_eq!(
        fs::read_to_string(elsewhere.join("ann.txt")).unwrap(),
        "dear Ann"
    );
}
