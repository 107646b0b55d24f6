//! `detektor state`: what each role holds in memory beside its code.

use std::io::Write;

use detektor_detect::role::DetectRole;
use detektor_events::role::EventsRole;
use detektor_merge::role::MergeRole;
use detektor_runtime::role::{COMMON, Held, Role, Truth};
use serde::Serialize;

use crate::roles::{BalancerRole, DispatcherRole};

/// A role's declaration.
#[derive(Serialize)]
struct RoleState {
    role: &'static str,
    /// Whether nothing is known to this process alone.
    uses_external_state: bool,
    state: Vec<Held>,
}

fn of<R: Role>() -> RoleState {
    let state: Vec<Held> = COMMON.iter().chain(R::STATE).copied().collect();
    RoleState { role: R::SECTION, uses_external_state: state.iter().all(|held| held.truth != Truth::Process), state }
}

/// Prints what every role declares.
pub fn state(json: bool) -> anyhow::Result<()> {
    let roles =
        [of::<DispatcherRole>(), of::<DetectRole>(), of::<MergeRole>(), of::<EventsRole>(), of::<BalancerRole>()];
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&roles)?)?;
        return Ok(());
    }
    // As it is in JSON.
    let word = |value: serde_json::Result<serde_json::Value>| -> anyhow::Result<String> {
        Ok(value?.as_str().unwrap_or_default().to_owned())
    };
    for RoleState { role, uses_external_state, state } in &roles {
        let alone =
            if *uses_external_state { "nothing is known to it alone" } else { "SOMETHING IS KNOWN TO IT ALONE" };
        writeln!(out, "{role}: {alone}")?;
        for held in state {
            let (kind, truth) = (word(serde_json::to_value(held.kind))?, word(serde_json::to_value(held.truth))?);
            writeln!(out, "  {:14} {kind:10} truth: {truth:11}  {}", held.name, held.holds)?;
        }
    }
    Ok(())
}
