//! Objects of 16 MB to and from an S3 server on this machine, beside rclone at the same
//! parallelism. The two take turns, and who begins changes from round to round. Prints throughput,
//! processor time and the most memory that each took, and the medians of the rounds.
//!
//! `cargo bench -p ravelin-store --bench s3` starts SeaweedFS; absent, nothing is measured.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use ravelin_store::{Environment, FileContent, Name, Range, WriteMode, in_parallel, open};

use testkit::servers;

const COUNT: usize = 32;
const SIZE: usize = 16_000_000;
const PARALLEL: usize = 4;
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, verb, location, folder] = arguments.as_slice()
        && role == "work"
    {
        return work(verb, location, std::path::Path::new(folder));
    }
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let Some(server) = servers::seaweed() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let mut random = testkit::Random::new(1);
    for number in 0..COUNT {
        let bytes = random.noise(SIZE);
        std::fs::write(source.join(format!("{number:03}")), bytes).unwrap();
    }
    println!(
        "{COUNT} objects of {} MB, {PARALLEL} at once",
        SIZE / 1_000_000
    );
    let mut taken = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        let ours = format!(
            "s3+http://key:secret@127.0.0.1:{}/bucket/ours{round}",
            server.port
        );
        let theirs = format!(
            ":s3,provider=SeaweedFS,access_key_id=key,secret_access_key=secret,endpoint='http://127.0.0.1:{}':bucket/theirs{round}",
            server.port
        );
        let back = folder.path().join(format!("back{round}"));
        let own = |verb: &str, place: &std::path::Path| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["work", verb, &ours]).arg(place);
            command
        };
        let rclone = |arguments: &[&std::ffi::OsStr]| {
            let mut command = Command::new(programs.program("rclone"));
            command
                .env("RCLONE_CONFIG", "/dev/null")
                .arg("copy")
                .args(arguments);
            command.args([
                format!("--transfers={PARALLEL}"),
                "--checkers=4".into(),
                "--no-check-dest".into(),
                "--retries=1".into(),
            ]);
            command
        };
        let (ours_back, theirs_back) = (back.join("ours"), back.join("theirs"));
        let mut steps = [
            (0, "ravelin up  ", own("up", &source)),
            (
                1,
                "rclone  up  ",
                rclone(&[source.as_os_str(), theirs.as_ref()]),
            ),
            (2, "ravelin down", own("down", &ours_back)),
            (
                3,
                "rclone  down",
                rclone(&[theirs.as_ref(), theirs_back.as_os_str()]),
            ),
        ];
        if round % 2 == 1 {
            steps.swap(0, 1);
            steps.swap(2, 3);
        }
        for (index, what, command) in steps {
            taken[index].push(measure(what, command));
        }
        std::fs::remove_dir_all(&back).unwrap();
    }
    let [up, their_up, down, their_down] = taken.map(median);
    println!(
        "medians: up {:.2} times as fast as rclone, down {:.2} times",
        their_up / up,
        their_down / down
    );
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Runs a command, prints what it took, and gives its seconds.
fn measure(what: &str, mut command: Command) -> f64 {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = child.id();
    let mut memory_kib = 0;
    let mut ticks = 0;
    while child.try_wait().unwrap().is_none() {
        // Both are gone with the process, so the last values before its end are kept.
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .split(' ')
                .next()?
                .parse()
                .ok()
        });
        memory_kib = memory_kib.max(peak.unwrap_or(0_u64));
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let field = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        ticks = ticks.max(field(11) + field(12));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success(), "{command:?}");
    let seconds = began.elapsed().as_secs_f64();
    let megabytes = (COUNT * SIZE / 1_000_000) as f64;
    println!(
        "{what}  {:6.0} MB/s  {seconds:5.2} s  processor {:5.2} s  memory {:4} MiB",
        megabytes / seconds,
        ticks as f64 / 100.0,
        memory_kib / 1024
    );
    seconds
}

/// What is measured, in a process of its own.
fn work(verb: &str, location: &str, folder: &std::path::Path) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server compares our clock with its own"
    )]
    let environment = Environment::new(SystemTime::now, |bytes| getrandom::fill(bytes).unwrap());
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    in_parallel(0..COUNT, PARALLEL, |number| {
        let name = Name::new(format!("{number:03}")).unwrap();
        let path = folder.join(name.as_str());
        if verb == "up" {
            return store
                .write(
                    &name,
                    &FileContent::open(&path).unwrap(),
                    WriteMode::Replace,
                )
                .map(drop);
        }
        let mut body = store.read(&name, Range::WHOLE)?.body;
        let mut file = std::fs::File::create(path).unwrap();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match body.read(&mut buffer).unwrap() {
                0 => return Ok(()),
                count => file.write_all(&buffer[..count]).unwrap(),
            }
        }
    })
    .unwrap();
}
