//! `detektor prune`.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use detektor_backends::store::{EventStore, Pruned};
use detektor_contract::{CameraId, TimeUs};
use detektor_merge::{Horizon, PruneReport, prune as prune_store};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde_json::json;

use super::data::{Place, checked, database, folder, is_there};
use crate::cli::DataArgs;

/// What is younger may still be on its way: in a dispatcher's spool, or in a queue.
const YOUNGEST: SignedDuration = SignedDuration::from_hours(1);

/// Reads an age, such as `30d`.
pub fn parse_age(text: &str) -> Result<SignedDuration, String> {
    let expected = || format!("{text:?}: expected an age of an hour at least, such as 30d or 12h");
    let span: Span = text.parse().map_err(|_| expected())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    if age < YOUNGEST { Err(expected()) } else { Ok(age) }
}

/// What `prune` takes.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Remove what is older than this, such as 30d or 12h; only cameras with Unix times age, files do not.
    #[arg(long, value_name = "AGE", value_parser = parse_age, required_unless_present = "all")]
    pub older_than: Option<jiff::SignedDuration>,
    /// Remove all that is settled of one camera, whatever its times: up to the first outcome that is missing yet.
    #[arg(long, requires = "camera", conflicts_with = "older_than")]
    pub all: bool,
    /// Only this camera's.
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraId>,
    /// Only say what would go.
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where the data is; `detektor run` must not run over a data directory meanwhile.
    #[command(flatten)]
    pub data: DataArgs,
}

/// Removes history from the event store.
pub async fn prune(args: PruneArgs) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    let before = args.older_than.map(|age| now.checked_sub(age)).transpose().context("--older-than")?;
    let horizon = before.map_or(Horizon::All, |before| Horizon::Before(TimeUs(before.as_microsecond())));
    let (only, dry) = (args.camera.clone(), args.dry_run);
    let run = async |store: &dyn EventStore| -> anyhow::Result<PruneReport> {
        let pending = store.reindex_pending().await?;
        anyhow::ensure!(!pending, "the event store has yet to be made from the bucket: run `detektor reindex` first");
        if let Some(only) = &only {
            let known = store.cameras().await?.iter().any(|camera| camera.id == *only);
            anyhow::ensure!(known, "no camera {only}; `detektor ledger` shows those that are known");
        }
        Ok(prune_store(store, horizon, only.as_ref(), dry).await?)
    };
    let report = match Place::new(args.data) {
        Place::Folder(dir) => {
            is_there(&dir)?;
            let data = folder(&dir).await?;
            let done = run(&*data.store()).await;
            data.close().await;
            done?
        }
        Place::Servers(told) => {
            let servers = checked(told, |servers, mistakes| servers.postgres.mistakes(mistakes))?;
            let database = database(&servers).await?;
            let done = run(&*database.store()).await;
            database.close().await;
            done?
        }
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let cameras: serde_json::Map<String, serde_json::Value> = report
            .cameras
            .iter()
            .map(|(id, (floor, rows))| {
                let floor = format!("{}/{}", floor.epoch, floor.sequence);
                (id.to_string(), json!({ "floor": floor, "rows": rows }))
            })
            .collect();
        let object = json!({
            "dry_run": dry,
            "before": before.map(|before| before.to_string()),
            "rows": report.rows(),
            "feed": report.feed,
            "cameras": cameras,
            "ageless": report.ageless,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    for (camera, (_, rows)) in &report.cameras {
        writeln!(out, "{camera:24} {}", listed(rows))?;
    }
    let what = if dry { "would go" } else { "removed" };
    writeln!(out, "{what}: {}, {} entries of the feed", listed(&report.rows()), report.feed)?;
    for camera in &report.ageless {
        writeln!(out, "{camera}: its times are its own, so it does not age; --all --camera {camera} prunes it")?;
    }
    Ok(())
}

fn listed(rows: &Pruned) -> String {
    let Pruned { outcomes, checkpoints, gaps, events, objects } = rows;
    format!("{outcomes} outcomes, {checkpoints} checkpoints, {gaps} gaps, {events} events, {objects} notes of objects")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_age_has_a_unit_and_is_an_hour_at_least() {
        assert_eq!(parse_age("30d").unwrap(), SignedDuration::from_hours(720));
        assert_eq!(parse_age("36h").unwrap(), SignedDuration::from_hours(36));
        assert_eq!(parse_age("1w 2d").unwrap(), SignedDuration::from_hours(216));
        for wrong in ["", "30", "59m", "-30d", "d", "1 fortnight", "99999999999999d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
