//! Files, HTTP and RTSP over UDP, demuxed by libavformat on a thread of its own.
//!
//! Edit lists hold as libav and every player apply them: pictures outside are decoded where others need them and are no
//! frames of the source, so that what counts is what `ffprobe -count_frames` counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use detektor_contract::{Digest, Fault, GapCause};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::reorder::Reorder;
use super::{Item, OpenOptions, Opened, Source, SourceError, SourceUrl};

mod demuxer;
mod log;
mod order;
mod packet;

use demuxer::{Demuxer, Event};
use order::PictureOrder;

/// Batches that wait for the slicer.
const CHANNEL: usize = 2;
/// Items of a file that are handed over at once, since waking a thread costs more than reading a picture. With those that
/// wait, about 4 MB at 4K and 8 Mbit/s. A camera's are handed over one by one.
const BATCH: usize = 32;
/// Pieces of a file that are hashed at once.
const HASH_PIECE: usize = 1 << 20;

type Batch = Vec<Result<Item, SourceError>>;

struct LibavSource {
    batches: mpsc::Receiver<Batch>,
    ready: std::vec::IntoIter<Result<Item, SourceError>>,
    thread: Option<JoinHandle<()>>,
    cancelled: Arc<AtomicBool>,
    url: String,
}

pub(super) async fn open(url: &SourceUrl, options: OpenOptions) -> Result<Opened, SourceError> {
    let (sender, batches) = mpsc::channel(CHANNEL);
    let (opened, answer) = oneshot::channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let (given, stop) = (url.clone(), Arc::clone(&cancelled));
    let thread = tokio::task::spawn_blocking(move || {
        let demuxer = Demuxer::open(&given, options.timeout, stop).and_then(|mut demuxer| {
            let content = content_of(&given, &mut demuxer)?;
            Ok((demuxer, content))
        });
        match demuxer {
            Err(error) => drop(opened.send(Err(error))),
            Ok((demuxer, content)) => {
                if opened.send(Ok(content)).is_ok() {
                    read(demuxer, content.is_none(), &sender);
                }
            }
        }
    });
    let ready = Vec::new().into_iter();
    let mut source = LibavSource { batches, ready, thread: Some(thread), cancelled, url: url.redacted() };
    match answer.await {
        Ok(content) => Ok(Opened { content: content?, source: Box::new(source) }),
        Err(_) => {
            Err(source.ended().await.err().unwrap_or(SourceError::Empty { url: url.redacted(), reason: "ended" }))
        }
    }
}

/// What a source that can be read again is known by: the digest of a file's bytes, or of a remote file's length and ends.
fn content_of(url: &SourceUrl, demuxer: &mut Demuxer) -> Result<Option<Digest>, SourceError> {
    let Some(path) = url.path() else { return demuxer.remote_content() };
    let broken = |error: std::io::Error| SourceError::Broken { url: url.redacted(), reason: error.to_string() };
    let mut file = std::fs::File::open(path).map_err(broken)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; HASH_PIECE];
    loop {
        match std::io::Read::read(&mut file, &mut piece).map_err(broken)? {
            0 => return Ok(Some(Digest::of_hash(&hasher.finalize()))),
            n => hasher.update(&piece[..n]),
        };
    }
}

/// Reads to the end, or until nobody listens.
fn read(mut demuxer: Demuxer, live: bool, batches: &mpsc::Sender<Batch>) {
    let most = if live { 1 } else { BATCH };
    let mut batch = Batch::with_capacity(most);
    let mut reorder: Option<(Reorder, PictureOrder)> = None;
    let mut units = 0_u64;
    loop {
        let last = match demuxer.next(live) {
            Ok(Some(Event::Stream(info))) => {
                if let Some((reorder, _)) = &mut reorder {
                    reorder.sets(&info.sets);
                }
                batch.push(Ok(Item::Stream(info)));
                false
            }
            Ok(Some(Event::Lost(detail))) => {
                batch.push(Ok(Item::Lost { cause: GapCause::PacketLoss, detail }));
                false
            }
            Ok(Some(Event::Unit(unit))) => {
                units += 1;
                if reorder.is_none() && unit.pts.is_none() && unit.dts.is_some() && demuxer.never_shows_times() {
                    let mut sets = demuxer.sets().clone();
                    // Without them there is no order to be read; what is wrong with them is reported where it matters.
                    let _ = sets.update(&unit.data);
                    reorder = PictureOrder::new(&sets).map(|order| (Reorder::new(&sets), order));
                }
                match &mut reorder {
                    None => batch.push(Ok(Item::Unit(unit))),
                    Some((reorder, order)) => {
                        let number = order.of(&unit.data);
                        batch.extend(reorder.push(unit, number).into_iter().map(|unit| Ok(Item::Unit(unit))));
                    }
                }
                false
            }
            end => {
                let held = reorder.as_mut().map(|(reorder, _)| reorder.finish()).unwrap_or_default();
                batch.extend(held.into_iter().map(|unit| Ok(Item::Unit(unit))));
                match end {
                    Err(error) => batch.push(Err(error)),
                    Ok(_) if units == 0 => batch.push(Err(demuxer.empty())),
                    Ok(_) => {}
                }
                true
            }
        };
        let send = last || batch.len() >= most;
        if send && batches.blocking_send(std::mem::replace(&mut batch, Batch::with_capacity(most))).is_err() || last {
            return;
        }
    }
}

impl LibavSource {
    /// The thread has ended: well, or by a panic.
    async fn ended(&mut self) -> Result<(), SourceError> {
        match self.thread.take() {
            None => Ok(()),
            Some(thread) => thread.await.map_err(|_| SourceError::Open {
                url: self.url.clone(),
                reason: "the demuxer died".to_owned(),
                fault: Fault::Permanent,
            }),
        }
    }
}

#[async_trait]
impl Source for LibavSource {
    async fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            if let Some(item) = self.ready.next() {
                return item.map(Some);
            }
            match self.batches.recv().await {
                Some(batch) => self.ready = batch.into_iter(),
                None => return self.ended().await.map(|()| None),
            }
        }
    }
}

impl Drop for LibavSource {
    fn drop(&mut self) {
        // The thread sees this within libav's next wait, and the closed channel at its next item.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
