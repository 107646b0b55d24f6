//! Each case as the cluster would show it, and what is said of it.
#![allow(clippy::unwrap_used)]

use detektor_contract::names::Work;
use serde_json::{Value, json};

use super::facts::{Facts, Looked, quantity};
use super::words::explain;
use super::{last_line, refused};

/// A steady load: 7 pods, with 7 segments in 2 queues.
fn steady() -> Looked {
    let name = "detektor-detection";
    Looked {
        name: name.to_owned(),
        work: Work::Detect,
        deployment: json!({ "metadata": { "name": name }, "spec": { "replicas": 7 } }),
        hpa: Some(json!({
            "spec": {
                "minReplicas": 3,
                "maxReplicas": 50,
                "metrics": [{ "type": "External", "external": { "target": { "type": "AverageValue", "averageValue": "1400m" } } }],
                "behavior": {
                    "scaleDown": {
                        "stabilizationWindowSeconds": 300,
                        "policies": [{ "type": "Percent", "value": 25, "periodSeconds": 60 }],
                    },
                },
            },
            "status": {
                "currentReplicas": 7,
                "desiredReplicas": 7,
                "lastScaleTime": "2026-11-26T11:50:00Z",
                "currentMetrics": [{ "type": "External", "external": { "current": { "averageValue": "1286m" } } }],
                "conditions": [
                    condition("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size"),
                    condition("ScalingActive", "True", "ValidMetricFound", "the HPA was able to calculate a replica count"),
                    condition("ScalingLimited", "False", "DesiredWithinRange", "the desired count is within the range"),
                ],
            },
        })),
        scaled_object: Some(json!({
            "metadata": { "annotations": {} },
            "spec": {
                "pollingInterval": 5,
                "cooldownPeriod": 300,
                "minReplicaCount": 3,
                "maxReplicaCount": 50,
                "fallback": { "failureThreshold": 3, "replicas": 3 },
                "triggers": [{ "type": "rabbitmq", "metadata": { "value": "1.4" } }],
            },
            "status": {
                "health": { "s0-rabbitmq": { "numberOfFailures": 0, "status": "Happy" } },
                "conditions": [
                    condition("Ready", "True", "ScaledObjectReady", "ScaledObject is defined correctly and is ready for scaling"),
                    condition("Active", "True", "ScalerActive", "Scaling is performed because triggers are active"),
                    condition("Fallback", "False", "NoFallbackFound", "No fallbacks are active on this scaled object"),
                    condition("Paused", "Unknown", "", ""),
                ],
            },
        })),
        pods: pods(7, &[]),
        partitions: Ok(partitions([(1, 5), (1, 2)])),
        now: "2026-11-26T12:00:00Z".parse().unwrap(),
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message })
}

fn pods(ready: usize, others: &[Value]) -> Value {
    let ready_pod = json!({ "metadata": {}, "status": { "conditions": [condition("Ready", "True", "", "")] } });
    let items: Vec<Value> = std::iter::repeat_n(ready_pod, ready).chain(others.iter().cloned()).collect();
    json!({ "items": items })
}

/// Ready and unacked by queue; others' queues hold something as well.
fn partitions(depths: [(u64, u64); 2]) -> Value {
    let queue = |name: String, (ready, unacked): (u64, u64)| json!({ "queue": name, "state": "open", "ready": ready, "unacked": unacked, "in_per_s": 3.2, "out_per_s": 3.1 });
    let mut queues: Vec<Value> =
        depths.into_iter().enumerate().map(|(n, depth)| queue(format!("detect.{n:02}"), depth)).collect();
    queues.push(queue("merge.00".to_owned(), (1000, 64)));
    json!({ "wanted": 2, "queues": queues })
}

/// Has a condition of the ScaledObject or the HPA be as this.
fn set(resource: &mut Option<Value>, new: Value) {
    let conditions = resource.as_mut().unwrap()["status"]["conditions"].as_array_mut().unwrap();
    conditions.retain(|old| old["type"] != new["type"]);
    conditions.push(new);
}

fn replicas(looked: &mut Looked, number: i64) {
    looked.deployment["spec"]["replicas"] = json!(number);
    let status = &mut looked.hpa.as_mut().unwrap()["status"];
    (status["currentReplicas"], status["desiredReplicas"]) = (json!(number), json!(number));
}

fn said(looked: &Looked) -> String {
    explain(&Facts::new(looked)).to_string()
}

