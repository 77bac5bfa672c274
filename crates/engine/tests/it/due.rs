//! What a timer sets off: what is due, once, and waiting where that is right.

use jiff::{ToSpan, ZonedDateTime};
use ravelin_engine::layer::Depth;
use ravelin_engine::status::State;
use ravelin_engine::{Code, Error, Outcome, Schedule, Turn, Wait, Wanted, Work};

use crate::memory::Fault;
use crate::workshop::{Workshop, surround, wait_hours, wait_minutes};

fn schedule(workshop: &mut Workshop, layer: usize, text: &str) {
    workshop.config.layers[layer].schedule = Schedule::parse(text).unwrap();
}

/// No verification, so that a test sees backups alone.
fn backups_only(workshop: &mut Workshop) {
    let verify = &mut workshop.config.verify;
    verify.structure = Schedule::Manual;
    verify.data = Schedule::Manual;
    verify.drill = Schedule::Manual;
}

#[test]
fn what_is_due_is_done_and_what_was_missed_is_made_up_once() {
    let mut workshop = Workshop::new(&["disk", "second"]);
    backups_only(&mut workshop);
    schedule(&mut workshop, 0, "hourly");
    schedule(&mut workshop, 1, "daily 02:00");
    workshop.write("a", "one");
    let count = |workshop: &Workshop, layer| workshop.snapshots(layer).len();
    workshop.run_due();
    assert_eq!(
        (count(&workshop, "disk"), count(&workshop, "second")),
        (1, 1)
    );
    // A timer that calls every quarter of an hour, until the clock says 11:30.
    for _ in 0..16 {
        wait_minutes(15);
        workshop.run_due();
    }
    assert_eq!(
        (count(&workshop, "disk"), count(&workshop, "second")),
        (5, 1)
    );
    // Off for a week.
    wait_hours(24 * 7);
    for _ in 0..3 {
        workshop.run_due();
    }
    assert_eq!(
        (count(&workshop, "disk"), count(&workshop, "second")),
        (6, 2)
    );
    let due = workshop.run_due();
    assert_eq!(due.outcome(), None);
    assert_eq!(due.not_due.len(), 2);
}

/// Three years of a laptop in Berlin that sleeps for random whiles: with every schedule, each
/// period in which it was awake at all gets one run and no more, changes of the clocks included.
#[test]
fn each_period_gets_one_run_through_all_changes_of_the_clocks() {
    let seed: u64 = 7;
    let mut random = testkit::Random::new(seed);
    for text in [
        "hourly",
        "daily 02:30",
        "weekly sunday 02:30",
        "monthly 02:30",
    ] {
        let schedule = Schedule::parse(text).unwrap();
        let mut now: ZonedDateTime = "2024-01-01T00:07:00[Europe/Berlin]".parse().unwrap();
        let end: ZonedDateTime = "2027-01-01T00:00:00[Europe/Berlin]".parse().unwrap();
        let mut last: Option<ZonedDateTime> = None;
        while now < end {
            if schedule.is_due(last.as_ref(), &now) {
                if let Some(last) = &last {
                    // No two runs in one period: a period's begin lies between them.
                    let begin = schedule.next_due(Some(last), &now).unwrap();
                    assert!(
                        *last < begin && begin <= now,
                        "{text}, seed {seed}: {last} {now}"
                    );
                }
                last = Some(now.clone());
            } else {
                // Nothing that is due is left undone.
                let next = schedule.next_due(last.as_ref(), &now).unwrap();
                assert!(next > now, "{text}, seed {seed}: {next} {now}");
                let longest = match text {
                    "hourly" => 1.hours(),
                    "daily 02:30" => 25.hours(),
                    "weekly sunday 02:30" => (7 * 24 + 1).hours(),
                    _ => (31 * 24 + 1).hours(),
                };
                let limit = last.as_ref().unwrap().checked_add(longest).unwrap();
                assert!(next <= limit, "{text}, seed {seed}: {next} after {last:?}");
            }
            let sleep = match random.below(200) {
                0 => 60 * random.below(24 * 5),
                _ => 0,
            };
            now = now
                .checked_add((30 + i64::try_from(sleep).unwrap()).minutes())
                .unwrap();
        }
    }
}

#[test]
fn a_success_that_a_wrong_clock_recorded_does_not_keep_work_from_being_done() {
    let mut workshop = Workshop::new(&["disk"]);
    backups_only(&mut workshop);
    workshop.write("a", "one");
    wait_hours(24 * 365);
    workshop.run_due();
    // The clock is mended: a year back.
    wait_hours(-24 * 365);
    assert_eq!(workshop.run_due().outcome(), Some(Outcome::Good));
    assert_eq!(workshop.snapshots("disk").len(), 2);
    let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
    assert_eq!(status.layers[0].state, State::Good);
    assert_eq!(status.layers[0].last.as_ref().unwrap().at, status.at);
    // A little back makes nothing due twice.
    wait_minutes(-30);
    assert_eq!(workshop.run_due().outcome(), None);
    wait_hours(24);
    assert_eq!(workshop.run_due().outcome(), Some(Outcome::Good));
}

