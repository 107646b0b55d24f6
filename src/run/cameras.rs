//! From configured cameras to the dispatcher's.

use std::sync::Arc;

use detektor_backends::bucket::Bucket;
use detektor_backends::queue::Queues;
use detektor_backends::store::EventStore;
use detektor_dispatcher::{CameraConfig, Dispatcher, DispatcherConfig};
use detektor_runtime::Metrics;

use super::app::PARTITION;
use crate::config::{Camera, ConfigError, Mistake};
