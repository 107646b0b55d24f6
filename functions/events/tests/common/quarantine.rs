//! A camera of which two segments failed for good.

use detektor_backends::queue::Depth;
use detektor_contract::names::{Queue, Work};
use detektor_contract::wire::encode_job;
use detektor_contract::{ObjectKey, SegmentJob};

use super::Bed;
use super::scene::Scene;

/// The job of the first one is kept, that of the second one is gone.
pub async fn porch(bed: &Bed) -> (Scene, [SegmentJob; 2]) {
    let mut scene = Scene::footage("porch");
    scene.quiet(2);
    let jobs = [
        scene.kept_poison("the worker ran out of memory three times over this segment"),
        scene.kept_poison("no picture came out: the decoder gave \"invalid data\""),
    ];
    scene.quiet(1);
    bed.store.register_camera(&scene.camera, "rtsp://porch.local/").await.unwrap();
    bed.settle(&scene.camera, &scene.outcomes).await;
    bed.bucket.put(&ObjectKey::quarantine(&jobs[0].id, 0), encode_job(&jobs[0])).await.unwrap();
    (scene, jobs)
}

/// How many jobs wait to be looked at.
pub async fn queued(bed: &Bed) -> u64 {
    let Depth { ready, unacked } = bed.queues.depth(Queue::Work(Work::Detect, 0)).await.unwrap();
    ready + unacked
}
