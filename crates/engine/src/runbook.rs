//! The recovery procedure of one configuration, as a page to be printed: for a day on which neither
//! this machine nor this program is there.
//!
//! The commands of the stock programs are those that the drill runs. No secret stands in the page:
//! it says where each was kept.

use jiff::Timestamp;
use toml_edit::Value;

use crate::Error;
use crate::config::{self, ArchiveEncryption, Kind};
use crate::machine::Context;
use crate::status::{LayerStatus, status};
use crate::stock::recipe;

/// What a duplicity archive says about itself: among it, how it is put together by hand.
const BY_HAND: &str = include_str!("layer/duplicity/readme.txt");

/// Writes the page, in Markdown.
///
/// # Errors
///
/// [`Error::State`] when the history cannot be read.
pub fn runbook(context: Context<'_>) -> Result<String, Error> {
    let machine = context.machine;
    let status = status(context)?;
    let mut page = format!(
        "# How to get everything back\n\n\
         Machine {}, user {}, configuration `{}`. Written on {} by Ravelin {}.\n\n\
         Print this page, and keep it where neither fire nor thief finds it together with the \
         machine. No secret stands in it: each passphrase must be kept somewhere else too, or a \
         layer is worth nothing. Print it again when the configuration changes.\n\n\
         What is protected:\n\n",
        machine.host,
        machine.user,
        context.config.file.display(),
        day(status.at, context),
        env!("CARGO_PKG_VERSION"),
    );
    for source in &context.config.sources {
        match &source.printed {
            Some(printed) => page.push_str(&format!(
                "- what `{}` prints, as `{}`\n",
                printed.command.join(" "),
                source
                    .paths
                    .first()
                    .map_or_else(String::new, |folder| folder
                        .join(&printed.output)
                        .display()
                        .to_string())
            )),
            None => {
                for path in &source.paths {
                    page.push_str(&format!("- `{}`\n", path.display()));
                }
            }
        }
    }
    page.push_str(
        "\n| layer | format | where | newest backup | files last came back |\n|---|---|---|---|---|\n",
    );
    for layer in &status.layers {
        let last = layer.last.as_ref();
        page.push_str(&format!(
            "| {} | {} | `{}` | {} | {} |\n",
            layer.layer,
            layer.kind,
            layer.store,
            last.map_or_else(|| "never".to_owned(), |last| day(last.at, context)),
            layer
                .restored_at
                .map_or_else(|| "never".to_owned(), |at| day(at, context)),
        ));
    }
    page.push_str(
        "\nOne layer is enough. Take the first that is at hand; write nothing onto the old disk, and \
         nothing into a layer, before the files are back. The commands are for `bash`, and put the \
         files into the folder `restored` below the one where they are typed: look at them there, \
         then move them to their places.\n",
    );
    for (layer, status) in context.config.layers.iter().zip(&status.layers) {
        of_layer(&mut page, layer, status);
    }
    Ok(page)
}

fn of_layer(page: &mut String, layer: &config::Layer, status: &LayerStatus) {
    page.push_str(&format!("\n## Layer {}\n\n", layer.name));
    page.push_str(&format!("It stands at `{}`.\n", layer.store));
    page.push_str(&needed(layer));
    if let Kind::Drop { .. } = layer.kind {
        page.push_str(
            "\nIts files are plain: copy them with any program, or with that of the service.\n",
        );
        return;
    }
    page.push_str("\n### With Ravelin\n\n```bash\n");
    page.push_str(&with_ravelin(layer));
    page.push_str("```\n");
    let newest = status.last.as_ref().map(|last| last.snapshot.as_str());
    if let Some(recipe) = recipe(layer, newest.unwrap_or("NAME"), &[]) {
        page.push_str(&format!("\n### With {0} alone\n\n", recipe.program));
        page.push_str(&format!("It asks for {}.\n\n```bash\n", recipe.asks));
        for line in &recipe.list {
            page.push_str(&format!("{line}\n"));
        }
        if recipe.program == "borg" {
            page.push_str("mkdir restored && cd restored\n");
        }
        for line in &recipe.restore {
            page.push_str(&format!("{line}\n"));
        }
        page.push_str("```\n");
        match newest {
            Some(newest) if matches!(layer.kind, Kind::Borg { .. }) => page.push_str(&format!(
                "\n`{newest}` was the newest snapshot when this was written; the first command \
                 shows those that came after it.\n"
            )),
            _ => {}
        }
    } else {
        page.push_str(
            "\n### With duplicity alone\n\nCopy the archive into a folder of the new machine, with \
             whatever reaches the place, then:\n\n```bash\nduplicity restore file:///FOLDER restored\n```\n",
        );
    }
    if matches!(layer.kind, Kind::Duplicity(_)) {
        let steps = BY_HAND
            .split_once("3. Neither: ")
            .map_or("", |(_, steps)| steps);
        page.push_str(&format!(
            "\n### With neither\n\n```text\n{}\n```\n",
            steps.trim_end()
        ));
    }
}

/// What opens the layer, and where it was kept.
fn needed(layer: &config::Layer) -> String {
    let mut text = match &layer.passphrase {
        Some(reference) => format!(
            "Its passphrase was kept on the machine in `{reference}`; it is lost with the machine \
             unless you have it elsewhere.\n"
        ),
        None => "It needs no passphrase.\n".to_owned(),
    };
    match &layer.kind {
        Kind::Borg { encryption, .. } if encryption.to_string().starts_with("keyfile") => {
            text.push_str(
                "The passphrase alone opens nothing: the key file is needed too, from \
                 `~/.config/borg/keys` of the old machine (`borg key export --paper` prints it).\n",
            );
        }
        Kind::Duplicity(settings) if settings.encryption == ArchiveEncryption::Keys => {
            text.push_str(&format!(
                "The secret key of one of these is needed, imported into GnuPG: {}.\n",
                settings.encrypt_to.join(", ")
            ));
        }
        _ => {}
    }
    text
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
        lines
            .push_str("read -rsp 'Passphrase: ' RAVELIN_PASSPHRASE && export RAVELIN_PASSPHRASE\n");
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
