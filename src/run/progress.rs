//! What `detektor run` tells the terminal while it runs: a line for each event, and how far each camera is.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::bucket::{Bucket, BucketError};
use detektor_backends::copy::{self, Copied};
use detektor_backends::store::{EventStore, Feed, FeedPosition, StoreError};
use detektor_contract::EventChange;
use detektor_events::views::EventView;
use detektor_merge::{MergeError, Reindexed};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::text;

const PAGE: u32 = 256;
const REFRESH: Duration = Duration::from_millis(300);

/// The line at the bottom of a terminal that says how far it is; nothing where standard error is no terminal.
pub fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(REFRESH);
    bar
}

/// Makes the event store anew from the bucket, and says how far it is.
pub async fn reindex(store: &dyn EventStore, bucket: &dyn Bucket) -> Result<Reindexed, MergeError> {
    let bar = bar();
    let show = |found: &Reindexed| {
        bar.set_message(format!(
            "{} log objects, {} outcomes, {} cameras",
            found.objects, found.outcomes, found.cameras
        ));
    };
    let done = detektor_merge::reindex(store, bucket, show).await;
    bar.finish_and_clear();
    done
}

/// Copies what is in one bucket and not in another, and says how far it is.
pub async fn copy(from: &dyn Bucket, to: &dyn Bucket) -> Result<Copied, BucketError> {
    let bar = bar();
    let show = |copied: &Copied| {
        bar.set_message(format!("{} objects copied, {:.1} MB", copied.objects, copied.bytes as f64 / 1e6));
    };
    let done = copy::copy(from, to, show).await;
    bar.finish_and_clear();
    done
}

/// Says how far each camera is merged, until shutdown.
pub async fn follow_cameras(
    store: Arc<dyn EventStore>,
    bar: ProgressBar,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    while !bar.is_hidden() && shutdown.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
        let cameras = store.cameras().await?;
        let places: Vec<String> = cameras
            .iter()
            .take(4)
            .map(|camera| match camera.merged_until {
                Some((until, clock)) => format!("{} {}", camera.id, text::time(until.seconds(), clock)),
                None => format!("{} …", camera.id),
            })
            .collect();
        let more = cameras.len().saturating_sub(places.len());
        let rest = if more > 0 { format!("  and {more} more") } else { String::new() };
        bar.set_message(format!("{}{rest}", places.join("  ")));
    }
    shutdown.cancelled().await;
    bar.finish_and_clear();
    Ok(())
}

/// Prints a line for each event that opens or closes, until shutdown and the feed is read to its end.
pub async fn follow_events(
    store: Arc<dyn EventStore>,
    from: FeedPosition,
    bar: ProgressBar,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let mut after = from;
    loop {
        let ending = shutdown.is_cancelled();
        match store.feed(after, PAGE).await? {
            Feed::Reset(at) => after = at,
            Feed::Entries(entries) if entries.is_empty() => {
                if ending {
                    return Ok(());
                }
                if let Some(changed) = shutdown.run_until_cancelled(store.feed_changed()).await {
                    changed?;
                }
            }
            Feed::Entries(entries) => {
                for entry in entries {
                    after = entry.at;
                    if let Some(line) = told(&entry.change) {
                        // A reader that closed the pipe wants no more lines; the work goes on.
                        bar.suspend(|| _ = writeln!(std::io::stdout(), "{line}"));
                    }
                }
            }
        }
    }
}

fn told(change: &EventChange) -> Option<String> {
    let verb = match change {
        EventChange::Opened(_) => "came    ",
        EventChange::Closed(_) => "left    ",
        EventChange::Withdrawn(_) => "withdrew",
        EventChange::Continued(_) | EventChange::Updated(_) | EventChange::Revised(_) => return None,
    };
    Some(format!("{verb}  {}", text::event(&EventView::from(change.event()))))
}
