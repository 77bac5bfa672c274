//! How long the server takes for the first screen.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::catalogue::Holdings;
use engine::event::{Event, Totals, Verb};
use engine::layer::{
    Access, Depth, Details, Error as LayerError, Found, Intake, Item, Layer, NewSnapshot,
    RestoreStep, Statistics, Verification, VerifyStep,
};
use engine::{
    Catalogue, Config, Context, Outcome, Selection, Snapshot, Stop, Watch, config, event,
};
use jiff::{SignedDuration, Timestamp};
use ravelin_web::{Address, serve};
use tree::{Entry, EntryKind, Restore, Time, TreePath};

use crate::visitor::House;

const FILES: u32 = 1_000_000;

/// A layer that lists a million files in fifty thousand folders, and has nothing to give.
struct Listed;

const NO: LayerError = LayerError::Unsupported {
    what: "do more than list files",
};

impl Layer for Listed {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, LayerError> {
        Ok(vec![Snapshot {
            name: "nas-1".to_owned(),
            id: "1".to_owned(),
            time: Timestamp::UNIX_EPOCH,
        }])
    }

    fn entries(
        &mut self,
        _: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), LayerError> {
        let mut tell = |path: String, kind: EntryKind| {
            let path = TreePath::new(path).unwrap();
            let entry = Entry::new(path, kind, 0o644, (1000, 1000), Time::new(1_700_000_000, 0));
            let content = None;
            let _ = receive(Ok(Item { entry, content }));
        };
        for file in 0..FILES {
            let folder = format!("home/ada/{:02}/project-{}", file / 20_000, file / 20);
            if file.is_multiple_of(20) {
                tell(folder.clone(), EntryKind::Directory);
            }
            tell(format!("{folder}/report-{file:07}.odt"), EntryKind::File);
        }
        Ok(())
    }

    fn details(&mut self, _: &Snapshot) -> Result<Details, LayerError> {
        Err(NO)
    }

    fn content<'a>(
        &'a mut self,
        _: &Snapshot,
        _: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, LayerError> {
        Err(NO)
    }

    fn restore(
        &mut self,
        _: &Snapshot,
        _: &Selection,
        _: &Restore,
        _: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), LayerError> {
        Err(NO)
    }

    fn begin<'a>(
        &'a mut self,
        _: &NewSnapshot,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, LayerError> {
        Err(NO)
    }

    fn verify(
        &mut self,
        _: Depth,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, LayerError> {
        Err(NO)
    }
}

/// Puts a million files into the catalogue.
fn fill_catalogue(house: &House) -> Holdings {
    let machine = house.page.machine();
    let config = Config::read(&house.config_file(), &machine.places).unwrap();
    let open = |_: &config::Layer, _: Access| -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Listed))
    };
    let context = Context {
        config: &config,
        machine,
        open: &open,
    };
    let stop = Stop::default();
    let watch = Watch {
        sink: &|_| {},
        stop: &stop,
    };
    let layers: Vec<&config::Layer> = config.layers.iter().collect();
    let mut catalogue = Catalogue::open(machine).unwrap();
    catalogue.catch_up(&layers, context, watch).unwrap();
    catalogue.holdings(machine).unwrap()
}

/// One screen, from the request to its last byte.
fn ask(place: &str, path: &str, cookie: &str) -> f64 {
    let since = Instant::now();
    let mut stream = TcpStream::connect(place).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    since.elapsed().as_secs_f64() * 1000.0
}

/// A million files, backed up each hour for a year: what the history knows of it, and the catalogue. The
/// page is asked a second after it began to be served, which is sooner than a browser comes up.
///
/// `cargo nextest run --release -p ravelin-web --run-ignored only --no-capture -E 'test(first_paint)'`
#[test]
#[ignore = "a measurement"]
fn first_paint_of_the_overview_after_a_year() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let house = House::at(Address::new(address, None, false).unwrap());
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
    println!("{:?}", fill_catalogue(&house));
    let page = Arc::clone(&house.page);
    let served = std::thread::spawn(move || serve(listener, &page));
    let cookie = house.visitor().cookie.unwrap();
    std::thread::sleep(Duration::from_secs(1));
    for path in [
        "/",
        "/activity",
        "/layers",
        "/restore",
        "/restore?q=report-0123456",
        "/restore?q=project-4321",
    ] {
        let place = address.to_string();
        let mut times: Vec<f64> = (0..21).map(|_| ask(&place, path, &cookie)).collect();
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "{path}: first {first:.1} ms, median {:.1} ms, {hours} operations",
            times[10]
        );
    }
    house.page.machine().stop.request();
    served.join().unwrap().unwrap();
}
