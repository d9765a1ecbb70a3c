//! Where the tests make a program die, as `kill -9` would: at every call to BigQuery, every write and sync of a journal, every line of
//! output.
//!
//! Only a build with the feature `crash-points` dies: the tests make one of their own. In any other nothing of this is left.

#[cfg(feature = "crash-points")]
pub(crate) use armed::{patience, point, sync, write_all};

/// A place to die at. Without the feature: nothing.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn point(_: impl std::fmt::Display) {}

/// Writes it all; with the feature one may die half way, and leave a torn line.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn write_all(file: &mut std::fs::File, bytes: &[u8]) -> std::io::Result<()> {
    std::io::Write::write_all(file, bytes)
}

/// Makes sure that what was written is on the disk; with the feature as slowly as a disk would, and what was not synced is gone when
/// the machine loses its power.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn sync(file: &std::fs::File) -> std::io::Result<()> {
    file.sync_data()
}

/// How long a request is waited for; with the feature it may be shorter, so that a test need not sit it out.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn patience(how_long: std::time::Duration) -> std::time::Duration {
    how_long
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::fmt::Display;
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{LazyLock, Mutex};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

    /// A file that gets a line for every point passed.
    const LOG: &str = "BQ_ROLLBACK_CRASH_LOG";
    /// `PROGRAM:N`: die at that program's point number N, from 1. `PROGRAM:N:all`: and the whole process group with it, as when the
    /// machine loses its power.
    const AT: &str = "BQ_ROLLBACK_CRASH_AT";

    /// Milliseconds that a request is waited for at most.
    const PATIENCE: &str = "BQ_ROLLBACK_CRASH_PATIENCE";
    /// Milliseconds that a sync takes: a directory in memory has none.
    const SYNC: &str = "BQ_ROLLBACK_CRASH_SYNC";

    struct Plan {
        log: Option<File>,
        at: Option<u32>,
        all: bool,
        passed: AtomicU32,
    }

    static PLAN: LazyLock<Plan> = LazyLock::new(|| {
        let log = std::env::var_os(LOG).and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
        let at = std::env::var(AT).unwrap_or_default();
        let words: Vec<&str> = at.split(':').collect();
        let ours = words.first() == Some(&program().as_str());
        Plan {
            log,
            at: words.get(1).filter(|_| ours).and_then(|n| n.parse().ok()),
            all: words.get(2) == Some(&"all"),
            passed: AtomicU32::new(0),
        }
    });

    /// A journal that was written since its last sync, and how long it was then.
    static UNSYNCED: Mutex<Option<(File, u64)>> = Mutex::new(None);

    /// Half a write, made durable: a torn line.
    const TORN: &str = "journal: half a write";

    /// The disk forgets what was not synced, as it may when the power goes.
    fn forget_unsynced() {
        if let Some((file, synced)) = UNSYNCED.lock().ok().and_then(|mut unsynced| unsynced.take()) {
            let _ = file.set_len(synced);
        }
    }

    fn program() -> String {
        let path = std::env::args().next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn point(what: impl Display) {
        let what = what.to_string();
        let passed = PLAN.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut log) = PLAN.log.as_ref() {
            // One write a line: programs of a pipe share the file.
            let _ = log.write_all(format!("{}\t{passed}\t{what}\n", program()).as_bytes());
        }
        if PLAN.at == Some(passed) {
            if PLAN.all && what != TORN {
                forget_unsynced();
            }
            let _ = match PLAN.all {
                true => kill_current_process_group(Signal::KILL),
                false => kill_process(getpid(), Signal::KILL),
            };
            loop {
                std::thread::park();
            }
        }
    }

    pub(crate) fn patience(how_long: Duration) -> Duration {
        number(PATIENCE).map_or(how_long, |ms| how_long.min(Duration::from_millis(ms)))
    }

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok()?.parse().ok()
    }

    pub(crate) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Ok(mut unsynced) = UNSYNCED.lock()
            && unsynced.is_none()
        {
            *unsynced = Some((file.try_clone()?, file.metadata()?.len()));
        }
        let (one, other) = bytes.split_at(bytes.len() / 2);
        file.write_all(one)?;
        point(TORN);
        file.write_all(other)
    }

    pub(crate) fn sync(file: &File) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(number(SYNC).unwrap_or(0)));
        file.sync_data()?;
        if let Ok(mut unsynced) = UNSYNCED.lock() {
            *unsynced = None;
        }
        Ok(())
    }
}
