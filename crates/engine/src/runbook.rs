//! The recovery procedure of one configuration, as a page to be printed: for a day on which neither
//! this machine nor this program is there.
//!
//! The commands of the stock programs, and those of `gpg` and `tar`, are those that the drill runs. No
//! secret stands in the page: it says where each was kept.

use jiff::Timestamp;
use toml_edit::Value;
use tree::TreePath;

use crate::Error;
use crate::config::{self, ArchiveEncryption, Kind};
use crate::machine::Context;
use crate::secret::Reference;
use crate::status::{LayerStatus, Status, status};
use crate::stock::{Recipe, by_hand, paths_line, recipe};

/// What the page says in English, by keys that other languages have too. A name in braces stands for a
/// value; the page is Markdown.
pub const RUNBOOK_WORDS: &[(&str, &str)] = &[
    ("title", "How to get everything back"),
    (
        "of",
        "Machine {machine}, user {user}, configuration `{configuration}`. Written on {day} by Ravelin {version}.",
    ),
    (
        "keep",
        "Print this page, and keep it where neither fire nor thief finds it together with the machine. \
         No secret stands in it: each passphrase must be kept somewhere else too, or a layer is worth \
         nothing. Print it again when the configuration changes.",
    ),
    ("protected", "What is protected:"),
    ("printed", "what `{command}` prints, as `{file}`"),
    ("layer", "layer"),
    ("format", "format"),
    ("where", "where"),
    ("newest", "newest backup"),
    ("came-back", "files last came back"),
    ("never", "never"),
    (
        "how",
        "One layer is enough. Take the first that is at hand; write nothing onto the old disk, and nothing \
         into a layer, before the files are back. The commands are for `bash`, and put the files into the \
         folder `restored` below the one where they are typed: look at them there, then move them to \
         their places.",
    ),
    ("of-layer", "Layer {layer}"),
    ("stands", "It stands at `{store}`."),
    (
        "plain",
        "Its files are plain: copy them with any program, or with that of the service.",
    ),
    ("with", "With {program}"),
    ("with-alone", "With {program} alone"),
    ("asks", "It asks for the passphrase of the layer."),
    (
        "asks-gnupg",
        "It asks for the passphrase of the layer (GnuPG passphrase).",
    ),
    (
        "was-newest",
        "`{snapshot}` was the newest snapshot when this was written; the first command shows those that \
         came after it.",
    ),
    (
        "copy-first",
        "Copy the archive into a folder of the new machine, with whatever reaches the place, then:",
    ),
    (
        "some",
        "Only some of it: its files or folders stand between the brackets, each without its first slash.",
    ),
    ("with-neither", "With neither"),
    (
        "passphrase",
        "On the machine its passphrase was {place}; it is lost with the machine unless you have it \
         elsewhere.",
    ),
    ("in-file", "in the file `{name}`"),
    ("in-keyring", "in the keyring of the desktop, as `{name}`"),
    ("in-variable", "in the environment variable `{name}`"),
    ("in-credential", "in the credential `{name}` of systemd"),
    ("what-command", "what `{name}` prints"),
    ("no-passphrase", "It needs no passphrase."),
    (
        "key-file",
        "The passphrase alone opens nothing: the key file is needed too, from `~/.config/borg/keys` of the \
         old machine (`borg key export --paper` prints it).",
    ),
    (
        "secret-key",
        "The secret key of one of these is needed, imported into GnuPG: {keys}.",
    ),
    (
        "by-hand",
        "With `bash`, `gpg` (`gzip` where nothing is encrypted), `tar` and, where there are increments, `rdiff`. \
         The first line says in which folder the files of the archive are, or copies of them; all of it comes \
         back into the folder `tree`, or only some: its files or folders stand between the brackets then, each \
         without its first slash.",
    ),
];

/// Says what stands behind a key of [`RUNBOOK_WORDS`], in whatever language.
pub type Words<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// Writes the page, in Markdown. What `words` does not know is said in English.
///
/// # Errors
///
/// [`Error::State`] when the history cannot be read.
pub fn runbook(context: Context<'_>, words: Words<'_>) -> Result<String, Error> {
    let status = status(context)?;
    let mut page = Page {
        text: String::new(),
        words,
    };
    page.opening(context, &status);
    page.table(context, &status);
    page.paragraph("how", &[]);
    let mut paths = context
        .config
        .sources
        .iter()
        .flat_map(|source| &source.paths);
    let example = paths.find_map(|path| {
        TreePath::from_local(path)
            .ok()
            .filter(|path| !path.is_root())
    });
    let example = Vec::from_iter(example);
    for (layer, status) in context.config.layers.iter().zip(&status.layers) {
        page.layer(layer, status, &example);
    }
    Ok(page.text)
}

