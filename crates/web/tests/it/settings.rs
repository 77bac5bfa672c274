//! The page and a person edit one file.

use std::fs;

use axum::http::StatusCode;

use crate::visitor::{House, Visitor};

/// The value of a hidden field on a screen.
fn hidden(visitor: &Visitor, path: &str, name: &str) -> String {
    let page = visitor.get(path).text();
    let value = page
        .split(&format!("name=\"{name}\" value=\""))
        .nth(1)
        .unwrap();
    value.split('"').next().unwrap().to_owned()
}

#[test]
fn schedule_and_keep_change_in_the_file_and_comments_stay() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    let mark = hidden(&visitor, "/layers", "mark");
    let fields = [
        ("layer", "disk"),
        ("mark", mark.as_str()),
        ("schedule", "hourly"),
        ("daily", "7"),
        ("weekly", "4"),
    ];
    let reply = visitor.post("/layers/change", &fields);
    visitor
        .get(reply.header("location"))
        .must_say("Saved.")
        .must_say("one for each of 7 days");
    let text = fs::read_to_string(house.config_file()).unwrap();
    for part in [
        "# Mine.",
        "# what counts",
        "schedule = \"hourly\" # enough",
        "daily = 7",
        "weekly = 4",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The same form once more is of a file that is not there any more.
    let reply = visitor.post("/layers/change", &fields);
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    reply.must_say("changed by somebody else meanwhile");
    let mut wrong = fields;
    wrong[3].1 = "-1";
    visitor
        .post("/layers/change", &wrong)
        .must_say("whole numbers from 1");
}

#[test]
fn what_rules_would_remove_is_shown_before_they_are_saved() {
    let house = House::new();
    let visitor = house.visitor();
    house.write("Documents/report.txt", "a report");
    let folder = house.home().join("Documents").display().to_string();
    let fields = [
        ("folder", folder.as_str()),
        ("where", "here"),
        ("often", "daily"),
    ];
    visitor.do_and_wait("/welcome", &fields);
    visitor.do_and_wait("/backup", &[]);
    let before = fs::read_to_string(house.config_file()).unwrap();
    let fields = [("layer", "disk"), ("schedule", "daily"), ("last", "1")];
    let reply = visitor.post("/layers/keep", &fields);
    reply
        .must_say("1 backup would go with the next run")
        .must_say("1 would stay");
    assert_eq!(fs::read_to_string(house.config_file()).unwrap(), before);
}

#[test]
fn a_layer_is_read_back_and_drilled_from_the_page() {
    let house = House::new();
    let visitor = house.visitor();
    house.write("Documents/report.txt", "a report");
    let folder = house.home().join("Documents").display().to_string();
    let fields = [
        ("folder", folder.as_str()),
        ("where", "here"),
        ("often", "daily"),
    ];
    visitor.do_and_wait("/welcome", &fields);
    let done = visitor.do_and_wait("/layers/verify", &[("layer", "disk"), ("depth", "data")]);
    done.must_say("Everything reads back as it was written");
    let done = visitor.do_and_wait("/layers/drill", &[("layer", "disk")]);
    done.must_say("Files came back as they were");
    visitor.get("/").must_say("2 files came back unchanged");
    let reply = visitor.post("/layers/drill", &[("layer", "nowhere")]);
    reply.must_say("No layer of the configuration has this name");
}

#[test]
fn sources_change_in_the_file_and_commands_cannot() {
    let house = House::new();
    house.configure_simply();
    let visitor = house.visitor();
    let mark = hidden(&visitor, "/sources", "mark");
    house.write("Videos/film", "a film");
    let fields = [
        ("source", "0"),
        ("mark", mark.as_str()),
        ("paths", "~/Documents\n~/Videos\n"),
        ("preset", "caches"),
        ("exclude", "~/Videos/film\n"),
        // What no form of ours has changes nothing.
        ("command", "touch /tmp/evil"),
        ("hook", "touch /tmp/evil"),
    ];
    let preview = visitor.post("/sources/preview", &fields);
    preview
        .must_say("Videos/film")
        .must_say("Would be backed up");
    let reply = visitor.post("/sources", &fields);
    visitor.get(reply.header("location")).must_say("Saved.");
    let text = fs::read_to_string(house.config_file()).unwrap();
    assert!(
        text.contains("\"~/Documents\", \"~/Videos\"] # what counts"),
        "{text}"
    );
    assert!(text.contains("presets = [\"caches\"]"), "{text}");
    assert!(!text.contains("evil"), "{text}");
    visitor
        .get("/sources?explain=~/Videos/film")
        .must_say("Not in the backup");
    visitor
        .get("/sources?explain=~/Documents/report.txt")
        .must_say("In the backup");
    visitor
        .get("/sources?explain=/etc/hosts")
        .must_say("No source names it");

    // A value cannot leave its quotes.
    let mark = hidden(&visitor, "/sources", "mark");
    let evil = "/srv/\"]\n[[hook]]\non = \"before\"\ncommand = [\"touch\", \"/tmp/evil\"]";
    let fields = [("source", "0"), ("mark", mark.as_str()), ("paths", evil)];
    let reply = visitor.post("/sources", &fields);
    reply.must_say("The configuration holds mistakes");
    let after = fs::read_to_string(house.config_file()).unwrap();
    assert_eq!(after, text);
    let evil = "/srv/\"] # [[hook]] command = [\"touch\"]";
    let fields = [("source", "0"), ("mark", mark.as_str()), ("paths", evil)];
    visitor.post("/sources", &fields);
    let config = engine::Config::read(&house.config_file(), &house.page.machine().places).unwrap();
    assert!(config.hooks.is_empty());
    assert_eq!(config.sources[0].paths[0].display().to_string(), evil);
}

#[test]
fn a_source_that_is_a_command_is_shown_and_cannot_be_changed() {
    let house = House::new();
    let folder = house.folder.path().display().to_string();
    house.configure(&format!(
        "[[source]]\nname = \"database\"\ncommand = [\"pg_dumpall\"]\noutput = \"all.sql\"\n[layer.disk]\n\
         kind = \"borg\"\nencryption = \"none\"\nstore = \"{folder}/store\"\n"
    ));
    let visitor = house.visitor();
    let page = visitor.get("/sources");
    page.must_say("pg_dumpall")
        .must_say("Commands are set in the configuration file only");
    assert!(!page.text().contains("<textarea"));
    let reply = visitor.post("/sources", &[("source", "0"), ("paths", "/etc")]);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}
