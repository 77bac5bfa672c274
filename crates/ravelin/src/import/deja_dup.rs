//! Déjà Dup's settings, as `dconf dump /org/gnome/deja-dup/` prints them: only what is not as it
//! comes is there.

use std::collections::BTreeMap;

use super::ImportError;
use super::draft::{Draft, list, quoted};

/// The days between two backups when nothing else is set.
const PERIOD_DAYS: u32 = 7;

/// Folders that go by a name of their own. Source: the words of Déjà Dup's `include-list`; the
/// English names of the XDG user folders.
const FOLDERS: [(&str, &str); 9] = [
    ("$HOME", "~"),
    ("$DESKTOP", "~/Desktop"),
    ("$DOCUMENTS", "~/Documents"),
    ("$DOWNLOAD", "~/Downloads"),
    ("$MUSIC", "~/Music"),
    ("$PICTURES", "~/Pictures"),
    ("$PUBLIC_SHARE", "~/Public"),
    ("$TEMPLATES", "~/Templates"),
    ("$VIDEO", "~/Videos"),
];

/// Settings by section (`/` is the first) and key.
struct Settings(BTreeMap<(String, String), String>);

impl Settings {
    fn parse(text: &str) -> Result<Self, ImportError> {
        let mut settings = BTreeMap::new();
        let mut section = None;
        for line in text.lines() {
            let line = line.trim();
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = Some(name.to_owned());
            } else if let (Some(section), Some((key, value))) = (&section, line.split_once('=')) {
                settings.insert((section.clone(), key.to_owned()), value.to_owned());
            }
        }
        if section.is_none() {
            return Err(ImportError::Malformed(
                "it is not what `dconf dump /org/gnome/deja-dup/` prints".into(),
            ));
        }
        Ok(Self(settings))
    }

    fn raw(&self, section: &str, key: &str) -> Option<&str> {
        let value = self.0.get(&(section.to_owned(), key.to_owned()))?;
        // A number may come with its type.
        Some(
            value
                .rsplit_once(' ')
                .map_or(
                    value.as_str(),
                    |(kind, rest)| {
                        if kind == "uint32" { rest } else { value }
                    },
                ),
        )
    }

    fn text(&self, section: &str, key: &str) -> Option<String> {
        let value = self.raw(section, key)?;
        texts(value).into_iter().next()
    }

    fn list(&self, key: &str, usual: &[&str]) -> Vec<String> {
        match self.raw("/", key) {
            Some(value) => texts(value),
            None => usual.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.raw("/", key)?.parse().ok()
    }
}

/// The texts in quotes, of one or of a list.
fn texts(value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut letters = value.chars();
    while let Some(quote) = letters.find(|letter| matches!(letter, '\'' | '"')) {
        let mut text = String::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != quote) {
            match letter {
                '\\' => text.extend(letters.next()),
                letter => text.push(letter),
            }
        }
        texts.push(text);
    }
    texts
}

pub(super) fn read(text: &str, draft: &mut Draft<'_>) -> Result<(), ImportError> {
    let settings = Settings::parse(text)?;
    source(&settings, draft);
    let store = store(&settings, draft)?;
    let name = draft.name("deja-dup");
    let mut lines = vec![
        "kind = \"duplicity\"".into(),
        "# A folder of its own: the old backups stay as they are.".into(),
        format!(
            "store = {}",
            quoted(format!("{}/ravelin", store.trim_end_matches('/')))
        ),
        "# Where Déjà Dup keeps it, once it was told to remember it.".into(),
        format!(
            "passphrase = {{ command = {} }}",
            quoted("secret-tool lookup owner deja-dup type passphrase")
        ),
    ];
    let days = settings.number("periodic-period").unwrap_or(PERIOD_DAYS);
    let schedule = match settings.raw("/", "periodic") {
        Some("true") => format!("every {} days", days.max(1)),
        _ => "manual".to_owned(),
    };
    lines.push(format!("schedule = {}", quoted(schedule)));
    if let Some(days) = settings
        .number("full-backup-period")
        .filter(|days| *days > 0)
    {
        lines.push(format!("full-every = {}", quoted(format!("{days} days"))));
    }
    if let Some(days) = settings.number("delete-after").filter(|days| *days > 0) {
        lines.push(format!(
            "keep = {{ within = {} }}",
            quoted(format!("{days} days"))
        ));
    }
    draft.layer(&name, &lines);
    Ok(())
}

