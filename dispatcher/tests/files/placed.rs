//! A file that goes from one dispatcher to another.

use detektor_contract::{EndReason, Marker};

use crate::common::encoded;
use crate::site::Site;

#[tokio::test]
async fn it_goes_on_where_the_other_let_go_and_nothing_is_lost() {
    let file =
        encoded("placed.mp4", 8, "-c:v libx264 -preset veryfast -x264-params keyint=25:min-keyint=25:scenecut=0");
    let mut site = Site::new().await;
    let (d1, d2) = (site.start("d1").await, site.start("d2").await);
    site.want("gate", &format!("{} paced", file.display())).await;
    site.place("gate", "d1", 0).await;
    site.until(|site| site.published.len() >= 2).await;
    site.place("gate", "d2", 1).await;
    site.until(|site| site.epochs().iter().any(|epoch| site.ended(*epoch))).await;
    let [epoch] = site.epochs()[..] else { panic!("one content, one epoch") };
    site.until(|site| site.jobs(epoch).len() == 8).await;
    let jobs = site.jobs(epoch);
    assert_eq!(jobs.iter().map(|(_, job)| job.span.frames).sum::<u32>(), 200);
    assert!(jobs.iter().map(|(_, job)| job.id.sequence).eq(0..8));
    let partitions: Vec<u16> = jobs.iter().map(|(partition, _)| *partition).collect();
    assert!(partitions.is_sorted() && partitions[0] == 0 && partitions[7] == 1, "{partitions:?}");
    assert!(matches!(site.markers(epoch)[..], [Marker::EndOfEpoch { frames: 200, reason: EndReason::EndOfFile, .. }]));
    for process in [d1, d2] {
        process.shutdown.cancel();
        process.task.await.unwrap().unwrap();
    }
}
