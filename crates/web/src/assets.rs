//! What the page is made of besides HTML. All of it is in the program: nothing is fetched from
//! elsewhere.

use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A file that browsers may keep as long as its address is the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asset {
    /// Its address.
    pub(crate) path: &'static str,
    kind: &'static str,
    content: &'static str,
}

/// How everything looks.
pub(crate) const STYLE: Asset = Asset {
    path: "/assets/style.css",
    kind: "text/css; charset=utf-8",
    content: include_str!("../assets/style.css"),
};

/// Our own script.
pub(crate) const SCRIPT: Asset = Asset {
    path: "/assets/page.js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("../assets/page.js"),
};

/// htmx 2.0.11, 0BSD, unchanged: <https://htmx.org>.
pub(crate) const HTMX: Asset = Asset {
    path: "/assets/htmx.min.js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("../assets/htmx.min.js"),
};

/// The sign of the program.
pub(crate) const ICON: Asset = Asset {
    path: "/assets/icon.svg",
    kind: "image/svg+xml",
    content: include_str!("../assets/icon.svg"),
};

/// All of them.
pub(crate) const ALL: [Asset; 4] = [STYLE, SCRIPT, HTMX, ICON];

impl Asset {
    /// Its address with a mark that changes with its content.
    pub(crate) fn address(self) -> String {
        static MARK: OnceLock<String> = OnceLock::new();
        let mark = MARK.get_or_init(|| {
            let mut all = Sha256::new();
            for asset in ALL {
                all.update(asset.content);
            }
            let mark = URL_SAFE_NO_PAD.encode(all.finalize());
            mark.chars().take(12).collect()
        });
        format!("{}?{mark}", self.path)
    }

    pub(crate) fn serve<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(move || async move { self.response() })
    }

    fn response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        (headers, self.content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_light() {
        assert!(STYLE.content.len() <= 15_000, "{}", STYLE.content.len());
        let script = SCRIPT.content.len() + HTMX.content.len();
        assert!(script < 60_000, "{script}");
    }

    #[test]
    fn htmx_is_what_was_published() {
        assert_eq!(
            hex::encode(Sha256::digest(HTMX.content)),
            "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
        );
    }
}
