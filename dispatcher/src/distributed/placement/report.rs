//! The placement, for people and for scripts.

use std::collections::BTreeSet;

use detektor_backends::coordination::{MemberSeen, Placed, Placement};
use detektor_contract::CameraId;
use serde::Serialize;

use super::level::Level;
use super::{Node, costs, plan, weights};

/// Moves that a report names at most.
const LAST_MOVES: usize = 20;

/// How even the placement is, what the balancer would do about it, and what it did last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacementReport {
    /// The standard deviation of the dispatchers' loads, as a share of their mean.
    pub std_deviation: f64,
    /// The dispatchers, in the order of their names.
    pub nodes: Vec<NodeReport>,
    /// Cameras that no live dispatcher has.
    pub unplaced: usize,
    /// Whether the balancer would change anything.
    pub rebalance_needed: bool,
    /// How many cameras each partition has.
    pub partitions: Vec<usize>,
    /// The last moves, the newest first.
    pub last_moves: Vec<LastMove>,
}

/// A dispatcher and its part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// How many cameras are placed on it.
    pub camera_count: usize,
    /// What they cost, in processor cores, by its share of what all can carry.
    pub load: f64,
    /// It is about to stop.
    pub leaving: bool,
}

/// Where a camera was moved to, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastMove {
    /// Which camera.
    pub camera: CameraId,
    /// To which dispatcher.
    pub dispatcher: Option<String>,
    /// To which partition.
    pub partition: u16,
    /// Why.
    pub reason: String,
    /// When, in Unix milliseconds.
    pub moved_ms: u64,
}

impl PlacementReport {
    /// Reports. Takes every member for alive. `wanted` is in id order.
    pub fn new(wanted: &[CameraId], members: &[MemberSeen], placement: &Placement) -> Self {
        let nodes: Vec<Node> = members.iter().map(Node::from).collect();
        let staying: Vec<&Node> = nodes.iter().filter(|node| !node.leaving).collect();
        let rows: Vec<Option<&Placed>> = placement.cameras.iter().map(Some).collect();
        let weights = weights(&staying);
        let mut level = Level::new(weights.iter().map(|weight| (*weight, true)), costs(&rows));
        let mut unplaced = 0;
        for (item, row) in placement.cameras.iter().enumerate() {
            match staying.iter().position(|node| Some(&node.name) == row.dispatcher.as_ref()) {
                Some(bin) => level.put(item, bin, false),
                None => unplaced += usize::from(!nodes.iter().any(|node| Some(&node.name) == row.dispatcher.as_ref())),
            }
        }
        let known: BTreeSet<&CameraId> = placement.cameras.iter().map(|row| &row.camera).collect();
        let new = wanted.iter().filter(|id| !known.contains(id));
        let report = |node: &Node| NodeReport {
            name: node.name.clone(),
            camera_count: placement.cameras.iter().filter(|row| Some(&node.name) == row.dispatcher.as_ref()).count(),
            load: staying.iter().position(|other| other.name == node.name).map_or(0.0, |bin| level.load(bin) / 1_000.0),
            leaving: node.leaving,
        };
        let mut partitions = vec![0; usize::from(placement.partitions)];
        for row in &placement.cameras {
            if let Some(count) = partitions.get_mut(usize::from(row.partition)) {
                *count += 1;
            }
        }
        Self {
            std_deviation: level.spread(),
            unplaced: unplaced + new.count(),
            rebalance_needed: !plan(wanted, &nodes, placement).is_empty(),
            nodes: nodes.iter().map(report).collect(),
            partitions,
            last_moves: last_moves(placement),
        }
    }
}

fn last_moves(placement: &Placement) -> Vec<LastMove> {
    let mut rows: Vec<&Placed> = placement.cameras.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.moved_ms));
    let last = rows.into_iter().take(LAST_MOVES).map(|row| LastMove {
        camera: row.camera.clone(),
        dispatcher: row.dispatcher.clone(),
        partition: row.partition,
        reason: row.reason.clone(),
        moved_ms: row.moved_ms,
    });
    last.collect()
}
