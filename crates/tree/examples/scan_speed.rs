//! How long it takes to find a tree, and to read it: processor time for each entry.
//!
//! `cargo run --release -p ravelin-tree --example scan_speed -- /usr`
#![expect(clippy::print_stdout, reason = "a program for a developer's terminal")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use tree::{Body, Options, Source, Step, read_ahead};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = Source {
        roots: std::env::args_os().skip(1).map(PathBuf::from).collect(),
        ..Source::default()
    };
    for (what, wanted) in [("metadata", false), ("content", true)] {
        let began = (Instant::now(), processor_time());
        let (mut entries, mut bytes, mut problems) = (0u32, 0, 0);
        read_ahead(
            &source,
            Options::default(),
            |_| wanted,
            |step| {
                match step {
                    Step::Entry { body, .. } => {
                        entries += 1;
                        if let Body::Whole(block) = body {
                            bytes += block.len();
                        }
                    }
                    Step::Data(block) => bytes += block.len(),
                    Step::Problem(_) => problems += 1,
                    Step::Hole(_) | Step::End(_) => {}
                }
                ControlFlow::Continue(())
            },
        )?;
        let processor = processor_time() - began.1;
        println!(
            "{what}: {entries} entries, {bytes} bytes, {problems} problems: {:.2} s, {:.1} µs of processor an entry",
            began.0.elapsed().as_secs_f64(),
            processor * 1e6 / f64::from(entries.max(1)),
        );
    }
    Ok(())
}

/// Seconds of processor time of this process so far.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
    let (seconds, nanoseconds) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds + nanoseconds / 1e9
}
