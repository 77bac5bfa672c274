//! What the documents claim.

use std::path::{Path, PathBuf};
use std::{env, fs};

use ravelin_engine::{Code, errors_page};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

#[test]
fn the_page_of_errors_is_what_explain_says() {
    let path = document("errors.md");
    let page = errors_page();
    if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, page,
        "mend it with SNAPSHOTS=overwrite cargo test -p ravelin-engine"
    );
}

#[test]
fn every_error_has_words_for_a_person() {
    for code in Code::ALL {
        assert!(code.meaning().ends_with('.'), "{code}");
        assert!(code.advice().ends_with('.'), "{code}");
    }
}

#[test]
fn the_way_by_hand_is_printed_as_it_stands_in_the_document_of_the_format() {
    let page = fs::read_to_string(document("formats/duplicity.md")).unwrap();
    let lines = include_str!("../../src/layer/duplicity/by-hand.sh");
    assert!(page.contains(&format!("paths=()\n{lines}```\n")));
}
