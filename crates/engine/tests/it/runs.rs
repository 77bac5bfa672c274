//! Backups: one read, several layers, each on its own.

use std::collections::BTreeMap;
use std::time::Duration;

use ravelin_engine::layer::{Error, Statistics};
use ravelin_engine::status::State;
use ravelin_engine::{Code, Event, LayerResult, Outcome, Wanted};

use crate::memory::Fault;
use crate::workshop::{Workshop, wait_hours, wait_minutes};

fn expected<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
    files
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn every_layer_holds_the_same_moment_after_one_read() {
    let workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.write("folder/b", &"long ".repeat(400_000));
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, Outcome::Good);
    assert_eq!(report.totals.files, 2);
    assert_eq!(report.totals.read_bytes, 2_000_003);
    let files = expected([("a", "one"), ("folder/b", &"long ".repeat(400_000))]);
    assert_eq!(workshop.newest("disk"), files);
    assert_eq!(workshop.newest("second"), files);
    assert_eq!(
        workshop.snapshots("disk")[0].name,
        "nas-2026-11-24T07:30:00"
    );
}

#[test]
fn a_layer_that_holds_the_others_up_is_left_behind_and_finishes_alone() {
    let mut workshop = Workshop::new(&["slow", "disk"]);
    for number in 0..3000 {
        workshop.write(&format!("folder/{number:05}"), "x");
    }
    // It goes on when the other one has committed, so nobody may wait for it.
    workshop.waits.insert("slow".to_owned(), "disk".to_owned());
    let report = workshop.with(|context, watch| {
        let mut plan = ravelin_engine::plan(context, &Wanted::All).unwrap();
        plan.patience = Duration::from_millis(50);
        ravelin_engine::run(&plan, context, watch).unwrap()
    });
    assert_eq!(report.outcome, Outcome::Good, "{report:?}");
    assert_eq!(report.totals.files, 3000);
    assert_eq!(workshop.newest("disk").len(), 3000);
    assert_eq!(workshop.newest("slow"), workshop.newest("disk"));
    let events = workshop.events.lock().unwrap();
    let layers: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::LeftBehind { layer, .. } | Event::LayerDone { layer, .. } => {
                Some(layer.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(layers, ["slow", "disk", "slow"]);
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.back_up(&Wanted::Named(vec!["disk".to_owned()]));
    workshop.write("b", "two");
    let report = workshop.back_up(&Wanted::Named(vec!["disk".to_owned()]));
    assert_eq!(report.totals.read_bytes, 3);
    // Read for the second layer only, and no burden on the first.
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.totals.read_bytes, 6);
    let LayerResult::Done { statistics, .. } = &report.layers[0].result else {
        panic!("{report:?}");
    };
    assert_eq!(
        *statistics,
        Statistics {
            files: 2,
            bytes: 6,
            added_bytes: 0
        }
    );
    assert_eq!(workshop.newest("disk"), workshop.newest("second"));
}

#[test]
fn a_layer_that_fails_at_any_moment_leaves_the_others_alone() {
    for fault in [Fault::Begin, Fault::Take(1), Fault::Take(50), Fault::Commit] {
        let mut workshop = Workshop::new(&["broken", "disk"]);
        for number in 0..100 {
            workshop.write(&format!("{number}"), "x");
        }
        workshop.faults.insert("broken".to_owned(), fault);
        let report = workshop.back_up(&Wanted::All);
        assert_eq!(report.outcome, Outcome::Partial, "{fault:?}");
        let LayerResult::Failed { failure } = &report.layers[0].result else {
            panic!("{report:?}");
        };
        assert_eq!(failure.code, Code::DiskFull);
        assert!(workshop.snapshots("broken").is_empty());
        assert_eq!(workshop.newest("disk").len(), 100);
        let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
        let states: Vec<State> = status.layers.iter().map(|layer| layer.state).collect();
        assert_eq!(states, [State::Failed, State::Good]);
        assert_eq!(status.layers[0].failure.as_ref(), Some(failure));
        assert_eq!(status.good, 1);
    }
}

#[test]
fn when_all_layers_fail_the_run_has_failed() {
    let mut workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    workshop.faults.insert("disk".to_owned(), Fault::Begin);
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.common_failure(), Some(Code::DiskFull));
    assert_eq!(report.totals.entries, 0, "nothing is read for nobody");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_backed_up() {
    let mut workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    let missing = workshop.source().with_file_name("missing");
    workshop.config.sources[0].paths.push(missing);
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, Outcome::Skipped);
    assert_eq!(report.problems.count, 1);
    assert!(report.problems.first[0].path.path.ends_with("home/missing"));
    assert_eq!(workshop.newest("disk"), expected([("a", "one")]));
    let events = workshop.events.lock().unwrap();
    assert!(events.contains(&Event::Problem(report.problems.first[0].clone())));
}

#[test]
fn a_snapshot_of_nothing_is_not_made() {
    let workshop = Workshop::new(&["disk"]);
    std::fs::remove_dir_all(workshop.source()).unwrap();
    let error =
        workshop.with(|context, _| ravelin_engine::plan(context, &Wanted::All).unwrap_err());
    assert_eq!(ravelin_engine::explain(&error).code, Code::NothingToBackUp);
}

#[test]
fn a_run_that_is_stopped_commits_nothing() {
    let workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.stop.request();
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, Outcome::Stopped);
    assert!(workshop.snapshots("disk").is_empty());
    assert!(workshop.snapshots("second").is_empty());
}

