//! Roles that need more than one crate: the balancer, which also runs the timers that must run while every other part may
//! be at zero.

use std::sync::Arc;
use std::time::Duration;

use detektor_dispatcher::distributed::{Balancer, BalancerConfig, StoppedCameras};
use detektor_dispatcher::role::{host, member, member_name};
use detektor_merge::{EventObjects, InFlight, Merge, MergeConfig, Pruner, Survey};
use detektor_runtime::fields::settings::{Settings, Visitor};
use detektor_runtime::fields::{Mistakes, whole};
use detektor_runtime::role::{Configured, Connected, Held, HeldKind, Process, ProcessSettings, Role, Servers, Truth};
use detektor_runtime::task::BoxError;

pub use detektor_dispatcher::role::DispatcherRole;

/// The balancer role, as it is told to be.
#[derive(Clone, Debug, Default)]
pub struct BalancerRole {
    servers: Servers,
    own: Own,
}

#[derive(Clone, Debug)]
struct Own {
    process: ProcessSettings,
    name: String,
    interval: Duration,
    ttl: Duration,
    calm: Duration,
    hole_wait: Duration,
    prune_after_days: u32,
}

impl Default for Own {
    fn default() -> Self {
        let balancer = BalancerConfig::new(member(host()));
        Self {
            process: ProcessSettings::default(),
            name: balancer.member.name,
            interval: balancer.interval,
            ttl: balancer.ttl,
            calm: balancer.calm,
            hole_wait: MergeConfig::default().hole_wait,
            prune_after_days: 0,
        }
    }
}

impl Settings for BalancerRole {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.servers.visit(visitor);
        visitor.section(Self::SECTION, &mut self.own);
    }
}

impl Settings for Own {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.process.visit(visitor);
        let milliseconds = |least: u64| whole(least..=3_600_000).map(Duration::from_millis);
        visitor.field("name", &mut self.name, member_name(), "What it is called: no two balancers have one name.");
        visitor.field("interval_ms", &mut self.interval, milliseconds(100), "How often it looks.");
        visitor.field(
            "ttl_ms",
            &mut self.ttl,
            milliseconds(100),
            "Without a sign of life for so long, a dispatcher or another balancer is dead.",
        );
        visitor.field(
            "calm_ms",
            &mut self.calm,
            milliseconds(0),
            "So long it waits between moves that only even the load.",
        );
        visitor.field(
            "hole_wait_ms",
            &mut self.hole_wait,
            milliseconds(0),
            "How long a camera waits for a missing outcome, where nothing new of it comes; as merge has it.",
        );
        visitor.field(
            "prune_after_days",
            &mut self.prune_after_days,
            whole(0..=36_500),
            "Once a day the leader prunes history older than this from the database, as `detektor prune` does; 0 never.",
        );
    }
}

impl BalancerRole {
    fn balancer(&self) -> BalancerConfig {
        let Own { name, interval, ttl, calm, .. } = &self.own;
        BalancerConfig {
            interval: *interval,
            ttl: *ttl,
            calm: *calm,
            partitions: self.servers.rabbitmq.partitions,
            ..BalancerConfig::new(member(name.clone()))
        }
    }
}

impl Configured for BalancerRole {
    const SECTION: &'static str = "balancer";

    fn mistakes(&self, mistakes: &mut Mistakes) {
        self.servers.all_mistakes(mistakes);
        for mistake in self.balancer().mistakes() {
            mistakes.add(Self::SECTION, mistake);
        }
    }
}

impl Role for BalancerRole {
    const ABOUT: &'static str = "Place cameras, and run what must run while every other part is at zero.";

