//! Which address leads to which screen.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::ask::{done, done_by_all, shown, shown_to_all};
use crate::fault::Fault;
use crate::screens::{
    activity, job, layers, overview, restore, settings, sheet, sign_in, sources, welcome,
};
use crate::{Page, assets, guard};

/// The page as a router: everything but the connections.
pub fn app(page: Arc<Page>) -> Router {
    let mut router = Router::new()
        .route("/", shown(overview::show))
        .route("/backup", done(overview::back_up))
        .route("/welcome", shown(welcome::show).merge(done(welcome::begin)))
        .route("/restore", shown(restore::show).merge(done(restore::begin)))
        .route("/restore/versions", shown(restore::versions))
        .route("/restore/browse", shown(restore::browse))
        .route("/restore/plan", shown(restore::plan))
        .route("/restore/download", shown(restore::download))
        .route(
            "/sources",
            shown(sources::show).merge(done(sources::change)),
        )
        .route(
            "/sources/preview",
            shown(sources::preview).merge(done(sources::preview_change)),
        )
        .route("/layers", shown(layers::show))
        .route("/layers/change", done(layers::change))
        .route("/layers/keep", done(layers::keep))
        .route("/layers/verify", done(layers::verify))
        .route("/layers/drill", done(layers::drill))
        .route("/job", shown(job::show))
        .route("/job/stop", done(job::stop))
        .route("/activity", shown(activity::show))
        .route("/sheet", shown(sheet::show))
        .route("/settings", shown(settings::show))
        .route("/settings/schedule", done(settings::schedule))
        .route("/settings/language", done(settings::set_language))
        .route("/settings/sign-out", done(settings::sign_out))
        .route("/settings/sign-out-all", done(settings::sign_out_all))
        .route(
            "/sign-in",
            shown_to_all(sign_in::show).merge(done_by_all(sign_in::enter)),
        )
        .route("/sign-in/link", done_by_all(sign_in::new_link))
        .fallback(shown_to_all(|_, _| Err(Fault::NotFound)));
    for asset in assets::ALL {
        router = router.route(asset.path, asset.serve());
    }
    router
        .layer(from_fn_with_state(Arc::clone(&page), guard::guard))
        .with_state(page)
}
