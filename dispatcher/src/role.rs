//! The dispatcher as a process of its own: runs the cameras that the balancer places on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::coordination::{Member, WantedCamera};
use detektor_runtime::camera::parse_spec;
use detektor_runtime::chain;
use detektor_runtime::fields::settings::{Settings, Visitor};
use detektor_runtime::fields::{Form, Mistakes, text, whole};
use detektor_runtime::role::{
    Configured, Connected, Held, HeldKind, Process, ProcessSettings, Role, Servers, Truth, until_made,
};
use detektor_runtime::task::BoxError;

use crate::distributed::AgentConfig;
use crate::spec::config;
use crate::{CameraConfig, Dispatcher, DispatcherConfig};

/// Brokers do not like messages that are larger.
const INLINE_MOST: usize = 16 << 20;

/// The dispatcher role, as it is told to be.
#[derive(Clone, Debug, Default)]
pub struct DispatcherRole {
    servers: Servers,
    own: Own,
}

#[derive(Clone, Debug)]
struct Own {
    process: ProcessSettings,
    name: String,
    beat: Duration,
    ttl: Duration,
    inline_bytes_max: usize,
    spool_dir: Option<PathBuf>,
    spool_bytes: u64,
}

impl Default for Own {
    fn default() -> Self {
        let (agent, dispatcher) = (AgentConfig::new(member(host())), DispatcherConfig::default());
        Self {
            process: ProcessSettings::default(),
            name: agent.member.name,
            beat: agent.beat,
            ttl: agent.ttl,
            inline_bytes_max: dispatcher.inline_bytes,
            spool_dir: dispatcher.spool_dir,
            spool_bytes: dispatcher.spool_bytes,
        }
    }
}

/// The host's name: on Kubernetes the pod's.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// This process, by a name among those of its role.
pub fn member(name: String) -> Member {
    Member { name, incarnation: fastrand::u64(..) >> 11 }
}

/// What a process may be called among those of its role.
pub fn member_name() -> Form<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text().filter("letters, digits, '.', '_' and '-'", move |name| name.len() <= 128 && name.chars().all(allowed))
}

impl Settings for DispatcherRole {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.servers.visit(visitor);
        visitor.section(Self::SECTION, &mut self.own);
    }
}

impl Settings for Own {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.process.visit(visitor);
        let milliseconds = || whole(100..=600_000).map(Duration::from_millis);
        visitor.field("name", &mut self.name, member_name(), "What it is called: no two dispatchers have one name.");
        visitor.field(
            "beat_ms",
            &mut self.beat,
            milliseconds(),
            "How often it says that it lives, and looks what is new.",
        );
        visitor.field(
            "ttl_ms",
            &mut self.ttl,
            milliseconds(),
            "Without a sign of life for so long, others take its cameras over. The same for all dispatchers.",
        );
        visitor.field(
            "inline_bytes_max",
            &mut self.inline_bytes_max,
            whole(0..=INLINE_MOST),
            "A segment's video goes through the broker up to this size, and through the bucket above it.",
        );
        visitor.field(
            "spool_dir",
            &mut self.spool_dir,
            text().map(|path| Some(path.into())),
            "A folder of its own for what cannot be published while the broker is away; without one that is lost.",
        );
        visitor.field(
            "spool_bytes",
            &mut self.spool_bytes,
            whole(1..=i64::MAX as u64),
            "The most bytes that it holds.",
        );
    }
}

impl DispatcherRole {
    fn agent(&self) -> AgentConfig {
        let Own { process, name, beat, ttl, .. } = &self.own;
        // Others may take over for half of the drain; the rest is for what has to be published then.
        AgentConfig { beat: *beat, ttl: *ttl, hand_over: process.drain / 2, ..AgentConfig::new(member(name.clone())) }
    }

    fn dispatcher(&self) -> DispatcherConfig {
        let Own { process, inline_bytes_max, spool_dir, spool_bytes, .. } = &self.own;
        DispatcherConfig {
            drain: process.drain / 2,
            inline_bytes: *inline_bytes_max,
            spool_dir: spool_dir.clone(),
            spool_bytes: *spool_bytes,
            ..DispatcherConfig::default()
        }
    }
}

impl Configured for DispatcherRole {
    const SECTION: &'static str = "dispatcher";

    fn mistakes(&self, mistakes: &mut Mistakes) {
        self.servers.all_mistakes(mistakes);
        for mistake in self.agent().mistakes() {
            mistakes.add(Self::SECTION, mistake);
        }
        for mistake in self.dispatcher().mistakes().0 {
            mistakes.add(format!("{}.{}", Self::SECTION, mistake.field), mistake.problem);
        }
    }
}

impl Role for DispatcherRole {
    const ABOUT: &'static str = "Slice cameras into segment jobs. Runs as many times as there are cameras for.";

    const STATE: &'static [Held] = &[
        Held::new(
            "cameras",
            HeldKind::InFlight,
            Truth::Camera,
            "of each camera what came since the last key frame, and its clock: up to one segment",
        ),
        Held::new(
            "publishing",
            HeldKind::InFlight,
            Truth::Camera,
            "segments that are sent and not confirmed by the broker yet",
        ),
        Held::new(
            "spool",
            HeldKind::InFlight,
            Truth::Camera,
            "on its disk, bounded: segments of live cameras from while the broker is away; a drain hands them to the bucket",
        ),
        Held::new(
            "leases",
            HeldKind::Lease,
            Truth::Database,
            "which cameras it slices, and in which epoch; whoever has the newer epoch wins",
        ),
        Held::new("placement", HeldKind::Cache, Truth::Database, "what was placed on it at the last beat"),
        Held::new(
            "dispatchers",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "when it last saw each other dispatcher live, by its own clock",
        ),
        Held::new(
            "costs",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "what slicing each camera costs, measured anew wherever it runs; the balancer reads it in the database",
        ),
        Held::new(
            "libav's log",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "that libav said something of the source which a thread reads just now",
        )
        .in_globals(&[
            "dispatcher/src/source/libav/log.rs:LOST_PACKETS",
            "dispatcher/src/source/libav/log.rs:ENDED_PREMATURELY",
            "dispatcher/src/source/libav/log.rs:ONCE",
        ]),
    ];

    fn process(&self) -> ProcessSettings {
        self.own.process.clone()
    }

    async fn start(self, process: &mut Process) -> Result<(), BoxError> {
        let Servers { rabbitmq, s3, postgres } = &self.servers;
        let Connected { store, coordination } = postgres.connect(process).await?;
        let bucket = s3.open(process).await?;
        let queues = rabbitmq.connect(process).await?;
        until_made(process, &*store, &*bucket).await?;
        let dispatcher = Dispatcher::new(self.dispatcher(), queues, bucket, store, &process.metrics).await?;
        let (agent, stop) = (self.agent(), process.shutdown());
        let running = async move { dispatcher.run_placed(agent, coordination, Arc::new(read), stop).await };
        process.supervisor.service(Self::SECTION, running);
        Ok(())
    }
}

fn read(wanted: &WantedCamera) -> Result<CameraConfig, String> {
    let spec = parse_spec(&wanted.spec).map_err(|mistakes| mistakes.to_string())?;
    config(&spec, 0).map_err(|error| chain(&error))
}