fn source(settings: &Settings, draft: &mut Draft<'_>) {
    let mut folder = |word: String| {
        let (first, rest) = word.split_once('/').unwrap_or((&word, ""));
        match FOLDERS.iter().find(|(name, _)| *name == first) {
            Some((_, path)) if rest.is_empty() => Some((*path).to_owned()),
            Some((_, path)) => Some(format!("{path}/{rest}")),
            None if word.starts_with(['/', '~']) => Some(word),
            None => {
                draft.leave_out(&word, "this place is not known here");
                None
            }
        }
    };
    let included = settings.list("include-list", &["$HOME"]);
    let paths: Vec<String> = included.into_iter().filter_map(&mut folder).collect();
    let mut excluded = settings.list("exclude-list", &["$TRASH", "$DOWNLOAD"]);
    let has_trash = excluded.iter().any(|word| word == "$TRASH");
    excluded.retain(|word| word != "$TRASH");
    let excluded: Vec<String> = excluded.into_iter().filter_map(&mut folder).collect();
    if paths.is_empty() {
        return;
    }
    let mut lines = vec![format!("paths = {}", list(paths))];
    // Caches are left out there, whatever is set.
    let presets: &[&str] = if has_trash {
        &["caches", "trash"]
    } else {
        &["caches"]
    };
    lines.push(format!("presets = {}", list(presets.iter().copied())));
    if !excluded.is_empty() {
        lines.push(format!("exclude = {}", list(excluded)));
    }
    draft.source(&lines);
}

fn store(settings: &Settings, draft: &mut Draft<'_>) -> Result<String, ImportError> {
    let folder = |section: &str| settings.text(section, "folder").unwrap_or_default();
    let backend = settings.text("/", "backend").unwrap_or_default();
    match backend.as_str() {
        "local" => {
            let folder = folder("local");
            let home = !folder.starts_with('/');
            Ok(if home { format!("~/{folder}") } else { folder })
        }
        "drive" => {
            let name = settings.text("drive", "name").unwrap_or_default();
            draft.leave_out(
                "drive",
                "look whether it is mounted where the layer's store has it",
            );
            let home = draft.places.home.file_name().unwrap_or_default();
            let user = home.to_string_lossy();
            Ok(format!("/media/{user}/{name}/{}", folder("drive")))
        }
        "google" => {
            draft.leave_out("google", "sign in by `ravelin store login gdrive`");
            Ok(format!(
                "gdrive:/{}",
                folder("google").trim_start_matches('/')
            ))
        }
        "remote" => {
            let uri = settings.text("remote", "uri").unwrap_or_default();
            let folder = folder("remote");
            let whole = format!("{}/{folder}", uri.trim_end_matches('/'));
            if let Some(rest) = whole.strip_prefix("davs://") {
                Ok(format!("webdav+https://{rest}"))
            } else if let Some(rest) = whole.strip_prefix("dav://") {
                Ok(format!("webdav+http://{rest}"))
            } else if whole.starts_with("sftp://") || whole.starts_with("ssh://") {
                Ok(whole.replacen("ssh://", "sftp://", 1))
            } else {
                Err(ImportError::Missing(
                    "place that this program can write to (a folder, sftp, webdav, Google Drive)",
                ))
            }
        }
        _ => Err(ImportError::Missing(
            "place that this program can write to (a folder, sftp, webdav, Google Drive)",
        )),
    }
}
