//! What a day does to a data set.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{everything_below, plan, set_mtime};
use crate::Random;

/// Files of at least this size change in places; smaller ones are written anew.
const CHANGES_IN_PLACES: u64 = 1 << 20;

/// Changes a data set as a day of work does: one file in a hundred is edited, one in five
/// hundred each is deleted, renamed or new; logs grow, databases and disk images change in a
/// few places.
///
/// What happens depends on what is there and on the day alone: the same days in the same order
/// make the same directory. Day 0 is the first after the set was made.
///
/// # Errors
///
/// When something cannot be read or written.
pub fn mutate(directory: &Path, day: u64) -> io::Result<()> {
    let mut random = Random::named(super::SEED, format!("day {day}").as_bytes());
    let now = plan::moment(&mut random, 366 + day, 1);
    let mut changed = Vec::new();
    for (path, metadata) in everything_below(directory)? {
        if !metadata.is_file() {
            continue;
        }
        let mut touched = true;
        if path.extension().is_some_and(|kind| kind == "jpg") {
            // Nobody edits photographs.
            touched = false;
        } else if metadata.len() >= CHANGES_IN_PLACES {
            change_in_places(&path, &mut random)?;
            set_mtime(&path, now)?;
        } else {
            match random.below(500) {
                0..5 => {
                    edit(&path, &mut random)?;
                    set_mtime(&path, now)?;
                }
                5 => fs::remove_file(&path)?,
                6 => fs::rename(&path, beside(&path, "renamed", day))?,
                7 => {
                    let new = beside(&path, "new", day);
                    fs::write(&new, text(&mut random))?;
                    set_mtime(&new, now)?;
                }
                _ => touched = false,
            }
        }
        if touched {
            changed.extend(path.parent().map(Path::to_owned));
        }
    }
    changed
        .iter()
        .try_for_each(|directory| set_mtime(directory, now))
}

fn beside(path: &Path, what: &str, day: u64) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{day}"));
    path.with_file_name(name)
}

/// One 4 KiB block in five hundred, and a log's new lines.
fn change_in_places(path: &Path, random: &mut Random) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    if path.extension().is_some_and(|kind| kind == "log") {
        return file.write_all_at(&text(random).repeat(40), size);
    }
    // Films and pictures stay as they are.
    if path
        .extension()
        .is_some_and(|kind| kind == "jpg" || kind == "mkv")
    {
        return Ok(());
    }
    let blocks = size / 4096;
    for _ in 0..=blocks / 500 {
        file.write_all_at(&random.noise(4096), random.below(blocks) * 4096)?;
    }
    Ok(())
}

/// New lines in the middle.
fn edit(path: &Path, random: &mut Random) -> io::Result<()> {
    let content = fs::read(path)?;
    let at = random.index(content.len() + 1);
    fs::write(
        path,
        [&content[..at], &text(random), &content[at..]].concat(),
    )
}

fn text(random: &mut Random) -> Vec<u8> {
    let lines = 1 + random.below(20);
    (0..lines)
        .flat_map(|_| format!("a line of {:x}\n", random.next_u64()).into_bytes())
        .collect()
}
