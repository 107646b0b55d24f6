//! The events API as a process of its own: reads the database and the bucket, and queues what is replayed.

use std::convert::Infallible;
use std::path::PathBuf;

use detektor_backends::secret::SecretFile;
use detektor_runtime::fields::settings::{Settings, Visitor};
use detektor_runtime::fields::{Form, Mistakes, text};
use detektor_runtime::http::ConnectionLimits;
use detektor_runtime::role::{
    Broker, BucketSettings, Configured, Connected, Database, Held, HeldKind, OpenQueues, Process, ProcessSettings,
    Role, Truth,
};
use detektor_runtime::task::BoxError;

use crate::{Api, Behind, Limits, Options, Tokens, router};

/// The events role, as it is told to be.
#[derive(Clone, Debug, Default)]
pub struct EventsRole {
    rabbitmq: Broker,
    s3: BucketSettings,
    postgres: Database,
    own: Own,
}

#[derive(Clone, Debug, Default)]
struct Own {
    process: ProcessSettings,
    token_file: Option<PathBuf>,
    admin_token_file: Option<PathBuf>,
    connections: ConnectionLimits,
    limits: Limits,
}

impl Settings for EventsRole {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.section("rabbitmq", &mut self.rabbitmq);
        visitor.section("s3", &mut self.s3);
        visitor.section("postgres", &mut self.postgres);
        visitor.section(Self::SECTION, &mut self.own);
    }
}

impl Settings for Own {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        self.process.visit(visitor);
        let path = || -> Form<Option<PathBuf>> { text().map(|text| Some(text.into())) };
        visitor.field(
            "token_file",
            &mut self.token_file,
            path(),
            "A file that holds the token readers must show; needed to listen beyond loopback.",
        );
        visitor.field(
            "admin_token_file",
            &mut self.admin_token_file,
            path(),
            "A file that holds the token for what changes something; it also opens all that the other one opens.",
        );
        self.connections.visit(visitor);
        self.limits.visit(visitor);
    }
}

impl EventsRole {
    /// To read needs no broker: who gives no password for it cannot replay.
    fn can_replay(&self) -> bool {
        self.rabbitmq.password_file.is_some()
    }
}

impl Configured for EventsRole {
    const SECTION: &'static str = "events";

    fn mistakes(&self, mistakes: &mut Mistakes) {
        if self.can_replay() {
            self.rabbitmq.mistakes(mistakes);
        }
        self.s3.mistakes(mistakes);
        self.postgres.mistakes(mistakes);
        let process = self.process();
        if !process.listen.ip().is_loopback() && !process.allow_unauthenticated {
            let problem =
                "can be reached from other machines: set events.token_file, or events.allow_unauthenticated = true";
            mistakes.add("events.listen", format!("{} {problem}", process.listen));
        }
    }
}

impl Role for EventsRole {
    const ABOUT: &'static str = "Serve events: REST, a resumable stream and the web page.";

    const STATE: &'static [Held] = &[
        Held::new(
            "streams",
            HeldKind::Connection,
            Truth::Database,
            "how far each stream's reader is; one that comes back says so itself, by Last-Event-ID",
        ),
        Held::new(
            "clients",
            HeldKind::Counters,
            Truth::NoneNeeded,
            "how much each address asked lately, and how many wrong tokens it showed; each process counts for itself",
        ),
    ];

    fn process(&self) -> ProcessSettings {
        // Who must show a token is authenticated.
        let Own { process, token_file, admin_token_file, connections, .. } = &self.own;
        let open = process.allow_unauthenticated || token_file.is_some() || admin_token_file.is_some();
        ProcessSettings { allow_unauthenticated: open, connections: *connections, ..process.clone() }
    }

    async fn start(self, process: &mut Process) -> Result<(), BoxError> {
        let read = |path: &Option<PathBuf>| path.as_ref().map(|path| SecretFile::new(path).read()).transpose();
        let (token, admin) = (read(&self.own.token_file)?, read(&self.own.admin_token_file)?);
        let tokens = Tokens::new(token.as_deref().map(String::as_str), admin.as_deref().map(String::as_str));
        let allow_unauthenticated = self.own.process.allow_unauthenticated;
        let options = Options { tokens, allow_unauthenticated, limits: self.own.limits, ..Options::default() };
        let Connected { store, coordination } = self.postgres.connect(process).await?;
        let queues: Option<OpenQueues> = self.can_replay().then(|| self.rabbitmq.opener(process));
        let bucket = self.s3.open(process).await?;
        let behind = Behind { store, bucket, coordination: Some(coordination), queues };
        let api = Api::new(behind, options, &process.metrics, process.shutdown())?;
        let wary = api.clone();
        process.wary().show_only(move |parts| wary.admits(parts));
        process.serve(router(api.clone()));
        let check = process.health.check(Self::SECTION);
        process.supervisor.service(Self::SECTION, async move {
            api.watch(&check).await;
            Ok::<(), Infallible>(())
        });
        Ok(())
    }
}
