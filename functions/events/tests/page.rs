//! The page in headless Chromium.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::browser::{Browser, DESKTOP, PHONE};
use common::seed::served;

const LOADED: &str = "document.querySelectorAll('.card').length >= 9 && document.querySelectorAll('.track').length === 3 \
                      && [...document.querySelectorAll('.card img')].every((image) => image.complete)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_what_was_seen() {
    let served = served().await;
    for (window, name) in [(DESKTOP, "desktop"), (PHONE, "phone")] {
        let mut browser = Browser::start(window).await;
        browser.open(&format!("{}/", served.address)).await;
        browser.wait(LOADED).await;
        browser.picture(&format!("page-{name}.png")).await;
        browser
            .value("document.querySelectorAll('summary')[2].click(); document.querySelectorAll('summary')[0].click()")
            .await;
        browser.wait("document.querySelectorAll('.ledger table').length == 2").await;
        browser.picture(&format!("ledger-{name}.png")).await;
        browser.value("document.querySelector('#events-title').scrollIntoView()").await;
        browser.wait("[...document.querySelectorAll('.card img')].every((image) => image.complete)").await;
        browser.picture(&format!("scrolled-{name}.png")).await;
        browser.color_scheme("light").await;
        browser.picture(&format!("light-{name}.png")).await;
        browser.color_scheme("dark").await;
        browser.open(&format!("{}/#event=driveway.1.6.24.0", served.address)).await;
        browser.wait("document.querySelector('dialog video').readyState >= 2").await;
        browser.picture(&format!("event-{name}.png")).await;
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    }
    served.end().await;
}
