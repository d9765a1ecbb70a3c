//! Standard output: JSON lines for programs, a table for people.
//!
//! Writes a line at a time and flushes it, so that the next program works while this one does. Knows whether anybody
//! still reads.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::findings::{self, Screen};
use crate::foretold;
use crate::names::RunId;
use crate::record::{Check, Migration, Record};

/// Where a write failed.
pub const STDOUT: &str = "stdout";

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table on a terminal, else JSON lines.
    Auto,
    /// JSON lines.
    Json,
    /// A table for people.
    Table,
    /// Comma-separated values (bq-count only).
    Csv,
}

/// Standard output of a program.
pub struct Output {
    format: Format,
    copy: RefCell<Option<File>>,
    run: RefCell<Option<RunId>>,
    rows: RefCell<Vec<(Vec<&'static str>, Vec<String>)>>,
    /// For people they stand in another order than they come.
    found: RefCell<Vec<Check>>,
    /// What to type next, for people.
    next: RefCell<Option<String>>,
    plain: bool,
    begun: Cell<bool>,
    /// Warnings and errors that came before `begin`: a program's records stand behind it.
    early: RefCell<Vec<Record>>,
    /// Whether it is a pipe's reader that is gone: that needs no words.
    broken_pipe: Cell<bool>,
    count: Cell<u64>,
    gone: Cell<bool>,
    bytes_billed: Cell<Option<u64>>,
}

impl Output {
    /// `plain`: no colours, even on a terminal.
    pub(crate) fn new(format: Format, plain: bool) -> Output {
        let format = match format {
            Format::Auto if io::stdout().is_terminal() => Format::Table,
            Format::Auto => Format::Json,
            other => other,
        };
        Output {
            format,
            copy: RefCell::new(None),
            run: RefCell::new(None),
            rows: RefCell::new(Vec::new()),
            found: RefCell::default(),
            next: RefCell::default(),
            plain,
            begun: Cell::new(false),
            early: RefCell::new(Vec::new()),
            broken_pipe: Cell::new(false),
            count: Cell::new(0),
            gone: Cell::new(false),
            bytes_billed: Cell::new(None),
        }
    }

    /// Writes the JSON lines to a file too, whatever standard output is.
    pub fn copy_to(&self, file: File) {
        *self.copy.borrow_mut() = Some(file);
    }

    pub(crate) fn set_run(&self, run: Option<&RunId>) {
        *self.run.borrow_mut() = run.cloned();
    }

    /// The run that the records are of, if there is one.
    pub fn run(&self) -> Option<RunId> {
        self.run.borrow().clone()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// How many records of its own kind the program has written.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Bytes billed, for the `end`.
    pub fn set_bytes_billed(&self, bytes: u64) {
        self.bytes_billed.set(Some(bytes));
    }

    pub(crate) fn bytes_billed(&self) -> Option<u64> {
        self.bytes_billed.get()
    }

    /// What a person is told to type next, below a table.
    pub fn say_next(&self, what: String) {
        *self.next.borrow_mut() = Some(what);
    }

    pub(crate) fn pipe_is_broken(&self) -> bool {
        self.broken_pipe.get()
    }

    /// Whether the reader of standard output has gone away, as far as a write has shown.
    pub fn reader_is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Whether the reader has gone away, asked without writing: a pipe whose reader closed it says so to `poll`.
    pub fn look_for_reader(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR) {
            self.gone.set(true);
        }
        !self.gone.get()
    }

