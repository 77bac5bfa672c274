//! Recovery sheet: how to get everything back, with this program and without it, to be printed.

use std::sync::Arc;

use axum::response::Response;
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::Screen;

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let config = page.config()?;
    let words = |key: &str| say.find(&format!("runbook.{key}"));
    let text = page.with(&config, |context| engine::runbook(context, &words))?;
    let middle = html! {
        div.no-print {
            h1 { (say.t("nav.sheet")) }
            p.lead { (say.t("sheet.lead")) }
            p { button.main type="button" data-print="" { (icon("print")) (say.t("sheet.print")) }
                " " span.dim.small { (say.t("sheet.hint")) } }
        }
        article.card.sheet { (markdown(&text)) }
    };
    Ok(Screen::new(ask, "/sheet", say.t("nav.sheet")).answer(&middle))
}

/// The sheet as a page that needs nothing else: to be kept in a file, and printed.
#[must_use]
pub fn sheet_document(text: &str) -> String {
    let page = html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "How to get everything back" }
                style { (PreEscaped(PRINT_STYLE)) }
            }
            body { (PreEscaped(to_html(text))) }
        }
    };
    page.into_string()
}

/// Black on white, no command cut at the edge of the paper or between two pages.
const PRINT_STYLE: &str = "body{font:11pt/1.45 sans-serif;color:#000;background:#fff;\
    max-width:48rem;margin:2rem auto;padding:0 1rem}\
    pre,code{font:9.5pt/1.4 monospace}\
    pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #888;padding:.6em;\
    break-inside:avoid}\
    table{border-collapse:collapse}th,td{border:1px solid #888;padding:.25em .5em;\
    text-align:left;overflow-wrap:anywhere}\
    h1,h2,h3{break-after:avoid}@page{margin:18mm}@media print{body{margin:0;max-width:none}}";

/// Markdown as HTML, for the screen.
fn markdown(text: &str) -> Markup {
    let html = to_html(text);
    // The screen has a heading of the first rank already.
    let html = html.replace("<h2>", "<h3>").replace("</h2>", "</h3>");
    let html = html.replace("<h1>", "<h2>").replace("</h1>", "</h2>");
    // What is wider than a phone is scrolled, by the keyboard too.
    let html = html.replace("<pre>", "<pre tabindex=\"0\">");
    PreEscaped(html.replace("<table>", "<table tabindex=\"0\">"))
}

/// Markdown as HTML. What looks like HTML in it is text: names of files and folders are in it.
fn to_html(text: &str) -> String {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        // Nobody is led elsewhere by what stands in a name.
        Event::Start(Tag::Link { .. } | Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(TagEnd::Link | TagEnd::Image) => Event::End(TagEnd::Emphasis),
        other => other,
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_sheet_becomes_markup_of_its_own() {
        let PreEscaped(html) =
            markdown("# A\n\n- `<b>` <script>alert(1)</script> [x](javascript:alert(1))\n");
        assert!(
            !html.contains("<script") && !html.contains("href"),
            "{html}"
        );
        assert!(html.contains("<h2>A</h2>"), "{html}");
    }
}
