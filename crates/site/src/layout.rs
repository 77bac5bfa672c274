//! What stands around a page: the way to the others, and how it looks.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::page::{Page, relative};
use crate::{Resolved, Site};

/// Looks good on a phone, in the dark and on paper; nothing is loaded for it.
const STYLE: &str = include_str!("style.css");

/// The page with the order of the guide.
const GUIDE: &str = "docs/guide/index.md";

/// One page of the site.
pub(crate) fn document(
    site: &Site,
    page: &Page,
    address: &mut dyn FnMut(&str) -> String,
) -> String {
    let body = page.html(address);
    // What is wider than a phone is scrolled, by the keyboard too.
    let body = body
        .replace("<table>", "<div class=\"wide\" tabindex=\"0\"><table>")
        .replace("</table>", "</table></div>");
    let title = if page.output() == "index.html" {
        page.title().to_owned()
    } else {
        format!("{} · Ravelin", page.title())
    };
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#text" { "To the text" }
                nav aria-label="Pages" { (navigation(site, page)) }
                main #text { (PreEscaped(body)) }
            }
        }
    };
    document.into_string()
}

/// All pages, by what they are for.
fn navigation(site: &Site, here: &Page) -> Markup {
    let is_in = |page: &&Page, folder: &str| {
        page.name()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            == folder
    };
    let of = |folder: &'static str| site.pages().filter(move |page| is_in(page, folder));
    html! {
        p.home { a href=(relative(&here.output(), "index.html")) { "Ravelin" } }
        (group("Guide", here, guide(site)))
        (group("Reference", here, of("docs").collect()))
        (group("Formats", here, of("docs/formats").collect()))
        (group("Project", here, of("").filter(|page| page.name() != "README.md").collect()))
    }
}

/// The pages of the guide, in its own order.
fn guide(site: &Site) -> Vec<&Page> {
    let Some(index) = site.pages.get(GUIDE) else {
        return Vec::new();
    };
    let mut pages = vec![index];
    for target in index.links() {
        let Ok(Resolved::Page(output, _)) = site.resolve(index, &target) else {
            continue;
        };
        let found = site.pages().find(|page| page.output() == output);
        if let Some(page) = found.filter(|page| page.name().starts_with("docs/guide/"))
            && !pages.iter().any(|known| known.name() == page.name())
        {
            pages.push(page);
        }
    }
    pages
}

fn group(title: &str, here: &Page, pages: Vec<&Page>) -> Markup {
    let is_here = |page: &Page| page.name() == here.name();
    html! {
        details open[pages.iter().any(|page| is_here(page)) || title == "Guide"] {
            summary { (title) }
            ul { @for page in pages {
                li {
                    a href=(relative(&here.output(), &page.output()))
                        aria-current=[is_here(page).then_some("page")] { (page.title()) }
                }
            } }
        }
    }
}