/// The text with values at its `{names}`. A name without a value stays, without its braces.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut rest = text;
    let mut filled = String::with_capacity(text.len() + 32);
    // In one pass: a value that looks like a name is not replaced once more.
    while let Some((before, after)) = rest.split_once('{')
        && let Some((name, behind)) = after.split_once('}')
    {
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(before);
        filled.push_str(value.map_or(name, |(_, value)| value));
        rest = behind;
    }
    filled + rest
}

/// The page as far as it is written.
struct Page<'a> {
    text: String,
    words: Words<'a>,
}

impl Page<'_> {
    /// The text of a key with values at its names.
    fn say(&self, key: &str, values: &[(&str, &str)]) -> String {
        let english = || RUNBOOK_WORDS.iter().find(|(known, _)| *known == key);
        let text = (self.words)(key).or_else(|| english().map(|(_, text)| *text));
        fill(text.unwrap_or(key), values)
    }

    fn paragraph(&mut self, key: &str, values: &[(&str, &str)]) {
        let text = self.say(key, values);
        self.text.push_str(&format!("\n{text}\n"));
    }

    fn heading(&mut self, rank: usize, key: &str, values: &[(&str, &str)]) {
        let text = self.say(key, values);
        self.text
            .push_str(&format!("\n{} {text}\n", "#".repeat(rank)));
    }

    /// Lines for a shell, or for somebody who reads.
    fn block(&mut self, kind: &str, lines: &str) {
        let lines = lines.trim_end();
        self.text.push_str(&format!("\n```{kind}\n{lines}\n```\n"));
    }

    /// Of which machine it is, and what is protected.
    fn opening(&mut self, context: Context<'_>, status: &Status) {
        let machine = context.machine;
        self.text = format!("# {}\n", self.say("title", &[]));
        self.paragraph(
            "of",
            &[
                ("machine", &machine.host),
                ("user", &machine.user),
                ("configuration", &context.config.file.display().to_string()),
                ("day", &day(status.at, context)),
                ("version", env!("CARGO_PKG_VERSION")),
            ],
        );
        self.paragraph("keep", &[]);
        self.paragraph("protected", &[]);
        self.text.push('\n');
        for source in &context.config.sources {
            let Some(printed) = &source.printed else {
                for path in &source.paths {
                    self.text.push_str(&format!("- `{}`\n", path.display()));
                }
                continue;
            };
            let folder = source.paths.first();
            let file = folder.map(|folder| folder.join(&printed.output).display().to_string());
            let said = self.say(
                "printed",
                &[
                    ("command", &printed.command.join(" ")),
                    ("file", &file.unwrap_or_default()),
                ],
            );
            self.text.push_str(&format!("- {said}\n"));
        }
    }

    /// The layers at a glance.
    fn table(&mut self, context: Context<'_>, status: &Status) {
        let heads = ["layer", "format", "where", "newest", "came-back"];
        let heads = heads.map(|key| self.say(key, &[]));
        self.text.push_str(&format!(
            "\n| {} |\n|---|---|---|---|---|\n",
            heads.join(" | ")
        ));
        let when = |at: Option<Timestamp>| {
            at.map_or_else(|| self.say("never", &[]), |at| day(at, context))
        };
        let rows = status.layers.iter().map(|layer| {
            format!(
                "| {} | {} | `{}` | {} | {} |\n",
                layer.layer,
                layer.kind,
                layer.store,
                when(layer.last.as_ref().map(|last| last.at)),
                when(layer.restored_at),
            )
        });
        let rows: String = rows.collect();
        self.text.push_str(&rows);
    }

    /// How one layer is restored; `example` stands where some of its paths do.
    fn layer(&mut self, layer: &config::Layer, status: &LayerStatus, example: &[TreePath]) {
        self.heading(2, "of-layer", &[("layer", &layer.name)]);
        self.paragraph("stands", &[("store", &layer.store)]);
        self.needed(layer);
        if let Kind::Drop { .. } = layer.kind {
            self.paragraph("plain", &[]);
            return;
        }
        self.heading(3, "with", &[("program", "Ravelin")]);
        self.block("bash", &with_ravelin(layer));
        let newest = status.last.as_ref().map(|last| last.snapshot.as_str());
        let recipe = recipe(layer, newest.unwrap_or("NAME"));
        self.with_alone(layer, recipe, example);
        if let (Some(snapshot), Kind::Borg { .. }) = (newest, &layer.kind) {
            self.paragraph("was-newest", &[("snapshot", snapshot)]);
        }
        if matches!(layer.kind, Kind::Duplicity(_)) {
            self.heading(3, "with-neither", &[]);
            self.paragraph("by-hand", &[]);
            self.block("bash", &by_hand(layer, &[]));
        }
    }

    /// With the program that the format comes from.
    fn with_alone(&mut self, layer: &config::Layer, recipe: Option<Recipe>, example: &[TreePath]) {
        let Some(recipe) = recipe else {
            self.heading(3, "with-alone", &[("program", "duplicity")]);
            self.paragraph("copy-first", &[]);
            self.block("bash", "duplicity restore file:///FOLDER restored");
            return;
        };
        self.heading(3, "with-alone", &[("program", recipe.program)]);
        if layer.passphrase.is_some() {
            let asks = match recipe.program {
                "duplicity" => "asks-gnupg",
                _ => "asks",
            };
            self.paragraph(asks, &[]);
        }
        self.block("bash", &format!("{}\n{}", recipe.list, recipe.everything));
        self.paragraph("some", &[]);
        self.block("bash", &format!("{}\n{}", paths_line(example), recipe.some));
    }

    /// What opens the layer, and where it was kept.
    fn needed(&mut self, layer: &config::Layer) {
        match &layer.passphrase {
            Some(place) => {
                let (key, name) = match place {
                    Reference::File(path) => ("in-file", path.display().to_string()),
                    Reference::Keyring(name) => ("in-keyring", name.clone()),
                    Reference::Environment(name) => ("in-variable", name.clone()),
                    Reference::Credential(name) => ("in-credential", name.clone()),
                    Reference::Command(words) => ("what-command", words.join(" ")),
                };
                let place = self.say(key, &[("name", &name)]);
                self.paragraph("passphrase", &[("place", &place)]);
            }
            None => self.paragraph("no-passphrase", &[]),
        }
        match &layer.kind {
            Kind::Borg { encryption, .. } if encryption.to_string().starts_with("keyfile") => {
                self.paragraph("key-file", &[]);
            }
            Kind::Duplicity(settings) if settings.encryption == ArchiveEncryption::Keys => {
                self.paragraph("secret-key", &[("keys", &settings.encrypt_to.join(", "))]);
            }
            _ => {}
        }
    }
}

