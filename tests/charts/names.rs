//! Names that the chart shares with the code and with the servers of configs/k8s/services.

use std::collections::{BTreeMap, BTreeSet};

use detektor_contract::ObjectKind;
use serde_json::Value;

use super::{CHART, ROOT, rendered};

#[test]
fn the_bucket_keeps_the_kinds_that_there_are() {
    let schema = std::fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let keep = &schema["properties"]["setup"]["properties"]["bucket"]["properties"]["keep"]["properties"];
    let known: BTreeSet<&str> = keep.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(known, ObjectKind::ALL.map(ObjectKind::name).into());
    // The comment beside the value lists them too.
    let values = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let listed = ObjectKind::ALL.map(ObjectKind::name).join(", ");
    assert!(values.contains(&format!("by kind ({listed})")), "values.yaml: {listed}");
}

fn servers(file: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/configs/k8s/services/{file}.yaml")).unwrap()
}

/// What stands between these two, everywhere.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).map(|rest| rest.split(after).next().unwrap()).collect()
}

#[test]
fn secrets_have_the_names_and_keys_that_the_chart_asks_for() {
    let secrets = servers("secrets");
    let mut there: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for secret in secrets.split("\nkind: Secret\n").skip(1) {
        let keys = between(secret, "stringData: {", "}")[0].split(", ").map(|pair| pair.split(": ").next().unwrap());
        there.insert(between(secret, "metadata: {name: ", "}")[0], keys.collect());
    }
    let text = rendered("default");
    // A volume: its secret, and which keys of it.
    let volumes = between(&text, "secretName: ", "- name: ").into_iter().map(|volume| {
        let name = volume.split([',', '\n']).next().unwrap();
        (name, between(between(volume, "items: [", "]")[0], "{key: ", ","))
    });
    // What KEDA is given.
    let parameters = text.lines().filter_map(|line| line.trim().strip_prefix("- {parameter: ")).map(|line| {
        let key = between(line, "key: ", "}");
        (between(line, "name: ", ",")[0], key)
    });
    let mut asked = BTreeSet::new();
    for (name, keys) in volumes.chain(parameters) {
        let has = there.get(name).unwrap_or_else(|| panic!("configs/k8s/services has no secret {name}"));
        assert!(!keys.is_empty(), "{name}");
        for key in keys {
            assert!(has.contains(key), "configs/k8s/services: the secret {name} has no {key}");
        }
        asked.insert(name);
    }
    // All but what RabbitMQ's nodes know one another by.
    there.remove("rabbitmq-cookie");
    assert_eq!(asked, there.into_keys().collect());
}

#[test]
fn services_have_the_names_and_ports_that_the_chart_asks_for() {
    let text = rendered("default");
    for (setting, file) in [
        ("    url = \"amqp://", "rabbitmq"),
        ("management_url = \"http://", "rabbitmq"),
        ("    url = \"postgres://", "postgres"),
        ("endpoint = \"http://", "minio"),
    ] {
        let address = between(&text, setting, "\"")[0].split('/').next().unwrap();
        let (name, port) = address.split_once(':').unwrap();
        let servers = servers(file);
        let service = servers.split("---\n").find(|document| {
            document.contains("kind: Service\n") && document.contains(&format!("metadata: {{name: {name},"))
        });
        let service = service.unwrap_or_else(|| panic!("configs/k8s/services has no service {name}"));
        assert!(service.contains(&format!("port: {port},")), "{name} has no port {port}");
    }
}
