//! What the tests stand on: a local BigQuery, or a pretend one, with a gateway in front of it. Published nowhere.
//!
//! The five programs know nothing of this crate, and it knows nothing of them: they meet over HTTP. Only the pretend
//! one reads their journals, as JSON, and the gateway knows them by their `User-Agent`: what they send is held against
//! Google's definition of the API.

pub mod conformance;
pub mod emulator;
pub mod error;
pub mod faults;
pub mod gateway;
pub mod guard;
pub mod python;
pub mod tls;
pub mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop that long work looks at between two polls: set by a signal, or never.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks whoever holds a clone to give up as soon as it can.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
