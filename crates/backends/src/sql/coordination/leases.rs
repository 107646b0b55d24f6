//! Leases.

use detektor_contract::Epoch;

use super::super::cameras::{begin_live, camera_id};
use super::super::dialect::{Connection, Doing};
use crate::columns::{column, document, number, text};
use crate::coordination::{Lease, LeaseName, Member, Take};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// No camera is called so.
pub(super) const BALANCER: &str = "~balancer";

/// Holder and its incarnation, epoch and seam.
pub(super) type Columns = (Option<String>, Option<i64>, i64, Option<String>);

pub(super) fn name(name: &LeaseName) -> &str {
    match name {
        LeaseName::Camera(camera) => camera.as_str(),
        LeaseName::Balancer => BALANCER,
    }
}

fn parse(name: String) -> Result<LeaseName> {
    if name == BALANCER { Ok(LeaseName::Balancer) } else { camera_id(name).map(LeaseName::Camera) }
}

pub(super) fn lease(name: LeaseName, (holder, incarnation, epoch, seam): Columns) -> Result<Lease> {
    let holder = holder.zip(incarnation);
    let holder = holder.map(|(name, incarnation)| Member { name, incarnation: incarnation.cast_unsigned() });
    let seam = seam.map(|seam| document(&seam, "a seam")).transpose()?;
    Ok(Lease { name, holder, epoch: Epoch(number(epoch, "epoch")?), seam })
}

/// A lease, and how often its holder said that it lives.
pub(super) async fn get(db: &mut Connection, of: &LeaseName) -> Result<Option<(Lease, u64)>> {
    type Row = (Option<String>, Option<i64>, i64, Option<String>, i64);
    let row: Option<Row> =
        sqlx::query_as("SELECT holder, incarnation, epoch, seam, renewal FROM leases WHERE name = $1")
            .bind(name(of))
            .fetch_optional(db)
            .doing("reading a lease")
            .await?;
    row.map(|(holder, incarnation, epoch, seam, renewal)| {
        Ok((lease(of.clone(), (holder, incarnation, epoch, seam))?, number(renewal, "a renewal")?))
    })
    .transpose()
}

pub(super) async fn list(db: &mut Connection) -> Result<Vec<Lease>> {
    type Row = (String, Option<String>, Option<i64>, i64, Option<String>);
    let rows: Vec<Row> = sqlx::query_as("SELECT name, holder, incarnation, epoch, seam FROM leases ORDER BY name")
        .fetch_all(db)
        .doing("listing leases")
        .await?;
    rows.into_iter()
        .map(|(name, holder, incarnation, epoch, seam)| lease(parse(name)?, (holder, incarnation, epoch, seam)))
        .collect()
}

/// Takes a lease whose name is locked, if it is as it was seen.
pub(super) async fn take(db: &mut Connection, take: &Take) -> Result<Option<Epoch>> {
    let there: Option<i64> = sqlx::query_scalar("SELECT epoch FROM leases WHERE name = $1")
        .bind(name(&take.name))
        .fetch_optional(&mut *db)
        .doing("reading a lease's epoch")
        .await?;
    if there != take.seen.map(|epoch| column(epoch.0, "epoch")).transpose()? {
        return Ok(None);
    }
    let above = there.unwrap_or(0).max(column(take.now_ms, "Unix time")?);
    let epoch = match &take.name {
        LeaseName::Camera(camera) => begin_live(db, camera, above, take.live).await?,
        LeaseName::Balancer => Epoch(number(above, "epoch")? + 1),
    };
    sqlx::query(
        "INSERT INTO leases (name, holder, incarnation, epoch, renewal, seam) VALUES ($1, $2, $3, $4, 0, $5)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, incarnation = excluded.incarnation,
             epoch = excluded.epoch, seam = excluded.seam",
    )
    .bind(name(&take.name))
    .bind(&take.holder.name)
    .bind(take.holder.incarnation.cast_signed())
    .bind(column(epoch.0, "epoch")?)
    .bind(take.seam.map(|seam| text(&seam, "a seam")).transpose()?)
    .execute(db)
    .doing("taking a lease")
    .await?;
    Ok(Some(epoch))
}

pub(super) async fn give_back(db: &mut Connection, of: &LeaseName, epoch: Epoch) -> Result<()> {
    sqlx::query("UPDATE leases SET holder = NULL, incarnation = NULL WHERE name = $1 AND epoch = $2")
        .bind(name(of))
        .bind(column(epoch.0, "epoch")?)
        .execute(db)
        .doing("giving a lease back")
        .await?;
    Ok(())
}

/// Gives back all that a member holds.
pub(super) async fn give_all_back(db: &mut Connection, member: &Member) -> Result<()> {
    sqlx::query("UPDATE leases SET holder = NULL, incarnation = NULL WHERE holder = $1 AND incarnation = $2")
        .bind(&member.name)
        .bind(member.incarnation.cast_signed())
        .execute(db)
        .doing("giving leases back")
        .await?;
    Ok(())
}

/// Says that the balancer with this epoch lives; false if it holds the lease no longer. The lease is its until the
/// transaction ends.
pub(super) async fn renew_balancer(db: &mut Connection, epoch: Epoch) -> Result<bool> {
    let done =
        sqlx::query("UPDATE leases SET renewal = renewal + 1 WHERE name = $1 AND epoch = $2 AND holder IS NOT NULL")
            .bind(BALANCER)
            .bind(column(epoch.0, "epoch")?)
            .execute(db)
            .doing("saying that the balancer lives")
            .await?;
    Ok(done.rows_affected() > 0)
}
