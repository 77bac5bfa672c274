//! How long the server takes for the first screen.

use std::fs;
use std::time::Instant;

use engine::event::{Event, Totals, Verb};
use engine::layer::Statistics;
use engine::{Outcome, event};
use jiff::SignedDuration;

use crate::visitor::House;

/// A million files, backed up each hour for a year: what the history knows of it.
///
/// `cargo nextest run -p ravelin-web --run-ignored only --no-capture -E 'test(first_paint)'`
#[test]
#[ignore = "a measurement"]
fn first_paint_of_the_overview_after_a_year() {
    let house = House::new();
    house.configure_simply();
    let history = house.home().join(".local/state/ravelin/history");
    fs::create_dir_all(&history).unwrap();
    let now = house.page.machine().now().timestamp();
    let totals = Totals {
        entries: 1_200_000,
        files: 1_000_000,
        bytes: 400_000_000_000,
        read_bytes: 2_000_000_000,
    };
    let hours = 365 * 24;
    for hour in 1..=hours {
        let at = now - SignedDuration::from_hours(hour);
        let run = format!("{}-000000", at.strftime("%Y%m%dT%H%M%S.%3fZ"));
        let events = [
            Event::Started {
                run: run.clone(),
                verb: Verb::Backup,
                at,
                host: "nas".to_owned(),
                layers: vec!["disk".to_owned()],
                stores: vec!["/tmp/disk".to_owned()],
                expected: Some(totals),
            },
            Event::Problem(event::ProblemRecord {
                path: event::PathRecord {
                    path: "home/ada/locked".to_owned(),
                    path_base64: None,
                },
                what: "permission denied".to_owned(),
            }),
            Event::LayerDone {
                layer: "disk".to_owned(),
                snapshot: format!("nas-{at}"),
                at,
                statistics: Statistics {
                    files: totals.files,
                    bytes: totals.bytes,
                    added_bytes: 2_000_000,
                },
            },
            Event::Finished {
                at,
                outcome: Outcome::Skipped,
                totals: Some(totals),
                problems: 1,
            },
        ];
        let lines: Vec<String> = events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect();
        fs::write(history.join(format!("{run}.jsonl")), lines.concat()).unwrap();
    }
    let visitor = house.visitor();
    for path in ["/", "/activity", "/layers"] {
        let mut times: Vec<f64> = (0..21)
            .map(|_| {
                let since = Instant::now();
                let reply = visitor.get(path);
                assert_eq!(reply.status.as_u16(), 200);
                since.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "{path}: first {first:.1} ms, median {:.1} ms, {hours} operations",
            times[10]
        );
    }
}
