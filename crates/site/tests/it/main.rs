//! The documents of this project, as the site that they make.

use std::fs;
use std::path::{Path, PathBuf};

use ravelin_site::{Fault, Site};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let site = Site::read(&project()).unwrap();
    let faults: Vec<String> = site.faults().iter().map(Fault::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_page_of_the_guide_is_in_its_table_of_contents() {
    let site = Site::read(&project()).unwrap();
    let index = site
        .pages()
        .find(|page| page.name() == "docs/guide/index.md");
    let links = index.unwrap().links();
    for page in site.pages() {
        if let Some(name) = page.name().strip_prefix("docs/guide/")
            && name != "index.md"
        {
            assert!(
                links.iter().any(|link| link == name),
                "{name} is not in index.md"
            );
        }
    }
}

/// The addresses that an attribute of a page has.
fn addresses<'a>(html: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    html.split(attribute)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

#[test]
fn a_page_of_the_site_needs_nothing_from_elsewhere_and_its_links_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::read(&project()).unwrap();
    site.write(folder.path()).unwrap();
    for page in site.pages() {
        let path = folder.path().join(page.output());
        let html = fs::read_to_string(&path).unwrap();
        for forbidden in ["<script", "<link", "<img", "<iframe", "@import", "url("] {
            assert!(!html.contains(forbidden), "{}: {forbidden}", page.name());
        }
        assert!(!html.contains("<!-- run"), "{}", page.name());
        for target in addresses(&html, " href=\"") {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") {
                continue;
            }
            let leads_to = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let there = fs::read_to_string(&leads_to);
            let there = there.unwrap_or_else(|_| panic!("{}: {target}", page.name()));
            let id = format!("id=\"{anchor}\"");
            assert!(
                anchor.is_empty() || there.contains(&id),
                "{}: {target}",
                page.name()
            );
        }
    }
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        fs::write(folder.path().join(name), "# Title\n").unwrap();
    }
    let text =
        "# Page\n[a](../README.md#title) [b](missing.md) [c](#nothing) [d](../../etc/passwd)\n";
    fs::write(folder.path().join("docs/page.md"), text).unwrap();
    let faults = Site::read(folder.path()).unwrap().faults();
    let targets: Vec<&str> = faults.iter().map(|fault| fault.target.as_str()).collect();
    assert_eq!(targets, ["missing.md", "#nothing", "../../etc/passwd"]);
}
