//! A line in the user's crontab, and one more where somebody is to be told of late layers.
//!
//! The crontab is read, our lines are exchanged, and the whole is given back; then it is read again
//! and compared. Lines of others are never touched. Ours are known by the comment at their end,
//! which names the configuration.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use super::{Installed, Job, PATIENCE, Scheduler};
use crate::program;

/// Whether there is a `crontab` that this user may use.
pub(super) fn usable(job: &Job) -> Result<(), String> {
    read(job).map(|_| ())
}

/// Our lines, each with its line break.
pub(super) fn lines(job: &Job) -> Result<String, String> {
    let minutes: Vec<String> = job.minutes_of_hour().iter().map(u8::to_string).collect();
    let every = format!("{} *", minutes.join(","));
    let mut lines = line(job, &every, &["run"])?;
    if job.notifies {
        let minute = (u16::from(job.offset) + 1) % 60;
        lines.push_str(&line(job, &format!("{minute} */3"), &["notify"])?);
    }
    for layer in &job.watches {
        lines.push_str(&line(job, &every, &super::watching(layer))?);
    }
    Ok(lines)
}

fn line(job: &Job, when: &str, verb: &[&str]) -> Result<String, String> {
    let mut line = format!("{when} * * * env");
    for (name, value) in &job.environment {
        line.push_str(&format!(" {name}={}", quoted(value.as_bytes())?));
    }
    for word in job.words(verb) {
        line.push(' ');
        line.push_str(&quoted(word.as_bytes())?);
    }
    line.push_str(&mark(job)?);
    line.push('\n');
    Ok(line)
}

/// What our line ends with.
fn mark(job: &Job) -> Result<String, String> {
    Ok(format!(
        " # ravelin {}",
        escaped(text(job.config.as_os_str().as_bytes())?)
    ))
}

/// A word for the shell that cron starts. Cron itself takes a `%` for a line break.
fn quoted(word: &[u8]) -> Result<String, String> {
    let word = text(word)?;
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-:@,+=".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.to_owned());
    }
    Ok(escaped(&format!("'{}'", word.replace('\'', "'\\''"))))
}

fn escaped(text: &str) -> String {
    text.replace('%', "\\%")
}

fn text(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word)
        .ok()
        .filter(|word| !word.contains(['\n', '\r', '\0']))
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(word);
            format!("a crontab cannot hold {}", shown.escape_debug())
        })
}

/// The crontab; empty when there is none.
fn read(job: &Job) -> Result<String, String> {
    let mut command = Command::new(&job.tools.crontab);
    command.arg("-l").env("LC_ALL", "C");
    let ended = program::run(&mut command, b"", PATIENCE)
        .map_err(|error| format!("there is no usable `crontab`: {error}"))?;
    if ended.status.success() {
        return String::from_utf8(ended.stdout)
            .map_err(|_| "the crontab is not UTF-8, so it is left alone".to_owned());
    }
    // Having none is told as an error, by all that are known.
    let complaint = ended.complaint();
    if complaint.contains("no crontab for") {
        Ok(String::new())
    } else {
        Err(complaint)
    }
}

fn write(job: &Job, content: &str) -> Result<(), String> {
    let mut command = Command::new(&job.tools.crontab);
    command.arg("-").env("LC_ALL", "C");
    let ended = program::run(&mut command, content.as_bytes(), PATIENCE)
        .map_err(|error| error.to_string())?;
    if !ended.status.success() {
        return Err(ended.complaint());
    }
    if read(job)?.trim_end() == content.trim_end() {
        Ok(())
    } else {
        Err("the crontab is not what was given to it".to_owned())
    }
}

/// The crontab without our line.
fn without(content: &str, mark: &str) -> String {
    let others = content.lines().filter(|line| !line.ends_with(mark));
    others.map(|line| format!("{line}\n")).collect()
}

pub(super) fn install(job: &Job) -> Result<(), String> {
    let lines = lines(job)?;
    let before = read(job)?;
    write(job, &format!("{}{lines}", without(&before, &mark(job)?)))
}

pub(super) fn remove(job: &Job) -> Result<(), String> {
    let mark = mark(job)?;
    let before = read(job)?;
    if before.lines().any(|line| line.ends_with(&mark)) {
        write(job, &without(&before, &mark))
    } else {
        Ok(())
    }
}

