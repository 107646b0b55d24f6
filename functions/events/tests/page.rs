//! The page in headless Chromium. Pictures of it are left with the build's files, in the target folder's `tmp`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bed;
use common::browser::{Browser, DESKTOP, PHONE, Served};
use common::quarantine::{porch, queued};
use common::scene::{Scene, object};
use common::seed::{driveway, served};
use serde_json::{Value, json};

const LOADED: &str = "document.querySelectorAll('.card').length === 9 && document.querySelectorAll('.track').length === 3 \
                      && document.querySelector('#live').dataset.state === 'live'";
const TEXTS: &str = "(css) => [...document.querySelectorAll(css)].map((element) => element.innerText.trim())";
const EVENT: &str = "driveway.1.6.24.0";

async fn texts(browser: &mut Browser, css: &str) -> Vec<String> {
    let texts = browser.value(&format!("({TEXTS})('{css}')")).await;
    texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

async fn click(browser: &mut Browser, css: &str) {
    browser.value(&format!("document.querySelector('{css}').click()")).await;
}

fn nothing_to_complain_of(browser: &Browser) {
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_is_there_newest_first() {
    let served = served().await;
    let mut browser = Browser::start(DESKTOP).await;
    browser.open(&served.address).await;
    browser.wait(LOADED).await;
    let cards = texts(&mut browser, ".card .what").await;
    assert!(cards[0].starts_with("Car") && cards[3].starts_with("Person"), "{cards:?}");
    let whens = texts(&mut browser, ".card time").await;
    // Live cameras show local time (the browser's zone is UTC), footage the time from its beginning.
    assert!(whens[0].ends_with("20:55:06"), "{whens:?}");
    assert_eq!(whens[8], "00:06");
    assert_eq!(texts(&mut browser, ".card .badge").await, ["still there"]);
    assert_eq!(texts(&mut browser, ".camera-row h3").await, ["driveway", "garden", "gate"]);
    assert_eq!(texts(&mut browser, ".camera-row .state").await, ["ended", "lost", "running"]);
    assert_eq!(texts(&mut browser, ".camera-row .error").await, ["connection refused; the next try is in 30 s"]);
    let bars = "[...document.querySelectorAll('.track')].map((track) => track.querySelectorAll('.bar').length)";
    assert_eq!(browser.value(bars).await, json!([1, 1, 7]));
    let gaps = "[...document.querySelectorAll('.track')].map((track) => track.querySelectorAll('.gap').length)";
    assert_eq!(browser.value(gaps).await, json!([0, 0, 2]));
    browser.wait("[...document.querySelectorAll('.card img')].every((image) => image.complete)").await;
    browser.picture("page-desktop.png").await;

    click(&mut browser, "article:last-child summary").await;
    browser.wait("document.querySelector('.ledger tfoot')").await;
    let ledger = texts(&mut browser, ".ledger tr").await.join("\n");
    assert!(ledger.contains("Captured\t21,970") && ledger.contains("Failed: given up\t30"), "{ledger}");
    assert_eq!(texts(&mut browser, ".ledger .gaps li").await.len(), 2);
    browser.picture("ledger-desktop.png").await;
    // Everything came from here.
    let origins = "performance.getEntriesByType('resource').every((entry) => entry.name.startsWith(location.origin))";
    assert_eq!(browser.value(origins).await, true);
    nothing_to_complain_of(&browser);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_narrow_and_the_address_keeps_them() {
    let served = served().await;
    let mut browser = Browser::start(DESKTOP).await;
    browser.open(&served.address).await;
    browser.wait(LOADED).await;
    click(&mut browser, ".chip[data-label=truck]").await;
    browser.wait("document.querySelectorAll('.card').length === 2").await;
    assert_eq!(browser.value("location.search").await, "?label=truck");
    browser.wait("document.querySelectorAll('.track .bar').length === 2").await;
    browser.open(&format!("{}/?camera=garden", served.address)).await;
    browser.wait("document.querySelectorAll('.card').length === 1").await;
    assert_eq!(browser.value("document.querySelector('#camera').value").await, "garden");
    browser.open(&format!("{}/?camera=garden&label=dog", served.address)).await;
    browser.wait("!document.querySelector('#nothing').hidden").await;
    nothing_to_complain_of(&browser);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_shows_its_clip_its_box_and_its_facts() {
    let served = served().await;
    let mut browser = Browser::start(DESKTOP).await;
    browser.open(&served.address).await;
    browser.wait(LOADED).await;
    click(&mut browser, &format!("[data-id=\"{EVENT}\"] a")).await;
    browser.wait("document.querySelector('dialog[open] video').readyState >= 2").await;
    assert_eq!(browser.value("location.hash").await, format!("#event={EVENT}"));
    // The 22 segments in which the car is seen; and it does play.
    let length = browser.value("document.querySelector('dialog video').duration").await.as_f64().unwrap();
    assert!((21.9..22.1).contains(&length), "{length} s");
    browser.value("document.querySelector('dialog video').play()").await;
    browser.wait("document.querySelector('dialog video').currentTime > 0.5").await;
    browser.value("document.querySelector('dialog video').currentTime = 20").await;
    browser.wait("document.querySelector('dialog video').currentTime > 20.2").await;

    let event = served.bed.get(&format!("/v1/events/{EVENT}")).await.json();
    let place = "['x', 'y', 'width', 'height'].map((name) => \
                 Number(document.querySelector('dialog .overlay rect').getAttribute(name)))";
    let floats = |value: &Value| value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!(floats(&browser.value(place).await), floats(&event["best"]["box"]));
    let facts = texts(&mut browser, "dialog dd").await;
    assert_eq!(facts[..3], ["00:06", "00:27", "20 s"]);
    assert_eq!(facts.last().unwrap(), EVENT);
    browser.picture("event-desktop.png").await;

    // The neighbour has no video, and says so.
    browser.key("ArrowLeft").await;
    browser.wait("document.querySelector('dialog .clip').innerText.includes('No video of this event was kept')").await;
    browser.key("Escape").await;
    browser.wait("!document.querySelector('dialog').open && location.hash === ''").await;
    let complaints: Vec<&String> = browser.complaints.iter().filter(|text| !text.contains("404")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_alone_is_enough() {
    let served = served().await;
    let mut browser = Browser::start(DESKTOP).await;
    browser.open(&served.address).await;
    browser.wait(LOADED).await;
    browser.value("document.querySelector('.track').focus()").await;
    browser.key("ArrowRight").await;
    assert_eq!(texts(&mut browser, ".track [aria-live]").await[0], "Car, 00:06, 20 s");
    browser.key("Enter").await;
    browser.wait(&format!("document.querySelector('dialog').open && location.hash === '#event={EVENT}'")).await;
    browser.key("Escape").await;
    browser.wait("!document.querySelector('dialog').open").await;
    // Whatever can be focused says what it is.
    let unnamed = "[...document.querySelectorAll('a, button, select, [tabindex=\"0\"], img, summary')].filter((element) => \
                   !(element.innerText || element.ariaLabel || element.alt || element.labels?.[0]?.innerText \
                     || element.alt === '')).length";
    assert_eq!(browser.value(unnamed).await, 0);
    let mut reached = Vec::new();
    for _ in 0..14 {
        browser.key("Tab").await;
        reached.push(browser.value("document.activeElement.closest('[id], [class]')?.tagName ?? ''").await);
    }
    for tag in ["BUTTON", "SELECT"] {
        assert!(reached.iter().any(|at| at == tag), "{reached:?}");
    }
    nothing_to_complain_of(&browser);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_comes_by_itself_also_after_a_restart() {
    let bed = Bed::new().await;
    let mut door = Scene::live("door", 1_764_000_000);
    let visit = |door: &mut Scene| {
        let before = door.outcomes.len();
        door.look(false, |_| vec![object("person", 0.83, [200.0, 100.0, 60.0, 150.0])]);
        (0..3).for_each(|_| door.look(false, |_| Vec::new()));
        door.outcomes[before..].to_vec()
    };
    bed.store.register_camera(&door.camera, "rtsp://door.local/").await.unwrap();
    let served = Served::new(bed).await;
    let mut browser = Browser::start(DESKTOP).await;
    browser.open(&served.address).await;
    browser.wait("document.querySelector('#live').dataset.state === 'live'").await;
    browser.wait("document.querySelector('#nothing').innerText.startsWith('Nothing has been seen yet')").await;
    browser.value("window.stayed = true").await;

    let outcomes = visit(&mut door);
    served.bed.settle(&door.camera, &outcomes[..1]).await;
    browser.wait("document.querySelectorAll('.card .badge.open').length === 1").await;
    assert!(texts(&mut browser, "#news").await[0].starts_with("New: person at door"));
    served.bed.settle(&door.camera, &outcomes[1..]).await;
    browser.wait("document.querySelectorAll('.card').length === 1 && !document.querySelector('.badge.open')").await;

    let address = served.address.clone();
    let bed = served.end().await;
    browser.wait("document.querySelector('#live').dataset.state === 'lost'").await;
    let outcomes = visit(&mut door);
    bed.settle(&door.camera, &outcomes).await;
    let served = Served::again(bed, &address).await;
    browser.wait("document.querySelector('#live').dataset.state === 'live'").await;
    browser.wait("document.querySelectorAll('.card').length === 2").await;

    // A reindex empties the store and tells everybody to read anew.
    served.bed.store.begin_reindex().await.unwrap();
    browser.wait("document.querySelectorAll('.card').length === 0").await;
    served.bed.settle(&door.camera, &door.outcomes).await;
    browser.wait("document.querySelectorAll('.card').length === 2").await;
    assert_eq!(browser.value("window.stayed").await, true, "the page was never loaded again");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fits_a_phone_and_a_light_room() {
    let served = served().await;
    let mut browser = Browser::start(PHONE).await;
    browser.open(&served.address).await;
    browser.wait(LOADED).await;
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.value(fits).await, true);
    browser.picture("page-phone.png").await;
    let small = "[...document.querySelectorAll('.chip, select')].filter((e) => e.getClientRects().length \
                 && e.getBoundingClientRect().height < 36).length";
    assert_eq!(browser.value(small).await, 0, "fingers need room");
    browser.color_scheme("light").await;
    browser.value("document.querySelector('#events-title').scrollIntoView()").await;
    browser.picture("light-phone.png").await;
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    assert_eq!(browser.value(ground).await, "rgb(244, 245, 243)");
    click(&mut browser, "#theme").await;
    assert_eq!(browser.value(ground).await, "rgb(13, 16, 19)", "dark, whatever the system says");
    browser.open(&format!("{}/#event={EVENT}", served.address)).await;
    browser.wait("document.querySelector('dialog[open] video').readyState >= 2").await;
    assert_eq!(browser.value(fits).await, true);
    browser.picture("event-phone.png").await;
    nothing_to_complain_of(&browser);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_once() {
    let bed = Bed::with_tokens("look", "rule").await;
    driveway(&bed).await;
    let served = Served::new(bed).await;
    let mut browser = Browser::start(PHONE).await;
    browser.open(&format!("{}/#event={EVENT}", served.address)).await;
    browser.wait("document.querySelector('form[action=\"/login\"] input')").await;
    browser.picture("login-phone.png").await;
    let submit = |token: &str| {
        format!("document.querySelector('#token').value = '{token}'; document.querySelector('form button').click()")
    };
    browser.value(&submit("wrong")).await;
    browser.wait("document.querySelector('[role=alert]')?.innerText === 'This token is not known here.'").await;
    browser.value(&submit("look")).await;
    browser.wait("document.querySelectorAll('.card').length === 1").await;
    browser.wait("document.querySelector('#live').dataset.state === 'live'").await;
    served.end().await;
}

async fn log_in(browser: &mut Browser, address: &str, token: &str) {
    browser.open(address).await;
    browser.wait("document.querySelector('form[action=\"/login\"] input')").await;
    let submit =
        format!("document.querySelector('#token').value = '{token}'; document.querySelector('form button').click()");
    browser.value(&submit).await;
    browser.wait("document.querySelectorAll('#quarantine li').length === 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_for_good_is_tried_again_after_a_question() {
    let bed = Bed::with_tokens("look", "rule").await;
    driveway(&bed).await;
    let (mut scene, jobs) = porch(&bed).await;
    let served = Served::new(bed).await;
    let mut reader = Browser::start(PHONE).await;
    log_in(&mut reader, &served.address, "look").await;
    assert_eq!(texts(&mut reader, "#quarantine button").await, Vec::<String>::new(), "to read is not to change");
    drop(reader);

    let mut browser = Browser::start(DESKTOP).await;
    log_in(&mut browser, &served.address, "rule").await;
    assert_eq!(texts(&mut browser, "#quarantine .count").await, ["2"]);
    let told = texts(&mut browser, "#quarantine li").await.join("\n");
    assert!(
        told.contains("porch") && told.contains("30 frames, tried 5 times") && told.contains("ran out of memory"),
        "{told}"
    );
    browser.value("document.querySelector('#quarantine').scrollIntoView({ block: 'center' })").await;
    browser.picture("quarantine-dark.png").await;

    // Whoever thinks better of it changes nothing.
    click(&mut browser, "#quarantine li button").await;
    browser.wait("document.querySelector('#confirm').open").await;
    browser.picture("confirm-dark.png").await;
    browser.key("Escape").await;
    browser.wait("!document.querySelector('#confirm').open").await;
    assert_eq!(queued(&served.bed).await, 0);

    browser.color_scheme("light").await;
    click(&mut browser, "#quarantine li button").await;
    browser.wait("document.querySelector('#confirm').open").await;
    browser.picture("confirm-light.png").await;
    let height = browser.value("document.querySelector('#confirm').getBoundingClientRect().height").await;
    assert!(height.as_f64().unwrap() < 300.0, "no taller than its question: {height}");
    browser.key("Enter").await;
    browser.wait("document.querySelector('#quarantine li .badge')?.innerText === 'Queued again'").await;
    assert_eq!(queued(&served.bed).await, 1);
    // The other one's job is gone.
    click(&mut browser, "#quarantine li button").await;
    browser.wait("document.querySelector('#confirm').open").await;
    browser.key("Enter").await;
    browser.wait("document.querySelector('#quarantine li .error')?.innerText.includes('cannot be replayed')").await;
    browser.picture("quarantine-light.png").await;

    // Its result comes: it is no longer here.
    let again = scene.succeeds(&jobs[0]);
    let mut tx = served.bed.store.begin_merge(std::slice::from_ref(&scene.camera)).await.unwrap();
    tx.put(&again).await.unwrap();
    tx.commit().await.unwrap();
    browser.wait("document.querySelectorAll('#quarantine li').length === 1").await;
    let complaints: Vec<&String> =
        browser.complaints.iter().filter(|text| !text.contains("401") && !text.contains("409")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    served.end().await;
}
