//! What a verb of another backup program is called here, for hands that know the other one.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Verbs of Borg, restic, duplicity and their like, and what to type instead.
const WORDS: &[(&str, &str)] = &[
    ("archives", "`ravelin snapshots` lists them"),
    ("break-lock", "`ravelin unlock LAYER`"),
    (
        "check",
        "`ravelin verify`, with `--data` to read every byte",
    ),
    (
        "cleanup",
        "`ravelin prune` and `ravelin compact` do that; `ravelin backup` does both",
    ),
    (
        "collection-status",
        "`ravelin snapshots`, or `ravelin status` for all layers",
    ),
    ("create", "`ravelin backup`"),
    ("cron", "`ravelin schedule install`"),
    ("dump", "`ravelin cat SNAPSHOT FILE`"),
    ("export-tar", "`ravelin tar export SNAPSHOT FILE`"),
    ("extract", "`ravelin restore SNAPSHOT PATH --to FOLDER`"),
    (
        "forget",
        "`ravelin prune` goes by the `keep` rules; `ravelin delete SNAPSHOT` removes one",
    ),
    (
        "full",
        "`ravelin backup`; `full-every` of the layer says when it is a full one",
    ),
    ("gui", "`ravelin ui`"),
    ("import-tar", "`ravelin tar import FILE`"),
    ("inc", "`ravelin backup`"),
    ("incremental", "`ravelin backup`"),
    (
        "list",
        "`ravelin snapshots` lists them, `ravelin ls SNAPSHOT` the files in one",
    ),
    ("list-current-files", "`ravelin ls latest`"),
    ("log", "`ravelin history`"),
    ("login", "`ravelin store login`"),
    ("remove", "`ravelin delete SNAPSHOT`"),
    (
        "remove-older-than",
        "`ravelin prune` goes by the `keep` rules",
    ),
    ("rm", "`ravelin delete SNAPSHOT`"),
    ("search", "`ravelin find NAME`"),
    (
        "serve",
        "`ravelin ui` for the browser, `ravelin borg serve` for Borg's clients",
    ),
    ("stats", "`ravelin info`"),
    ("sync", "`ravelin drop sync FOLDER`"),
    ("unmount", "`ravelin umount FOLDER`"),
    ("web", "`ravelin ui`"),
];

/// Adds to an error what the unknown verb is called here, if it is one of another program.
pub(crate) fn advise(error: &mut clap::Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    let known = WORDS.iter().find(|(word, _)| word == typed);
    if let Some((_, instead)) = known {
        // Likeness of letters would only mislead.
        error.remove(ContextKind::SuggestedSubcommand);
        let tip = StyledStr::from(format!("here that is {instead}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn what_is_advised_exists_and_what_exists_is_not_advised_against() {
        let command = Cli::command();
        let verbs: BTreeSet<_> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        for (word, instead) in WORDS {
            assert!(!verbs.contains(word), "{word} is a verb");
            let mut calls = instead.split("`ravelin ").skip(1);
            assert!(
                calls.all(|call| {
                    let words = call.split(['`', ' ']).take(2).collect::<Vec<_>>();
                    let verb = command.find_subcommand(words[0]);
                    let is_group = verb.is_some_and(|verb| verb.has_subcommands());
                    verb.is_some_and(|verb| !is_group || verb.find_subcommand(words[1]).is_some())
                }),
                "{instead}"
            );
        }
    }
}
