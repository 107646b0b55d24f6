//! What the cluster says of a function's scaling, taken out of the resources as `kubectl get -o json` prints them.

use std::collections::BTreeMap;

use detektor_contract::names::{Queue, Work};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The HPA's window for scaling down, where it names none.
const DEFAULT_WINDOW_S: i64 = 300;
/// How often KEDA looks, and how long it waits before it lets the last pod go, where the ScaledObject does not say.
const DEFAULT_POLLING_S: i64 = 30;
const DEFAULT_COOLDOWN_S: i64 = 300;

/// How what is said of a pod begins that the scheduler finds no node for.
pub const NOWHERE: &str = "no node takes it";

/// What was looked at.
pub struct Looked {
    /// The deployment's name, and that of what scales it.
    pub name: String,
    /// What its queues hold.
    pub work: Work,
    pub deployment: Value,
    pub hpa: Option<Value>,
    pub scaled_object: Option<Value>,
    /// A list.
    pub pods: Value,
    /// What `detektor partitions --json` prints; or why it does not.
    pub partitions: Result<Value, String>,
    pub now: Timestamp,
}

/// What there is to know of a function's scaling.
#[derive(Debug, Serialize)]
pub struct Facts {
    pub deployment: String,
    pub pods: Pods,
    pub depth: Option<Depth>,
    /// Why there is no depth.
    pub depth_unknown: Option<String>,
    /// Messages that one pod is to have, ready or unacked.
    pub target: Option<f64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
    /// `ceil(depth / target)`, before minimum and maximum.
    pub asked: Option<i64>,
    pub hpa: Option<Hpa>,
    pub keda: Option<Keda>,
}

#[derive(Debug, Default, Serialize)]
pub struct Pods {
    /// As the deployment is told.
    pub wanted: i64,
    pub there: i64,
    pub ready: i64,
    /// How many wait, by reason.
    pub pending: BTreeMap<String, i64>,
    /// How many are finishing what they have.
    pub leaving: i64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Depth {
    pub ready: u64,
    pub unacked: u64,
    /// None where the broker does not measure.
    pub in_per_s: Option<f64>,
    pub out_per_s: Option<f64>,
}

impl Depth {
    pub fn total(&self) -> u64 {
        self.ready + self.unacked
    }
}

/// A condition of a resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Condition {
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub fn is_false(&self) -> bool {
        self.status == "False"
    }
}

#[derive(Debug, Serialize)]
pub struct Hpa {
    pub current: i64,
    pub desired: i64,
    /// What it was told last that one pod has.
    pub per_pod: Option<f64>,
    pub window_s: i64,
    /// The most that goes at a time, in percent.
    pub down_percent: Option<i64>,
    pub down_period_s: i64,
    /// Since when its number is what it is.
    pub scaled_s_ago: Option<i64>,
    pub conditions: BTreeMap<String, Condition>,
}

#[derive(Debug, Serialize)]
pub struct Keda {
    pub polling_s: i64,
    pub cooldown_s: i64,
    /// Pods that it falls back on.
    pub fallback: Option<i64>,
    /// The annotation that holds it.
    pub paused_by: Option<String>,
    /// How often in a row the broker could not be asked.
    pub failures: i64,
    pub conditions: BTreeMap<String, Condition>,
}

impl Facts {
    pub fn new(looked: &Looked) -> Self {
        let Looked { name, work, deployment, hpa, scaled_object, pods, partitions, now } = looked;
        let (depth, depth_unknown) = match partitions {
            Ok(told) => (Some(depth(told, *work)), None),
            Err(why) => (None, Some(why.clone())),
        };
        let spec = |resource: &Option<Value>, field: &str| resource.as_ref().and_then(|it| it["spec"][field].as_i64());
        let told = |keda: &str, hpa_field: &str| spec(scaled_object, keda).or_else(|| spec(hpa, hpa_field));
        let target = target(scaled_object.as_ref(), hpa.as_ref());
        let asked = depth.zip(target).map(|(depth, target)| (depth.total() as f64 / target).ceil() as i64);
        Self {
            deployment: name.clone(),
            pods: Pods::new(deployment, pods),
            depth,
            depth_unknown,
            target,
            min: told("minReplicaCount", "minReplicas"),
            max: told("maxReplicaCount", "maxReplicas"),
            asked,
            hpa: hpa.as_ref().map(|hpa| Hpa::new(hpa, *now)),
            keda: scaled_object.as_ref().map(Keda::new),
        }
    }
}

impl Pods {
    fn new(deployment: &Value, list: &Value) -> Self {
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        let mut pods = Self { wanted: number(&deployment["spec"]["replicas"]), ..Self::default() };
        for pod in list["items"].as_array().into_iter().flatten() {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                pods.leaving += 1;
                continue;
            }
            pods.there += 1;
            if conditions(&pod["status"]).get("Ready").is_some_and(Condition::is_true) {
                pods.ready += 1;
            } else {
                *pods.pending.entry(pending(pod)).or_default() += 1;
            }
        }
        pods
    }
}