    /// A record of the program's own.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub fn write(&self, record: &Record) -> Result<(), Failure> {
        match record {
            Record::Warning(_) | Record::Error(_) if !self.begun.get() => {
                self.early.borrow_mut().push(record.clone());
                return Ok(());
            }
            Record::Begin(_) => self.begun.set(true),
            Record::Snapshot(_) | Record::Migration(_) | Record::Count(_) | Record::Check(_) | Record::Restore(_) => {
                self.count.set(self.count.get() + 1);
            }
            _ => {}
        }
        match record {
            Record::Check(check) if self.format == Format::Table => self.found.borrow_mut().push(check.clone()),
            // Now, not at the end: a verdict that cannot be told must be known before it is journaled.
            Record::Verdict(verdict) if self.format == Format::Table => {
                let checks = self.found.take();
                let text = findings::told(&checks, Some(verdict), None, screen(self.plain));
                self.put(text.as_bytes())?;
            }
            _ => {}
        }
        if let (
            Format::Table,
            Record::Migration(Migration {
                source,
                foreseen: Some(foreseen),
                job: None,
                ..
            }),
        ) = (self.format, record)
        {
            self.rows.borrow_mut().extend(foretold::rows(source, foreseen));
        } else if self.format != Format::Json
            && let Some(row) = row(record)
        {
            self.rows.borrow_mut().push(row);
        }
        self.put_record(record)?;
        if matches!(record, Record::Begin(_)) {
            for early in self.early.take() {
                self.write(&early)?;
            }
        }
        Ok(())
    }

    /// A record as it is: one of a stream, or one among rows that are none.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub(crate) fn put_record(&self, record: &Record) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(record).map_err(|e| {
            Failure::new(
                Exit::Unknown,
                format!("a record cannot be written: {e}"),
                "stdout",
                "report this as a bug",
            )
        })?;
        line.push(b'\n');
        self.raw(&line)
    }

    /// A line of the stream that was read, unchanged, its newline included.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub fn pass_on(&self, line: &[u8]) -> Result<(), Failure> {
        self.raw(line)
    }

    fn raw(&self, line: &[u8]) -> Result<(), Failure> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(copy) = &mut *self.copy.borrow_mut() {
            copy.write_all(line).map_err(|e| {
                Failure::usage(
                    format!("the copy cannot be written: {e}"),
                    "--copy",
                    "free the disk, or name another file",
                )
            })?;
        }
        if self.format == Format::Json {
            self.put(line)
        } else {
            Ok(())
        }
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        crate::crash::point("a line of output");
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| {
            self.gone.set(true);
            self.broken_pipe.set(e.kind() == io::ErrorKind::BrokenPipe);
            let what = match e.kind() {
                io::ErrorKind::BrokenPipe => "the reader of standard output went away".to_owned(),
                _ => format!("standard output cannot be written: {e}"),
            };
            Failure::new(
                Exit::Upstream,
                what,
                STDOUT,
                "look at what standard output is: the program after this one, or a disk that is full",
            )
        })
    }

    /// Rows that are no records of a stream, such as those of `--list`: a table, or an object a line with `type` and these names.
    ///
    /// # Errors
    /// The reader is gone (5).
    pub fn print_rows(&self, kind: &str, head: &[&'static str], rows: Vec<Vec<Value>>) -> Result<(), Failure> {
        for cells in rows {
            if self.format == Format::Json {
                let mut object = serde_json::Map::from_iter([("type".to_owned(), kind.into())]);
                object.extend(head.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell)));
                self.put(format!("{}\n", Value::Object(object)).as_bytes())?;
            } else {
                let text = |cell: Value| match cell {
                    Value::Null => String::new(),
                    Value::Bool(yes) => if yes { "yes" } else { "" }.to_owned(),
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                self.rows
                    .borrow_mut()
                    .push((head.to_vec(), cells.into_iter().map(text).collect()));
            }
        }
        Ok(())
    }

    /// The table, if there is to be one, or what is left of it.
    ///
    /// # Errors
    /// It cannot be written (5).
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let rows = self.rows.borrow();
        let text = match self.format {
            Format::Csv => csv_of(&rows),
            Format::Table => {
                let (checks, next) = (self.found.borrow(), self.next.borrow());
                tables_of(&rows) + &findings::told(&checks, None, next.as_deref(), screen(self.plain))
            }
            Format::Auto | Format::Json => return Ok(()),
        };
        self.put(text.as_bytes())
    }
}

