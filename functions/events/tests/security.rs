//! Who is answered, and how much of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::num::NonZeroU32;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use common::browser::Served;
use common::{Answer, Bed};
use detektor_events::{Limits, Options, Tokens};
use detektor_runtime::http::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

const READ: (&str, &str) = ("authorization", "Bearer look-0123456789");
const ADMIN: (&str, &str) = ("authorization", "Bearer rule-0123456789");

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

async fn bed(limits: Limits) -> Bed {
    let tokens = Tokens::new(Some("look-0123456789"), Some("rule-0123456789"));
    Bed::with(Options { tokens, limits, ..Options::default() }).await
}

/// Wrong tokens are not what this is about.
fn patient() -> Limits {
    Limits { wrong_tokens_per_min: number(10_000), ..Limits::default() }
}

/// Every path of the API, with something in its places.
async fn paths(bed: &Bed) -> Vec<(String, Vec<Method>)> {
    let document = bed.send(Method::GET, "/v1/openapi.json", &[ADMIN]).await.json();
    let known = document["paths"].as_object().unwrap().iter().map(|(path, methods)| {
        let methods =
            methods.as_object().unwrap().keys().map(|method| method.to_uppercase().parse().unwrap()).collect();
        (path.replace("/events/{id}", "/events/gate.1.2.3.4").replace("{id}", "gate"), methods)
    });
    let mut paths: Vec<(String, Vec<Method>)> = known.collect();
    paths.push(("/v1/openapi.json".to_owned(), vec![Method::GET]));
    assert!(paths.len() > 10);
    paths
}

