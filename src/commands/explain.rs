//! `detektor explain-scale`: in words why a function has as many pods as it has, on Kubernetes with KEDA.
//!
//! What there is to know is asked by `kubectl`, so that whoever may look at the cluster may ask; what it means is in [`words`].

mod facts;
#[cfg(test)]
mod tests;
mod words;

use std::process::Output;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use detektor_contract::names::Work;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use self::facts::{Facts, Looked};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(60);

/// What `explain-scale` takes.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The release's namespace.
    #[arg(long, value_name = "NAME", default_value = "detektor", env = "DETEKTOR_NAMESPACE")]
    pub namespace: String,
    /// The release, as `helm install` called it.
    #[arg(long, value_name = "NAME", default_value = "detektor", env = "DETEKTOR_RELEASE")]
    pub release: String,
    /// Which function's pods.
    #[arg(long, value_enum, default_value_t = ScaledFunction::Detect)]
    pub function: ScaledFunction,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A function that KEDA scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScaledFunction {
    /// What looks at segments.
    #[value(alias = "detection")]
    Detect,
    /// What merges outcomes.
    Merge,
}

/// Says why there are as many pods as there are.
pub async fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let ExplainArgs { namespace, release, function, json } = args;
    let cluster = Cluster { namespace, release };
    let component = component(function);
    let deployment = cluster.deployment(component).await?;
    let name = name(&deployment).to_owned();
    let looked = Looked {
        hpa: cluster.get(&["hpa", &name]).await?,
        scaled_object: cluster.get(&["scaledobjects.keda.sh", &name]).await?,
        pods: cluster.get(&["pods", "--selector", &cluster.labels(component)]).await?.unwrap_or_default(),
        partitions: cluster.partitions().await.map_err(|error| format!("{error:#}")),
        name,
        work: function.into(),
        deployment,
        now: jiff::Timestamp::now(),
    };
    let facts = Facts::new(&looked);
    let told = words::explain(&facts);
    if json {
        let mut object = serde_json::to_value(&facts)?;
        object["why"] = serde_json::to_value(&told.why)?;
        object["would_change"] = serde_json::to_value(&told.would_change)?;
        println!("{object}");
    } else {
        print!("{told}");
    }
    Ok(())
}

/// What the chart calls a function's pods.
fn component(function: ScaledFunction) -> &'static str {
    match function {
        ScaledFunction::Detect => "detection",
        ScaledFunction::Merge => "merge",
    }
}

impl From<ScaledFunction> for Work {
    fn from(function: ScaledFunction) -> Self {
        match function {
            ScaledFunction::Detect => Self::Detect,
            ScaledFunction::Merge => Self::Merge,
        }
    }
}

fn name(resource: &Value) -> &str {
    resource["metadata"]["name"].as_str().unwrap_or_default()
}

struct Cluster {
    namespace: String,
    release: String,
}

impl Cluster {
    /// What a component's resources are found by, whatever their names are.
    fn labels(&self, component: &str) -> String {
        format!("app.kubernetes.io/instance={},app.kubernetes.io/component={component}", self.release)
    }

    async fn deployment(&self, component: &str) -> anyhow::Result<Value> {
        let mut found = self.get(&["deployments", "--selector", &self.labels(component)]).await?.unwrap_or_default();
        let first = found.pointer_mut("/items/0").map(Value::take);
        first.with_context(|| {
            format!(
                "the release {} has no deployment of {component} in the namespace {}: `helm list --all-namespaces` shows the releases \
                 there are; --release and --namespace say which is meant",
                self.release, self.namespace
            )
        })
    }

    /// A resource, or a list of them; none if it is not there, nor its kind.
    async fn get(&self, what: &[&str]) -> anyhow::Result<Option<Value>> {
        let output = self.kubectl(&[&["get"], what, &["--ignore-not-found", "--output", "json"]].concat()).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return if said.contains("doesn't have a resource type") { Ok(None) } else { Err(refused(&said)) };
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&output.stdout).map(Some).with_context(|| format!("what kubectl printed of {what:?}"))
    }

    /// What `detektor partitions --json` prints in the cluster.
    async fn partitions(&self) -> anyhow::Result<Value> {
        let balancer = format!("deploy/{}", name(&self.deployment("balancer").await?));
        let tool = ["detektor", "partitions", "--json", "--config", "/etc/detektor/detektor.toml"];
        let output = self.kubectl(&[&["exec", &balancer, "--container", "balancer", "--"], &tool[..]].concat()).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{}", last_line(&said));
        serde_json::from_slice(&output.stdout).context("what `detektor partitions` printed")
    }

    async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace, "--request-timeout=30s"]).args(arguments).kill_on_drop(true);
        let output = timeout(ANSWER, command.stdin(std::process::Stdio::null()).output()).await;
        let output = output.with_context(|| format!("kubectl did not answer within {} s", ANSWER.as_secs()))?;
        output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow::anyhow!(
                "kubectl is not there: the cluster is asked by it; see https://kubernetes.io/docs/tasks/tools/"
            ),
            _ => anyhow::Error::new(error).context("kubectl"),
        })
    }
}

/// Why kubectl did not do what it was asked.
fn refused(said: &str) -> anyhow::Error {
    let line = last_line(said);
    const AWAY: [&str; 6] = [
        "was refused",
        "Unable to connect",
        "no configuration has been provided",
        "no such host",
        "i/o timeout",
        "context deadline exceeded",
    ];
    match AWAY.iter().any(|away| said.contains(away)) {
        true => anyhow::anyhow!("kubectl reaches no cluster: {line}; does KUBECONFIG name the right one?"),
        false => anyhow::anyhow!("kubectl: {line}"),
    }
}

/// The last that was said but for kubectl's own comment on it.
fn last_line(said: &str) -> &str {
    let tells = |line: &&str| !line.is_empty() && !line.starts_with("command terminated");
    said.lines().map(str::trim).rfind(tells).unwrap_or("it did not say why")
}
