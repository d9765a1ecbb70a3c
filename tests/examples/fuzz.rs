//! `make fuzz`: a million inputs that nobody wrote, read one after the other. `FUZZ` says how many, `SEED` which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../suite/corpus.rs"]
mod corpus;
#[path = "../suite/fuzz.rs"]
mod fuzz;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

fn main() -> ExitCode {
    let inputs = asked("FUZZ").unwrap_or(1_000_000);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = asked("SEED").unwrap_or_else(|| now.map_or(0, |now| now.as_secs()));
    let mut out = stdout();
    let _ = writeln!(out, "fuzz: {inputs} inputs, seed {seed}");
    let began = Instant::now();
    match fuzz::Fuzzer::new(seed).run(usize::try_from(inputs).unwrap_or(usize::MAX)) {
        Ok(()) => {
            let seconds = began.elapsed().as_secs_f64();
            let _ = writeln!(out, "fuzz: {inputs} inputs were read in {seconds:.0} s without a panic");
            ExitCode::SUCCESS
        }
        Err((n, input)) => {
            let _ = writeln!(out, "fuzz: input {n} of seed {seed} panicked:\n{input}");
            ExitCode::FAILURE
        }
    }
}