#[tokio::test]
async fn no_path_answers_without_a_token() {
    let bed = bed(patient()).await;
    for (path, methods) in paths(&bed).await {
        for method in methods.into_iter().chain([Method::HEAD, Method::OPTIONS, Method::POST]) {
            for headers in [
                &[][..],
                &[("authorization", "Bearer wrong")],
                &[("authorization", "Basic bG9vay0wMTIzNDU2Nzg5")],
                &[("authorization", "look-0123456789")],
                &[("cookie", "detektor=look-0123456789")],
                &[("cookie", "detektor=")],
                &[("host", "localhost")],
                &[("x-forwarded-for", "127.0.0.1")],
            ] {
                let answer = bed.send(method.clone(), &path, headers).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {headers:?}");
            }
            let query = format!("{path}?token=look-0123456789&access_token=look-0123456789");
            assert_eq!(bed.send(method.clone(), &query, &[]).await.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn who_may_read_may_not_change_anything() {
    let bed = bed(patient()).await;
    let mut changing = 0;
    for (path, methods) in paths(&bed).await {
        for method in methods {
            let admin = method != Method::GET || path.starts_with("/v1/admin");
            if path == "/v1/events/stream" {
                continue;
            }
            let reader = bed.send(method.clone(), &path, &[READ]).await.status;
            assert_eq!(reader == StatusCode::FORBIDDEN, admin, "{method} {path}: {reader}");
            let ruler = bed.send(method.clone(), &path, &[ADMIN]).await.status;
            assert!(ruler != StatusCode::FORBIDDEN && ruler != StatusCode::UNAUTHORIZED, "{method} {path}: {ruler}");
            changing += usize::from(admin);
        }
    }
    assert!(changing >= 4);
    let answer = bed.send(Method::GET, "/v1/admin/cameras", &[READ]).await;
    insta::assert_json_snapshot!("needs_admin", answer.json());
}

#[tokio::test]
async fn where_everybody_may_read_nobody_may_change_anything() {
    let bed = Bed::with(Options { allow_unauthenticated: true, ..Options::default() }).await;
    let host = ("host", "cameras.example");
    assert_eq!(bed.send(Method::GET, "/v1/cameras", &[host]).await.status, StatusCode::OK);
    assert_eq!(bed.send(Method::GET, "/v1/admin/cameras", &[host]).await.status, StatusCode::FORBIDDEN);
    let page = bed.send(Method::GET, "/", &[host]).await;
    assert!(String::from_utf8_lossy(&page.body).contains("data-access=\"read\""));
    let local = Bed::new().await;
    assert_eq!(local.get("/v1/admin/cameras").await.status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&local.get("/").await.body).contains("data-access=\"admin\""));
}

#[tokio::test]
async fn another_sites_page_changes_nothing() {
    let bed = Bed::new().await;
    let json = ("content-type", "application/json");
    let path = "/v1/admin/cameras/gate";
    for site in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example"), ("origin", "null")] {
        let answer =
            bed.send_body(Method::PUT, path, &[json, ("host", "localhost:8080"), site], "{\"url\":\"x\"}").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site:?}");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let login = bed.send_body(Method::POST, "/login", &[form, ("host", "localhost:8080"), site], "token=x").await;
        assert_eq!(login.status, StatusCode::FORBIDDEN, "{site:?}");
    }
    assert_eq!(bed.coordination.wanted().await.unwrap(), []);
    let own = [json, ("host", "localhost:8080"), ("origin", "http://localhost:8080")];
    assert_eq!(bed.send_body(Method::PUT, path, &own, "{\"url\":\"x\"}").await.status, StatusCode::CREATED);
}

fn wait_s(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn one_client_in_excess_has_to_wait_alone() {
    let bed = bed(Limits { requests_per_s: number(1), requests_burst: number(5), ..Limits::default() }).await;
    for _ in 0..5 {
        assert_eq!(bed.send_from("192.0.2.1", "/v1/cameras", &[READ]).await.status, StatusCode::OK);
    }
    let refused = bed.send_from("192.0.2.1", "/v1/cameras", &[READ]).await;
    assert_eq!((refused.status, wait_s(&refused)), (StatusCode::TOO_MANY_REQUESTS, 1));
    insta::assert_json_snapshot!("too_many_requests", refused.json());
    // Whatever it asks for, and whatever it says of itself.
    for (path, headers) in
        [("/page/app.css", vec![]), ("/", vec![]), ("/v1/cameras", vec![READ, ("x-forwarded-for", "9.9.9.9")])]
    {
        let status = bed.send_from("192.0.2.1", path, &headers).await.status;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    assert_eq!(bed.send_from("192.0.2.2", "/v1/cameras", &[READ]).await.status, StatusCode::OK);
    assert!(bed.metrics.text().contains("detektor_events_refused_requests_total{excess=\"requests\"} 4"));
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(bed.send_from("192.0.2.1", "/v1/cameras", &[READ]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn behind_a_proxy_that_is_trusted_clients_are_told_apart() {
    let limits =
        Limits { requests_per_s: number(1), requests_burst: number(2), trust_forwarded_for: true, ..Limits::default() };
    let bed = bed(limits).await;
    // What a client says itself stands in front of what the proxy adds.
    for made_up in ["1.1.1.1", "2.2.2.2", "3.3.3.3"] {
        let list = format!("{made_up}, 192.0.2.7");
        let answer = bed.send_from("10.0.0.1", "/v1/cameras", &[READ, ("x-forwarded-for", &list)]).await;
        let expected = if made_up == "3.3.3.3" { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{made_up}");
    }
    let other = bed.send_from("10.0.0.1", "/v1/cameras", &[READ, ("x-forwarded-for", "192.0.2.8")]).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn who_guesses_tokens_is_shut_out_for_a_while_whatever_it_shows() {
    let bed = bed(Limits { wrong_tokens_per_min: number(3), ..Limits::default() }).await;
    let cookie = format!("detektor={}", "0".repeat(64));
    let guesses = [
        ("authorization", "Bearer a"),
        ("authorization", "Basic b"),
        ("cookie", cookie.as_str()),
        ("authorization", "c"),
    ];
    for guess in guesses {
        let answer = bed.send_from("192.0.2.1", "/v1/cameras", &[guess]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{guess:?}");
    }
    let shut = bed.send_from("192.0.2.1", "/v1/cameras", &[ADMIN]).await;
    assert_eq!(shut.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((10..=20).contains(&wait_s(&shut)), "{}", wait_s(&shut));
    let mut problem = shut.json();
    problem["detail"] = problem["detail"].as_str().unwrap().split(':').next().unwrap().into();
    insta::assert_json_snapshot!("too_many_wrong_tokens", problem);
    let form = |token: &str| {
        let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
        let request = request.extension(Peer::at("192.0.2.1".parse().unwrap()));
        request.body(Body::from(format!("token={token}"))).unwrap()
    };
    assert_eq!(bed.answer(form("look-0123456789")).await.status, StatusCode::TOO_MANY_REQUESTS);
    // Who shows no token guesses nothing, and others are not concerned.
    assert_eq!(bed.send_from("192.0.2.1", "/v1/cameras", &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bed.send_from("192.0.2.1", "/page/app.css", &[ADMIN]).await.status, StatusCode::OK);
    assert_eq!(bed.send_from("192.0.2.2", "/v1/cameras", &[READ]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_login_form_is_no_way_to_guess_either() {
    let bed = bed(Limits { wrong_tokens_per_min: number(2), ..Limits::default() }).await;
    let form = |token: &str| {
        let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
        request.body(Body::from(format!("token={token}"))).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(bed.answer(form("guess")).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(bed.answer(form("look-0123456789")).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn streams_are_counted_by_client() {
    let bed = bed(Limits { streams: 3, streams_per_client: 2, ..Limits::default() }).await;
    let open = |address: &str| {
        let request = Request::get("/v1/events/stream").extension(Peer::at(address.parse().unwrap()));
        let request = request.header(READ.0, READ.1).body(Body::empty()).unwrap();
        bed.router().oneshot(request)
    };
    let mine = [open("192.0.2.1").await.unwrap(), open("192.0.2.1").await.unwrap()];
    assert!(mine.iter().all(|stream| stream.status() == StatusCode::OK));
    let third = open("192.0.2.1").await.unwrap();
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.headers().contains_key("retry-after"));
    let other = open("192.0.2.2").await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    assert_eq!(open("192.0.2.3").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE, "all places are taken");
    drop(mine);
    assert_eq!(open("192.0.2.1").await.unwrap().status(), StatusCode::OK);
}

/// What a served API says to a request, head and body.
async fn ask(address: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: cameras.example\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn numbers_and_reasons_need_a_token_and_probes_do_not() {
    let served = Served::new(bed(Limits { wrong_tokens_per_min: number(2), ..Limits::default() }).await).await;
    let token = format!("{}: {}\r\n", READ.0, READ.1);
    assert!(ask(&served.address, "/livez", "").await.starts_with("HTTP/1.1 200 "));
    let ready = ask(&served.address, "/readyz?verbose", "").await;
    assert!(ready.starts_with("HTTP/1.1 200 ") && !ready.contains("[+]"), "{ready}");
    assert!(ask(&served.address, "/readyz?verbose", &token).await.contains("[+]served ok"));
    assert!(ask(&served.address, "/metrics", "").await.starts_with("HTTP/1.1 401 "));
    assert!(ask(&served.address, "/metrics", &token).await.contains("detektor_events_"));
    for _ in 0..3 {
        assert!(ask(&served.address, "/metrics", "authorization: Bearer x\r\n").await.starts_with("HTTP/1.1 401 "));
    }
    assert!(ask(&served.address, "/metrics", &token).await.starts_with("HTTP/1.1 401 "), "no way to guess");
    assert!(ask(&served.address, "/v1/cameras", &token).await.starts_with("HTTP/1.1 429 "));
    served.end().await;
}
