//! One page: its Markdown, its headings, its links.

use std::collections::BTreeSet;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

use crate::anchor::Anchors;

/// One page of the documents.
#[derive(Debug)]
pub struct Page {
    name: String,
    text: String,
    title: String,
    anchors: BTreeSet<String>,
}

impl Page {
    /// A page under its name in the project, such as `docs/guide/index.md`.
    pub(crate) fn new(name: String, text: String) -> Self {
        let mut title = None;
        let mut anchors = BTreeSet::new();
        for (heading, anchor) in headings(&text) {
            title.get_or_insert(heading);
            anchors.insert(anchor);
        }
        Self {
            title: title.unwrap_or_else(|| name.clone()),
            name,
            text,
            anchors,
        }
    }

    /// Its name in the project.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its first heading.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where it stands in the site.
    #[must_use]
    pub fn output(&self) -> String {
        if self.name == "README.md" {
            return "index.html".to_owned();
        }
        format!("{}.html", self.name.trim_end_matches(".md"))
    }

    /// Whether a heading has this name in links.
    pub(crate) fn has_anchor(&self, anchor: &str) -> bool {
        self.anchors.contains(anchor)
    }

    /// The targets of its links and pictures, as they stand there.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let targets = parser(&self.text).filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        });
        targets.collect()
    }

    /// The page as HTML, with the targets of its links as `address` has them.
    pub(crate) fn html(&self, address: &mut dyn FnMut(&str) -> String) -> String {
        let mut names = headings(&self.text).into_iter().map(|(_, anchor)| anchor);
        let mut to = |target: CowStr<'_>| CowStr::from(address(&target));
        let events = parser(&self.text).filter_map(|event| {
            Some(match event {
                // Comments are for the tests, and there is no other HTML.
                Event::Html(_) | Event::InlineHtml(_) => return None,
                Event::Start(Tag::Heading {
                    level,
                    classes,
                    attrs,
                    ..
                }) => Event::Start(Tag::Heading {
                    level,
                    id: names.next().map(CowStr::from),
                    classes,
                    attrs,
                }),
                Event::Start(Tag::Link {
                    link_type,
                    dest_url,
                    title,
                    id,
                }) => Event::Start(Tag::Link {
                    link_type,
                    dest_url: to(dest_url),
                    title,
                    id,
                }),
                Event::Start(Tag::Image {
                    link_type,
                    dest_url,
                    title,
                    id,
                }) => Event::Start(Tag::Image {
                    link_type,
                    dest_url: to(dest_url),
                    title,
                    id,
                }),
                other => other,
            })
        });
        let mut html = String::new();
        pulldown_cmark::html::push_html(&mut html, events);
        html
    }
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// The headings of a text and their names in links, in order.
fn headings(text: &str) -> Vec<(String, String)> {
    let mut anchors = Anchors::default();
    let mut found = Vec::new();
    let mut heading: Option<String> = None;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                if let Some(heading) = heading.take() {
                    let anchor = anchors.next(&heading);
                    found.push((heading, anchor));
                }
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            _ => {}
        }
    }
    found
}

/// The name that a relative link in the page `from` leads to; `None` when it leads out of the project.
pub(crate) fn joined(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// How the file `from` of the site calls its file `to`.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').collect();
    let to: Vec<&str> = to.split('/').collect();
    let folders = from.len() - 1;
    let same = from
        .iter()
        .take(folders)
        .zip(&to[..to.len() - 1])
        .take_while(|(from, to)| from == to)
        .count();
    let up = std::iter::repeat_n("..", folders - same);
    up.chain(to[same..].iter().copied())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_from_page_to_page() {
        assert_eq!(
            joined("docs/guide/index.md", "../stores.md").as_deref(),
            Some("docs/stores.md")
        );
        assert_eq!(joined("README.md", "../secret"), None);
        for (from, to, link) in [
            ("docs/guide/keys.html", "docs/stores.html", "../stores.html"),
            (
                "docs/guide/keys.html",
                "docs/guide/index.html",
                "index.html",
            ),
            ("index.html", "docs/page.html", "docs/page.html"),
            ("docs/page.html", "index.html", "../index.html"),
        ] {
            assert_eq!(relative(from, to), link);
        }
    }

    #[test]
    fn headings_get_names_and_comments_go() {
        let text = "# All `of` it\n\n<!-- run: true -->\n\n[there](other.md#a)\n\n## a & b\n";
        let page = Page::new("docs/page.md".to_owned(), text.to_owned());
        assert_eq!(
            (page.title(), page.output()),
            ("All of it", "docs/page.html".to_owned())
        );
        let html = page.html(&mut |target| target.replace(".md", ".html"));
        assert_eq!(
            html,
            "<h1 id=\"all-of-it\">All <code>of</code> it</h1>\n\
             <p><a href=\"other.html#a\">there</a></p>\n<h2 id=\"a--b\">a &amp; b</h2>\n"
        );
    }
}
