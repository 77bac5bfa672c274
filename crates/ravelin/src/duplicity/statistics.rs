//! The figures of a run, in the form that scripts read.
//!
//! Source: duplicity's manual, `--print-statistics` and `--jsonstat`.

use duplicity::{Change, SetKind, Summary};
use jiff::Timestamp;
use serde_json::json;
use tree::Entry;

use super::session::{Session, hundredths};
use super::times::Clock;

#[derive(Debug)]
pub(crate) struct Statistics {
    begun: Timestamp,
    ended: Timestamp,
    pub(crate) source_files: u64,
    pub(crate) source_size: u64,
    pub(crate) new_files: u64,
    pub(crate) new_size: u64,
    pub(crate) deleted_files: u64,
    pub(crate) changed_files: u64,
    pub(crate) changed_size: u64,
    pub(crate) delta_size: u64,
    pub(crate) raw_size: u64,
    pub(crate) stored_size: u64,
    pub(crate) errors: u64,
}

impl Statistics {
    pub(crate) fn begin() -> Self {
        let now = engine::clock::system().timestamp();
        Self {
            begun: now,
            ended: now,
            source_files: 0,
            source_size: 0,
            new_files: 0,
            new_size: 0,
            deleted_files: 0,
            changed_files: 0,
            changed_size: 0,
            delta_size: 0,
            raw_size: 0,
            stored_size: 0,
            errors: 0,
        }
    }

    pub(crate) fn add_source(&mut self, entry: &Entry) {
        self.source_files += 1;
        if entry.is_file() {
            self.source_size += entry.size;
        }
    }

    pub(crate) fn add_change(&mut self, change: Change, size: u64) {
        match change {
            Change::New => {
                self.new_files += 1;
                self.new_size += size;
            }
            Change::Changed => {
                self.changed_files += 1;
                self.changed_size += size;
            }
            Change::Deleted => self.deleted_files += 1,
        }
    }

    pub(crate) fn add_summary(&mut self, summary: &Summary) {
        self.delta_size = summary.delta_bytes;
        self.raw_size = summary.raw_bytes;
        self.stored_size = summary.stored_bytes;
    }

    pub(crate) fn end(&mut self) {
        self.ended = engine::clock::system().timestamp();
    }

    fn delta_entries(&self) -> u64 {
        self.new_files + self.deleted_files + self.changed_files
    }

    /// The block that is printed at the end.
    pub(crate) fn to_text(&self, clock: &Clock) -> String {
        let title = "--------------[ Backup Statistics ]--------------";
        let mut text = format!("{title}\n");
        let elapsed = hundredths(self.ended) - hundredths(self.begun);
        for (name, moment) in [("StartTime", self.begun), ("EndTime", self.ended)] {
            let pretty = clock.pretty(moment.as_second());
            text.push_str(&format!("{name} {:.2} ({pretty})\n", hundredths(moment)));
        }
        text.push_str(&format!(
            "ElapsedTime {elapsed:.2} ({})\n",
            duration(elapsed)
        ));
        for (name, number, is_size) in [
            ("SourceFiles", self.source_files, false),
            ("SourceFileSize", self.source_size, true),
            ("NewFiles", self.new_files, false),
            ("NewFileSize", self.new_size, true),
            ("DeletedFiles", self.deleted_files, false),
            ("ChangedFiles", self.changed_files, false),
            ("ChangedFileSize", self.changed_size, true),
            ("ChangedDeltaSize", self.delta_size, true),
            ("DeltaEntries", self.delta_entries(), false),
            ("RawDeltaSize", self.raw_size, true),
            ("TotalDestinationSizeChange", self.stored_size, true),
            ("Errors", self.errors, false),
        ] {
            if is_size {
                text.push_str(&format!("{name} {number} ({})\n", bytes(number)));
            } else {
                text.push_str(&format!("{name} {number}\n"));
            }
        }
        text.push_str(&"-".repeat(title.len()));
        text.push('\n');
        text
    }

    /// The same as JSON, stored beside the set.
    pub(crate) fn to_json(&self, set: SetKind, session: &Session<'_>) -> String {
        let (kind, start) = match set {
            SetKind::Full { .. } => ("full", None),
            SetKind::Incremental { start, .. } => ("inc", Some(start.to_string())),
        };
        let json = json!({
            "StartTime": hundredths(self.begun),
            "EndTime": hundredths(self.ended),
            "ElapsedTime": hundredths(self.ended) - hundredths(self.begun),
            "SourceFiles": self.source_files,
            "SourceFileSize": self.source_size,
            "NewFiles": self.new_files,
            "NewFileSize": self.new_size,
            "DeletedFiles": self.deleted_files,
            "ChangedFiles": self.changed_files,
            "ChangedFileSize": self.changed_size,
            "ChangedDeltaSize": self.delta_size,
            "DeltaEntries": self.delta_entries(),
            "RawDeltaSize": self.raw_size,
            "TotalDestinationSizeChange": self.stored_size,
            "Errors": self.errors,
            "backup_meta": {
                "action": kind,
                "start": start,
                "end": set.end().to_string(),
                "time_duplicity_current": session.clock.now,
            },
        });
        format!("{json:#}")
    }
}

/// Bytes with three digits and a unit: `7.23 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TB"),
        (1 << 30, "GB"),
        (1 << 20, "MB"),
        (1 << 10, "KB"),
    ];
    if let Some((unit, name)) = UNITS.iter().find(|(unit, _)| count >= *unit) {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let number = count as f64 / *unit as f64;
        let precision = match number {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        return format!("{number:.precision$} {name}");
    }
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    let hours = (minutes / 60.0).floor();
    let mut parts = Vec::new();
    for (number, noun) in [(hours, "hour"), (minutes % 60.0, "minute")] {
        if number >= 1.0 {
            let plural = if number >= 2.0 { "s" } else { "" };
            parts.push(format!("{number:.0} {noun}{plural}"));
        }
    }
    let rest = seconds % 60.0;
    if parts.is_empty() || rest >= 0.005 {
        parts.push(format!("{rest:.2} seconds"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_scripts_expect_them() {
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.00 KB"),
            (15 << 20, "15.0 MB"),
            (300 << 30, "300 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(duration(0.08), "0.08 seconds");
        assert_eq!(duration(3660.5), "1 hour 1 minute 0.50 seconds");
        assert_eq!(duration(7200.0), "2 hours");
    }
}
