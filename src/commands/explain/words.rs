//! What the facts mean, in words.

use std::fmt;

use super::facts::{Condition, Depth, Facts, Hpa, Keda, NOWHERE, Pods};

/// The HPA leaves alone what is within this share of its target.
const TOLERANCE: f64 = 0.1;

/// Why there are as many pods as there are, and what would change it: a sentence each.
#[derive(Debug, Default)]
pub struct Told {
    pub why: Vec<String>,
    pub would_change: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in &self.why {
            writeln!(f, "{sentence}")?;
        }
        writeln!(f, "\nWhat would change it:")?;
        for sentence in &self.would_change {
            writeln!(f, "- {sentence}")?;
        }
        Ok(())
    }
}

/// Explains them.
pub fn explain(facts: &Facts) -> Told {
    let mut told = Told::default();
    told.why.push(pods(facts));
    told.why.extend(pending(&facts.pods));
    told.why.push(waiting(facts));
    told.why.extend(arithmetic(facts));
    match (&facts.keda, &facts.hpa) {
        (None, None) => {
            told.why.push("Nothing scales it: there is no ScaledObject and no HPA, so the number is whatever the deployment is told.".to_owned());
            told.would_change.push("A change of the deployment's replicas, or scaling switched on.".to_owned());
            return told;
        }
        (None, Some(_)) => told.why.push("There is no ScaledObject: the HPA is not KEDA's.".to_owned()),
        (Some(keda), hpa) => {
            told.why.extend(of_keda(keda, facts.pods.wanted));
            if hpa.is_none() && keda.paused_by.is_none() {
                told.why.push("KEDA has made no HPA: above one pod nobody changes the number.".to_owned());
            }
        }
    }
    if let Some(hpa) = &facts.hpa {
        told.why.extend(of_hpa(hpa, facts));
    }
    told.would_change = changes(facts);
    told
}

fn pods(Facts { deployment, pods, .. }: &Facts) -> String {
    let Pods { wanted, there, ready, leaving, .. } = pods;
    let leaving = match leaving {
        0 => String::new(),
        leaving => format!("; {leaving} more {} finishing what {} took", are(*leaving), they(*leaving)),
    };
    format!("{deployment}: {} wanted, {there} there, {ready} ready{leaving}.", counted(*wanted, "pod"))
}

fn pending(pods: &Pods) -> impl Iterator<Item = String> {
    pods.pending.iter().map(|(why, number)| format!("{} {} not ready: {why}.", counted(*number, "pod"), are(*number)))
}

fn waiting(facts: &Facts) -> String {
    let Some(depth) = facts.depth else {
        let why = facts.depth_unknown.as_deref().unwrap_or("unknown");
        return format!("How much waits cannot be told: {why}.");
    };
    let Depth { ready, unacked, in_per_s, out_per_s } = depth;
    let rates = match in_per_s.zip(out_per_s) {
        Some((coming, going)) => format!("{coming:.1} a second come, {going:.1} are done"),
        None => "the broker does not measure how fast they come and go".to_owned(),
    };
    format!("Depth: {} in the queues, {ready} ready and {unacked} in work; {rates}.", depth.total())
}

fn arithmetic(facts: &Facts) -> Option<String> {
    let (asked, target) = (facts.asked?, facts.target?);
    let depth = facts.depth?.total();
    let (min, max) = (facts.min.unwrap_or(0), facts.max.unwrap_or(i64::MAX));
    let held = match asked.clamp(min, max.max(min)) {
        held if held == asked => String::new(),
        held if asked < min => format!(", and the minimum is {held}"),
        held => format!(", and the maximum is {held}"),
    };
    let wanted = facts.pods.wanted;
    let tolerated = wanted > 0 && asked != wanted && held.is_empty() && within_tolerance(depth, target, wanted);
    let tolerated = match tolerated {
        true => {
            format!("; that is within a tenth of what {} are for, so the HPA leaves it at that", counted(wanted, "pod"))
        }
        false => String::new(),
    };
    Some(format!("One pod is to have {target}: ceil({depth} / {target}) = {asked}{held}{tolerated}."))
}

fn within_tolerance(depth: u64, target: f64, pods: i64) -> bool {
    (depth as f64 / (target * pods as f64) - 1.0).abs() <= TOLERANCE
}

