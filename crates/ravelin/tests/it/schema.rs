//! The schema for editors, judged by an independent program and by our own reading.

use std::fs;
use std::path::Path;

use crate::bench::Bench;

#[test]
fn the_schema_for_editors_allows_what_is_understood_and_nothing_else() {
    let bench = Bench::new();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.schema.json");
    let printed = bench.ravelin(["config", "schema"]).assert().success();
    assert_eq!(
        String::from_utf8_lossy(&printed.get_output().stdout),
        fs::read_to_string(&schema).unwrap()
    );
    let document = fs::read_to_string(schema.with_file_name("config.toml")).unwrap();
    let Some(faults) = testkit::schema_faults(&schema, &document) else {
        return;
    };
    assert_eq!(faults, [""; 0]);
    let layer = "[layer.disk]\nkind = \"borg\"\nstore = \"/r\"\npassphrase = { env = \"P\" }\n";
    let whole = format!("[[source]]\npaths = \"~\"\n{layer}");
    let cases = [
        (whole.clone(), true),
        (layer.to_owned(), false),
        (format!("[[source]]\npath = [\"~\"]\n{layer}"), false),
        (
            format!("[[source]]\npaths = [\"relative\"]\n{layer}"),
            false,
        ),
        (
            format!("[[source]]\npaths = \"~\"\npresets = [\"cache\"]\n{layer}"),
            false,
        ),
        (
            format!("[[source]]\nname = \"db\"\ncommand = \"pg_dump db\"\n{layer}"),
            true,
        ),
        (
            format!("[[source]]\ncommand = \"pg_dump db\"\n{layer}"),
            false,
        ),
        (format!("{whole}colour = \"red\"\n"), false),
        (
            format!("{whole}keep = {{ daily = 7 }}\nschedule = \"every 3 days\"\n"),
            true,
        ),
        (format!("{whole}keep = {{ dayly = 7 }}\n"), false),
        (format!("{whole}full-every = \"30 days\"\n"), false),
        (whole.replace("{ env = \"P\" }", "\"hunter2\""), false),
        (whole.replace("borg", "brog"), false),
        (
            format!("{whole}[[hook]]\non = \"before\"\ncommand = [\"true\"]\n"),
            true,
        ),
        (
            format!("{whole}[[hook]]\non = \"sometimes\"\ncommand = [\"true\"]\n"),
            false,
        ),
        (format!("{whole}[[notify]]\ndesktop = true\n"), true),
        (
            format!("{whole}[[notify]]\ndesktop = true\nntfy = \"https://n.example/t\"\n"),
            false,
        ),
        (
            format!("{whole}[[notify]]\non = [\"sucess\"]\ndesktop = true\n"),
            false,
        ),
        (format!("{whole}[verify]\ndrill = \"manual\"\n"), true),
        (format!("{whole}[verify]\ndril = \"manual\"\n"), false),
    ];
    for (text, good) in cases {
        let faults = testkit::schema_faults(&schema, &text).unwrap_or_default();
        assert_eq!(faults.is_empty(), good, "{text}\n{faults:?}");
        bench.file(".config/ravelin/ravelin.toml", &text);
        let checked = bench.ravelin(["config", "check"]).assert();
        checked.code(if good { 0 } else { 2 });
    }
}