fn no_metric() -> Value {
    let message = "the HPA was unable to compute the replica count: unable to get external metric: no metrics returned from \
                   external metrics API";
    condition("ScalingActive", "False", "FailedGetExternalMetric", message)
}

#[test]
fn a_steady_load() {
    insta::assert_snapshot!(said(&steady()));
}

#[test]
fn what_failed_for_good_is_work_for_merge() {
    let mut told = partitions([(1, 5), (1, 2)]);
    let dead =
        json!({ "queue": "dead.detect", "state": "dead", "ready": 3, "unacked": 0, "in_per_s": 0.0, "out_per_s": 0.0 });
    told["queues"].as_array_mut().unwrap().push(dead);
    let ready = |work| {
        let looked = Looked { work, partitions: Ok(told.clone()), ..steady() };
        Facts::new(&looked).depth.unwrap().ready
    };
    assert_eq!((ready(Work::Detect), ready(Work::Merge)), (2, 1003));
}

#[test]
fn what_the_hpa_tolerates() {
    // 10 segments ask for 8 pods, and are within a tenth of what 7 are for.
    insta::assert_snapshot!(said(&Looked { partitions: Ok(partitions([(2, 6), (1, 1)])), ..steady() }));
}

#[test]
fn it_grows_and_some_do_not_fit() {
    let mut looked = Looked { partitions: Ok(partitions([(100, 8), (40, 2)])), ..steady() };
    replicas(&mut looked, 50);
    set(
        &mut looked.hpa,
        condition("ScalingLimited", "True", "TooManyReplicas", "the desired replica count is more than the maximum"),
    );
    let unplaced = json!({ "metadata": {}, "status": { "phase": "Pending", "conditions": [condition(
        "PodScheduled", "False", "Unschedulable",
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found.",
    )] } });
    let pulls = json!({ "metadata": {}, "status": { "containerStatuses": [
        { "name": "detection", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"detektor:0\"" } } },
    ] } });
    let waits = json!({ "metadata": {}, "status": { "initContainerStatuses": [{ "name": "schema", "state": { "running": {} } }] } });
    let starts = json!({ "metadata": {}, "status": { "phase": "Running", "containerStatuses": [{ "name": "detection", "state": { "running": {} } }] } });
    looked.pods = pods(44, &[unplaced.clone(), unplaced.clone(), unplaced, pulls, waits, starts]);
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn the_hpa_has_yet_to_look() {
    insta::assert_snapshot!(said(&Looked { partitions: Ok(partitions([(20, 8), (4, 2)])), ..steady() }));
}