/// The commands of this program, with a configuration of their own.
fn with_ravelin(layer: &config::Layer) -> String {
    let name = &layer.name;
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = format!(
        "cat > recovery.toml <<'END'\n[[source]]\npaths = [\"/\"]\n\n[layer.{name}]\nkind = \"{}\"\n\
         store = {}\n",
        layer.kind.name(),
        quoted(&layer.store)
    );
    if let Kind::Duplicity(settings) = &layer.kind
        && settings.encryption == ArchiveEncryption::Keys
    {
        let keys: toml_edit::Array = settings.encrypt_to.iter().map(String::as_str).collect();
        lines.push_str(&format!("encryption = \"keys\"\nencrypt-to = {keys}\n"));
        if let Some(key) = &settings.sign_with {
            lines.push_str(&format!("sign-with = {}\n", quoted(key)));
        }
    } else if layer.passphrase.is_none() {
        lines.push_str("encryption = \"none\"\n");
    }
    if layer.passphrase.is_some() {
        lines.push_str("passphrase = { env = \"RAVELIN_PASSPHRASE\" }\n");
    }
    lines.push_str("END\nchmod 600 recovery.toml\n");
    if layer.passphrase.is_some() {
        lines.push_str(
            "IFS= read -rsp 'Passphrase: ' RAVELIN_PASSPHRASE && export RAVELIN_PASSPHRASE\n",
        );
    }
    lines.push_str(&format!(
        "ravelin --config recovery.toml snapshots --layer {name}\n\
         ravelin --config recovery.toml restore latest --layer {name} / --to restored\n"
    ));
    lines
}

fn day(at: Timestamp, context: Context<'_>) -> String {
    let zone = context.machine.now().time_zone().clone();
    let at = at.to_zoned_datetime(zone);
    at.strftime("%Y-%m-%d %H:%M").to_string()
}
