//! Cameras that go from one dispatcher to another.

use std::time::Duration;

use detektor_backends::coordination::{Coordination, LeaseName};
use detektor_backends::store::CameraState;
use detektor_contract::{CameraId, EndReason, GapCause, Marker};

use crate::site::Site;
use crate::support::{Server, log};

async fn moves(words: &str) -> Site {
    log();
    let server = Server::start(&[]).unwrap();
    let mut site = Site::new().await;
    let (d1, d2) = (site.start("d1").await, site.start("d2").await);
    site.want("gate", &format!("{}{words}", server.url(""))).await;
    site.place("gate", "d1", 0).await;
    site.until(|site| site.published.len() >= 2).await;
    site.place("gate", "d2", 1).await;
    let first = site.epochs()[0];
    site.until(|site| site.ended(first) && site.epochs().len() == 2 && site.jobs(site.epochs()[1]).len() >= 3).await;
    let second = site.epochs()[1];
    let camera = CameraId::new("gate").unwrap();
    let lease = site.database.lease(&LeaseName::Camera(camera)).await.unwrap().unwrap();
    assert_eq!((lease.holder.unwrap().name.as_str(), lease.epoch), ("d2", second));
    let ends = site.markers(first);
    let [before @ .., Marker::EndOfEpoch { reason: EndReason::HandedOver, .. }] = &ends[..] else { panic!("{ends:?}") };
    // A server that is short of time may lose packets of its own; nothing else is missing.
    let lost = |marker: &Marker| matches!(marker, Marker::Gap { cause: GapCause::PacketLoss, .. });
    assert!(before.iter().all(lost), "{ends:?}");
    assert!(site.jobs(first).iter().all(|(partition, _)| *partition == 0));
    assert!(site.jobs(second).iter().all(|(partition, _)| *partition == 1));
    let state = site.embedded.store().cameras().await.unwrap().remove(0).state;
    assert_eq!(state, CameraState::Running, "whoever lets go does not speak for whoever has it");
    for process in [d1, d2] {
        process.shutdown.cancel();
        process.task.await.unwrap().unwrap();
    }
    site.until(|site| site.ended(second)).await;
    site
}

#[tokio::test]
async fn a_planned_move_names_a_key_frame_that_both_have() {
    let site = moves("").await;
    let [first, second] = site.epochs()[..] else { panic!() };
    let (old, new) = (site.jobs(first), site.jobs(second));
    let seam = new[0].1.seam.expect("the first record names the seam");
    assert!(seam.key_frame.is_some());
    assert_eq!(seam.key_frame, new[0].1.span.key_frame, "it is the new epoch's first frame");
    assert!(new[1..].iter().all(|(_, job)| job.seam.is_none()));
    assert_eq!(seam.at, new[0].1.span.start);
    // The old one had the camera until the seam, and a little longer.
    // A test picture repeats, and so may its key frames.
    let at_seam =
        old.iter().rposition(|(_, job)| job.span.key_frame == seam.key_frame).expect("both have the key frame");
    let ended = old[at_seam - 1].1.span.end;
    let apart = (ended.0 - seam.at.0).abs();
    assert!(apart < 1_000_000, "their clocks are {apart} us apart");
    assert!(old[at_seam..].iter().map(|(_, job)| job.span.frames).sum::<u32>() >= 1);
}

#[tokio::test]
async fn a_camera_of_one_session_is_let_go_first() {
    let site = moves(" single").await;
    let [first, second] = site.epochs()[..] else { panic!() };
    let (old, new) = (site.jobs(first), site.jobs(second));
    let seam = new[0].1.seam.unwrap();
    assert_eq!((seam.key_frame, seam.at), (None, new[0].1.span.start));
    // What nobody had in between is a gap that the fold sees.
    assert!(old.last().unwrap().1.span.end < new[0].1.span.start);
}

#[tokio::test]
async fn orders_that_change_need_no_new_epoch() {
    log();
    let server = Server::start(&[]).unwrap();
    let mut site = Site::new().await;
    let d1 = site.start("d1").await;
    site.want("gate", &server.url("")).await;
    site.place("gate", "d1", 0).await;
    site.until(|site| site.published.len() >= 2).await;
    site.place("gate", "d1", 1).await;
    site.until(|site| site.published.values().any(|(partition, _)| *partition == 1)).await;
    // Now only its manner of moving is another.
    site.want("gate", &format!("{} single", server.url(""))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let epochs = site.epochs();
    d1.shutdown.cancel();
    d1.task.await.unwrap().unwrap();
    site.until(|site| site.epochs().iter().all(|epoch| site.ended(*epoch))).await;
    assert_eq!(epochs.len(), 1);
    let partitions: Vec<u16> = site.jobs(epochs[0]).iter().map(|(partition, _)| *partition).collect();
    assert!(partitions.is_sorted() && partitions.contains(&0) && partitions.contains(&1), "{partitions:?}");
}
