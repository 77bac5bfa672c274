//! The documents are true: every `console` block of them is run, in a home of its own, and shows what
//! it says. What takes hours or a server stands in a block of `sh`.
//!
//! A line behind `$ ` is typed; `> ` continues it. What follows is what is shown: each line must
//! come, in that order; `…` stands for anything within a line, and on a line of its own for any
//! lines. A command ends with success, unless its comment says so: `# exit 3`. All blocks of a
//! page are one session of a shell, in a home with some files in it, where two drives are mounted
//! at `/mnt/disk` and `/mnt/second`. What a reader does by hand, and what a page takes as given,
//! stands in comments of the page: `<!-- run: … -->`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{missing, output};

/// Sets up the session: drives that nobody else sees, files that matter.
const BEFORE: &str = r#"
set -u
mount -t tmpfs none /mnt || exit 99
mkdir /mnt/disk /mnt/second
cd
mkdir -p Documents/letters Pictures
echo 'Dear Ada,' > Documents/letters/ada.txt
seq 2000 > Documents/numbers.txt
head -c 300000 /dev/urandom > Pictures/garden.jpg
# Older than what a backup would look at twice.
find . -exec touch -h -d '2 hours ago' {} +
"#;

/// One command of a page, and what the page says of it.
struct Typed {
    line: usize,
    command: String,
    exit: i32,
    /// Not looked at for what is not shown to the reader.
    shown: Option<Vec<String>>,
}

fn typed(page: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut in_block = false;
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            in_block = !in_block && line == "```console";
        } else if let Some(hidden) = line.strip_prefix("<!-- run: ") {
            all.push(Typed {
                line: number + 1,
                command: hidden.trim_end_matches(" -->").to_owned(),
                exit: 0,
                shown: None,
            });
        } else if !in_block {
        } else if let Some(command) = line.strip_prefix("$ ") {
            let exit = command.split_once("# exit ").map(|(_, exit)| exit);
            all.push(Typed {
                line: number + 1,
                command: command.to_owned(),
                exit: exit.map_or(0, |exit| exit.trim().parse().unwrap()),
                shown: Some(Vec::new()),
            });
        } else if let Some(last) = all.last_mut() {
            let more = line.strip_prefix("> ");
            match more.or((line == ">").then_some("")) {
                Some(more) => write!(last.command, "\n{more}").unwrap(),
                None => last.shown.get_or_insert_default().push(line.to_owned()),
            }
        }
    }
    all
}

/// Whether a line is what the page shows, `…` standing for anything.
fn is_shown(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut ends_open = false;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        ends_open = part.is_empty();
    }
    ends_open || rest.is_empty()
}

fn says_so(real: &[&str], shown: &[String]) -> bool {
    let Some((first, more)) = shown.split_first() else {
        return real.is_empty();
    };
    if first == "…" {
        return (0..=real.len()).any(|skipped| says_so(&real[skipped..], more));
    }
    match real.split_first() {
        Some((line, rest)) => is_shown(line.trim_end(), first.trim_end()) && says_so(rest, more),
        None => false,
    }
}

/// What is wrong with a page; `None` where it cannot be tried.
fn faults(page: &Path) -> Option<Vec<String>> {
    let typed = typed(&fs::read_to_string(page).unwrap());
    if typed.is_empty() {
        return Some(Vec::new());
    }
    let home = tempfile::tempdir().unwrap();
    let mut script = BEFORE.to_owned();
    for (number, one) in typed.iter().enumerate() {
        let command = &one.command;
        writeln!(
            script,
            "{{\n{command}\n}} > ~/../shown.{number} 2>&1\necho $? > ~/../exit.{number}"
        )
        .unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_ravelin"));
    let path = std::env::var("PATH").unwrap();
    let inside = home.path().join("you");
    fs::create_dir(&inside).unwrap();
    let ours = home.path().join("bin");
    fs::create_dir(&ours).unwrap();
    std::os::unix::fs::symlink(program, ours.join("ravelin")).unwrap();
    let mut shell = Command::new("unshare");
    if !testkit::is_root() {
        shell.arg("--map-root-user");
    }
    shell
        .args(["--mount", "bash", "-c", &script])
        .env_clear()
        .env("HOME", &inside)
        .env("PATH", format!("{}:{path}", ours.display()))
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC");
    let stock = [
        testkit::stock_borg().map(|borg| borg.program().to_owned()),
        testkit::stock_duplicity().map(|duplicity| duplicity.program()),
    ];
    let folders = stock
        .iter()
        .flatten()
        .filter_map(|program| program.parent());
    let folders: String = folders
        .map(|folder| format!(":{}", folder.display()))
        .collect();
    shell.env("PATH", format!("{}:{path}{folders}", ours.display()));
    let done = output(&mut shell);
    if done.status.code() == Some(99) || !home.path().join("exit.0").exists() {
        missing(
            "a place to mount drives",
            String::from_utf8_lossy(&done.stderr),
        );
        return None;
    }
    let name = page.file_name().unwrap().to_string_lossy();
    let mut faults = Vec::new();
    for (number, one) in typed.iter().enumerate() {
        let read = |what: &str| {
            let file = home.path().join(format!("{what}.{number}"));
            fs::read_to_string(file).unwrap_or_default()
        };
        let (real, exit) = (read("shown"), read("exit"));
        let lines: Vec<&str> = real.lines().collect();
        let is_true = one
            .shown
            .as_ref()
            .is_none_or(|shown| says_so(&lines, shown));
        if exit.trim() != one.exit.to_string() || !is_true {
            faults.push(format!(
                "{name}:{}: {}\nexit {}\n{real}",
                one.line,
                one.command,
                exit.trim()
            ));
        }
    }
    Some(faults)
}

/// All pages of the documents.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("docs")];
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .map(|name| root.join(name))
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

#[test]
fn the_documents_show_what_happens() {
    let pages = pages();
    assert!(pages.len() > 30, "{pages:?}");
    let faults: Vec<String> = std::thread::scope(|scope| {
        let pages: Vec<_> = pages
            .iter()
            .map(|page| scope.spawn(|| faults(page)))
            .collect();
        let faults = pages.into_iter().map(|page| page.join().unwrap());
        faults.flatten().flatten().collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_line_that_differs_is_seen() {
    let page = "```console\n$ echo one # exit 0\none\n$ seq 3\n1\n…\n```\n";
    let all = typed(page);
    assert_eq!(all.len(), 2);
    let shown = |index: usize| all[index].shown.as_deref().unwrap_or_default();
    assert!(says_so(&["one"], shown(0)) && !says_so(&["two"], shown(0)));
    assert!(says_so(&["1", "2", "3"], shown(1)) && !says_so(&["2"], shown(1)));
    assert!(is_shown("backed up in 3 s", "backed up in … s"));
    assert!(!is_shown("backed up in 3 s, late", "backed up in … s"));
}