#[test]
fn what_is_due_is_decided_from_the_last_success() {
    let mut workshop = Workshop::new(&["disk", "second"]);
    workshop.config.layers[0].schedule = ravelin_engine::Schedule::Hourly;
    workshop.write("a", "one");
    let due = |workshop: &Workshop| {
        let plan = workshop.with(|context, _| ravelin_engine::plan(context, &Wanted::Due).unwrap());
        plan.layers
            .into_iter()
            .map(|layer| layer.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(due(&workshop), ["disk", "second"]);
    workshop.back_up(&Wanted::Due);
    assert!(due(&workshop).is_empty());
    wait_hours(5);
    assert_eq!(due(&workshop), ["disk"]);
    workshop.faults.insert("disk".to_owned(), Fault::Commit);
    workshop.back_up(&Wanted::Due);
    assert!(due(&workshop).is_empty(), "not again at once");
    wait_minutes(10);
    assert_eq!(due(&workshop), ["disk"], "a failure is no success");
    wait_hours(24);
    assert_eq!(due(&workshop), ["disk", "second"]);
}

#[test]
fn two_runs_in_one_second_get_two_names() {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    for _ in 0..3 {
        workshop.back_up(&Wanted::All);
    }
    let names: Vec<String> = workshop
        .snapshots("disk")
        .into_iter()
        .map(|s| s.name)
        .collect();
    let base = "nas-2026-11-24T07:30:00";
    assert_eq!(
        names,
        [base.to_owned(), format!("{base}.2"), format!("{base}.3")]
    );
}

#[test]
fn the_history_tells_the_same_as_the_events() {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    workshop.back_up(&Wanted::All);
    let history = ravelin_engine::History::new(&workshop.machine.places.state);
    let operations: Vec<_> = history.operations().unwrap().collect();
    let events = workshop.events.lock().unwrap();
    let kept: Vec<Event> = events
        .iter()
        .filter(|event| event.is_kept())
        .cloned()
        .collect();
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].events, kept);
    let names: Vec<String> = kept
        .iter()
        .map(|event| {
            serde_json::to_value(event).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        names,
        [
            "started",
            "layer-started",
            "committing",
            "layer-done",
            "finished"
        ]
    );
}

#[test]
fn a_report_is_json_that_scripts_can_rely_on() {
    let mut workshop = Workshop::new(&["disk", "broken"]);
    workshop.write("a", "one");
    workshop.faults.insert("broken".to_owned(), Fault::Begin);
    let report = workshop.back_up(&Wanted::All);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["outcome"], "partial");
    assert_eq!(json["started"], "2026-11-24T07:30:00Z");
    assert_eq!(json["totals"]["bytes"], 3);
    assert_eq!(json["layers"][0]["layer"], "disk");
    assert_eq!(json["layers"][0]["result"], "done");
    assert_eq!(json["layers"][0]["statistics"]["files"], 1);
    assert_eq!(json["layers"][1]["result"], "failed");
    assert_eq!(json["layers"][1]["failure"]["code"], "disk-full");
    assert_eq!(json["layers"][1]["failure"]["next"]["do"], "advice");
    assert_eq!(json["problems"]["count"], 0);
}

#[test]
fn a_layer_of_another_kind_is_left_out_unless_it_is_named() {
    let mut workshop = Workshop::new(&["disk", "later"]);
    workshop.config.layers[1].kind = ravelin_engine::config::Kind::Drop {
        folder: None,
        watch: false,
    };
    let plan = workshop.with(|context, _| ravelin_engine::plan(context, &Wanted::All).unwrap());
    assert_eq!(plan.layers.len(), 1);
    assert_eq!(plan.not_runnable, ["later"]);
    let error = ravelin_engine::layer::open(
        &workshop.config.layers[1],
        ravelin_engine::layer::Access::Write,
        &workshop.machine,
    );
    assert!(matches!(error.err(), Some(Error::NoFolder)));
    let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
    assert_eq!(status.layers[1].state, State::NotRunnable);
}

#[test]
fn a_verification_says_what_it_found_and_status_remembers_it() {
    let workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.back_up(&Wanted::All);
    let verify = || {
        workshop.with(|context, watch| {
            let layers: Vec<_> = context.config.layers.iter().collect();
            let depth = ravelin_engine::layer::Depth::Data;
            ravelin_engine::verify(&layers, depth, context, watch).unwrap()
        })
    };
    assert_eq!(verify().outcome, Outcome::Good);
    let path = tree::TreePath::new(workshop.prefix() + "/a").unwrap();
    workshop.shelves["second"].damage(&path);
    wait_hours(1);
    let report = verify();
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(report.layers[0].result.is_good());
    assert!(!report.layers[1].result.is_good());
    let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
    let states: Vec<State> = status.layers.iter().map(|layer| layer.state).collect();
    assert_eq!(states, [State::Good, State::Damaged]);
}

#[test]
fn a_layer_that_is_kept_elsewhere_now_has_no_past() {
    let mut workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.back_up(&Wanted::All);
    let states = |workshop: &Workshop| -> Vec<State> {
        let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
        status.layers.iter().map(|layer| layer.state).collect()
    };
    assert_eq!(states(&workshop), [State::Good, State::Good]);
    let before = workshop.config.layers[1].store.clone();
    workshop.config.layers[1].store = format!("{before}-of-another-disk");
    assert_eq!(states(&workshop), [State::Good, State::Never]);
    workshop.config.layers[1].store = before;
    assert_eq!(states(&workshop), [State::Good, State::Good]);
}
