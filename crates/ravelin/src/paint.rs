//! Colours, where a person sees them: on a terminal, unless `NO_COLOR` says otherwise.

use std::env;

use console::Style;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
}

/// Whether a stream gets colours: one that is a terminal, of a kind that knows them, of a person who
/// did not forbid them (<https://no-color.org>).
pub(crate) fn wanted(is_terminal: bool) -> bool {
    let is_forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|value| value.is_empty() || value == "dumb");
    is_terminal && !is_forbidden && !is_dumb
}

/// A word in its colour. The word says all; the colour only makes it easier to find.
pub(crate) fn paint(word: &str, tone: Tone, is_wanted: bool) -> String {
    let style = match tone {
        Tone::Good => Style::new().green(),
        Tone::Warning => Style::new().yellow(),
        Tone::Bad => Style::new().red().bold(),
    };
    style.force_styling(is_wanted).apply_to(word).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_a_word_is_itself() {
        assert_eq!(paint("good", Tone::Good, false), "good");
        assert_eq!(paint("good", Tone::Good, true), "\u{1b}[32mgood\u{1b}[0m");
        assert!(!wanted(false));
    }
}
