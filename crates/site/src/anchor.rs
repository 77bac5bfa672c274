//! Names of headings in links, as the usual hosts of source code make them.

use std::collections::BTreeMap;

/// Gives each heading of a page its name.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    taken: BTreeMap<String, usize>,
}

impl Anchors {
    /// The name of the next heading: small letters, digits, `-` for a space; a number behind the
    /// second of the same name.
    pub(crate) fn next(&mut self, heading: &str) -> String {
        let name: String = heading
            .trim()
            .chars()
            .filter(|&letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
            .flat_map(char::to_lowercase)
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let times = self.taken.entry(name.clone()).or_default();
        *times += 1;
        match *times {
            1 => name,
            more => format!("{name}-{}", more - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_names_that_links_use() {
        let mut anchors = Anchors::default();
        for (heading, anchor) in [
            ("By hand", "by-hand"),
            ("Which library, and why?", "which-library-and-why"),
            ("`keep` rules", "keep-rules"),
            ("By hand", "by-hand-1"),
            ("2. The second layer", "2-the-second-layer"),
        ] {
            assert_eq!(anchors.next(heading), anchor);
        }
    }
}