fn of_keda(keda: &Keda, wanted: i64) -> Vec<String> {
    let (mut told, found) = (Vec::new(), |name: &str| keda.conditions.get(name));
    if let Some(annotation) = &keda.paused_by {
        told.push(format!("KEDA is paused by the annotation {annotation}: nothing that waits changes the number."));
    } else if found("Paused").is_some_and(Condition::is_true) {
        told.push("KEDA says that it is paused.".to_owned());
    }
    if let Some(ready) = found("Ready").filter(|ready| !ready.is_true()) {
        told.push(format!("The ScaledObject is not ready{}.", because(ready)));
    }
    if found("Fallback").is_some_and(Condition::is_true) {
        let at_least = keda.fallback.map(|least| format!(" and {least}")).unwrap_or_default();
        let tries = if keda.failures > 0 { format!(", {} times in a row", keda.failures) } else { String::new() };
        told.push(format!(
            "KEDA's fallback is active: the broker's management API could not be asked{tries}. It then keeps the larger of what \
             there is{at_least}, whatever waits."
        ));
    } else if keda.failures > 0 {
        told.push(format!("KEDA could not ask the broker's management API {} times in a row.", keda.failures));
    }
    match found("Active") {
        Some(active) if active.is_false() && wanted == 0 => {
            told.push("KEDA sees nothing waiting, and keeps it at no pods.".to_owned());
        }
        Some(active) if active.is_false() && active.reason == "ScalerCooldown" => {
            told.push(format!(
                "KEDA sees nothing come, and lets the last pods go {} s after the last segment.",
                keda.cooldown_s
            ));
        }
        _ => {}
    }
    told
}

fn of_hpa(hpa: &Hpa, facts: &Facts) -> Vec<String> {
    let (mut told, found) = (Vec::new(), |name: &str| hpa.conditions.get(name));
    let wanted = facts.pods.wanted;
    // What it says of fewer pods is older than what waits now.
    let grows = facts.asked.is_some_and(|asked| asked.min(facts.max.unwrap_or(i64::MAX)) > wanted);
    match found("ScalingActive").filter(|active| active.is_false()) {
        Some(active) if active.reason == "ScalingDisabled" => {
            if wanted == 0 {
                told.push("The HPA rests while there are none.".to_owned());
            }
        }
        Some(active) => {
            told.push(format!("The HPA has no numbers to go by, and leaves it as it is{}.", because(active)))
        }
        None => {
            if let Some((per_pod, target)) = hpa.per_pod.zip(facts.target) {
                told.push(format!("The HPA was told last that a pod has {per_pod}, where {target} are meant."));
            }
        }
    }
    if let Some(able) = found("AbleToScale") {
        if able.is_false() {
            told.push(format!("The HPA cannot scale{}.", because(able)));
        } else if able.reason == "ScaleDownStabilized" && !grows {
            told.push(format!("The HPA holds it: within the last {} s it was asked for more than now.", hpa.window_s));
        }
    }
    match found("ScalingLimited").filter(|limited| limited.is_true()).map(|limited| limited.reason.as_str()) {
        Some("TooManyReplicas") => told.push("It is at its maximum, and more would be wanted.".to_owned()),
        Some("TooFewReplicas" | "ScaleDownLimit") if grows => {}
        Some("TooFewReplicas") => told.push("It is at its minimum, and fewer would do.".to_owned()),
        Some("ScaleDownLimit") => told.push("It shrinks, no faster than its policy allows.".to_owned()),
        Some("ScaleUpLimit") => told.push("It grows, no faster than its policy allows.".to_owned()),
        Some(other) => told.push(format!("The HPA is limited: {other}.")),
        None => {}
    }
    if hpa.desired != wanted && wanted > 0 {
        told.push(format!(
            "The HPA wants {}; the deployment is told so with its next look.",
            counted(hpa.desired, "pod")
        ));
    }
    told
}

fn changes(facts: &Facts) -> Vec<String> {
    let mut told = Vec::new();
    let keda = facts.keda.as_ref();
    if let Some(annotation) = keda.and_then(|keda| keda.paused_by.as_ref()) {
        let name = annotation.split('=').next().unwrap_or_default();
        told.push(format!("Without the annotation {name} KEDA goes on."));
        return told;
    }
    let broken = keda.and_then(|keda| keda.conditions.get("Ready")).is_some_and(|ready| !ready.is_true());
    let blind = facts.hpa.as_ref().and_then(|hpa| hpa.conditions.get("ScalingActive"));
    let blind = blind.is_some_and(|active| active.is_false() && active.reason != "ScalingDisabled");
    let fallback = keda.and_then(|keda| keda.conditions.get("Fallback")).is_some_and(Condition::is_true);
    if blind || fallback {
        told.push(
            "KEDA has to reach the broker's management API with its credentials: `kubectl describe scaledobject` and the log of \
             keda-operator say what is wrong. Until then the number stays or grows, and does not fall."
                .to_owned(),
        );
    } else if broken {
        told.push(
            "What keeps the ScaledObject from being ready has to be put right; until then the number stays.".to_owned(),
        );
    }
    if facts.pods.pending.keys().any(|why| why.starts_with(NOWHERE)) {
        told.push(
            "What no node takes starts by itself as soon as one does: add nodes, or ask for less per pod.".to_owned(),
        );
    }
    if !broken && !blind && !fallback {
        told.extend(more(facts));
        told.extend(fewer(facts));
        told.extend(none(facts));
    }
    if told.is_empty() {
        told.push("How much waits; see above why that cannot be told.".to_owned());
    }
    told
}

