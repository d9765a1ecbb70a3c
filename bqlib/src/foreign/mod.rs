//! PURE: what others than the migration wrote to a table: the jobs that BigQuery's list tells of, and which rows came from them.
//!
//! Knows no way back and no client; `plan` decides by it, bq-restore asks and copies.

pub mod jobs;
pub mod query;
pub mod windows;