/// What standard output is written on. A file or pipe has no width, nor colours.
fn screen(plain: bool) -> Screen {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Screen::default();
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    Screen {
        // A terminal that does not tell has none.
        width: size.map(|size| size.ws_col).filter(|columns| *columns > 0),
        colour: !plain,
    }
}

fn csv_of(rows: &[(Vec<&'static str>, Vec<String>)]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let counts = rows.iter().filter(|(head, _)| head.contains(&"as_of"));
    for (i, (head, cells)) in counts.enumerate() {
        // Into memory, and every row as long as its head: neither can fail.
        if i == 0 {
            let _ = writer.write_record(head);
        }
        let _ = writer.write_record(cells);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// One table for each run of rows of the same kind.
fn tables_of(rows: &[(Vec<&'static str>, Vec<String>)]) -> String {
    rows.chunk_by(|a, b| a.0 == b.0)
        .map(|chunk| {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Disabled);
            let head = chunk[0].0.iter().map(|name| name.to_uppercase());
            table.set_header(head);
            for (i, name) in chunk[0].0.iter().enumerate() {
                if matches!(*name, "rows" | "bytes" | "ms" | "#" | "line")
                    && let Some(column) = table.column_mut(i)
                {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            table.add_rows(chunk.iter().map(|(_, cells)| cells));
            let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
            lines.join("\n") + "\n"
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A record as a row for people: names of columns, and cells. Errors and warnings are on stderr already.
fn row(record: &Record) -> Option<(Vec<&'static str>, Vec<String>)> {
    fn text<T: ToString>(value: &Option<T>) -> String {
        value.as_ref().map(T::to_string).unwrap_or_default()
    }
    let (head, cells): (&[&'static str], Vec<String>) = match record {
        Record::Snapshot(s) => (
            &["table", "rows", "bytes", "snapshot", "cut", "expires", "level"],
            vec![
                s.table.to_string(),
                if s.absent { "absent".to_owned() } else { text(&s.rows) },
                text(&s.bytes),
                text(&s.snapshot),
                text(&s.cut),
                text(&s.expires),
                text(&s.level),
            ],
        ),
        Record::Migration(m) => (
            &["file", "state", "statements", "ms", "bytes", "job", "error"],
            vec![
                m.source.clone(),
                format!("{:?}", m.state).to_lowercase(),
                m.statements.len().to_string(),
                text(&m.ms),
                text(&m.bytes_billed),
                text(&m.job),
                text(&m.error),
            ],
        ),
        Record::Count(c) if c.fingerprint.is_some() => (
            &["table", "rows", "as_of", "records", "fingerprint"],
            vec![
                c.table.to_string(),
                c.rows.to_string(),
                c.as_of.to_string(),
                text(&c.records),
                text(&c.fingerprint),
            ],
        ),
        Record::Count(c) => (
            &["table", "rows", "as_of", "records"],
            vec![
                c.table.to_string(),
                c.rows.to_string(),
                c.as_of.to_string(),
                text(&c.records),
            ],
        ),
        Record::Restore(r) => (
            &["table", "result", "rows", "happened", "how", "from", "kept"],
            vec![
                r.table.to_string(),
                if r.ok { "ok" } else { "DIFFERS" }.to_owned(),
                text(&r.rows),
                text(&r.happened),
                text(&r.how),
                r.source
                    .clone()
                    .unwrap_or_else(|| format!("{:?}", r.from).to_lowercase()),
                text(&r.kept),
            ],
        ),
        // `findings` shows them.
        Record::Check(_) | Record::Verdict(_) => return None,
        Record::Begin(_) | Record::Warning(_) | Record::Error(_) | Record::End(_) => return None,
    };
    Some((head.to_vec(), cells))
}
