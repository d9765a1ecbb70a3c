//! The one test program. A file a subject; what they share is in the library beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod absent;
mod backup;
mod beside;
mod bq_local;
mod built;
mod conformance;
mod corpus;
mod counts;
mod crash;
mod credentials;
mod errors;
mod extras;
mod fingerprints;
mod foreign;
mod foresight;
mod fuzz;
mod interop;
mod killed;
mod launcher;
mod lost;
mod mutations;
mod pace;
mod parameters;
mod places;
mod preflight;
mod probe;
mod questions;
mod real;
mod reports;
mod running;
mod scene;
mod schema;
mod scripts;
mod secrets;
mod signals;
mod sql;
mod transcripts;
mod uploads;
mod ways;
mod wire;
mod world;
