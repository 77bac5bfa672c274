//! Small drawings, in the colour of the text beside them. None says anything that the text does not.

use maud::{Markup, html};

/// A drawing by its name.
pub(crate) fn icon(name: &str) -> Markup {
    let path = match name {
        "overview" => "M3 11 12 4l9 7M6 9.5V20h12V9.5M10 20v-5h4v5",
        "restore" => "M4 5v5h5M4.5 10A8 8 0 1 1 4 13M12 8v5l3 2",
        "sources" => "M3 6h6l2 2h10v11H3zM12 11v5M9.5 13.5h5",
        "layers" => "m12 3 9 5-9 5-9-5zM3 12.5l9 5 9-5M3 16.5l9 5 9-5",
        "activity" => "M3 12h4l3-7 4 14 3-7h4",
        "drop" => "M12 3v11M8 10l4 4 4-4M4 15v5h16v-5",
        "sheet" => "M6 3h9l4 4v14H6zM14 3v5h5M9 12h7M9 16h7",
        "settings" => "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
        "good" => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 12.5l2.7 2.7L16 9.5",
        "warn" => "M12 4 2.8 20h18.4zM12 10v4.5M12 17.3v.2",
        "bad" => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 9l6 6M15 9l-6 6",
        "wait" => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.5 2",
        "file" => "M7 3h7l4 4v14H7zM13 3v5h5",
        "folder" => "M3 6h6l2 2h10v11H3z",
        "download" => "M12 4v11M8 11l4 4 4-4M5 20h14",
        "search" => "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 21 21",
        "print" => "M7 8V3h10v5M7 17H4V9h16v8h-3M7 14h10v7H7z",
        "link" => {
            "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17"
        }
        // A play sign: begin.
        _ => "M8 5v14l11-7z",
    };
    html! { svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" { path d=(path) {} } }
}
