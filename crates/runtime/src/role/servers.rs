//! The three servers that join all parts, as settings: a broker, a bucket, a database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use detektor_backends::around::{AroundBucket, AroundCoordination, AroundQueues, AroundStore};
use detektor_backends::bucket::Bucket;
use detektor_backends::coordination::Coordination;
use detektor_backends::notify::{Exchange, ExchangeOptions, Notifying, Sink, Source, Webhook, WebhookOptions};
use detektor_backends::postgres::{Postgres, PostgresOptions};
use detektor_backends::queue::{QueueError, Queues};
use detektor_backends::rabbitmq::{RabbitMq, RabbitOptions};
use detektor_backends::s3::{Credentials, DEFAULT_REGION, S3Bucket, S3Options};
use detektor_backends::store::EventStore;
use detektor_contract::names::DEFAULT_PARTITIONS;
use futures::future::BoxFuture;

use super::{Configured, Process};
use crate::fields::settings::{Settings, Visitor};
use crate::fields::{Form, Mistakes, boolean, text, whole};
use crate::task::BoxError;

/// What notifications are published under.
const ROUTING_KEY: &str = "s3";
/// How often a message is delivered before it is a dead letter.
const DELIVERY_LIMIT: u32 = 20;
/// How long a task waits for a connection to the database, and a statement for what it locks.
const ACQUIRE: Duration = Duration::from_secs(5);
const STATEMENT: Duration = Duration::from_secs(10);

fn path() -> Form<Option<PathBuf>> {
    text().map(|text| Some(PathBuf::from(text)))
}

/// What must be there and is not.
fn missing(file: Option<&PathBuf>, field: &str, mistakes: &mut Mistakes) {
    if file.is_none() {
        mistakes.add(field, "missing: expected the path of a file that holds it and nothing else");
    }
}

fn file(path: Option<&PathBuf>) -> PathBuf {
    path.cloned().unwrap_or_default()
}

/// Opens the queues when it is called: to read events, nobody needs them.
pub type OpenQueues = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Queues>, QueueError>> + Send + Sync>;

/// RabbitMQ.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Where it is.
    pub url: String,
    /// Where its management API is.
    pub management_url: String,
    /// Who we are.
    pub user: String,
    /// Our password's file.
    pub password_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Partitions of each kind of work, until somebody says otherwise.
    pub partitions: u16,
    /// Deliveries of a message.
    pub delivery_limit: u32,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            url: "amqp://127.0.0.1:5672/%2f".to_owned(),
            management_url: "http://127.0.0.1:15672".to_owned(),
            user: "detektor".to_owned(),
            password_file: None,
            ca_file: None,
            partitions: DEFAULT_PARTITIONS,
            delivery_limit: DELIVERY_LIMIT,
        }
    }
}

impl Settings for Broker {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let Self { url, management_url, user, password_file, ca_file, partitions, delivery_limit } = self;
        visitor.field("url", url, text(), "Where RabbitMQ is, without user and password: amqp:// or amqps://.");
        visitor.field("management_url", management_url, text(), "Where its management API is: http:// or https://.");
        visitor.field("user", user, text(), "Who we are there.");
        visitor.field(
            "password_file",
            password_file,
            path(),
            "A file that holds the password; read at each connection.",
        );
        visitor.field("ca_file", ca_file, path(), "Certificates (PEM) to trust instead of the system's.");
        visitor.field(
            "partitions",
            partitions,
            whole(1..=1000),
            "Partitions of each kind of work, as long as `detektor partitions N` has not said how many.",
        );
        visitor.field(
            "delivery_limit",
            delivery_limit,
            whole(2..=1000),
            "How often the broker's policy lets a message be delivered before it is a dead letter.",
        );
    }
}

impl Broker {
    /// What is wrong with it.
    pub fn mistakes(&self, mistakes: &mut Mistakes) {
        missing(self.password_file.as_ref(), "rabbitmq.password_file", mistakes);
        scheme(&self.url, &["amqp://", "amqps://"], "rabbitmq.url", mistakes);
        scheme(&self.management_url, &["http://", "https://"], "rabbitmq.management_url", mistakes);
    }

