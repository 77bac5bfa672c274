//! Which address leads to which screen.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, post, put};

use crate::ask::{done, done_by_all, shown, shown_to_all};
use crate::fault::Fault;
use crate::screens::{
    activity, drop, job, layers, metrics, overview, restore, settings, sheet, sign_in, sources,
    welcome,
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
        .route("/restore/pack", shown(restore::pack))
        .route(
            "/restore/basket",
            shown(restore::basket).merge(done(restore::change_basket)),
        )
        .route("/restore/catalogue", done(restore::catch_up))
        .route("/restore/undo", done(restore::undo))
        .route(
            "/sources",
            shown(sources::show).merge(done(sources::change)),
        )
        .route(
            "/sources/preview",
            shown(sources::preview).merge(done(sources::preview_change)),
        )
        .route("/layers", shown(layers::show))
        .route("/layers/add", shown(layers::new).merge(done(layers::add)))
        .route(
            "/layers/sign-in",
            shown(layers::sign_in).merge(done(layers::sign_in_act)),
        )
        .route("/layers/change", done(layers::change))
        .route("/layers/keep", done(layers::keep))
        .route("/layers/verify", done(layers::verify))
        .route("/layers/drill", done(layers::drill))
        .route(
            "/drop",
            shown(drop::show).merge(unbounded(post(drop::forms))),
        )
        .route(
            "/drop/part",
            shown(drop::have).merge(unbounded(put(drop::part))),
        )
        .route("/drop/finish", done(drop::finish))
        .route("/drop/create", done(drop::create))
        .route("/drop/file", shown(drop::file))
        .route("/drop/history", shown(drop::history))
        .route("/drop/then", shown(drop::then))
        .route("/drop/restore", done(drop::restore))
        .route("/drop/delete", done(drop::delete))
        .route("/drop/links", shown(drop::links))
        .route("/drop/share", done(drop::share))
        .route("/drop/revoke", done(drop::revoke))
        .route("/drop/revoke-all", done(drop::revoke_all))
        .route("/drop/request", done(drop::request))
        .route("/drop/close", done(drop::close))
        .route("/drop/accept", done(drop::accept))
        .route("/drop/reject", done(drop::reject))
        .route(
            "/s/{token}",
            shown_to_all(drop::look).merge(done_by_all(drop::open)),
        )
        .route(
            "/r/{token}",
            shown_to_all(drop::ask_for_files).merge(unbounded(post(drop::give))),
        )
        .route("/job", shown(job::show))
        .route("/job/stop", done(job::stop))
        .route("/activity", shown(activity::show))
        .route("/sheet", shown(sheet::show))
        .route("/metrics", shown_to_all(metrics::show))
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

/// Routes that take files: they bound what they read by themselves.
fn unbounded(routes: MethodRouter<Arc<Page>>) -> MethodRouter<Arc<Page>> {
    routes.layer(DefaultBodyLimit::disable())
}