#[test]
fn the_window_holds_it() {
    let mut looked = Looked { partitions: Ok(partitions([(0, 2), (0, 1)])), pods: pods(40, &[]), ..steady() };
    replicas(&mut looked, 40);
    looked.hpa.as_mut().unwrap()["status"]["lastScaleTime"] = json!("2026-11-26T11:59:00Z");
    set(
        &mut looked.hpa,
        condition("AbleToScale", "True", "ScaleDownStabilized", "recent recommendations were higher than current one"),
    );
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn it_shrinks() {
    let mut looked = Looked { partitions: Ok(partitions([(0, 2), (0, 1)])), ..steady() };
    replicas(&mut looked, 30);
    looked.hpa.as_mut().unwrap()["status"]["desiredReplicas"] = json!(22);
    set(
        &mut looked.hpa,
        condition("ScalingLimited", "True", "ScaleDownLimit", "the desired replica count is decreasing faster"),
    );
    let leaves = json!({ "metadata": { "deletionTimestamp": "2026-11-26T11:59:58Z" }, "status": {} });
    looked.pods = pods(30, &[leaves.clone(), leaves]);
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn at_the_minimum() {
    let mut looked = Looked { partitions: Ok(partitions([(0, 0), (0, 1)])), pods: pods(3, &[]), ..steady() };
    replicas(&mut looked, 3);
    set(
        &mut looked.hpa,
        condition("ScalingLimited", "True", "TooFewReplicas", "the desired replica count is less than the minimum"),
    );
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn what_the_hpa_said_of_fewer_pods_is_older_than_a_load_that_has_just_come() {
    let mut looked = Looked { partitions: Ok(partitions([(40, 3), (0, 0)])), pods: pods(3, &[]), ..steady() };
    replicas(&mut looked, 3);
    set(&mut looked.hpa, condition("AbleToScale", "True", "ScaleDownStabilized", "recent recommendations were higher"));
    set(&mut looked.hpa, condition("ScalingLimited", "True", "TooFewReplicas", "fewer than the minimum"));
    let said = said(&looked);
    assert!(!said.contains("fewer would do") && !said.contains("asked for more than now"), "{said}");
    assert!(said.contains("it asks for 31 pods by then"), "{said}");
}

#[test]
fn at_zero() {
    let mut looked = Looked { partitions: Ok(partitions([(0, 0), (0, 0)])), pods: pods(0, &[]), ..steady() };
    replicas(&mut looked, 0);
    looked.scaled_object.as_mut().unwrap()["spec"]["minReplicaCount"] = json!(0);
    set(
        &mut looked.scaled_object,
        condition("Active", "False", "ScalerNotActive", "Scaling is not performed because triggers are not active"),
    );
    set(
        &mut looked.hpa,
        condition(
            "ScalingActive",
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        ),
    );
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn the_last_pod_of_a_deployment_that_may_go_to_zero() {
    let mut looked = Looked { partitions: Ok(partitions([(0, 0), (0, 0)])), pods: pods(1, &[]), ..steady() };
    replicas(&mut looked, 1);
    looked.scaled_object.as_mut().unwrap()["spec"]["minReplicaCount"] = json!(0);
    set(
        &mut looked.scaled_object,
        condition("Active", "False", "ScalerCooldown", "Scaler cooling down because triggers are not active"),
    );
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn the_fallback_is_active_and_the_depth_cannot_be_read() {
    let mut looked = Looked {
        partitions: Err("RabbitMQ: asking which partitions there are: connection refused".to_owned()),
        ..steady()
    };
    set(
        &mut looked.scaled_object,
        condition("Fallback", "True", "FallbackExists", "At least one trigger is falling back on this scaled object"),
    );
    looked.scaled_object.as_mut().unwrap()["status"]["health"]["s0-rabbitmq"] =
        json!({ "numberOfFailures": 12, "status": "Failing" });
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn the_hpa_gets_no_metric_and_the_scaled_object_is_not_ready() {
    let mut looked = steady();
    set(&mut looked.hpa, no_metric());
    set(
        &mut looked.scaled_object,
        condition(
            "Ready",
            "False",
            "ScaledObjectCheckFailed",
            "Failed to ensure HPA is correctly created for ScaledObject",
        ),
    );
    insta::assert_snapshot!(said(&looked));
}

#[test]
fn paused() {
    let mut looked = Looked { partitions: Ok(partitions([(90, 8), (4, 2)])), ..steady() };
    let annotations = json!({ "autoscaling.keda.sh/paused-replicas": "7" });
    looked.scaled_object.as_mut().unwrap()["metadata"]["annotations"] = annotations;
    set(&mut looked.scaled_object, condition("Paused", "True", "ScaledObjectPaused", "ScaledObject is paused"));
    insta::assert_snapshot!(said(&Looked { hpa: None, ..looked }));
}

#[test]
fn nothing_scales_it() {
    insta::assert_snapshot!(said(&Looked { hpa: None, scaled_object: None, ..steady() }));
}

#[test]
fn a_broker_that_measures_no_rates() {
    let mut partitions = partitions([(1, 5), (1, 2)]);
    partitions["queues"][1]["in_per_s"] = Value::Null;
    let said = said(&Looked { partitions: Ok(partitions), ..steady() });
    assert!(said.contains("9 in the queues, 2 ready and 7 in work; the broker does not measure"), "{said}");
}

#[test]
fn numbers_as_kubernetes_writes_them() {
    let read = ["1400m", "2", "1.5", "3k", "many"].map(|text| quantity(&json!(text)));
    assert_eq!(read, [Some(1.4), Some(2.0), Some(1.5), Some(3000.0), None]);
    assert_eq!(quantity(&Value::Null), None);
}

#[test]
fn kubectl_says_why_not() {
    let away = refused(
        "E1126 memcache.go:265] couldn't get it\nThe connection to the server 127.0.0.1:6443 was refused - did you specify it?\n",
    );
    assert!(away.to_string().starts_with("kubectl reaches no cluster: The connection to the server"), "{away}");
    let forbidden = refused("Error from server (Forbidden): deployments.apps is forbidden\n");
    assert!(forbidden.to_string().starts_with("kubectl: Error from server (Forbidden)"), "{forbidden}");
    assert_eq!(last_line("\n"), "it did not say why");
    assert_eq!(
        last_line("detektor: RabbitMQ: away\ncommand terminated with exit code 1\n"),
        "detektor: RabbitMQ: away"
    );
}
