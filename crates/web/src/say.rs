//! What the page says, in the language of who reads it.
//!
//! All texts stand in one catalogue a language, `messages/*.toml`. A language is added by a file
//! and a line in [`Language::ALL`]; a test holds all of them as complete as the English one.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use toml_edit::{Document, Item};

/// A language that the page speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Language {
    En,
    De,
}

impl Language {
    /// All of them, the one for those who speak none of them first.
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::De];

    /// Its code in HTML and HTTP.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
        }
    }

    /// What those who speak it call it.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::De => "Deutsch",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::En => include_str!("../messages/en.toml"),
            Self::De => include_str!("../messages/de.toml"),
        }
    }

    fn catalogue(self) -> &'static HashMap<String, String> {
        static EN: OnceLock<HashMap<String, String>> = OnceLock::new();
        static DE: OnceLock<HashMap<String, String>> = OnceLock::new();
        let cell = match self {
            Self::En => &EN,
            Self::De => &DE,
        };
        cell.get_or_init(|| read(self.text()))
    }
}

/// Reads `[section] key = "text"` as `section.key`.
fn read(text: &str) -> HashMap<String, String> {
    let mut messages = HashMap::new();
    // The catalogues are compiled in, and a test reads them: there is no other case.
    let Ok(document) = Document::parse(text) else {
        return messages;
    };
    for (section, item) in document.as_table() {
        let Item::Table(table) = item else { continue };
        for (key, item) in table {
            if let Some(text) = item.as_str() {
                messages.insert(format!("{section}.{key}"), text.to_owned());
            }
        }
    }
    messages
}

/// Speaks a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Say {
    pub(crate) language: Language,
}

impl Say {
    /// The language that was set, else the first that the browser asks for and we speak.
    pub(crate) fn choose(set: Option<Language>, accepted: &str) -> Self {
        let mut wanted: Vec<(u32, Language)> = accepted
            .split(',')
            .filter_map(|part| {
                let mut part = part.split(';');
                let tag = part.next()?.trim().to_ascii_lowercase();
                let quality = part.next().and_then(|rest| rest.trim().strip_prefix("q="));
                let quality = quality.map_or(Some(1.0), |quality| quality.parse::<f32>().ok())?;
                let code = tag.split('-').next()?;
                let language = Language::ALL
                    .into_iter()
                    .find(|language| language.code() == code)?;
                // Bounded before it becomes a whole number, and zero means: not this one.
                let weight = (quality.clamp(0.0, 1.0) * 1000.0).round();
                let weight = format!("{weight}").parse().ok()?;
                (weight > 0).then_some((weight, language))
            })
            .collect();
        wanted.sort_by_key(|&(weight, _)| std::cmp::Reverse(weight));
        let asked = wanted.first().map(|&(_, language)| language);
        Self {
            language: set.or(asked).unwrap_or(Language::En),
        }
    }