pub(super) fn installed(job: &Job) -> Option<Installed> {
    let mark = mark(job).ok()?;
    let content = read(job).ok()?;
    let ours = || {
        let lines = content.lines();
        lines.filter(|line| !line.trim_start().starts_with('#') && line.ends_with(&mark))
    };
    let line = ours().next()?;
    let mut notes = Vec::new();
    for layer in &job.watches {
        let words = format!(" {} #", super::watching(layer).join(" "));
        if !ours().any(|line| line.contains(&words)) {
            notes.push(super::not_followed(layer));
        }
    }
    if !is_running(Path::new("/proc")) {
        notes.push("no cron daemon is running, so nothing calls it".to_owned());
    }
    Some(Installed {
        by: Scheduler::Cron,
        what: line.to_owned(),
        enabled: true,
        next: None,
        notes,
    })
}

/// Whether a cron daemon runs, by the names of the usual ones.
fn is_running(proc: &Path) -> bool {
    let Ok(processes) = fs::read_dir(proc) else {
        return true;
    };
    processes.flatten().any(|process| {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        ["cron", "crond", "fcron", "dcron", "anacron", "busybox"].contains(&name.trim())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{job, script};
    use super::*;

    /// Behaves as the usual ones do: nothing is an error with a sentence, the rest a file.
    pub(crate) const CRONTAB: &str = "case $1 in\n\
        -l) [ -s \"$here/tab\" ] || { echo \"no crontab for ada\" >&2; exit 1; }; cat \"$here/tab\";;\n\
        -) cat > \"$here/tab\";;\nesac\n";

    #[test]
    fn the_lines_of_others_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        script(folder.path(), "crontab", CRONTAB);
        let mut job = job(folder.path());
        let tab = folder.path().join("tab");
        let others = "MAILTO=ada\n# mine\n0 4 * * * ravelin --config /other run # ravelin /other\n";
        fs::write(&tab, others).unwrap();
        assert_eq!(installed(&job), None);
        install(&job).unwrap();
        install(&job).unwrap();
        let ours = lines(&job).unwrap();
        assert_eq!(fs::read_to_string(&tab).unwrap(), format!("{others}{ours}"));
        assert_eq!(installed(&job).unwrap().what, ours.trim_end());
        // With somebody to be told, and a folder to be followed, there are three lines, and all go.
        job.notifies = true;
        job.watches = vec!["drop".to_owned()];
        let note = super::super::not_followed("drop");
        assert!(installed(&job).unwrap().notes.contains(&note));
        install(&job).unwrap();
        assert!(!installed(&job).unwrap().notes.contains(&note));
        let tab_now = fs::read_to_string(&tab).unwrap();
        assert_eq!(
            tab_now.lines().count(),
            others.lines().count() + 3,
            "{tab_now}"
        );
        assert!(tab_now.contains("8 */3 * * * env "), "{tab_now}");
        assert!(
            tab_now.contains(" drop --layer drop sync --watch --scheduled # ravelin "),
            "{tab_now}"
        );
        remove(&job).unwrap();
        assert_eq!(fs::read_to_string(&tab).unwrap(), others);
    }

    #[test]
    fn a_shell_reads_the_line_as_it_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(folder.path());
        let program = folder.path().join("it's a program");
        script(
            folder.path(),
            "it's a program",
            "printf '%s|' \"$PATH\" \"$@\"\n",
        );
        job.program = program;
        let line = lines(&job).unwrap();
        let command = line.strip_prefix("7,22,37,52 * * * * ").unwrap();
        // What cron does to the line before the shell gets it.
        let command = command.replace("\\%", "%");
        let ended = program::run(Command::new("sh").args(["-c", &command]), b"", PATIENCE).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            "/usr/bin:/bin|--config|/home/ada/100%/it's.toml|run|"
        );
        job.config = "/with\nline break".into();
        assert!(lines(&job).is_err());
    }

    /// The real program reads the lines, and refuses others. Nothing is installed.
    #[test]
    fn cron_accepts_the_lines() {
        let Some(crontab) = testkit::require("crontab") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(folder.path());
        job.notifies = true;
        job.watches = vec!["drop".to_owned()];
        let table = folder.path().join("table");
        // Debian's and that of cronie call the same thing differently.
        let accepts = |content: &str| {
            fs::write(&table, content).unwrap();
            ["-n", "-T"].into_iter().any(|check| {
                let mut command = Command::new(&crontab);
                command.arg(check).arg(&table);
                let ended = program::run(&mut command, b"", PATIENCE).unwrap();
                ended.status.success()
            })
        };
        let lines = lines(&job).unwrap();
        assert!(accepts(&lines), "{lines}");
        assert!(!accepts(&lines.replace("*/3", "99")), "{lines}");
    }

    #[test]
    fn a_crontab_that_cannot_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        script(
            folder.path(),
            "crontab",
            "[ $1 = - ] && touch \"$here/touched\"; echo \"you (ada) are not allowed to use this program\" >&2; exit 1",
        );
        assert!(install(&job).unwrap_err().contains("not allowed"));
        assert!(!folder.path().join("touched").exists());
    }
}