    /// As the backend wants it.
    pub fn options(&self) -> RabbitOptions {
        RabbitOptions {
            url: self.url.clone(),
            user: self.user.clone(),
            password_file: file(self.password_file.as_ref()),
            ca_file: self.ca_file.clone(),
            management_url: self.management_url.clone(),
            delivery_limit: self.delivery_limit,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Process::patiently`].
    pub async fn connect(&self, process: &Process) -> Result<Arc<dyn Queues>, BoxError> {
        let queues = process.patiently("rabbitmq", || RabbitMq::connect(self.options())).await?;
        Ok(AroundQueues::new(Arc::new(queues), process.breaker("rabbitmq")))
    }

    /// What connects when it is called: for a role that does nearly all of its work without the broker.
    pub fn opener(&self, process: &Process) -> OpenQueues {
        let (options, breaker) = (self.options(), process.breaker("rabbitmq"));
        Arc::new(move || {
            let (options, breaker) = (options.clone(), Arc::clone(&breaker));
            Box::pin(async move {
                let queues: Arc<dyn Queues> = AroundQueues::new(Arc::new(RabbitMq::connect(options).await?), breaker);
                Ok(queues)
            })
        })
    }

    /// The queues, without connecting before they are used.
    ///
    /// # Errors
    /// Where the settings make no sense.
    pub fn reach(&self, process: &Process) -> Result<Arc<dyn Queues>, BoxError> {
        Ok(AroundQueues::new(Arc::new(RabbitMq::new(self.options())?), process.breaker("rabbitmq")))
    }
}

/// A credential in a URL would be shown wherever the URL is.
fn scheme(url: &str, schemes: &[&str], field: &str, mistakes: &mut Mistakes) {
    match schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) {
        None => mistakes.add(field, format!("expected {}…, found {url:?}", schemes.join("… or "))),
        Some(rest) if rest.split('/').next().is_some_and(|authority| authority.contains('@')) => {
            mistakes.add(field, "holds credentials: take them out, and name a user and a password file instead");
        }
        Some(_) => {}
    }
}

/// An S3 bucket.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// The store's address; none asks AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The bucket in the path rather than in the host's name.
    pub path_style: bool,
    /// Our key's file; none takes what the surroundings offer, such as an IAM role.
    pub access_key_file: Option<PathBuf>,
    /// Our secret key's file.
    pub secret_key_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Who hears of new and removed objects, where the store itself tells nobody: an HTTP endpoint.
    pub notify_url: Option<String>,
    /// The endpoint's token.
    pub notify_token_file: Option<PathBuf>,
    /// The same, to an exchange of the broker.
    pub notify_exchange: Option<String>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            bucket: "detektor".to_owned(),
            endpoint: None,
            region: None,
            path_style: true,
            access_key_file: None,
            secret_key_file: None,
            ca_file: None,
            notify_url: None,
            notify_token_file: None,
            notify_exchange: None,
        }
    }
}

impl Settings for BucketSettings {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let Self { bucket, endpoint, region, path_style, access_key_file, secret_key_file, ca_file, .. } = self;
        let some = || text().map(Some);
        visitor.field("bucket", bucket, text(), "The bucket's name.");
        visitor.field(
            "endpoint",
            endpoint,
            some(),
            "The store's address, such as http://minio:9000; without one AWS's.",
        );
        visitor.field("region", region, some(), "The region; without one the environment's, or us-east-1.");
        visitor.field("path_style", path_style, boolean(), "endpoint/bucket/key rather than bucket.endpoint/key.");
        visitor.field(
            "access_key_file",
            access_key_file,
            path(),
            "A file that holds the access key; without one the surroundings' credentials, such as an IAM role.",
        );
        visitor.field("secret_key_file", secret_key_file, path(), "A file that holds the secret key.");
        visitor.field("ca_file", ca_file, path(), "Certificates (PEM) to trust instead of the system's.");
        visitor.field(
            "notify_url",
            &mut self.notify_url,
            some(),
            "POST an S3 event notification here for each new or removed event, snapshot and quarantined segment, where the store \
             itself tells nobody.",
        );
        visitor.field(
            "notify_token_file",
            &mut self.notify_token_file,
            path(),
            "A file that holds the bearer token for notify_url.",
        );
        visitor.field(
            "notify_exchange",
            &mut self.notify_exchange,
            some(),
            "Publish the notifications to this exchange of RabbitMQ instead.",
        );
    }
}

impl BucketSettings {
    /// What is wrong with it.
    pub fn mistakes(&self, mistakes: &mut Mistakes) {
        if self.access_key_file.is_some() != self.secret_key_file.is_some() {
            mistakes.add("s3.secret_key_file", "access_key_file and secret_key_file go together");
        }
        if self.notify_url.is_some() && self.notify_exchange.is_some() {
            mistakes.add("s3.notify_exchange", "given beside notify_url: notifications go one way");
        }
        if let Some(endpoint) = &self.endpoint {
            scheme(endpoint, &["http://", "https://"], "s3.endpoint", mistakes);
        }
    }

    /// As the backend wants it.
    pub fn options(&self) -> S3Options {
        let credentials = match (&self.access_key_file, &self.secret_key_file) {
            (Some(access_key), Some(secret_key)) => {
                Credentials::Files { access_key: access_key.clone(), secret_key: secret_key.clone() }
            }
            _ => Credentials::Chain,
        };
        S3Options {
            bucket: self.bucket.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            credentials,
            ca_file: self.ca_file.clone(),
        }
    }

    /// The bucket.
    ///
    /// # Errors
    /// As [`Process::patiently`].
    pub async fn open(&self, process: &Process) -> Result<Arc<dyn Bucket>, BoxError> {
        let options = self.options();
        let bucket = process.patiently("s3", || async { reached(S3Bucket::new(&options).await?).await }).await?;
        Ok(AroundBucket::new(Arc::new(bucket), process.breaker("s3")))
    }

    /// The bucket, to write what others may hear of: they are told before a write returns.
    ///
    /// # Errors
    /// As [`Process::patiently`], and where those who are to be told cannot be.
    pub async fn open_to_tell(&self, process: &Process, broker: &Broker) -> Result<Arc<dyn Bucket>, BoxError> {
        let bucket = self.open(process).await?;
        let sink: Arc<dyn Sink> = match (&self.notify_url, &self.notify_exchange) {
            (Some(url), _) => Arc::new(Webhook::new(WebhookOptions {
                url: url.clone(),
                token_file: self.notify_token_file.clone(),
                ca_file: self.ca_file.clone(),
            })?),
            (None, Some(exchange)) => Arc::new(Exchange::new(ExchangeOptions {
                url: broker.url.clone(),
                user: broker.user.clone(),
                password_file: file(broker.password_file.as_ref()),
                ca_file: broker.ca_file.clone(),
                exchange: exchange.clone(),
                routing_key: ROUTING_KEY.to_owned(),
            })?),
            (None, None) => return Ok(bucket),
        };
        let region = self.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
        Ok(Notifying::new(bucket, sink, Source { bucket: self.bucket.clone(), region }))
    }
}

async fn reached(bucket: S3Bucket) -> Result<S3Bucket, detektor_backends::bucket::BucketError> {
    bucket.ping().await?;
    Ok(bucket)
}

/// Postgres.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is.
    pub url: String,
    /// Who we are.
    pub user: String,
    /// Our password's file.
    pub password_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Connections at most.
    pub connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "postgres://127.0.0.1:5432/detektor".to_owned(),
            user: "detektor".to_owned(),
            password_file: None,
            ca_file: None,
            connections: 4,
        }
    }
}

impl Settings for Database {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        let Self { url, user, password_file, ca_file, connections } = self;
        visitor.field(
            "url",
            url,
            text(),
            "Where Postgres is, without user and password: postgres://HOST:PORT/DATABASE.",
        );
        visitor.field("user", user, text(), "Who we are there.");
        visitor.field(
            "password_file",
            password_file,
            path(),
            "A file that holds the password; read at each connection.",
        );
        visitor.field(
            "ca_file",
            ca_file,
            path(),
            "Certificates (PEM) to trust; the connection is then encrypted, always.",
        );
        visitor.field("connections", connections, whole(1..=1000), "Connections that one process opens at most.");
    }
}

impl Database {
    /// What is wrong with it.
    pub fn mistakes(&self, mistakes: &mut Mistakes) {
        missing(self.password_file.as_ref(), "postgres.password_file", mistakes);
        scheme(&self.url, &["postgres://", "postgresql://"], "postgres.url", mistakes);
    }

    /// As the backend wants it.
    pub fn options(&self) -> PostgresOptions {
        PostgresOptions {
            url: self.url.clone(),
            user: self.user.clone(),
            password_file: file(self.password_file.as_ref()),
            ca_file: self.ca_file.clone(),
            connections: self.connections,
            acquire_timeout: ACQUIRE,
            statement_timeout: STATEMENT,
        }
    }

    /// Connects, and checks that the schema is there.
    ///
    /// # Errors
    /// As [`Process::patiently`].
    pub async fn connect(&self, process: &Process) -> Result<Connected, BoxError> {
        let options = self.options();
        let database = process.patiently("postgres", || Postgres::open(&options)).await?;
        let breaker = process.breaker("postgres");
        Ok(Connected {
            store: AroundStore::new(database.store(), Arc::clone(&breaker)),
            coordination: AroundCoordination::new(database.coordination(), breaker),
        })
    }
}

/// What is in the database.
#[derive(Clone)]
pub struct Connected {
    /// Events, ledger, outcomes.
    pub store: Arc<dyn EventStore>,
    /// Who runs what.
    pub coordination: Arc<dyn Coordination>,
}

/// All three servers: for roles that use them all, and for tools, which use some.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// RabbitMQ.
    pub rabbitmq: Broker,
    /// The bucket.
    pub s3: BucketSettings,
    /// Postgres.
    pub postgres: Database,
}

impl Settings for Servers {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor.section("rabbitmq", &mut self.rabbitmq);
        visitor.section("s3", &mut self.s3);
        visitor.section("postgres", &mut self.postgres);
    }
}

impl Servers {
    /// What is wrong with any of them.
    pub fn all_mistakes(&self, mistakes: &mut Mistakes) {
        self.s3.mistakes(mistakes);
        self.all_mistakes_but_the_bucket(mistakes);
    }

    /// What is wrong with the broker or the database.
    pub fn all_mistakes_but_the_bucket(&self, mistakes: &mut Mistakes) {
        self.rabbitmq.mistakes(mistakes);
        self.postgres.mistakes(mistakes);
    }
}

/// Each tool checks those that it uses.
impl Configured for Servers {
    const SECTION: &'static str = "";

    fn mistakes(&self, _: &mut Mistakes) {}
}
