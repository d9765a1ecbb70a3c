//! The launcher's own tests, asked of a server of their own: what the other tests rest on.

use crate::bq_local;
use crate::scene::{PROJECT, python, say};
use std::process::{Command, Stdio};
use std::time::Instant;
use tests::emulator;

#[test]
fn the_launcher_keeps_its_promises() {
    let server = bq_local::another();
    let start = Instant::now();
    let output = Command::new(python())
        .args(["-m", "unittest", "test_launcher"])
        .current_dir(emulator::home().unwrap())
        .env("BIGQUERY_EMULATOR_HOST", server.url())
        .env("PROJECT_ID", PROJECT)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    // "Ran 58 tests in 60.1s": a module that is not found or skips all would pass without having asked anything.
    let ran = said
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(ran.is_some_and(|ran| ran >= 50) && !said.contains("skipped="), "{said}");
    say(&format!(
        "the launcher's tests: {} in {:.0} s",
        ran.unwrap_or_default(),
        start.elapsed().as_secs_f32()
    ));
}
