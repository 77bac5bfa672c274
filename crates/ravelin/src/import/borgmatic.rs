//! borgmatic's `config.yaml`, with its sections of old or without.

use engine::Secret;
use yaml_rust2::{Yaml, YamlLoader, yaml::Hash};

use super::ImportError;
use super::draft::{Draft, list, quoted};

/// Until version 1.8 the settings stood in these.
const SECTIONS: [&str; 6] = [
    "location",
    "storage",
    "retention",
    "consistency",
    "hooks",
    "output",
];

/// What has no counterpart because it is not needed.
const NOT_NEEDED: [(&str, &str); 9] = [
    ("working_directory", "give whole paths instead"),
    (
        "archive_name_format",
        "snapshots are called by the machine and the time",
    ),
    (
        "match_archives",
        "`keep` is about the snapshots that this machine made",
    ),
    (
        "prefix",
        "`keep` is about the snapshots that this machine made",
    ),
    (
        "skip_actions",
        "each thing to do has its own schedule or verb",
    ),
    (
        "relocated_repo_access_is_ok",
        "`ravelin repair --trust` says so, once",
    ),
    (
        "unknown_unencrypted_repo_access_is_ok",
        "it is asked for by `encryption = \"none\"`",
    ),
    ("color", "colour is for terminals only"),
    ("verbosity", "`-v` and `-q` say how much is told"),
];

pub(super) fn read(text: &str, draft: &mut Draft<'_>) -> Result<(), ImportError> {
    let malformed = |error: yaml_rust2::ScanError| ImportError::Malformed(error.to_string());
    let documents = YamlLoader::load_from_str(text).map_err(malformed)?;
    let Some(Yaml::Hash(top)) = documents.into_iter().next() else {
        return Err(ImportError::Malformed("it has no settings".into()));
    };
    let mut settings = Hash::new();
    for (key, value) in top {
        match (key.as_str(), value) {
            (Some(section), Yaml::Hash(inner)) if SECTIONS.contains(&section) => {
                settings.extend(inner);
            }
            (_, value) => {
                settings.insert(key, value);
            }
        }
    }
    let mut settings = Settings(settings);
    source(&mut settings, draft);
    dumps(&mut settings, draft);
    layers(&mut settings, draft);
    hooks(&mut settings, draft);
    checks(&mut settings, draft);
    notify(&mut settings, draft);
    for (key, why) in NOT_NEEDED {
        if settings.take(key).is_some() {
            draft.leave_out(key, why);
        }
    }
    for (key, _) in settings.0 {
        draft.leave_out(key.as_str().unwrap_or("?"), "it has no counterpart here");
    }
    Ok(())
}

/// What was not looked at yet.
struct Settings(Hash);

impl Settings {
    fn take(&mut self, key: &str) -> Option<Yaml> {
        self.0.remove(&Yaml::String(key.to_owned()))
    }

    /// A list of texts; a single text is a list of one.
    fn texts(&mut self, key: &str) -> Vec<String> {
        self.take(key)
            .map(|value| texts(&value))
            .unwrap_or_default()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).and_then(|value| text(&value))
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key).and_then(|value| value.as_bool())
    }
}