fn waits(workshop: &Workshop) -> Vec<(String, Wait)> {
    let waiting = workshop.run_due().waiting.into_iter();
    waiting
        .map(|waiting| (waiting.layer, waiting.wait))
        .collect()
}

#[test]
fn waiting_for_power_network_and_drive_is_no_failure_and_says_for_what() {
    let mut workshop = Workshop::new(&["disk", "offsite"]);
    backups_only(&mut workshop);
    for layer in 0..2 {
        schedule(&mut workshop, layer, "hourly");
    }
    let local = workshop.config.layers[1].store.clone();
    workshop.config.wait.battery = true;
    workshop.config.wait.metered = true;
    workshop.write("a", "one");
    surround(true, false, false);
    let all = |wait: Wait| {
        vec![
            ("disk".to_owned(), wait.clone()),
            ("offsite".to_owned(), wait),
        ]
    };
    assert_eq!(waits(&workshop), all(Wait::Power));
    surround(false, false, false);
    assert_eq!(waits(&workshop), []);
    wait_hours(1);

    // The drive is away: the other layer goes on.
    let disk = std::path::PathBuf::from(&workshop.config.layers[0].store);
    std::fs::remove_dir(&disk).unwrap();
    let due = workshop.run_due();
    let drive = Wait::Drive {
        store: disk.clone(),
    };
    assert_eq!(due.waiting.len(), 1);
    assert_eq!(due.waiting[0].wait, drive);
    assert_eq!(due.outcome(), Some(Outcome::Good));
    // Since when is remembered, and shown.
    wait_minutes(30);
    let again = workshop.run_due();
    assert_eq!(again.waiting, due.waiting);
    let status = workshop.with(|context, _| ravelin_engine::status(context).unwrap());
    assert_eq!(status.layers[0].waiting.as_ref(), Some(&due.waiting[0]));
    assert_eq!(status.layers[0].state, State::Good);
    std::fs::create_dir(&disk).unwrap();
    assert_eq!(waits(&workshop), []);
    assert_eq!(ravelin_engine::wait::waiting(&workshop.machine), []);

    // What is on another machine needs a network; what is here does not.
    wait_hours(1);
    workshop.config.layers[1].store = "file://".to_owned() + &local;
    surround(false, true, false);
    assert_eq!(waits(&workshop), []);
    surround(false, false, false);
}

#[test]
fn a_layer_that_fails_is_tried_again_but_not_every_minute() {
    let mut workshop = Workshop::new(&["broken", "disk"]);
    backups_only(&mut workshop);
    schedule(&mut workshop, 0, "hourly");
    workshop.write("a", "one");
    workshop.faults.insert("broken".to_owned(), Fault::Begin);
    let mut tries = 0;
    for _ in 0..24 * 6 {
        let due = workshop.run_due();
        tries += usize::from(
            due.backup
                .is_some_and(|report| report.layers[0].layer == "broken"),
        );
        wait_minutes(10);
    }
    // After 10, 20, 40, 80, 160, 320 minutes, then every six hours.
    assert!((8..=10).contains(&tries), "{tries}");
    // Asked for by name it is tried at once.
    workshop.faults.clear();
    let named = Wanted::Named(vec!["broken".to_owned()]);
    assert_eq!(workshop.back_up(&named).outcome, Outcome::Good);
    wait_hours(1);
    assert!(workshop.run_due().waiting.is_empty());
    assert_eq!(workshop.snapshots("broken").len(), 2);
}

#[test]
fn layers_are_read_back_on_their_own_schedule() {
    let mut workshop = Workshop::new(&["disk", "second"]);
    workshop.config.verify.structure = Schedule::EveryDays(7);
    workshop.config.verify.data = Schedule::EveryDays(30);
    workshop.write("a", "one");
    assert_eq!(workshop.run_due().verify, []);
    let mut structure = Vec::new();
    let mut data = Vec::new();
    for day in 1..=61 {
        wait_hours(24);
        for report in workshop.run_due().verify {
            assert_eq!(report.outcome, Outcome::Good);
            assert_eq!(report.layers.len(), 2);
            match report.depth {
                Depth::Structure => structure.push(day),
                Depth::Data => data.push(day),
            }
        }
    }
    assert_eq!(structure, [7, 14, 21, 28, 37, 44, 51, 58]);
    assert_eq!(data, [30, 60]);
}

#[test]
fn never_two_runs_at_once() {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    let turn = Turn::take(Work::Backup, &workshop.machine).unwrap();
    let error =
        workshop.with(|context, watch| ravelin_engine::run_due(context, watch).unwrap_err());
    assert_eq!(ravelin_engine::explain(&error).code, Code::AlreadyRunning);
    let Error::Busy { holder } = error else {
        panic!("{error}");
    };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    // Another kind of work is free, and so is this one when it was given back.
    Turn::take(Work::Verify, &workshop.machine).unwrap();
    drop(turn);
    assert_eq!(workshop.run_due().outcome(), Some(Outcome::Good));
}
