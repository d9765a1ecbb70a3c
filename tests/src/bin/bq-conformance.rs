//! `bq-conformance LEDGER`: the last line of `make test`. Says what of a test run was judged by Google's definition of
//! BigQuery, and fails if anything did not conform, or if next to nothing was judged.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use tests::conformance::ledger;
use tests::error::Error;

fn main() -> ExitCode {
    let told = match std::env::args_os().nth(1) {
        Some(path) => ledger::report(Path::new(&path)),
        None => Err(Error::usage(
            "no ledger is named",
            "the command line",
            "bq-conformance LEDGER",
        )),
    };
    let written = match &told {
        Ok(report) => writeln!(std::io::stdout(), "{report}"),
        Err(error) => writeln!(std::io::stderr(), "bq-conformance: {error}"),
    };
    match (told, written) {
        (Ok(_), Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
