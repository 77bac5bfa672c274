//! Configurations: what is understood, and what is said about mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use borg::Encryption;
use ravelin_engine::config::{Error, Keep, Kind, Moment, Origin, Sender};
use ravelin_engine::secret::Reference;
use ravelin_engine::{Config, Places, Schedule};

fn places() -> Places {
    Places::from_environment(Path::new("/home/ada"), |_| None)
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("r.toml"), &places()).map_err(|mistakes| {
        assert!(!mistakes.list.is_empty());
        mistakes.list.iter().map(ToString::to_string).collect()
    })
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text).unwrap_err()
}

/// The smallest configuration that is complete, with more lines for its layer.
fn with_layer_lines(lines: &str) -> String {
    format!(
        "[[source]]\npaths = \"~\"\n\n[layer.disk]\nkind = \"borg\"\nstore = \"/r\"\n\
         passphrase = {{ env = \"P\" }}\n{lines}\n"
    )
}

#[test]
fn every_key_of_the_document_is_understood() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.toml");
    let text = fs::read_to_string(path).unwrap();
    let config = parse(&text).unwrap();
    assert_eq!(config.sources.len(), 3);
    let shop = config.sources[2].printed.as_ref().unwrap();
    assert_eq!(shop.command, ["pg_dump", "shop"]);
    assert_eq!(
        config.sources[2].paths,
        [PathBuf::from(
            "/home/ada/.local/state/ravelin/commands/shop"
        )]
    );
    assert_eq!(config.hooks.len(), 2);
    assert_eq!(config.hooks[0].on, Moment::Before);
    assert_eq!(config.hooks[1].command, ["systemctl", "start", "shop"]);
    assert_eq!(config.sources[0].paths, [PathBuf::from("/home/ada")]);
    assert_eq!(config.sources[0].exclude, ["/home/ada/Videos", "*.iso"]);
    assert_eq!(config.sources[0].exclude_larger, Some(20 << 30));
    let names: Vec<&str> = config
        .layers
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    assert_eq!(names, ["disk", "offsite", "drop"]);
    let disk = config.layer("disk").unwrap();
    assert_eq!(disk.schedule, Schedule::Hourly);
    assert_eq!(
        disk.passphrase,
        Some(Reference::Keyring("ravelin/disk".to_owned()))
    );
    assert_eq!(
        disk.keep.within,
        Some(Duration::from_secs(2 * 24 * 60 * 60))
    );
    assert!(matches!(
        &disk.kind,
        Kind::Borg { encryption: Encryption::RepokeyBlake2, lock_wait, .. }
            if *lock_wait == Duration::from_secs(60)
    ));
    let offsite = config.layer("offsite").unwrap();
    let words = ["pass", "show", "ravelin/offsite"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(offsite.passphrase, Some(Reference::Command(words)));
    assert_eq!(
        offsite.keep,
        Keep {
            full: Some(3),
            ..Keep::default()
        }
    );
    assert_eq!(
        config.layer("drop").unwrap().kind,
        Kind::Drop {
            folder: Some(PathBuf::from("/home/ada/Drop")),
            watch: true,
        }
    );
    assert_eq!(
        config.verify.rolling,
        Some(Duration::from_secs(28 * 24 * 60 * 60))
    );
    assert_eq!(config.guard, ravelin_engine::config::Guard::default());
    assert_eq!(config.notify.len(), 6);
    assert_eq!(config.notify[0].on.len(), 5);
    assert!(matches!(
        &config.notify[1].sender,
        Sender::Email { smtp: Some(smtp), .. } if smtp.user.as_deref() == Some("ada")
    ));
    assert!(matches!(config.notify[5].sender, Sender::Chat { .. }));
}

