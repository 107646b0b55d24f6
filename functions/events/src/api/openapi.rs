//! `/v1/openapi.json`.

use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;

use crate::api::{Api, admin, cameras, clip, events, quarantine, snapshot, stream};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Detektor events API",
        description = "What cameras saw. Times are in seconds on each record's clock (`unix`, or `media` from a \
                       footage's first frame), boxes are [x, y, w, h] in source pixels, scores are 0 to 1. Errors \
                       are application/problem+json."
    ),
    paths(
        cameras::list, cameras::one, cameras::ledger, cameras::detections, cameras::timeline,
        events::list, events::one, stream::stream, snapshot::snapshot, clip::clip,
        quarantine::list, quarantine::replay,
        admin::list, admin::one, admin::put, admin::remove,
    ),
    tags((name = "cameras"), (name = "events"), (name = "quarantine"), (name = "admin", description = "Needs the admin token.")),
    modifiers(&Tokens),
    security((), ("bearer" = [])),
)]
struct Document;

struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    }
}

/// This document.
pub(crate) async fn document(State(_): State<Api>) -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
