//! What contradicts itself is refused, with a sentence.

use super::{helm, said};

/// `--set` this, and what is said. Numbers and names that the schema knows are refused in the schema's own words.
const REFUSED: &[(&[&str], &str)] = &[
    (&["functions.detect.scaling.maximum=5"], "additional properties 'maximum' not allowed"),
    (&["dispatchers.replicas=5"], "additional properties 'dispatchers' not allowed"),
    (&["functions.detect.scaling.min=-1"], "minimum: got -1, want 0"),
    // Scaling.
    (&["functions.detect.scaling.min=60"], "functions.detect.scaling: min 60 is more than max 50"),
    (&["keda.enabled=false", "functions.detect.scaling.min=0"], "without KEDA nothing would ever start a pod"),
    (&["functions.detect.settings.workers=4"], "its workers (4) and ahead (1) together are 5"),
    (
        &["functions.detect.settings.ahead=null", "functions.detect.permits=1"],
        "its workers (1) and ahead (1) together are 2",
    ),
    (&["functions.merge.settings.batch_max=32"], "its batches (2) times batch_max (32) are 64"),
    (&["functions.detect.queues=detect"], "functions.detect.queues is detect: it has to be a regular expression"),
    // Settings that other values make, wherever they are.
    (&["settings.detect.drain_ms=5000"], "cannot be set there: it follows from the value drainSeconds"),
    (&["functions.detect.settings.drain_ms=5000"], "functions.detect.settings.drain_ms cannot be set there"),
    (&["events.settings.drain_ms=5000"], "events.settings.drain_ms cannot be set there"),
    (&["balancer.settings.listen=0.0.0.0:80"], "balancer.settings.listen cannot be set there: probes and services"),
    (&["dispatcher.settings.spool_bytes=5"], "it follows from dispatcher.spoolMebibytes"),
    (&["dispatcher.settings.spool_dir=/tmp"], "dispatcher.settings.spool_dir cannot be set there"),
    (
        &["dispatcher.settings.name=one"],
        "dispatcher.settings.name cannot be set there: each process is called as its pod is",
    ),
    (
        &["events.settings.token_file=/token"],
        "events.settings.token_file cannot be set there: it follows from events.secret",
    ),
    (&["settings.events.admin_token_file=/token"], "it follows from events.secret"),
    (
        &["settings.rabbitmq.url=amqp://other"],
        "settings.rabbitmq.url cannot be set there: it follows from rabbitmq.url",
    ),
    // Settings that there are not.
    (&["functions.detect.settings.wrokers=2"], "functions.detect.settings.wrokers: there is no such setting"),
    (
        &["settings.merge.batchmax=2"],
        "settings.merge.batchmax: there is no such setting; docs/settings.md lists those of merge",
    ),
    (&["dispatcher.settings.beat=500"], "dispatcher.settings.beat: there is no such setting"),
    (&["settings.postgres.connection=8"], "settings.postgres.connection: there is no such setting"),
    // Settings that do not fit one another.
    (&["dispatcher.settings.ttl_ms=5000"], "the dispatcher's ttl_ms is 5000, and the balancer's is 2500"),
    (&["settings.balancer.ttl_ms=5000"], "the dispatcher's ttl_ms is 2500, and the balancer's is 5000"),
    (&["dispatcher.settings.ttl_ms=null"], "the dispatcher's ttl_ms is 5000, and the balancer's is 2500"),
    (&["dispatcher.settings.beat_ms=1000"], "ttl_ms is 2500, and the dispatcher's beat_ms is 1000"),
    (&["balancer.settings.interval_ms=1000"], "ttl_ms is 2500, and the balancer's interval_ms is 1000"),
    (&["settings.merge.hole_wait_ms=20000"], "20000, and settings.balancer.hole_wait_ms is 10000"),
    (&["balancer.settings.hole_wait_ms=0"], "settings.merge.hole_wait_ms is 10000, and"),
    // URLs.
    (&["rabbitmq.url=amqp://guest:guest@rabbitmq"], "rabbitmq.url has a user or password in it"),
    (&["rabbitmq.url=http://rabbitmq"], "rabbitmq.url is http://rabbitmq: it has to begin with amqp:// or amqps://"),
    (&["rabbitmq.url="], "rabbitmq.url is empty: it has to begin with amqp://"),
    (
        &["rabbitmq.managementUrl=10.0.0.1:15672"],
        "rabbitmq.managementUrl is 10.0.0.1:15672: it has to begin with http://",
    ),
    (&["keda.managementUrl=rabbitmq"], "keda.managementUrl is rabbitmq: it has to begin with http:// or https://"),
    (&["s3.endpoint=minio:9000"], "s3.endpoint is minio:9000: it has to begin with http:// or https://"),
    (&["postgres.url=mysql://db"], "postgres.url is mysql://db: it has to begin with postgres://"),
    // Names.
    (
        &["functions.detect.component=merge"],
        "functions.merge.component is merge, and that of functions.detect is called so already",
    ),
    (
        &["functions.detect.component=events"],
        "functions.detect.component is events, and the events role is called so already",
    ),
    (
        &["functions.detect.component=No_Name"],
        "functions.detect.component is No_Name: it has to begin with a small letter",
    ),
    (&["rabbitmq.secret.name=A_B"], "rabbitmq.secret.name is A_B: it has to be a name as Kubernetes has them"),
    (&["rabbitmq.secret.name="], "rabbitmq.secret.name is empty"),
    (&["events.secret.tokenKey=a/b"], "events.secret.tokenKey is a/b: it has to be a key as secrets have them"),
    (&["dispatcher.cameraSecrets={a.b}"], "dispatcher.cameraSecrets[0] is a.b: it has to have small letters"),
    (&["fullnameOverride=A"], "fullnameOverride is A: it has to begin with a small letter"),
    (&["events.env.a-b=1"], "The name of events.env.a-b is a-b: it has to have letters"),
    (&["setup.bucket.notify={queue}"], "setup.bucket.notify[0] is queue: it has to begin with arn:"),
    (&["test.footage=film.mov"], "test.footage is film.mov: it has to begin with /"),
    (
        &["functions.merge.resources.limits.memory=1GB"],
        "functions.merge.resources.limits.memory is 1GB: it has to be an amount",
    ),
    // The rest.
    (&["events.ingress.enabled=true"], "events.ingress is enabled, but has no host"),
    (&["events.ingress.enabled=true", "events.ingress.host=a.example"], "tokens would go over the network in clear"),
    (&["priorityClass.create=true"], "priorityClass.create is true, but it has no name"),
    (&["setup.broker.user=admin"], "where is its password?"),
    (&["image.tag=latest"], "image.tag is latest"),
];

#[test]
fn what_contradicts_itself_is_refused_with_a_sentence() {
    for (values, sentence) in REFUSED {
        let mut command = helm(&["template", "detektor"], "default");
        for value in *values {
            command.args(["--set", value]);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{values:?} is not refused");
        assert!(said(&output).contains(sentence), "{values:?}: expected {sentence:?} in\n{}", said(&output));
    }
}
