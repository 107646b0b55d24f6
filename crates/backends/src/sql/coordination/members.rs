//! Processes that live, as far as they say so.

use super::super::dialect::{Connection, Doing};
use crate::columns::{column, number};
use crate::coordination::{Load, Member, MemberSeen};
use crate::store::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// Says that a member lives; false if the name is another incarnation's, which the first beat of one takes over.
pub(super) async fn beat(db: &mut Connection, member: &Member, load: Load, first: bool) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO members (name, incarnation, renewal, cpu_millis, capacity_millis, leaving)
         VALUES ($1, $2, 1, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET
             renewal = CASE WHEN members.incarnation = excluded.incarnation THEN members.renewal + 1 ELSE 1 END,
             incarnation = excluded.incarnation, cpu_millis = excluded.cpu_millis,
             capacity_millis = excluded.capacity_millis, leaving = excluded.leaving
         WHERE members.incarnation = excluded.incarnation OR $6",
    )
    .bind(&member.name)
    .bind(member.incarnation.cast_signed())
    .bind(i64::from(load.cpu_millis))
    .bind(i64::from(load.capacity_millis))
    .bind(load.leaving)
    .bind(first)
    .execute(db)
    .doing("saying that we live")
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn list(db: &mut Connection) -> Result<Vec<MemberSeen>> {
    let rows: Vec<(String, i64, i64, i64, i64, bool)> = sqlx::query_as(
        "SELECT name, incarnation, renewal, cpu_millis, capacity_millis, leaving FROM members ORDER BY name",
    )
    .fetch_all(db)
    .doing("listing members")
    .await?;
    rows.into_iter()
        .map(|(name, incarnation, renewal, cpu, capacity, leaving)| {
            let load = Load { cpu_millis: small(cpu)?, capacity_millis: small(capacity)?, leaving };
            let member = Member { name, incarnation: incarnation.cast_unsigned() };
            Ok(MemberSeen { member, renewal: number(renewal, "a renewal")?, load })
        })
        .collect()
}

pub(super) async fn remove(db: &mut Connection, member: &Member) -> Result<()> {
    sqlx::query("DELETE FROM members WHERE name = $1 AND incarnation = $2")
        .bind(&member.name)
        .bind(member.incarnation.cast_signed())
        .execute(db)
        .doing("leaving")
        .await?;
    Ok(())
}

/// Removes a member that is still as it was seen.
pub(super) async fn forget(db: &mut Connection, seen: &MemberSeen) -> Result<()> {
    sqlx::query("DELETE FROM members WHERE name = $1 AND incarnation = $2 AND renewal = $3")
        .bind(&seen.member.name)
        .bind(seen.member.incarnation.cast_signed())
        .bind(column(seen.renewal, "a renewal")?)
        .execute(db)
        .doing("forgetting a member")
        .await?;
    Ok(())
}

/// A number of fewer bits read back.
pub(super) fn small<T: TryFrom<i64>>(column: i64) -> Result<T> {
    T::try_from(column).map_err(|_| StoreError::Corrupt(format!("{column} is no number that was written")))
}