    /// The text of a key; the key itself when nobody wrote one.
    pub(crate) fn t(self, key: &str) -> &'static str {
        let text = self.find(key);
        text.unwrap_or_else(|| Box::leak(key.to_owned().into_boxed_str()))
    }

    /// The text of a key, if there is one.
    pub(crate) fn find(self, key: &str) -> Option<&'static str> {
        let own = self.language.catalogue().get(key);
        let text = own.or_else(|| Language::En.catalogue().get(key));
        text.map(String::as_str)
    }

    /// The text of a key with values at its `{names}`.
    pub(crate) fn put(self, key: &str, values: &[(&str, &str)]) -> String {
        engine::fill(self.t(key), values)
    }

    /// A count with its noun: `count.files` has `count.files-one` beside it, for one.
    pub(crate) fn count(self, number: u64, key: &str) -> String {
        if number == 1
            && let Some(one) = self.find(&format!("{key}-one"))
        {
            return one.to_owned();
        }
        self.put(key, &[("n", &self.number(number))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .collect()
    }

    #[test]
    fn every_language_says_everything_with_the_same_values() {
        let english = Language::En.catalogue();
        assert!(english.len() > 100, "{}", english.len());
        for language in Language::ALL {
            let own = language.catalogue();
            let keys = |of: &HashMap<String, String>| of.keys().cloned().collect::<BTreeSet<_>>();
            let missing: Vec<_> = keys(english).difference(&keys(own)).cloned().collect();
            // Of errors and of the recovery sheet, English is what the engine itself says.
            let extra: Vec<_> = keys(own)
                .difference(&keys(english))
                .filter(|key| {
                    !["error.", "next.", "runbook."]
                        .iter()
                        .any(|of| key.starts_with(of))
                })
                .cloned()
                .collect();
            assert!(
                missing.is_empty() && extra.is_empty(),
                "{missing:?} {extra:?}"
            );
            for (key, text) in own {
                assert!(!text.trim().is_empty(), "{key}");
                if let Some(english) = english.get(key) {
                    assert_eq!(places(text), places(english), "{key}");
                }
            }
        }
    }

    #[test]
    fn every_key_that_the_code_names_has_a_text_and_none_is_left_over() {
        let mut code = String::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("say.rs") {
                    code.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        let sections: BTreeSet<&str> = Language::En
            .catalogue()
            .keys()
            .filter_map(|key| key.split('.').next())
            .collect();
        let quoted = code.split('"').collect::<BTreeSet<_>>();
        let named = quoted.iter().filter(|text| {
            text.split_once('.').is_some_and(|(section, key)| {
                sections.contains(section)
                    && key
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
                    && !key.is_empty()
                    && !["css", "js", "svg", "toml", "json"].contains(&key)
            })
        });
        let without: Vec<_> = named
            .filter(|key| {
                Say {
                    language: Language::En,
                }
                .find(key)
                .is_none()
            })
            .collect();
        assert!(without.is_empty(), "no text for {without:?}");
        // Keys that are put together from a beginning and a name.
        let beginnings: Vec<&str> = quoted
            .iter()
            .filter_map(|text| Some(text.split_once('{')?.0))
            .filter(|beginning| beginning.contains('.'))
            .collect();
        let left_over: Vec<_> = Language::En
            .catalogue()
            .keys()
            .filter(|key| {
                let base = key.strip_suffix("-one").unwrap_or(key);
                !quoted.contains(base)
                    && !beginnings
                        .iter()
                        .any(|beginning| key.starts_with(beginning))
            })
            .collect();
        assert!(left_over.is_empty(), "nobody says {left_over:?}");
    }

    #[test]
    fn german_knows_every_error_of_the_engine() {
        let german = Language::De.catalogue();
        for code in engine::Code::ALL {
            for section in ["error", "next"] {
                let key = format!("{section}.{}", code.name());
                assert!(german.contains_key(&key), "{key}");
            }
        }
    }

    #[test]
    fn german_has_the_whole_recovery_sheet() {
        let german = Language::De.catalogue();
        for (key, english) in engine::RUNBOOK_WORDS {
            let text = german.get(&format!("runbook.{key}"));
            let text = text.unwrap_or_else(|| panic!("runbook.{key}"));
            assert_eq!(places(text), places(english), "{key}");
        }
        let of_it = german.keys().filter(|key| key.starts_with("runbook."));
        assert_eq!(of_it.count(), engine::RUNBOOK_WORDS.len());
    }

    #[test]
    fn the_browser_and_the_setting_choose_the_language() {
        for (set, accepted, language) in [
            (None, "", Language::En),
            (None, "fr, de;q=0.5, en;q=0.3", Language::De),
            (None, "de-AT", Language::De),
            (None, "de;q=0, en;q=0.1", Language::En),
            (None, "en, de", Language::En),
            (Some(Language::De), "en", Language::De),
        ] {
            assert_eq!(Say::choose(set, accepted).language, language, "{accepted}");
        }
    }
}