#[test]
fn mistakes_in_hooks_and_commands_are_named() {
    let text = with_layer_lines("")
        + "[[source]]\ncommand = \"pg_dump shop\"\npaths = [\"/srv\"]\noutput = \"../shop.sql\"\n\
           [[hook]]\non = \"befor\"\ncommand = []\npatience = \"long\"\n";
    let mistakes = parse(&text).unwrap_err();
    let said = mistakes.join("\n");
    for part in [
        "needs exactly one of `paths`, `command`",
        "name: missing",
        "`../shop.sql` is not the name of a file",
        "did you mean `before`?",
        "`long` is not a duration",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn the_document_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.toml");
    let text = fs::read_to_string(path).unwrap();
    let settings = parse(&text).unwrap().settings;
    // What an empty file would default to must be shown in the document too.
    let minimal = parse(&with_layer_lines("")).unwrap().settings;
    for setting in minimal {
        let known = settings.iter().find(|other| other.key == setting.key);
        assert!(
            known.is_some_and(|known| matches!(known.origin, Origin::Line(_))),
            "{} is not in docs/config.toml",
            setting.key
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    let text = r#"
colour = "red"

[[source]]
path = ["~"]
presets = ["cache"]
exclude-larger = "big"

[layer.disk]
kind = "borg"
stor = "/mnt"
passphrase = "hunter2"
schedule = "sometimes"
keep = { hourly = "24", dayly = 7, weekly = -1 }
folder = "~/Drop"

[layer."bad name"]
kind = "brog"
store = "relative"

[notify]
on = "failure"
"#;
    assert_eq!(
        mistakes(text),
        [
            "2: colour: unknown key",
            "4: source[1].paths: missing",
            "5: source[1].path: unknown key; did you mean `paths`?",
            "6: source[1].presets: `cache` is not one of `caches`, `trash`, `build-folders`, \
             `virtual-machines`, `containers`, `browser-caches`; did you mean `caches`?",
            "7: source[1].exclude-larger: `big` is not a size like `500 MiB`",
            "9: layer.disk.store: missing",
            "11: layer.disk.stor: unknown key; did you mean `store`?",
            "12: layer.disk.passphrase: a secret does not belong into this file; say where it is \
             kept: { keyring = … }, { command = … }, { file = … }, { env = … } or { credential = … }",
            "13: layer.disk.schedule: `sometimes` is not a schedule like `hourly`, `daily 02:00`, \
             `weekly sunday`, `every 4 hours` or `manual`",
            "14: layer.disk.keep.dayly: unknown key; did you mean `daily`?",
            "14: layer.disk.keep.hourly: expected a whole number, found a string",
            "14: layer.disk.keep.weekly: `-1` is not a count of 0 or more",
            "15: layer.disk.folder: belongs to layers of kind `drop`",
            "17: layer.bad name: `bad name` is not a name of letters, digits, `-` and `_`",
            "18: layer.bad name.kind: `brog` is not one of `borg`, `duplicity`, `drop`; did you mean `borg`?",
            "19: layer.bad name.store: `relative` is relative: start it with `/` or `~`",
            "21: notify: expected a list of tables, found a table",
        ]
    );
}

#[test]
fn one_mistake_each() {
    for (lines, mistake) in [
        (
            "encryption = \"repokey-blake3\"",
            "8: layer.disk.encryption: `repokey-blake3` is not one of `none`, `authenticated`, `authenticated-blake2`, `repokey`, `repokey-blake2`, `keyfile`, `keyfile-blake2`; did you mean `repokey-blake2`?",
        ),
        (
            "compression = \"gzip\"",
            "8: layer.disk.compression: `gzip` is not a compression like `lz4`, `zstd,3` or `auto,zstd,10`",
        ),
        (
            "lock-wait = 5",
            "8: layer.disk.lock-wait: expected a duration like `30 s`, found a whole number",
        ),
        (
            "lock-wait = \"\"",
            "8: layer.disk.lock-wait: must not be empty",
        ),
        (
            "full-every = \"30 days\"",
            "8: layer.disk.full-every: belongs to layers of kind `duplicity`",
        ),
        (
            "kep = {}",
            "8: layer.disk.kep: unknown key; did you mean `keep`?",
        ),
        (
            "[verify]\nstructur = \"weekly\"",
            "9: verify.structur: unknown key; did you mean `structure`?",
        ),
        (
            "[[notify]]\nntfy = \"example.org\"",
            "9: notify[1].ntfy: `example.org` is not an address that starts with `https://` or `http://`",
        ),
        (
            "[[notify]]\non = [\"failure\"]",
            "8: notify[1]: needs exactly one of `ntfy`, `webhook`, `healthchecks`, `email`, `desktop`, `chat`",
        ),
        (
            "[layer.two]\nkind = \"borg\"\nstore = \"/r\"",
            "8: layer.two.passphrase: missing",
        ),
        (
            "[layer.two]\nkind = \"borg\"\nstore = \"/r\"\npassphrase = { file = \"p\" }",
            "11: layer.two.passphrase.file: `p` is relative: start it with `/` or `~`",
        ),
        (
            "[layer.two]\nkind = \"borg\"\nstore = \"/r\"\npassphrase = { file = \"/p\", env = \"P\" }",
            "11: layer.two.passphrase: needs exactly one of `keyring`, `command`, `file`, `env`, `credential`",
        ),
        (
            "[layer.two]\nkind = \"borg\"\nstore = \"/r\"\npassphrase = { command = \"a 'b\" }",
            "11: layer.two.passphrase.command: `a 'b` is not a command like `pass show disk`",
        ),
    ] {
        let [found] = &mistakes(&with_layer_lines(lines))[..] else {
            panic!("one mistake in {lines}");
        };
        assert!(found.starts_with(mistake), "{found}");
    }
}

#[test]
fn what_is_not_toml_is_said_with_its_line() {
    let [mistake] = &mistakes("[[source]]\npaths = [\"~\"\n")[..] else {
        panic!("one mistake");
    };
    assert!(mistake.contains(": not TOML: "), "{mistake}");
    assert_eq!(mistakes(""), ["1: layer: missing", "1: source: missing"]);
}

#[test]
fn settings_know_where_they_come_from() {
    let settings = parse(&with_layer_lines("compression = \"zstd,3\""))
        .unwrap()
        .settings;
    let find = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
    assert_eq!(find("layer.disk.compression").origin, Origin::Line(8));
    assert_eq!(find("layer.disk.compression").value, "\"zstd,3\"");
    assert_eq!(find("layer.disk.schedule").origin, Origin::Default);
    assert_eq!(find("layer.disk.schedule").value, "\"daily\"");
    assert_eq!(find("layer.disk.passphrase").value, "{ env = \"P\" }");
}

#[test]
fn a_file_that_others_may_change_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ravelin.toml");
    assert!(matches!(
        Config::read(&file, &places()),
        Err(Error::NotFound { .. })
    ));
    fs::write(&file, with_layer_lines("")).unwrap();
    for (mode, trusted) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let read = Config::read(&file, &places());
        assert_eq!(read.is_ok(), trusted, "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    assert!(matches!(
        Config::read(&file, &places()),
        Err(Error::Read { .. })
    ));
}
