//! What every event store does.
#![allow(missing_docs)] // Each case's name says what holds.

mod cameras;
mod events;
mod feed;
mod merging;
mod objects;
mod outcomes;
mod prune;
mod reindex;

pub use cameras::*;
pub use events::*;
pub use feed::*;
pub use merging::*;
pub use objects::*;
pub use outcomes::*;
pub use prune::*;
pub use reindex::*;

use std::sync::Arc;

use detektor_contract::{CameraId, Outcome};

use crate::store::{CameraUpdate, EventStore, MergeTx, Put};

/// Makes a test of every case of the store suite. The argument is a future of a fresh
/// [`Bench<dyn EventStore>`](super::Bench).
#[macro_export]
macro_rules! store_conformance {
    ($bench:expr) => {
        $crate::conformance_cases!(
            store,
            $bench,
            [
                cameras_are_listed_in_order,
                a_camera_that_only_merge_knows_is_listed,
                a_content_keeps_its_epochs,
                another_content_begins_above_all_epochs,
                live_epochs_exceed_time_and_all_before,
                epochs_begun_at_once_differ,
                what_is_published_never_falls,
                the_dispatchers_part_survives_a_crash,
                of_two_outcomes_the_winner_stays,
                winners_do_not_depend_on_order,
                many_outcomes_at_once_are_as_one_after_the_other,
                outcomes_come_in_order_and_pages,
                outcomes_are_found_by_time,
                seams_follow_the_winners,
                the_first_outcome_behind_a_seam_is_found,
                a_gap_behind_a_seam_is_found,
                tombstones_with_a_job_are_listed,
                a_number_too_large_is_refused_and_harms_nothing,
                a_merge_saves_a_cameras_state,
                a_dropped_transaction_leaves_no_trace,
                a_committed_transaction_survives_a_crash,
                gaps_are_forgotten_by_a_refold,
                merges_of_one_camera_take_turns,
                merges_in_opposite_order_do_not_block_each_other,
                mergers_of_the_same_outcomes_agree,
                mergers_of_different_cameras_lose_nothing,
                cameras_that_wait_are_listed,
                checkpoints_are_found_and_refolded,
                checkpoints_are_thinned,
                a_change_raises_the_revision,
                what_says_nothing_new_is_no_change,
                a_withdrawn_event_is_gone_and_may_come_back,
                events_are_filtered,
                events_are_paged_in_both_orders,
                touched_events_are_found,
                the_feed_tells_every_change_in_order,
                the_feed_resumes_without_a_gap_under_writers,
                the_feed_wakes_who_waits,
                the_feed_resets_who_comes_from_elsewhere,
                a_reindex_keeps_revisions_and_tells_nothing,
                a_reindex_keeps_cameras_and_epochs,
                closed_events_are_written_once,
                a_revised_event_is_written_again,
                an_object_of_an_older_revision_is_written_over,
                a_withdrawn_events_object_is_removed,
                an_event_that_moves_leaves_no_object_behind,
                a_reindex_writes_only_what_was_pending,
                a_reindex_is_pending_until_it_ended,
                restored_epochs_are_given_again,
                an_epoch_exceeds_all_outcomes,
                a_reindex_knows_what_is_published,
                below_a_floor_nothing_is_recorded,
                old_checkpoints_are_found,
                history_goes_in_batches_and_the_rest_stays,
                an_event_that_goes_on_or_waits_is_not_pruned,
                an_epoch_exceeds_what_was_pruned,
                a_reindex_stands_on_the_floor,
                the_feed_resets_who_comes_from_before_the_prune,
            ]
        );
    };
}

/// Begins a transaction over one camera.
async fn begin(store: &Arc<dyn EventStore>, camera: &CameraId) -> Box<dyn MergeTx> {
    store.begin_merge(std::slice::from_ref(camera)).await.unwrap()
}

/// Merges outcomes and an update in a transaction of their own.
async fn merge(store: &Arc<dyn EventStore>, outcomes: &[Outcome], update: CameraUpdate, tell: bool) -> Vec<Put> {
    let mut merge = begin(store, &update.camera).await;
    let mut puts = Vec::new();
    for outcome in outcomes {
        puts.push(merge.put(outcome).await.unwrap());
    }
    merge.update(update, tell).await.unwrap();
    merge.commit().await.unwrap();
    puts
}

/// Puts outcomes of one camera, without folding them.
async fn put(store: &Arc<dyn EventStore>, outcomes: &[Outcome]) -> Vec<Put> {
    let mut merge = begin(store, &outcomes[0].id.camera).await;
    let puts = merge.put_all(&outcomes.iter().collect::<Vec<_>>()).await.unwrap();
    merge.commit().await.unwrap();
    puts
}
