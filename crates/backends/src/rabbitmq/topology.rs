//! Which queues there are, and with what arguments. Arguments are for good: to declare a queue again with others is refused.
//! What may change (the delivery limit, the longest a queue may grow) comes by policy.

use detektor_contract::names::{Queue, Work};
use serde_json::{Map, Value, json};

/// A queue as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Which.
    pub queue: Queue,
    /// Its arguments: texts and numbers.
    pub arguments: Map<String, Value>,
}

/// A policy: what may change, for the queues whose names match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: &'static str,
    /// A regular expression of queue names.
    pub pattern: &'static str,
    /// What it sets.
    pub definition: Map<String, Value>,
}

/// The queues of dead letters: they are always there.
pub fn dead() -> [Declaration; 2] {
    Work::ALL.map(|work| Declaration {
        queue: Queue::Dead(work),
        arguments: arguments(json!({ "x-queue-type": "quorum", "x-overflow": "reject-publish" })),
    })
}

/// A partition's queue; none for what is no partition.
pub fn working(queue: Queue) -> Option<Declaration> {
    let Queue::Work(work, _) = queue else { return None };
    let arguments = arguments(json!({
        "x-queue-type": "quorum",
        // A dead letter leaves its queue only once the dead letters have it; that needs a queue that refuses when full.
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": Queue::Dead(work).to_string(),
    }));
    Some(Declaration { queue, arguments })
}

/// The policies. `delivery_limit`: deliveries of one message; `max_bytes`: the most that a queue holds before it refuses.
pub fn policies(delivery_limit: u32, max_bytes: u64) -> [Policy; 2] {
    [
        Policy {
            name: "detektor-work",
            pattern: r"^(detect|merge)\.[0-9]+$",
            // The broker counts returns, not deliveries.
            definition: arguments(json!({
                "delivery-limit": delivery_limit.saturating_sub(1),
                "max-length-bytes": max_bytes,
            })),
        },
        Policy {
            name: "detektor-dead",
            pattern: r"^dead\.",
            definition: arguments(json!({ "max-length-bytes": max_bytes })),
        },
    ]
}

fn arguments(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(arguments) => arguments,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_queues_and_dead_letters_lead_to_one() {
        let partitions = Work::ALL.into_iter().flat_map(|work| (0..10).map(move |n| Queue::Work(work, n)));
        let declared: Vec<Declaration> = partitions.filter_map(working).chain(dead()).collect();
        assert_eq!(declared.len(), 22);
        assert_eq!(working(Queue::Dead(Work::Merge)), None);
        for declaration in &declared {
            let letters = declaration.arguments.get("x-dead-letter-routing-key");
            match declaration.queue {
                Queue::Work(work, _) => assert_eq!(letters, Some(&json!(Queue::Dead(work).to_string()))),
                Queue::Dead(_) => assert_eq!(letters, None),
            }
            assert_eq!(declaration.arguments["x-queue-type"], "quorum");
        }
    }
}
