//! The status as numbers for Prometheus: a text file for its node exporter, or an answer to it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

use crate::status::{LayerStatus, State, Status};

/// What one metric is called, means, and is worth for a layer.
type Metric = (&'static str, &'static str, fn(&LayerStatus) -> Option<f64>);

const OF_LAYERS: [Metric; 11] = [
    (
        "layer_good",
        "Whether the layer got its snapshot when it was due: 1 or 0.",
        |layer| Some(f64::from(u8::from(layer.state == State::Good))),
    ),
    (
        "layer_last_success_timestamp_seconds",
        "When the newest snapshot was committed.",
        |layer| layer.last.as_ref().map(|last| seconds(last.at)),
    ),
    (
        "layer_last_failure_timestamp_seconds",
        "When the layer failed, if it did after that.",
        |layer| layer.failed_at.map(seconds),
    ),
    (
        "layer_next_due_timestamp_seconds",
        "When the next snapshot is due.",
        |layer| layer.next_due.map(seconds),
    ),
    (
        "layer_files",
        "Regular files in the newest snapshot.",
        |layer| {
            layer
                .last
                .as_ref()
                .map(|last| number(last.statistics.files))
        },
    ),
    (
        "layer_bytes",
        "Bytes of content in the newest snapshot.",
        |layer| {
            layer
                .last
                .as_ref()
                .map(|last| number(last.statistics.bytes))
        },
    ),
    (
        "layer_added_bytes",
        "Bytes that the newest snapshot added to the store.",
        |layer| {
            layer
                .last
                .as_ref()
                .map(|last| number(last.statistics.added_bytes))
        },
    ),
    (
        "layer_problems",
        "Objects that the newest snapshot lacks because they could not be read.",
        |layer| layer.last.as_ref().map(|last| number(last.problems)),
    ),
    (
        "layer_last_verified_timestamp_seconds",
        "When the layer was last read back.",
        |layer| layer.verified.as_ref().map(|verified| seconds(verified.at)),
    ),
    (
        "layer_last_second_opinion_timestamp_seconds",
        "When the stock program of the format last checked the layer.",
        |layer| layer.second_opinion.as_ref().map(|said| seconds(said.at)),
    ),
    (
        "layer_last_restored_timestamp_seconds",
        "When files last came back from the layer.",
        |layer| layer.restored_at.map(seconds),
    ),
];

/// The status in the text format of Prometheus.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    let mut add = |name: &str, help: &str, samples: &[(String, f64)]| {
        if samples.is_empty() {
            return;
        }
        text.push_str(&format!(
            "# HELP ravelin_{name} {help}\n# TYPE ravelin_{name} gauge\n"
        ));
        for (labels, value) in samples {
            text.push_str(&format!("ravelin_{name}{labels} {value}\n"));
        }
    };
    let whole = |value: f64| [(String::new(), value)];
    add(
        "layers",
        "How many layers there are.",
        &whole(count(status.layers.len())),
    );
    add(
        "layers_good",
        "How many of them are good.",
        &whole(count(status.good)),
    );
    add(
        "guard_alarm",
        "Whether an alarm keeps old snapshots from being removed: 1 or 0.",
        &whole(f64::from(u8::from(status.guard.is_some()))),
    );
    add(
        "status_timestamp_seconds",
        "When these numbers were found out.",
        &whole(seconds(status.at)),
    );
    for (name, help, of_layer) in OF_LAYERS {
        let samples: Vec<(String, f64)> = status
            .layers
            .iter()
            .filter_map(|layer| Some((labels(layer), of_layer(layer)?)))
            .collect();
        add(name, help, &samples);
    }
    text
}

fn labels(layer: &LayerStatus) -> String {
    // Names come from the configuration and hold nothing that would need escaping; kinds do not.
    let name = layer.layer.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{layer=\"{name}\",kind=\"{}\"}}", layer.kind)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64().floor()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of Prometheus are floating point"
)]
fn number(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    number(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Puts the numbers into a file that everybody may read, at once: nobody ever reads half of it.
///
/// # Errors
///
/// What the system says; the old file stands.
pub fn write(status: &Status, path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&beside)?;
    file.write_all(text(status).as_bytes())?;
    fs::rename(&beside, path)
}
