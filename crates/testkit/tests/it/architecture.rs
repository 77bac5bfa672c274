//! ARCHITECTURE.md says which crate may use which, and the manifests keep to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The words between backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// From the table of crates: which crate may use which.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (quoted(cells[1]).pop_first().unwrap(), quoted(cells[3]))
        })
        .collect()
}

fn folders() -> BTreeSet<String> {
    let crates = fs::read_dir(workspace().join("crates")).unwrap();
    crates
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// What a crate names in `[dependencies]`; what only its tests use is in another section.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = workspace().join("crates").join(name).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let section = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_crate_is_in_the_table_and_has_the_name_of_its_folder() {
    let folders = folders();
    assert_eq!(promised().into_keys().collect::<BTreeSet<_>>(), folders);
    for folder in folders {
        let manifest = workspace().join("crates").join(&folder).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let name = if folder == "ravelin" {
            folder.clone()
        } else {
            format!("ravelin-{folder}")
        };
        assert!(
            manifest.contains(&format!("name = \"{name}\"\n")),
            "{folder}"
        );
    }
}

#[test]
fn a_crate_uses_only_what_the_table_says_it_may() {
    let promised = promised();
    for (name, may_use) in &promised {
        let uses: BTreeSet<String> = dependencies(name)
            .into_iter()
            .filter(|dependency| promised.contains_key(dependency))
            .collect();
        let too_much: Vec<_> = uses.difference(may_use).collect();
        assert!(
            too_much.is_empty(),
            "{name} uses {too_much:?}, which ARCHITECTURE.md forbids"
        );
    }
}

#[test]
fn the_arrows_point_down_only() {
    let promised = promised();
    let mut order: Vec<&String> = Vec::new();
    while order.len() < promised.len() {
        let next = promised.iter().find(|(name, may_use)| {
            !order.contains(name) && may_use.iter().all(|below| order.contains(&below))
        });
        order.push(next.expect("a circle of crates").0);
    }
}

#[test]
fn the_pages_that_the_documents_point_to_exist() {
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/performance.md",
    ] {
        let text = fs::read_to_string(workspace().join(page)).unwrap();
        let folder = Path::new(page).parent().unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() {
                assert!(
                    workspace().join(folder).join(file).exists(),
                    "{page} points to {target}"
                );
            }
        }
    }
}

/// Comments in the code point to sections of the format's page by their anchors.
#[test]
fn the_sections_of_the_formats_that_the_code_points_to_exist() {
    let page = fs::read_to_string(workspace().join("docs/formats/borg.md")).unwrap();
    let anchors: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-")
        })
        .collect();
    let mut folders = vec![
        workspace().join("crates/borg/src"),
        workspace().join("crates/engine/src"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let code = fs::read_to_string(&path).unwrap();
            for rest in code.split("docs/formats/borg.md#").skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                let anchor = &rest[..end.unwrap_or(rest.len())];
                assert!(
                    anchors.contains(anchor),
                    "{} points to #{anchor}",
                    path.display()
                );
            }
        }
    }
}