fn text(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn texts(value: &Yaml) -> Vec<String> {
    match value {
        Yaml::Array(values) => values.iter().filter_map(text).collect(),
        value => text(value).into_iter().collect(),
    }
}

fn field(value: &Yaml, key: &str) -> Option<String> {
    text(value.as_hash()?.get(&Yaml::String(key.to_owned()))?)
}

fn source(settings: &mut Settings, draft: &mut Draft<'_>) {
    let mut paths = Vec::new();
    for path in settings.texts("source_directories") {
        if path.contains(['*', '?', '[']) {
            draft.leave_out(&format!("source_directories {path}"), "name each path");
        } else if path.starts_with('/') || path == "~" || path.starts_with("~/") {
            paths.push(path);
        } else {
            draft.leave_out(&format!("source_directories {path}"), "give the whole path");
        }
    }
    let mut lines = vec![format!("paths = {}", list(paths.iter().cloned()))];
    let mut excludes = Vec::new();
    for pattern in settings.texts("exclude_patterns") {
        // The style that Borg takes for one without: a star passes through slashes.
        let styles = ["fm:", "sh:", "re:", "pp:", "pf:"];
        if styles.iter().any(|style| pattern.starts_with(style)) {
            excludes.push(pattern);
        } else if let Some(below) = pattern.strip_prefix("~/") {
            let home = draft.places.home.display();
            excludes.push(format!("fm:{home}/{below}"));
        } else {
            excludes.push(format!("fm:{pattern}"));
        }
    }
    if !excludes.is_empty() {
        lines.push(format!("exclude = {}", list(excludes)));
    }
    let marks = settings.texts("exclude_if_present");
    if !marks.is_empty() {
        lines.push(format!("exclude-if-present = {}", list(marks)));
    }
    let caches = settings.flag("exclude_caches").unwrap_or(false);
    lines.push(format!("exclude-caches = {caches}"));
    if settings.flag("exclude_nodump") == Some(true) {
        lines.push("exclude-no-dump = true".into());
    }
    if settings.flag("one_file_system") == Some(true) {
        lines.push("one-file-system = true".into());
    }
    for key in ["exclude_from", "patterns", "patterns_from"] {
        if settings.take(key).is_some() {
            draft.leave_out(key, "write its rules into `exclude` of the source");
        }
    }
    if !paths.is_empty() {
        draft.source(&lines);
    }
}

fn layers(settings: &mut Settings, draft: &mut Draft<'_>) {
    let passphrase = settings.text("encryption_passphrase");
    let command = settings.text("encryption_passcommand");
    let mut shared = Vec::new();
    if let Some(compression) = settings.text("compression") {
        shared.push(format!("compression = {}", quoted(compression)));
    }
    if let Some(seconds) = settings.text("lock_wait") {
        shared.push(format!("lock-wait = {}", quoted(format!("{seconds} s"))));
    }
    let keep = keep(settings, draft);
    let repositories = settings.take("repositories");
    let repositories = match &repositories {
        Some(Yaml::Array(list)) => list.as_slice(),
        _ => &[],
    };
    for repository in repositories {
        let path = field(repository, "path").or_else(|| text(repository));
        let Some(path) = path else { continue };
        let store = path.strip_prefix("file://").unwrap_or(&path).to_owned();
        if store.starts_with("rclone:") || store.starts_with("sftp:") || store.contains('{') {
            draft.leave_out(
                &format!("repositories {store}"),
                "a Borg layer is in a folder or behind SSH",
            );
            continue;
        }
        let label = field(repository, "label");
        let last = store.trim_end_matches('/').rsplit(['/', ':']).next();
        let last = last.unwrap_or_default().trim_end_matches(".borg");
        let name = draft.name(&label.unwrap_or_else(|| last.to_owned()));
        let mut lines = vec![
            "kind = \"borg\"".into(),
            format!("store = {}", quoted(store)),
        ];
        lines.push(match (&command, &passphrase) {
            (Some(command), _) => format!("passphrase = {{ command = {} }}", quoted(command)),
            (None, Some(given)) => match given.strip_prefix("${") {
                Some(variable) => {
                    let variable = variable.trim_end_matches('}');
                    let variable = variable.split(':').next().unwrap_or_default();
                    format!("passphrase = {{ env = {} }}", quoted(variable))
                }
                None => draft.secret(&name, Secret::new(given.clone())),
            },
            (None, None) => "passphrase = { env = \"BORG_PASSPHRASE\" }".into(),
        });
        lines.push("schedule = \"daily\"".into());
        lines.extend(shared.iter().cloned());
        lines.extend(keep.iter().cloned());
        draft.layer(&name, &lines);
    }
    for (key, why) in [
        (
            "ssh_command",
            "the person's own `ssh` and its configuration are used",
        ),
        ("remote_path", "the server's `borg` is called by that name"),
        ("upload_rate_limit", "there is no limit for Borg layers"),
        ("remote_rate_limit", "there is no limit for Borg layers"),
    ] {
        if settings.take(key).is_some() {
            draft.leave_out(key, why);
        }
    }
}

fn keep(settings: &mut Settings, draft: &mut Draft<'_>) -> Option<String> {
    let mut rules = Vec::new();
    if let Some(within) = settings.text("keep_within") {
        match span(&within) {
            Some(within) => rules.push(format!("within = {}", quoted(within))),
            None => draft.leave_out("keep_within", "this span is not understood"),
        }
    }
    for unit in ["hourly", "daily", "weekly", "monthly", "yearly"] {
        if let Some(count) = settings.text(&format!("keep_{unit}"))
            && count.parse::<u32>().is_ok_and(|count| count > 0)
        {
            rules.push(format!("{unit} = {count}"));
        }
    }
    for key in [
        "keep_secondly",
        "keep_minutely",
        "keep_13weekly",
        "keep_3monthly",
    ] {
        if settings.take(key).is_some() {
            draft.leave_out(key, "the shortest rule is `hourly`, the longest `yearly`");
        }
    }
    (!rules.is_empty()).then(|| format!("keep = {{ {} }}", rules.join(", ")))
}

/// Borg's `2d` as a duration of ours.
fn span(text: &str) -> Option<String> {
    let unit = text.chars().last()?;
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let (count, unit) = match unit {
        'H' => (count, "hours"),
        'd' => (count, "days"),
        'w' => (count.checked_mul(7)?, "days"),
        'm' => (count.checked_mul(31)?, "days"),
        'y' => (count.checked_mul(365)?, "days"),
        _ => return None,
    };
    Some(format!("{count} {unit}"))
}

fn hooks(settings: &mut Settings, draft: &mut Draft<'_>) {
    for (key, on) in [
        ("before_everything", "before"),
        ("before_backup", "before"),
        ("after_backup", "after"),
        ("after_everything", "always"),
        ("on_error", "failure"),
    ] {
        for command in settings.texts(key) {
            hook(key, on, &command, draft);
        }
    }
    let Some(Yaml::Array(commands)) = settings.take("commands") else {
        return;
    };
    for command in &commands {
        let run = command
            .as_hash()
            .and_then(|entries| entries.get(&Yaml::String("run".into())));
        let (before, after) = (field(command, "before"), field(command, "after"));
        let on = match (before.as_deref(), after.as_deref()) {
            (Some(_), _) => "before",
            (_, Some("error")) => "failure",
            (_, Some("everything" | "configuration")) => "always",
            _ => "after",
        };
        for line in run.map(texts).unwrap_or_default() {
            hook("commands", on, &line, draft);
        }
    }
}

fn hook(key: &str, on: &str, command: &str, draft: &mut Draft<'_>) {
    // borgmatic fills in what stands in braces; a shell would not.
    let fills_in = [
        "{configuration_filename}",
        "{repository}",
        "{output}",
        "{error}",
        "{label}",
    ];
    if fills_in.iter().any(|word| command.contains(word)) {
        draft.leave_out(&format!("{key} {command}"), "nothing is filled in here");
    } else {
        draft.hook(on, command);
    }
}

fn checks(settings: &mut Settings, draft: &mut Draft<'_>) {
    let usual = settings.text("check_last").is_some();
    if usual {
        draft.leave_out("check_last", "all snapshots are checked");
    }
    let Some(Yaml::Array(checks)) = settings.take("checks") else {
        return;
    };
    let mut structure = None;
    for check in &checks {
        let name = field(check, "name")
            .or_else(|| text(check))
            .unwrap_or_default();
        let frequency = field(check, "frequency").unwrap_or_else(|| "1 month".into());
        let Some(schedule) = schedule(&frequency) else {
            draft.leave_out(
                &format!("checks {name}"),
                "this frequency is not understood",
            );
            continue;
        };
        match name.as_str() {
            // One of the two is enough, and both are one here.
            "repository" | "archives" if structure.is_none() => structure = Some(schedule),
            "repository" | "archives" | "disabled" => {}
            "data" => draft.verify("data", &schedule),
            "extract" => draft.verify("drill", &schedule),
            _ => draft.leave_out(&format!("checks {name}"), "it has no counterpart here"),
        }
    }
    if let Some(schedule) = structure {
        draft.verify("structure", &schedule);
    }
}

/// `2 weeks` as a schedule.
fn schedule(frequency: &str) -> Option<String> {
    if frequency == "always" {
        return Some("daily".into());
    }
    let (count, unit) = frequency.split_once(' ')?;
    let count: u16 = count.parse().ok().filter(|count| *count > 0)?;
    let days = match unit.trim_end_matches('s') {
        "hour" => return Some(format!("every {count} hours")),
        "day" => 1,
        "week" => 7,
        "month" => 30,
        "year" => 365,
        _ => return None,
    };
    Some(format!("every {} days", count.checked_mul(days)?))
}

fn notify(settings: &mut Settings, draft: &mut Draft<'_>) {
    if let Some(value) = settings.take("healthchecks") {
        match field(&value, "ping_url").or_else(|| text(&value)) {
            Some(url) if url.starts_with("http") => {
                draft.notify(&[format!("healthchecks = {}", quoted(url))]);
            }
            _ => draft.leave_out("healthchecks", "it needs a whole address"),
        }
    }
    if let Some(value) = settings.take("ntfy") {
        let server = field(&value, "server").unwrap_or_else(|| "https://ntfy.sh".into());
        if let Some(topic) = field(&value, "topic") {
            let url = format!("{}/{topic}", server.trim_end_matches('/'));
            draft.notify(&[format!("ntfy = {}", quoted(url))]);
        }
        if field(&value, "password")
            .or_else(|| field(&value, "access_token"))
            .is_some()
        {
            draft.leave_out(
                "ntfy access",
                "put the token where `token = { … }` finds it",
            );
        }
    }
}

/// Databases, each with the program that dumps it.
fn dumps(settings: &mut Settings, draft: &mut Draft<'_>) {
    for (key, one, all) in [
        ("postgresql_databases", "pg_dump", Some("pg_dumpall")),
        ("mariadb_databases", "mariadb-dump", None),
        ("mysql_databases", "mysqldump", None),
    ] {
        let Some(Yaml::Array(databases)) = settings.take(key) else {
            continue;
        };
        for database in &databases {
            let Some(name) = field(database, "name") else {
                continue;
            };
            let is_all = name == "all";
            let mut command = vec![if is_all { all.unwrap_or(one) } else { one }.to_owned()];
            for (field_name, option) in [("hostname", "--host"), ("port", "--port")] {
                if let Some(value) = field(database, field_name) {
                    command.push(format!("{option}={value}"));
                }
            }
            if let Some(user) = field(database, "username") {
                let option = if one == "pg_dump" {
                    "--username"
                } else {
                    "--user"
                };
                command.push(format!("{option}={user}"));
            }
            match (is_all, all) {
                (true, None) => command.push("--all-databases".into()),
                (true, Some(_)) => {}
                (false, _) => command.push(name.clone()),
            }
            if field(database, "password").is_some() {
                draft.leave_out(
                    &format!("{key} {name} password"),
                    "put it where the database's own programs find it (~/.pgpass, ~/.my.cnf)",
                );
            }
            draft.source(&[
                format!("name = {}", quoted(format!("database {name}"))),
                format!("command = {}", list(command)),
                format!(
                    "output = {}",
                    quoted(format!("{}.sql", name.replace('/', "-")))
                ),
            ]);
        }
    }
    if let Some(Yaml::Array(databases)) = settings.take("sqlite_databases") {
        for database in &databases {
            let (Some(name), Some(path)) = (field(database, "name"), field(database, "path"))
            else {
                continue;
            };
            draft.source(&[
                format!("name = {}", quoted(format!("database {name}"))),
                format!("command = {}", list(["sqlite3", &path, ".dump"])),
                format!(
                    "output = {}",
                    quoted(format!("{}.sql", name.replace('/', "-")))
                ),
            ]);
        }
    }
    if let Some(Yaml::Array(databases)) = settings.take("mongodb_databases") {
        for database in &databases {
            let Some(name) = field(database, "name") else {
                continue;
            };
            let mut command = vec!["mongodump".to_owned(), "--archive".to_owned()];
            if name != "all" {
                command.push(format!("--db={name}"));
            }
            draft.source(&[
                format!("name = {}", quoted(format!("database {name}"))),
                format!("command = {}", list(command)),
                "output = \"mongodb.archive\"".into(),
            ]);
        }
    }
}
