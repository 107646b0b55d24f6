//! Three cameras as one might have them: footage that is through, a live camera, and one that is gone.

use detektor_backends::store::{CameraState, EventFilter, Order};
use detektor_contract::{CameraId, EndReason, GapCause, ObjectKey};

use super::Bed;
use super::browser::Served;
use super::footage;
use super::scene::{Scene, object};

/// Begin of the live cameras: an hour of a winter's afternoon.
const BEGIN: i64 = 1_764_000_000;

fn mirrored([x, y, w, h]: [f32; 4]) -> [f32; 4] {
    [640.0 - x - w, y, w, h]
}

/// The driveway's footage, all of it.
pub async fn driveway(bed: &Bed) {
    let mut scene = Scene::footage("driveway");
    for (_, video) in footage::segments() {
        let id = scene.next();
        let before = scene.outcomes.len();
        scene.look(true, |s| footage::car(s).map(|place| object("car", footage::sure(s), place)).into_iter().collect());
        assert_eq!(scene.outcomes.len(), before + 1);
        bed.bucket.put(&ObjectKey::video(&id), video).await.unwrap();
    }
    scene.end(EndReason::EndOfFile);
    bed.store.register_camera(&scene.camera, "file:samples/driveway.mov").await.unwrap();
    bed.settle(&scene.camera, &scene.outcomes).await;
    bed.store.set_camera_state(&scene.camera, &CameraState::Ended).await.unwrap();
    pictures(bed, &scene.camera, |at| at, false).await;
}

/// A live camera past which the same car drives now and then; at last it stays.
async fn gate(bed: &Bed) {
    let mut scene = Scene::live("gate", BEGIN);
    let mut visits = Vec::new();
    for (visit, pause) in [2_400, 700, 5_100, 1_500, 3_900, 420, 2_700].into_iter().enumerate() {
        scene.long_quiet(pause);
        if visit == 2 {
            scene.gap(740, GapCause::Disconnected);
        }
        if visit == 5 {
            scene.gap(95, GapCause::PacketLoss);
            scene.poison();
        }
        let begin = scene.now().seconds();
        visits.push(begin);
        let parked = visit == 6;
        let label = if visit % 3 == 1 { "truck" } else { "car" };
        let seconds = if parked { 24 } else { 22 };
        for _ in 0..seconds {
            scene.look(true, |s| {
                let at = 7.0 + (s - begin);
                let at = if parked { at.min(14.0) } else { at };
                let place = footage::car(at).map(|place| object(label, footage::sure(at), mirrored(place)));
                place.into_iter().collect()
            });
        }
        (0..if parked { 0 } else { 3 }).for_each(|_| scene.look(false, |_| Vec::new()));
    }
    bed.store.register_camera(&scene.camera, "rtsp://gate.local:554/main").await.unwrap();
    bed.settle(&scene.camera, &scene.outcomes).await;
    bed.store.set_camera_state(&scene.camera, &CameraState::Running).await.unwrap();
    let footage_time = |at: f64| {
        let begin = visits.iter().copied().filter(|begin| *begin <= at).fold(f64::MIN, f64::max);
        if begin == visits[6] { (7.0 + at - begin).min(14.0) } else { 7.0 + at - begin }
    };
    pictures(bed, &scene.camera, footage_time, true).await;
}

/// A camera that is gone.
async fn garden(bed: &Bed) {
    let mut scene = Scene::live("garden", BEGIN + 9_000);
    scene.long_quiet(4_000);
    for _ in 0..6 {
        scene.look(false, |s| {
            vec![object("person", 0.71, [100.0 + 20.0 * (s - BEGIN as f64 - 13_000.0) as f32, 200.0, 45.0, 120.0])]
        });
    }
    (0..3).for_each(|_| scene.look(false, |_| Vec::new()));
    scene.long_quiet(1_800);
    scene.lost(GapCause::Disconnected);
    bed.store.register_camera(&scene.camera, "rtsp://garden.local:554/stream1").await.unwrap();
    bed.settle(&scene.camera, &scene.outcomes).await;
    let error = "connection refused; the next try is in 30 s".to_owned();
    bed.store.set_camera_state(&scene.camera, &CameraState::Lost { error }).await.unwrap();
}

/// Writes the pictures that events name.
async fn pictures(bed: &Bed, camera: &CameraId, footage_time: impl Fn(f64) -> f64, mirror: bool) {
    let filter = EventFilter { camera: Some(camera.clone()), ..EventFilter::default() };
    for stored in bed.store.events(&filter, Order::Ascending, None, 100).await.unwrap() {
        let best = stored.event.best;
        let picture = footage::picture(footage_time(best.at.seconds()), mirror);
        bed.bucket.put(&best.snapshot.unwrap(), picture).await.unwrap();
    }
}

pub async fn served() -> Served {
    let bed = Bed::new().await;
    driveway(&bed).await;
    gate(&bed).await;
    garden(&bed).await;
    Served::new(bed).await
}
