//! A function of one's own beside detect and merge.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{CHART, configuration, helm, ran, said, validate};

/// What the schema asks of a function, and nothing else.
fn plates() -> Value {
    json!({
        "component": "plates",
        "queues": "^plates\\.[0-9]+$",
        "permits": 1,
        "settings": { "anything": "goes" },
        "database": true,
        "scaling": {
            "enabled": true,
            "min": 0,
            "max": 3,
            "pollSeconds": 5,
            "cooldownSeconds": 60,
            "up": { "pods": 1, "perSeconds": 15 },
            "down": { "percent": 25, "perSeconds": 60, "windowSeconds": 300 },
        },
        "replicas": 1,
        "resources": {},
        "gpu": { "enabled": false },
    })
}

fn with(function: &Value, folder: &Path) -> String {
    let values = folder.join("values.json");
    std::fs::write(&values, json!({ "functions": { "plates": function } }).to_string()).unwrap();
    ran(helm(&["template", "detektor"], "default").arg("--values").arg(values))
}

#[test]
fn a_function_with_what_is_required_has_all_that_detect_has() {
    let folder = tempfile::tempdir().unwrap();
    let schema = std::fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let required = schema["$defs"]["function"]["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap());
    let mut function = plates();
    let given: BTreeSet<&str> = function.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(given, required.collect());

    let kinds = |rendered: &str, component: &str| -> Vec<String> {
        let name = format!("  name: detektor-{component}\n");
        let its = rendered.split("---\n").filter(|document| document.contains(&name));
        its.map(|document| document.split("\nkind: ").nth(1).unwrap().lines().next().unwrap().to_owned()).collect()
    };
    for gpu in [false, true] {
        function["gpu"]["enabled"] = gpu.into();
        let rendered = with(&function, folder.path());
        assert_eq!(kinds(&rendered, "plates"), kinds(&rendered, "detection"));
        for kind in ["Deployment", "ScaledObject", "PodDisruptionBudget", "Service", "ServiceAccount"] {
            assert!(kinds(&rendered, "plates").iter().any(|its| its == kind), "{kind}");
        }
        // KEDA makes the HPA, under this name.
        assert!(rendered.contains("    horizontalPodAutoscalerConfig:\n      name: detektor-plates\n"));
        assert_eq!(rendered.contains("nvidia.com/gpu: 1"), gpu);
        let path = folder.path().join("rendered.yaml");
        std::fs::write(&path, rendered).unwrap();
        ran(&mut validate(&[path]));
    }
}

#[test]
fn it_reads_a_file_of_its_own_which_the_roles_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let rendered = with(&plates(), folder.path());
    assert!(rendered.contains("args: [plates, --config, /etc/detektor/plates.toml]"));
    let own = rendered.split("  plates.toml: |\n").nth(1).unwrap().split("---\n").next().unwrap();
    assert!(own.contains("[plates]\n") && own.contains("anything = \"goes\"") && own.contains("[rabbitmq]\n"), "{own}");
    let path = folder.path().join("detektor.toml");
    std::fs::write(&path, configuration(&rendered)).unwrap();
    let told = said(
        &Command::new(env!("CARGO_BIN_EXE_detektor"))
            .args(["balancer", "--listen", "nowhere", "--config"])
            .arg(&path)
            .output()
            .unwrap(),
    );
    assert!(told.contains("the configuration has 1 mistake:"), "{told}");
}
