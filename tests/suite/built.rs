//! The programs under test, built once a run.
//!
//! With a virtual workspace `cargo test` does not build the other packages' programs, and would run stale ones: so they are
//! built here, and their paths are those that cargo says.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The five.
pub(crate) const PROGRAMS: [&str; 5] = ["bq-snap", "bq-run", "bq-count", "bq-check", "bq-restore"];

/// Every program of the workspace by its name, built with the profile and into the target directory of this test.
pub(crate) fn programs() -> &'static BTreeMap<String, PathBuf> {
    &both().0
}

/// A directory with the five as they are built for the crash loop: they die where `BQ_ROLLBACK_CRASH_AT` says.
pub(crate) fn mortal_programs() -> &'static Path {
    &both().1
}

/// Cargo gives both builds the same names: so the mortal ones are built first, once, and copied away before anybody uses the others.
fn both() -> &'static (BTreeMap<String, PathBuf>, PathBuf) {
    static ONCE: OnceLock<(BTreeMap<String, PathBuf>, PathBuf)> = OnceLock::new();
    ONCE.get_or_init(|| {
        let mortal = profile_dir().join("mortal");
        std::fs::create_dir_all(&mortal).unwrap();
        let built = build(&["--features", "bqlib/crash-points"]);
        for program in PROGRAMS {
            // By another name first: one of before may be running.
            let fresh = mortal.join(format!("{program}.new"));
            std::fs::copy(&built[program], &fresh).unwrap();
            std::fs::rename(&fresh, mortal.join(program)).unwrap();
        }
        (build(&[]), mortal)
    })
}

/// This program is TARGET/PROFILE/deps/suite-….
fn profile_dir() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

fn build(features: &[&str]) -> BTreeMap<String, PathBuf> {
    let profile_dir = profile_dir();
    let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bins", "--message-format=json"])
        .args(features)
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(profile_dir.parent().unwrap())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the programs cannot be built");
    let programs: BTreeMap<String, PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let name = message.pointer("/target/name")?.as_str()?;
            Some((name.to_owned(), message.get("executable")?.as_str()?.into()))
        })
        .collect();
    for program in PROGRAMS {
        assert!(programs.contains_key(program), "cargo built no {program}");
    }
    programs
}
