//! What a screen reader is told of each screen: the browser's own accessibility tree, as text that
//! was read and found right (`tests/outlines/`). Times, sizes and places differ each time, and stand
//! there as `#` and `HOUSE`.

use std::env;
use std::fs;
use std::path::Path;

use testkit::Browser;

/// Compares a screen with its text; says which one differs. `SNAPSHOTS=overwrite` writes it.
pub(crate) fn differs(browser: &Browser, name: &str) -> Option<String> {
    let told = lasting(&browser.outline());
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/outlines")
        .join(format!("{name}.txt"));
    if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&file, &told).unwrap();
        return None;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    if known == told {
        return None;
    }
    let new: Vec<&str> = told.lines().filter(|line| !known.contains(*line)).collect();
    let gone: Vec<&str> = known.lines().filter(|line| !told.contains(*line)).collect();
    Some(format!(
        "the accessibility tree of {name} has {new:#?} and lacks {gone:#?}; read it, and mend {} with SNAPSHOTS=overwrite",
        file.display()
    ))
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const MONTHS_DE: [&str; 12] = [
    "Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez.",
];

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The text without what differs each time.
fn lasting(text: &str) -> String {
    let mut lasting = String::new();
    for line in text.lines() {
        let words = line.split_inclusive([' ', '"']).map(word);
        lasting.extend(words);
        lasting.push('\n');
    }
    // A time of several parts is one.
    while lasting.contains("# #") {
        lasting = lasting.replace("# #", "#");
    }
    lasting
}

fn word(word: &str) -> String {
    let bare = word.trim_end_matches([' ', '"', ',', ')']);
    let end = word.get(bare.len()..).unwrap_or_default();
    if let Some((_, rest)) = bare.split_once("/.tmp") {
        let rest = rest.split_once('/').map_or("", |(_, rest)| rest);
        return format!("HOUSE/{rest}{end}");
    }
    let is_date = [&DAYS[..], &MONTHS, &MONTHS_DE].concat().contains(&bare);
    if is_date || bare.bytes().any(|byte| byte.is_ascii_digit()) && !bare.contains('=') {
        return format!("#{end}");
    }
    word.to_owned()
}
