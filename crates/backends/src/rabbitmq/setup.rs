//! Sets the broker's policies, over its management API.

use serde_json::json;

use super::management::Management;
use super::{RabbitOptions, topology};
use crate::queue::QueueError;

/// Sets the policies of our queues, whatever they were; returns their names. The user needs the tag `policymaker` for it.
/// `max_bytes`: the most that a queue holds before it refuses.
///
/// # Errors
/// Where the management API cannot be reached or refuses.
pub async fn set_policies(options: &RabbitOptions, max_bytes: u64) -> Result<Vec<&'static str>, QueueError> {
    let management = Management::new(options)?;
    let mut set = Vec::new();
    for policy in topology::policies(options.delivery_limit, max_bytes) {
        let body = json!({ "pattern": policy.pattern, "definition": policy.definition, "apply-to": "queues" });
        management.put_policy(policy.name, &body).await?;
        set.push(policy.name);
    }
    Ok(set)
}