/// What would make it grow.
fn more(facts: &Facts) -> Option<String> {
    let wanted = facts.pods.wanted;
    if wanted == 0 {
        let every = facts.keda.as_ref().map_or(0, |keda| keda.polling_s);
        return Some(format!("The first segment that waits brings the first pod; KEDA looks every {every} s."));
    }
    let (depth, target, asked) = (facts.depth?.total(), facts.target?, facts.asked?);
    let max = facts.max.unwrap_or(i64::MAX);
    if wanted >= max {
        let for_all = (target * max as f64) as u64;
        return Some(match asked > max {
            true => format!(
                "No more pods come: {max} is the maximum, and {asked} would be wanted. Raise it, or give pods more to hold."
            ),
            false => format!("No more pods come: {max} is the maximum, enough for {for_all} at a time."),
        });
    }
    // Beyond the tolerance, or nothing happens.
    let next = (target * wanted as f64 * (1.0 + TOLERANCE)) as u64 + 1;
    let then = ((next as f64 / target).ceil() as i64).min(max);
    if depth >= next {
        return Some(format!(
            "The HPA's next look, every 15 s: it asks for {} by then.",
            counted(asked.min(max), "pod")
        ));
    }
    let by = then - wanted;
    let one_more = if by == 1 { "one pod more".to_owned() } else { format!("{by} pods more") };
    Some(format!("{} more in the queues ({next} in all) would ask for {one_more}.", next - depth))
}

/// What would make it shrink.
fn fewer(facts: &Facts) -> Option<String> {
    let (wanted, min) = (facts.pods.wanted, facts.min.unwrap_or(1));
    if wanted == 0 {
        return None;
    }
    let hpa = facts.hpa.as_ref()?;
    if wanted <= min.max(1) {
        return (min > 0).then(|| format!("It does not shrink: {min} is the minimum."));
    }
    let (depth, target, asked) = (facts.depth?.total(), facts.target?, facts.asked?);
    let speed = match hpa.down_percent {
        Some(percent) => {
            let left = (wanted as f64 * (1.0 - percent as f64 / 100.0)) as i64;
            let go = (wanted - left).min(wanted - min.max(1));
            format!(", by at most {percent} % ({}) in {} s", counted(go, "pod"), hpa.down_period_s)
        }
        None => String::new(),
    };
    if asked < wanted && !within_tolerance(depth, target, wanted) {
        let shrinks = hpa.conditions.get("ScalingLimited").is_some_and(|limited| limited.reason == "ScaleDownLimit");
        if shrinks {
            return Some(format!("If no more comes, it goes on shrinking{speed}."));
        }
        // The window goes over what was asked for; it was asked for what there is when it was scaled, or later.
        let left = hpa.scaled_s_ago.map_or(0, |ago| hpa.window_s - ago);
        return Some(match left > 0 {
            true => format!("If no more comes, it shrinks in {left} s at the earliest{speed}."),
            false => format!("It shrinks once it was asked for fewer for {} s together{speed}.", hpa.window_s),
        });
    }
    // The most that asks for one less, outside the tolerance.
    let edge = (target * (wanted - 1) as f64).min(target * wanted as f64 * (1.0 - TOLERANCE));
    Some(format!("{} or fewer in the queues for {} s, and it shrinks{speed}.", edge as u64, hpa.window_s))
}

/// What would leave none.
fn none(facts: &Facts) -> Option<String> {
    let keda = facts.keda.as_ref().filter(|_| facts.min == Some(0) && facts.pods.wanted > 0)?;
    Some(format!("{} s without any segment, and the last pods go, all at once.", keda.cooldown_s))
}

/// What a condition says of itself.
fn because(condition: &Condition) -> String {
    let Condition { reason, message, .. } = condition;
    let message = message.trim().trim_end_matches('.');
    match (reason.is_empty(), message.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(": {reason}"),
        (true, false) => format!(": {message}"),
        (false, false) => format!(": {message} ({reason})"),
    }
}

fn counted(number: i64, what: &str) -> String {
    if number == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}

fn are(number: i64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

fn they(number: i64) -> &'static str {
    if number == 1 { "it" } else { "they" }
}
