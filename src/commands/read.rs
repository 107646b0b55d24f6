//! `detektor events`, `detections` and `ledger`: what is in the store, for programs (`--json`) or people.

use std::io::{self, BufWriter, Write};

use detektor_events::lines::{self, Lines};
use detektor_events::views::{DetectionView, EventView, LedgerView};
use futures::TryStreamExt;
use serde::Serialize;

use super::data::Place;
use crate::cli::ReadArgs;
use crate::text;

/// Prints events by camera, start and id.
pub async fn events(args: ReadArgs) -> anyhow::Result<()> {
    let json = args.json;
    print(args, lines::events, move |event: &EventView| if json { line(event) } else { Ok(text::event(event)) }).await
}

/// Prints what was seen in each frame that was looked at, by camera, epoch and frame.
pub async fn detections(args: ReadArgs) -> anyhow::Result<()> {
    let json = args.json;
    let show = move |frame: &DetectionView| if json { line(frame) } else { Ok(text::detections(frame)) };
    print(args, lines::detections, show).await
}

/// Prints what became of each camera's frames.
pub async fn ledger(args: ReadArgs) -> anyhow::Result<()> {
    let json = args.json;
    print(args, lines::ledgers, move |ledger: &LedgerView| if json { line(ledger) } else { Ok(text::ledger(ledger)) })
        .await
}

fn line(view: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(view)
}

type Read<T> =
    fn(std::sync::Arc<dyn detektor_backends::store::EventStore>, Option<detektor_contract::CameraId>) -> Lines<T>;

async fn print<T>(
    args: ReadArgs,
    read: Read<T>,
    show: impl Fn(&T) -> serde_json::Result<String>,
) -> anyhow::Result<()> {
    let store = Place::new(args.data).store().await?;
    if store.reindex_pending().await? {
        eprintln!("detektor: this is not all: the event store has yet to be made from the bucket (`detektor reindex`)");
    }
    let mut views = read(store, args.camera);
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(view) = views.try_next().await? {
        let shown = show(&view)?;
        if let Err(error) = writeln!(out, "{shown}") {
            return ended(error);
        }
    }
    out.flush().or_else(ended)
}

/// A reader that closes the pipe early, such as `head`, has all that it wants.
fn ended<E>(error: io::Error) -> Result<(), E>
where
    E: From<io::Error>,
{
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) }
}
