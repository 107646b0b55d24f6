//! The detect function as a process of its own: jobs from `detect.NN`, outcomes to `merge.NN`, objects in the bucket. It
//! needs no database.

use detektor_contract::names::Work;
use detektor_runtime::fields::settings::{Settings, Shown, Visitor};
use detektor_runtime::fields::{Mistakes, parsed, text, whole};
use detektor_runtime::role::{
    Broker, BucketSettings, Configured, Held, HeldKind, Process, ProcessSettings, Role, Truth,
};
use detektor_runtime::task::BoxError;
use detektor_runtime::{Host, HostConfig};

use crate::engine::EngineKind;
use crate::loading::Looking;

/// The detect role, as it is told to be.
#[derive(Clone, Debug, Default)]
pub struct DetectRole {
    rabbitmq: Broker,
    s3: BucketSettings,
    own: Own,
}

#[derive(Clone, Debug)]
struct Own {
    process: ProcessSettings,
    looking: Looking,
    ahead: u32,
}

impl Default for Own {
    fn default() -> Self {
        Self { process: ProcessSettings::default(), looking: Looking::default(), ahead: 1 }
    }
}

impl Settings for DetectRole {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.section("rabbitmq", &mut self.rabbitmq);
        visitor.section("s3", &mut self.s3);
        visitor.section(Self::SECTION, &mut self.own);
    }
}

impl Settings for Own {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let Self { process, looking: Looking { model, engine, workers }, ahead } = self;
        process.visit(visitor);
        visitor.field(
            "model",
            model,
            text().map(|path| Some(path.into())),
            "A model's manifest, or its .onnx file with the manifest beside it; without one the bundled EfficientDet-Lite0.",
        );
        visitor.field(
            "engine",
            engine,
            parsed("tract or ort"),
            "What runs it: tract is pure Rust, ort is ONNX Runtime.",
        );
        visitor.field(
            "workers",
            workers,
            whole(1..=1024).map(Some),
            "Threads that decode and look; without a number one a core.",
        );
        visitor.field(
            "ahead",
            ahead,
            whole(0..=64),
            "Segments that are held beyond one a worker: their video is fetched, and what was seen sent off, while workers \
             look. Each may wait here while another process is idle; with looks of a few milliseconds it pays.",
        );
    }
}

impl Configured for DetectRole {
    const SECTION: &'static str = "detect";

    fn mistakes(&self, mistakes: &mut Mistakes) {
        self.rabbitmq.mistakes(mistakes);
        self.s3.mistakes(mistakes);
    }
}

impl Role for DetectRole {
    const ABOUT: &'static str = "Look at segments: jobs in, outcomes out. Runs as many times as there is work for.";

    const STATE: &'static [Held] = &[
        Held::new(
            "jobs",
            HeldKind::InFlight,
            Truth::Broker,
            "segments that are looked at, at most one a worker and `ahead`; settled once their outcomes are confirmed",
        ),
        Held::new(
            "model",
            HeldKind::Cache,
            Truth::NoneNeeded,
            "the model, read from its file at each start, and the engine that runs it",
        )
        .in_globals(&["functions/detect/src/engine/ort.rs:ENVIRONMENT"]),
        Held::new(
            "decoders",
            HeldKind::Cache,
            Truth::NoneNeeded,
            "one a worker, flushed between segments: what it decodes depends on the segment alone",
        )
        .in_globals(&["functions/detect/src/decode/decoder.rs:ONCE"]),
    ];

    fn process(&self) -> ProcessSettings {
        self.own.process.clone()
    }

    async fn start(self, process: &mut Process) -> Result<(), BoxError> {
        let bucket = self.s3.open_to_tell(process, &self.rabbitmq).await?;
        let queues = self.rabbitmq.connect(process).await?;
        let detect = self.own.looking.start(bucket, &process.metrics).await?;
        let config = HostConfig {
            permits: self.own.looking.workers() as u32 + self.own.ahead,
            ..HostConfig::new(Work::Detect).drained_within(process.drain)
        };
        let host = Host::new(Self::SECTION, detect.handler(), queues, config, &process.metrics, &process.health)?;
        let stop = process.shutdown();
        process.supervisor.service(Self::SECTION, async move {
            let ended = host.run(stop).await;
            detect.shutdown().await;
            ended.map(drop)
        });
        Ok(())
    }
}

impl Shown for EngineKind {
    fn shown(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}
