//! A judge of JSON Schemas: the `jsonschema` package of Python.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{Recipe, environment};
use crate::skip::missing;

const JSONSCHEMA: Recipe = Recipe {
    name: "jsonschema-4.25.1",
    requirement: "jsonschema==4.25.1 tomli==2.2.1",
    packages: &["python3-venv"],
};

/// Says on a line each what is wrong.
const JUDGE: &str = "
import json, sys, tomli
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
document = tomli.loads(sys.stdin.read())
for error in Draft202012Validator(schema).iter_errors(document):
    print(error.json_path, error.message.splitlines()[0])
";

/// What is wrong with a TOML document by a JSON Schema; empty when nothing is.
///
/// Where the judge cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had. When the schema is none, or the document no TOML.
#[must_use]
pub fn schema_faults(schema: &Path, document: &str) -> Option<Vec<String>> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let home = match INSTALLED.get_or_init(|| environment(&JSONSCHEMA)) {
        Ok(home) => home,
        Err(why) => {
            missing("jsonschema", why);
            return None;
        }
    };
    let mut child = Command::new(home.join("bin/python"))
        .args(["-c", JUDGE])
        .arg(schema)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("jsonschema: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(document.as_bytes());
    }
    let ended = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("jsonschema: {error}"));
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let said = String::from_utf8_lossy(&ended.stdout);
    Some(said.lines().map(str::to_owned).collect())
}
