//! One run's file: created whole, locked, appended and synced, replayed.
//!
//! Knows nothing of BigQuery. An event is on the disk when [`Journal::append`] returns, not before; events of tables that
//! are worked on at the same time share a sync (group commit), for a disk's sync costs more than a call to BigQuery.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::crash;
use crate::names::RunId;
use crate::state::{self, Event, Run};

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    event: Event,
}

/// Why a journal cannot be used.
#[derive(Debug)]
pub enum Error {
    /// The disk, or the rights on it. Nothing was written, or it is not known whether it was.
    Io(PathBuf, io::Error),
    /// There is a journal of this run already.
    Exists(PathBuf),
    /// There is no journal of this run.
    Missing(PathBuf),
    /// Another process holds the run; the text says which, as far as the journal knows.
    Held(PathBuf, String),
    /// The file is damaged at this line, or tells an impossible history.
    Damaged(PathBuf, usize, String),
    /// The file was written by a later version of these programs.
    Newer(PathBuf, u32),
}

/// A run's journal, held by this process.
///
/// The lock is on the journal's own file and lives as long as this value; a process that dies lets go of it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    writer: mpsc::UnboundedSender<Job>,
    // Joined on drop, so that the lock is gone when this value is.
    thread: Option<std::thread::JoinHandle<()>>,
}

type Job = (Vec<u8>, oneshot::Sender<io::Result<()>>);

fn path_of(dir: &Path, run: &RunId) -> PathBuf {
    dir.join(format!("{run}.jsonl"))
}

fn encode(at: Timestamp, event: &Event) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Entry {
        at,
        event: event.clone(),
    })?;
    line.push(b'\n');
    Ok(line)
}

impl Journal {
    /// Begins a run's journal with these events, and holds it.
    ///
    /// The file appears whole: written under another name, synced, locked, then renamed, then the directory synced; so no
    /// reader ever sees a journal without its first events, and nobody can hold it before its maker.
    ///
    /// # Errors
    /// [`Error::Exists`] if the run has a journal; [`Error::Io`] if the directory cannot be made or written.
    pub fn create(dir: &Path, run: &RunId, at: Timestamp, events: &[Event]) -> Result<Journal, Error> {
        let io = |e| Error::Io(dir.to_owned(), e);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io)?;
        let path = path_of(dir, run);
        let mut temp = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .map_err(io)?;
        crash::point("journal: before it is made");
        for event in events {
            temp.write_all(&encode(at, event).map_err(io)?).map_err(io)?;
        }
        crash::point("journal: made, not synced");
        temp.as_file().sync_all().map_err(io)?;
        crash::point("journal: made and synced, under another name");
        temp.as_file().try_lock().map_err(|e| match e {
            TryLockError::Error(e) => io(e),
            TryLockError::WouldBlock => io(io::Error::other("a new file is locked")),
        })?;
        let file = temp.persist_noclobber(&path).map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.clone()),
            _ => io(e.error),
        })?;
        crash::point("journal: renamed, its directory not synced");
        File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        crash::point("journal: there");
        Ok(Journal::start(path, file))
    }

    /// Opens a run's journal, holds it, and says what the run is.
    ///
    /// # Errors
    /// [`Error::Held`] at once if another process holds it: waiting is the caller's.
    pub fn open(dir: &Path, run: &RunId) -> Result<(Journal, Run), Error> {
        let path = path_of(dir, run);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| missing(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Held(path.clone(), holder(&path))),
            Err(TryLockError::Error(e)) => return Err(Error::Io(path, e)),
        }
        let io = |e| Error::Io(path.clone(), e);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (run, whole) = replay(&path, &bytes)?;
        if whole < bytes.len() {
            // A torn last line was never acted upon. It must go before anything is appended to it.
            crash::point("journal: before a torn line is cut off");
            file.set_len(whole as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
            crash::point("journal: torn line cut off, not synced");
            file.sync_all().map_err(io)?;
            crash::point("journal: torn line cut off");
        }
        Ok((Journal::start(path.clone(), file), run))
    }

    fn start(path: PathBuf, file: File) -> Journal {
        let (writer, jobs) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || write_all(file, jobs));
        Journal {
            path,
            writer,
            thread: Some(thread),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes events; when it returns they are on the disk.
    ///
    /// # Errors
    /// They may not be: the program must stop, and if it has sent something, say that it does not know.
    pub async fn append(&self, at: Timestamp, events: &[Event]) -> Result<(), Error> {
        let io = |e| Error::Io(self.path.clone(), e);
        let mut lines = Vec::new();
        for event in events {
            lines.extend(encode(at, event).map_err(io)?);
        }
        let (done, wait) = oneshot::channel();
        let gone = || io::Error::other("the journal's writer has stopped");
        self.writer.send((lines, done)).map_err(|_| io(gone()))?;
        wait.await.map_err(|_| io(gone()))?.map_err(io)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.writer = closed;
        if let Some(thread) = self.thread.take() {
            // It cannot panic; were it to, its lock is gone with it all the same.
            let _ = thread.join();
        }
    }
}

