//! docs/dependencies.md: each dependency with the reason for it, as the manifests have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const HEAD: &str = "\
# Dependencies

What the program is built from, and what for: made from the comments of the workspace's `Cargo.toml`
and held to it by a test. `bash .ci/run` lets cargo-deny judge all of them and what they bring along,
by the rules in [deny.toml](../deny.toml): licences, sources, versions that are there twice, and, where
their database can be reached, known vulnerabilities.
";

const UNSAFE: &str = "
## Unsafe code of our own

The compiler refuses `unsafe` everywhere but here:

| where | why |
|---|---|
";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One dependency of the workspace.
struct Dependency {
    name: String,
    version: String,
    reason: String,
}

/// Of the workspace's manifest: what comes from outside. A comment is the reason for the lines that
/// follow it.
fn dependencies() -> Vec<Dependency> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut found = Vec::new();
    let mut reason = String::new();
    let mut is_open = false;
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            if !is_open {
                reason.clear();
            }
            is_open = true;
            if !reason.is_empty() {
                reason.push(' ');
            }
            reason.push_str(comment);
        } else if let Some((name, value)) = line.split_once(" = ") {
            is_open = false;
            if value.contains("path = ") {
                continue;
            }
            let version = value.split('"').nth(1).unwrap();
            assert!(!reason.is_empty(), "{name} has no comment in Cargo.toml");
            found.push(Dependency {
                name: name.to_owned(),
                version: version.trim_start_matches('=').to_owned(),
                reason: reason.clone(),
            });
        } else {
            // A reason does not reach over an empty line.
            reason.clear();
            is_open = false;
        }
    }
    found
}

/// Which crates have a dependency in one of these sections.
fn users(sections: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(workspace().join("crates")).unwrap() {
        let folder = entry.unwrap();
        let Ok(manifest) = fs::read_to_string(folder.path().join("Cargo.toml")) else {
            continue;
        };
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if sections.contains(&section)
                && let Some(name) = line
                    .split(['.', ' ', '='])
                    .next()
                    .filter(|it| !it.is_empty())
            {
                assert!(
                    line.contains("workspace = true"),
                    "{name} in {} is not the workspace's",
                    folder.path().display()
                );
                let crate_name = folder.file_name().into_string().unwrap();
                users.entry(name.to_owned()).or_default().insert(crate_name);
            }
        }
    }
    users
}

/// Where the lint against unsafe code is lifted, and the reason that stands there.
fn unsafe_code() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![workspace().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                let Some((_, rest)) = code.split_once("unsafe_code,") else {
                    continue;
                };
                let name = path.strip_prefix(workspace()).unwrap();
                let reason = rest.trim_start().strip_prefix("reason = \"");
                if let Some(reason) = reason.and_then(|rest| rest.split('"').next()) {
                    found.insert(name.display().to_string(), reason.to_owned());
                }
            }
        }
    }
    found
}

fn page() -> String {
    let built = users(&["[dependencies]", "[build-dependencies]"]);
    let tested = users(&["[dev-dependencies]"]);
    let mut page = HEAD.to_owned();
    let all = dependencies();
    let of = |users: &BTreeMap<String, BTreeSet<String>>, name: &str| {
        let names = users.get(name).into_iter().flatten();
        let program = names.filter(|user| *user != "testkit" && *user != "fuzz");
        program.cloned().collect::<Vec<_>>().join(", ")
    };
    let mut tests = String::new();
    let table = "| dependency | version | what for | used by |\n|---|---|---|---|\n";
    write!(page, "\n## The program\n\n{table}").unwrap();
    for one in &all {
        let row = |users: &str| {
            let reason = one.reason.trim_end_matches('.').replace('|', "\\|");
            format!(
                "| `{}` | {} | {reason} | {users} |\n",
                one.name, one.version
            )
        };
        let users = of(&built, &one.name);
        if users.is_empty() {
            let mut users: BTreeSet<String> = tested.get(&one.name).cloned().unwrap_or_default();
            users.extend(built.get(&one.name).cloned().unwrap_or_default());
            assert!(!users.is_empty(), "nothing uses {}", one.name);
            tests.push_str(&row(&users.into_iter().collect::<Vec<_>>().join(", ")));
        } else {
            page.push_str(&row(&users));
        }
    }
    write!(page, "\n## Only its tests and tools\n\n{table}{tests}").unwrap();
    page.push_str(UNSAFE);
    for (file, reason) in unsafe_code() {
        writeln!(page, "| `{file}` | {reason} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_dependencies_is_what_the_manifests_say() {
    let path = workspace().join("docs/dependencies.md");
    let page = page();
    if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/dependencies.md is out of date: SNAPSHOTS=overwrite cargo test -p ravelin-testkit"
    );
}
