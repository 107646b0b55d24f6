//! Whatever goes wrong is told as `application/problem+json`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use common::scene::Scene;
use common::{Answer, Bed};
use serde_json::Value;
use tower::ServiceExt;

fn problem(answer: &Answer, status: u16) -> Value {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status.as_u16(), status, "{body}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{body}");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], "about:blank");
    assert!(problem["title"].is_string() && problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    problem
}

#[tokio::test]
async fn what_is_not_there() {
    let bed = Bed::new().await;
    for path in [
        "/nothing",
        "/v1",
        "/v1/events/gate.1.2.3.4",
        "/v1/events/gate.1.2.3.4/snapshot",
        "/v1/events/gate.1.2.3.4/clip",
        "/v1/cameras/gate",
        "/v1/cameras/gate/ledger",
        "/v1/cameras/gate/detections",
        "/v1/cameras/gate/timeline",
        "/page/../Cargo.toml",
    ] {
        problem(&bed.get(path).await, 404);
    }
}

#[tokio::test]
async fn methods_that_are_not_taken() {
    let bed = Bed::new().await;
    for (method, path) in [(Method::POST, "/v1/events"), (Method::DELETE, "/v1/cameras/gate"), (Method::GET, "/login")]
    {
        let answer = bed.send(method, path, &[]).await;
        problem(&answer, 405);
        assert!(!answer.header("allow").is_empty());
    }
}

#[tokio::test]
async fn every_parameter_that_cannot_be_used_is_named() {
    let bed = Bed::new().await;
    let scene = Scene::footage("gate");
    bed.store.register_camera(&scene.camera, "file:x").await.unwrap();
    let cases = [
        ("/v1/events?camera=a/b&from=x&min_score=2&limit=0&order=up&cursor=%21&who=me", 7),
        ("/v1/events?from=5&until=4", 1),
        ("/v1/events?limit=501", 1),
        ("/v1/events?limit=1&limit=2", 1),
        ("/v1/events/not-an-event", 1),
        ("/v1/events/%ff", 1),
        ("/v1/events/gate.1.2.3.4.5/clip", 1),
        ("/v1/cameras?x=1", 1),
        ("/v1/cameras/-/ledger", 1),
        ("/v1/cameras/gate/detections?limit=2001&cursor=x&from=NaN", 3),
        ("/v1/cameras/gate/timeline?from=2&until=1&limit=4", 2),
        ("/v1/events/stream?last_event_id=7&camera=..", 2),
    ];
    for (path, mistakes) in cases {
        let problem = problem(&bed.get(path).await, 422);
        let named = problem["errors"].as_array().unwrap();
        assert_eq!(named.len(), mistakes, "{path}: {named:?}");
        assert!(named.iter().all(|m| m["parameter"].is_string() && m["detail"].is_string()), "{named:?}");
    }
    let all = bed.get(cases[0].0).await.json();
    insta::assert_json_snapshot!("all_mistakes", all);
    let header = bed.send(Method::GET, "/v1/events/stream", &[("last-event-id", "x")]).await;
    assert_eq!(problem(&header, 422)["errors"][0]["parameter"], "Last-Event-ID");
}

#[tokio::test]
async fn a_store_that_is_away_is_said_to_be_away() {
    let (router, _dir) = Bed::new().await.close().await;
    for path in ["/v1/events", "/v1/cameras", "/v1/events/gate.1.2.3.4", "/v1/events/stream"] {
        let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        problem(&answer, 503);
        assert_eq!(answer.header("retry-after"), "2");
    }
}

#[tokio::test]
async fn another_hosts_pages_cannot_read_what_needs_no_token() {
    let bed = Bed::new().await;
    problem(&bed.send(Method::GET, "/v1/cameras", &[("host", "evil.example:8080")]).await, 421);
    let local = bed.send(Method::GET, "/v1/cameras", &[("host", "localhost:8080")]).await;
    assert_eq!(local.status, StatusCode::OK);
    let bed = Bed::with_tokens("look", "rule").await;
    let headers = [("host", "cameras.example"), ("authorization", "Bearer look")];
    assert_eq!(bed.send(Method::GET, "/v1/cameras", &headers).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let bed = Bed::with_tokens("look", "rule").await;
    for path in
        ["/v1/cameras", "/v1/events", "/v1/events/stream", "/v1/events/gate.1.2.3.4/clip", "/v1/openapi.json", "/x"]
    {
        let answer = bed.get(path).await;
        problem(&answer, 401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        problem(&bed.send(Method::GET, path, &[("authorization", "Bearer nonsense")]).await, 401);
    }
    for token in ["look", "rule"] {
        let bearer = format!("Bearer {token}");
        let answer = bed.send(Method::GET, "/v1/cameras", &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

fn form(body: String) -> Request<Body> {
    let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    Request::post("/login").header(kind.0, kind.1).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn the_login_form_trades_a_token_for_a_cookie() {
    let bed = Bed::with_tokens("look", "rule").await;
    let page = bed.get("/").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(String::from_utf8_lossy(&page.body).contains("<form method=\"post\" action=\"/login\">"));
    assert_eq!(bed.get("/page/app.css").await.status, StatusCode::OK);

    let wrong = bed.answer(form("token=wrong".into())).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.header("set-cookie").starts_with("detektor=; "), "what was wrong is forgotten");
    assert!(String::from_utf8_lossy(&wrong.body).contains("not known"));

    let right = bed.answer(form("token=look".into())).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = right.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("look"));
    let pair = cookie.split(';').next().unwrap();
    let inside = bed.send(Method::GET, "/", &[("cookie", pair)]).await;
    assert_eq!(inside.status, StatusCode::OK);
    assert!(!String::from_utf8_lossy(&inside.body).contains("id=\"logout\" hidden"));
    assert_eq!(bed.send(Method::GET, "/v1/cameras", &[("cookie", pair)]).await.status, StatusCode::OK);

    let out = bed.send(Method::POST, "/logout", &[("cookie", pair)]).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn bodies_are_small_and_forms() {
    let bed = Bed::with_tokens("look", "rule").await;
    problem(&bed.answer(form(format!("token={}", "x".repeat(70_000)))).await, 413);
    problem(&bed.answer(form("key=look".into())).await, 400);
    let json = Request::post("/login").header("content-type", "application/json").body(Body::from("{}")).unwrap();
    problem(&bed.answer(json).await, 400);
}