/// The writer: takes whatever waits, writes it at one go, syncs once, and tells all who wait.
///
/// After a failed write or sync it writes no more: what the disk holds is not known then, and an event after a gap would
/// be a lie about order.
fn write_all(mut file: File, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut broken: Option<(io::ErrorKind, String)> = None;
    while let Some((mut lines, first)) = jobs.blocking_recv() {
        let mut waiting = vec![first];
        while let Ok((more, done)) = jobs.try_recv() {
            lines.extend(more);
            waiting.push(done);
        }
        if broken.is_none() {
            let written = write_and_sync(&mut file, &lines);
            broken = written.err().map(|e| (e.kind(), e.to_string()));
        }
        for done in waiting {
            let result = match &broken {
                None => Ok(()),
                Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            };
            // A task that no longer waits has been dropped; there is nobody to tell.
            let _ = done.send(result);
        }
    }
}

fn write_and_sync(file: &mut File, lines: &[u8]) -> io::Result<()> {
    crash::point("journal: before a write");
    crash::write_all(file, lines)?;
    crash::point("journal: written, not synced");
    crash::sync(file)?;
    crash::point("journal: synced");
    Ok(())
}

fn missing(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => Error::Io(path.to_owned(), e),
    }
}

/// Who holds a journal, from its last `opened` event.
fn holder(path: &Path) -> String {
    match read_file(path).map(|run| run.holder) {
        Ok(Some((holder, since))) => {
            format!(
                "{} (process {} on {}, since {since:.0})",
                holder.tool, holder.pid, holder.host
            )
        }
        _ => "another process".to_owned(),
    }
}

/// The run that these bytes tell, and how many of them are whole lines.
fn replay(path: &Path, bytes: &[u8]) -> Result<(Run, usize), Error> {
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut entries = Vec::new();
    for (i, line) in bytes[..whole].split_inclusive(|b| *b == b'\n').enumerate() {
        let damaged = |e: serde_json::Error| Error::Damaged(path.to_owned(), i + 1, e.to_string());
        if i == 0 {
            newer(path, line)?;
        }
        let entry: Entry = serde_json::from_slice(line).map_err(damaged)?;
        entries.push(entry);
    }
    let history = entries.iter().map(|entry| (entry.at, &entry.event));
    let run = state::fold(history).map_err(|(line, e)| Error::Damaged(path.to_owned(), line, e.to_string()))?;
    Ok((run, whole))
}

/// Refuses a later version's journal before its events, which may be of kinds unknown here, are read.
fn newer(path: &Path, line: &[u8]) -> Result<(), Error> {
    let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    let v = value
        .pointer("/event/created/v")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0);
    match u32::try_from(v) {
        Ok(v) if v <= state::VERSION => Ok(()),
        v => Err(Error::Newer(path.to_owned(), v.unwrap_or(u32::MAX))),
    }
}

