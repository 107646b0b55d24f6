//! Real servers for tests, each on loopback in a throw-away directory of its own.
//!
//! A test process starts one of each kind that it needs; each test gets a part of its own, such as a virtual host.
//! A server that is not installed fails the test, with what to do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(test)]
pub(crate) mod certificates;
mod minio;
mod postgres;
mod process;
mod rabbitmq;
#[cfg(test)]
mod receiver;
mod wire;

pub use minio::{Minio, MinioSetup};
pub use postgres::{PostgresServer, PostgresSetup};
#[cfg(test)]
pub(crate) use process::free_port;
pub use rabbitmq::RabbitMq;
#[cfg(test)]
pub(crate) use receiver::Receiver;
pub use wire::Wire;