    const STATE: &'static [Held] = &[
        Held::new(
            "leadership",
            HeldKind::Lease,
            Truth::Database,
            "that it is the one which places cameras; a placement is written only with the lease's epoch",
        ),
        Held::new(
            "members",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "when it last saw each dispatcher, and the other balancer, live, by its own clock",
        ),
        Held::new("placement", HeldKind::Cache, Truth::Database, "who has which camera, read anew at each look"),
        Held::new(
            "partitions",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "since when each retired queue is empty; a new leader watches them anew",
        ),
        Held::new(
            "chores",
            HeldKind::InFlight,
            Truth::Database,
            "the sweep, the pruning or the object of an event that is at work; each has the same effect however often it is done",
        ),
    ];

    fn process(&self) -> ProcessSettings {
        self.own.process.clone()
    }

    async fn start(self, process: &mut Process) -> Result<(), BoxError> {
        let Servers { rabbitmq, s3, postgres } = &self.servers;
        let Connected { store, coordination } = postgres.connect(process).await?;
        let bucket = s3.open_to_tell(process, rabbitmq).await?;
        let balancer = Balancer::new(self.balancer(), Arc::clone(&coordination)).map_err(|mistakes| {
            let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            told.join("; ")
        })?;
        if self.own.prune_after_days > 0 {
            let keep = Duration::from_secs(u64::from(self.own.prune_after_days) * 24 * 3_600);
            let pruner = Pruner::new(Arc::clone(&store), keep, &process.metrics)?;
            let (leads, stop) = (balancer.watch(), process.shutdown());
            process.supervisor.service("pruning", async move { pruner.run(leads, stop).await });
        }
        let queues = rabbitmq.reach(process)?;
        let survey = Survey::new(Arc::clone(&store), Arc::clone(&queues), &process.metrics)?;
        let (leads, stop) = (balancer.watch(), process.shutdown());
        process.supervisor.service("survey", async move { survey.run(leads, stop).await });
        let stopped = StoppedCameras::new(Arc::clone(&store), coordination);
        let (leads, stop) = (balancer.watch(), process.shutdown());
        process.supervisor.service("stopped cameras", async move {
            stopped.run(leads, stop).await;
            Ok::<(), BoxError>(())
        });
        // Cameras are placed whether the broker is there or not.
        let balancer = balancer.keeping(queues);
        let stop = process.shutdown();
        process.supervisor.service("balancer", async move {
            balancer.run(stop).await;
            Ok::<(), BoxError>(())
        });
        // More than one of each in a deployment does no harm: each effect is the same however often it is had.
        let merging = MergeConfig { hole_wait: self.own.hole_wait, ..MergeConfig::default() };
        let merge = Arc::new(Merge::new(Arc::clone(&store), Arc::clone(&bucket), merging, &process.metrics)?);
        let stop = process.shutdown();
        process.supervisor.service("sweeps", async move { merge.sweeps(stop).await });
        let (objects, stop) = (EventObjects::new(Arc::clone(&store), Arc::clone(&bucket)), process.shutdown());
        process.supervisor.service("event objects", async move { objects.run(stop).await });
        let (in_flight, stop) = (InFlight::new(store, bucket), process.shutdown());
        process.supervisor.service("jobs' videos", async move { in_flight.run(stop).await });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use detektor_detect::role::DetectRole;
    use detektor_events::role::EventsRole;
    use detektor_merge::role::MergeRole;
    use detektor_runtime::fields::settings::{Described, describe};
    use detektor_runtime::role::Servers;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");

    /// What differs from machine to machine.
    fn settled(mut setting: Described) -> Described {
        if setting.path.ends_with(".name") {
            setting.default = Some("the host's name".to_owned());
        }
        setting
    }

    fn table(page: &mut String, title: &str, settings: Vec<Described>) {
        *page += &format!("\n## {title}\n\n| Setting | Default | What it is for |\n|---|---|---|\n");
        for setting in settings.into_iter().map(settled) {
            let default = setting.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
            *page += &format!("| `{}` | {default} | {} Expects {}. |\n", setting.path, setting.help, setting.expected);
        }
    }

    fn page() -> String {
        let mut page = "\
# Settings of the roles

`detektor dispatcher`, `detect`, `merge`, `events` and `balancer` read a TOML file (`--config`), then the environment, then
flags; the later one wins. `merge.batch_max` is `batch_max` in the file's section `[merge]`, `DETEKTOR_MERGE_BATCH_MAX` in the
environment, and `--batch-max` on the command line of `detektor merge`; `rabbitmq.url` is `DETEKTOR_RABBITMQ_URL` and
`--rabbitmq-url`. One file may serve all roles. Every mistake is listed at once, before anything starts.

This page is made from the code by `just settings`.
"
        .to_owned();
        table(&mut page, "The servers", describe(&mut Servers::default()));
        let own = |role: &mut dyn Settings, section: &str| -> Vec<Described> {
            let mine = |setting: &Described| setting.path.split('.').next() == Some(section);
            describe(role).into_iter().filter(mine).collect()
        };
        table(&mut page, "detektor dispatcher", own(&mut DispatcherRole::default(), DispatcherRole::SECTION));
        table(&mut page, "detektor detect", own(&mut DetectRole::default(), DetectRole::SECTION));
        table(&mut page, "detektor merge", own(&mut MergeRole::default(), MergeRole::SECTION));
        table(&mut page, "detektor events", own(&mut EventsRole::default(), EventsRole::SECTION));
        table(&mut page, "detektor balancer", own(&mut BalancerRole::default(), BalancerRole::SECTION));
        page
    }

    #[test]
    fn the_page_of_settings_is_what_the_code_says() {
        if std::env::var_os("DETEKTOR_WRITE_SETTINGS").is_some() {
            std::fs::write(PAGE, page()).unwrap();
        }
        let written = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert_eq!(written, page(), "docs/settings.md is not what the code says: run `just settings`");
    }
}