fn read_file(path: &Path) -> Result<Run, Error> {
    let bytes = fs::read(path).map_err(|e| missing(path, e))?;
    Ok(replay(path, &bytes)?.0)
}

/// What a run is, without holding it: for lists and for `-n`.
///
/// # Errors
/// As [`Journal::open`], but never [`Error::Held`].
pub fn read(dir: &Path, run: &RunId) -> Result<Run, Error> {
    read_file(&path_of(dir, run))
}

/// Whether another process holds the run now.
pub fn is_held(dir: &Path, run: &RunId) -> bool {
    let file = File::open(path_of(dir, run));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The runs that a state directory has journals of, oldest name first. No directory: none.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn list(dir: &Path) -> Result<Vec<RunId>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::Io(dir.to_owned(), e)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::Io(dir.to_owned(), e))?.file_name();
        if let Some(run) = name
            .to_str()
            .and_then(|n| n.strip_suffix(".jsonl"))
            .and_then(|n| n.parse().ok())
        {
            runs.push(run);
        }
    }
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Created, Status};

    fn created(v: u32) -> Event {
        Event::Created(Created {
            v,
            run: "r".parse().unwrap(),
            project: "p".parse().unwrap(),
            endpoint: String::new(),
            tool: String::new(),
            version: String::new(),
            nonce: String::new(),
            unprotected: false,
            keep_ms: None,
            given: false,
        })
    }

    fn at() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn run() -> RunId {
        "r".parse().unwrap()
    }

    #[tokio::test]
    async fn what_was_appended_is_replayed_and_one_process_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let journal = Journal::create(&dir, &run(), at(), &[created(1)]).unwrap();
        assert!(matches!(
            Journal::create(&dir, &run(), at(), &[created(1)]),
            Err(Error::Exists(_))
        ));
        assert!(matches!(Journal::open(&dir, &run()), Err(Error::Held(..))));
        assert!(is_held(&dir, &run()));
        journal.append(at(), &[Event::Protected]).await.unwrap();
        let mode = fs::metadata(journal.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(journal);
        assert!(!is_held(&dir, &run()));
        let (_journal, state) = Journal::open(&dir, &run()).unwrap();
        assert_eq!(state.status, Status::Protected);
        assert_eq!(list(&dir).unwrap(), [run()]);
    }

    #[tokio::test]
    async fn a_torn_last_line_is_cut_off_and_other_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path(), &run(), at(), &[created(1), Event::Protected]).unwrap();
        let path = journal.path().to_owned();
        drop(journal);
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good[..], b"{\"at\":\"19"].concat()).unwrap();
        let (journal, state) = Journal::open(dir.path(), &run()).unwrap();
        assert_eq!(state.status, Status::Protected);
        journal.append(at(), &[Event::Protected]).await.unwrap();
        drop(journal);
        assert!(read(dir.path(), &run()).is_ok());
        fs::write(&path, [&good[..], b"nonsense\n"].concat()).unwrap();
        assert!(matches!(read(dir.path(), &run()), Err(Error::Damaged(_, 3, _))));
        fs::write(&path, [&good[..], &encode(at(), &Event::Migrated).unwrap()].concat()).unwrap();
        assert!(matches!(read(dir.path(), &run()), Err(Error::Damaged(_, 3, _))));
    }

    #[test]
    fn a_later_versions_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Journal::create(dir.path(), &run(), at(), &[created(2)]).unwrap());
        assert!(matches!(read(dir.path(), &run()), Err(Error::Newer(_, 2))));
    }

    #[tokio::test]
    async fn many_at_once_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path(), &run(), at(), &[created(1)]).unwrap();
        let events = [Event::Protected];
        let appends: Vec<_> = (0..100).map(|_| journal.append(at(), &events)).collect();
        for append in appends {
            append.await.unwrap();
        }
        assert_eq!(
            fs::read(journal.path())
                .unwrap()
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            101
        );
    }
}