/// Why a pod is not ready.
fn pending(pod: &Value) -> String {
    let status = &pod["status"];
    if let Some(unplaced) = conditions(status).get("PodScheduled").filter(|condition| condition.is_false()) {
        // What follows the first sentence is about making room by force.
        let said = unplaced.message.split(". ").next().unwrap_or_default().trim_end_matches('.');
        return if said.is_empty() { unplaced.reason.clone() } else { format!("{NOWHERE}: {said}") };
    }
    let of = |field: &str| status[field].as_array().cloned().unwrap_or_default();
    for container in of("initContainerStatuses").iter().chain(&of("containerStatuses")) {
        let name = container["name"].as_str().unwrap_or_default();
        let waiting = &container["state"]["waiting"];
        match waiting["reason"].as_str() {
            None | Some("PodInitializing" | "ContainerCreating") => {}
            Some(reason) => {
                let said = waiting["message"].as_str().map(|said| format!(": {said}")).unwrap_or_default();
                return format!("{name}: {reason}{said}");
            }
        }
    }
    let initializing = of("initContainerStatuses").iter().any(|container| !container["state"]["running"].is_null());
    if initializing { "waiting for the tables".to_owned() } else { "starting".to_owned() }
}

impl Hpa {
    fn new(hpa: &Value, now: Timestamp) -> Self {
        let (spec, status) = (&hpa["spec"], &hpa["status"]);
        let down = &spec["behavior"]["scaleDown"];
        let percent = down["policies"].as_array().into_iter().flatten().find(|policy| policy["type"] == "Percent");
        let scaled: Option<Timestamp> = status["lastScaleTime"].as_str().and_then(|time| time.parse().ok());
        Self {
            current: status["currentReplicas"].as_i64().unwrap_or(0),
            desired: status["desiredReplicas"].as_i64().unwrap_or(0),
            per_pod: quantity(&status["currentMetrics"][0]["external"]["current"]["averageValue"]),
            window_s: down["stabilizationWindowSeconds"].as_i64().unwrap_or(DEFAULT_WINDOW_S),
            down_percent: percent.and_then(|policy| policy["value"].as_i64()),
            down_period_s: percent.and_then(|policy| policy["periodSeconds"].as_i64()).unwrap_or(60),
            scaled_s_ago: scaled.map(|scaled| now.as_second() - scaled.as_second()),
            conditions: conditions(status),
        }
    }
}

impl Keda {
    fn new(scaled_object: &Value) -> Self {
        let (spec, status) = (&scaled_object["spec"], &scaled_object["status"]);
        let annotations = scaled_object["metadata"]["annotations"].as_object();
        let held = |(name, value): (&String, &Value)| {
            let pauses = name.starts_with("autoscaling.keda.sh/paused") && value != "false";
            pauses.then(|| format!("{name}={}", value.as_str().unwrap_or_default()))
        };
        let failures = |health: &Value| health["numberOfFailures"].as_i64();
        Self {
            polling_s: spec["pollingInterval"].as_i64().unwrap_or(DEFAULT_POLLING_S),
            cooldown_s: spec["cooldownPeriod"].as_i64().unwrap_or(DEFAULT_COOLDOWN_S),
            fallback: spec["fallback"]["replicas"].as_i64(),
            paused_by: annotations.and_then(|all| all.iter().find_map(held)),
            failures: status["health"]
                .as_object()
                .into_iter()
                .flat_map(|all| all.values())
                .filter_map(failures)
                .max()
                .unwrap_or(0),
            conditions: conditions(status),
        }
    }
}

/// What all queues hold together that a kind of worker empties: merge keeps what failed for good, too.
fn depth(partitions: &Value, work: Work) -> Depth {
    let queues = partitions["queues"].as_array().into_iter().flatten();
    let named = |queue: &Value| queue["queue"].as_str().and_then(|name| name.parse().ok());
    let mine = queues.filter(|queue| match named(queue) {
        Some(Queue::Work(kind, _)) => kind == work,
        Some(Queue::Dead(_)) => work == Work::Merge,
        None => false,
    });
    let plus = |sum: Option<f64>, value: &Value| Some(sum? + value.as_f64()?);
    let none = Depth { in_per_s: Some(0.0), out_per_s: Some(0.0), ..Depth::default() };
    mine.fold(none, |sum, queue| Depth {
        ready: sum.ready + queue["ready"].as_u64().unwrap_or(0),
        unacked: sum.unacked + queue["unacked"].as_u64().unwrap_or(0),
        in_per_s: plus(sum.in_per_s, &queue["in_per_s"]),
        out_per_s: plus(sum.out_per_s, &queue["out_per_s"]),
    })
}

/// What one pod is to have: the ScaledObject says it as it was written, the HPA rounded.
fn target(scaled_object: Option<&Value>, hpa: Option<&Value>) -> Option<f64> {
    let told = scaled_object.and_then(|it| it["spec"]["triggers"][0]["metadata"]["value"].as_str());
    let told = told.and_then(|value| value.parse().ok());
    let found = told.or_else(|| quantity(&hpa?["spec"]["metrics"][0]["external"]["target"]["averageValue"]));
    found.filter(|target| *target > 0.0)
}

/// A number as Kubernetes writes it, such as `1400m`.
pub fn quantity(value: &Value) -> Option<f64> {
    let text = value.as_str()?;
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse::<f64>().ok().map(|number| number / 1e3);
    }
    let thousands = text.strip_suffix('k').and_then(|number| number.parse::<f64>().ok());
    thousands.map(|number| number * 1e3).or_else(|| text.parse().ok())
}

fn conditions(status: &Value) -> BTreeMap<String, Condition> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |condition: &Value| {
        let [status, reason, message] = ["status", "reason", "message"].map(|field| text(&condition[field]));
        (text(&condition["type"]), Condition { status, reason, message })
    };
    status["conditions"].as_array().into_iter().flatten().map(read).collect()
}
