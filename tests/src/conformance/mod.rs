//! Google's own description of BigQuery's API, as a judge of what is sent and of what is answered.
//!
//! The discovery document comes with the local BigQuery, in its environment, and is read from there: no copy is kept.
//! It is compiled once a process. Nothing here knows our programs but by their `User-Agent`, or what SQL means.
//!
//! | File | What it knows |
//! |---|---|
//! | `document` | PURE: the document, and shapes made from it |
//! | `values` | PURE: JSON and text against a shape |
//! | `calls` | PURE: method, path, query and body against a method of the document |
//! | `ledger` | what was judged, process by process, and the report over all of it |
//!
//! What it is strict about where BigQuery itself is not: an `int64` is a string, as the document says and as Google's
//! clients send it; a field that is output only is not sent; a field that is `Required.` is; null is sent only in a
//! PATCH, where it takes a field away. Google's own Python client keeps to all of it but in three places, which
//! `suite/conformance.rs` lists. The later requests of a resumable upload, whose address
//! the server makes up, are held against Google's page of uploads. What it does not know: batches.

mod calls;
mod document;
pub mod ledger;
mod values;

use crate::Stop;
use crate::emulator;
use crate::error::Error;
use crate::python::{self, Python, Surroundings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use calls::{Method, Wrong, json_of};
pub(crate) use calls::{decoded, parameters};

/// How the `User-Agent` of each of our programs begins.
const OURS: &str = "bq-rollback/";

/// The document, compiled.
#[derive(Debug)]
pub struct Definition {
    /// Which edition of the document: a day, as `20260811`.
    pub revision: String,
    shapes: document::Shapes,
    methods: Vec<Method>,
    /// Query parameters that every method knows.
    everywhere: document::Parameters,
}

/// Read once a process.
static SHARED: OnceLock<Result<Definition, Error>> = OnceLock::new();

impl Definition {
    /// That of the local BigQuery's environment, which is made if it is missing.
    ///
    /// # Errors
    /// There is no environment and none can be made, or its document is not one that can be judged by.
    pub fn shared() -> Result<&'static Definition, Error> {
        let found = || {
            let python = python::ready(
                &Surroundings::of_this_process(),
                &emulator::home()?,
                &Stop::default(),
                &mut |text| drop(writeln!(std::io::stderr(), "{text}")),
            )?;
            read(&python)
        };
        SHARED.get_or_init(found).as_ref().map_err(Clone::clone)
    }

    /// The same, for whoever has found the environment already: finding it takes half a second.
    ///
    /// # Errors
    /// As [`shared`](Definition::shared).
    pub fn shared_of(python: &Python) -> Result<&'static Definition, Error> {
        SHARED.get_or_init(|| read(python)).as_ref().map_err(Clone::clone)
    }
}

fn read(python: &Python) -> Result<Definition, Error> {
    let unusable = |what: String, path: &Path| {
        Error::usage(
            format!("Google's definition of BigQuery cannot be read: {what}"),
            path.display(),
            "see that `tests/local-bigquery/requirements.txt` pins a local-bigquery that brings `discovery.json`",
        )
    };
    let path = document_beside(&python.path).ok_or_else(|| unusable("no such file".into(), &python.path))?;
    let text = std::fs::read_to_string(&path).map_err(|e| unusable(e.to_string(), &path))?;
    Definition::of(&text).map_err(|why| unusable(why, &path))
}

/// In an environment there is `bin/python`, and `lib/python3.N/site-packages`.
fn document_beside(python: &Path) -> Option<PathBuf> {
    let lib = python.parent()?.parent()?.join("lib");
    let versions = std::fs::read_dir(lib).ok()?.flatten();
    versions
        .map(|version| version.path().join("site-packages/local_bigquery/discovery.json"))
        .find(|path| path.is_file())
}

/// Whether a request is of one of the five programs, by its `User-Agent`.
pub fn is_ours(user_agent: &str) -> bool {
    user_agent.starts_with(OURS)
}

#[cfg(test)]
mod tests;
