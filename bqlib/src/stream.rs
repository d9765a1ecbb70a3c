//! Reading a whole stream: what it holds, and whether it is broken.
//!
//! End of file is not success. A program that reads a stream learns here whether everybody before it said that they did
//! what was asked; only then it acts. Knows nothing of BigQuery or journals.

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _};

use tokio::sync::mpsc;

use crate::exit::{Exit, Failure};
use crate::names::{ProjectId, RunId};
use crate::record::{Count, Line, MAX_LINE, Migration, Record, Restore, Snapshot, Verdict, parse};
use crate::tool::Tool;

/// Standard input, a line at a time, read by a thread of its own so that signals and deadlines are heard meanwhile.
pub struct Input<'t> {
    tool: &'t Tool,
    lines: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    number: usize,
}

impl<'t> Input<'t> {
    /// Begins to read standard input.
    pub fn stdin(tool: &'t Tool) -> Input<'t> {
        let (send, lines) = mpsc::channel(64);
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            loop {
                let mut line = Vec::new();
                // One byte more than may be, so that a line that is too long is seen as such.
                let read = stdin.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
                let next = match read {
                    Ok(0) => return,
                    Ok(_) => Ok(line),
                    Err(e) => Err(e),
                };
                let last = next.is_err();
                if send.blocking_send(next).is_err() || last {
                    return;
                }
            }
        });
        Input { tool, lines, number: 0 }
    }

    /// The next line, its newline included, and its number from 1; `None` at the end.
    ///
    /// # Errors
    /// Standard input cannot be read, or a line is over 32 MiB (2); a signal came (128+n).
    pub async fn next(&mut self) -> Result<Option<(usize, Vec<u8>)>, Failure> {
        self.number += 1;
        let at = format!("standard input, line {}", self.number);
        let next = tokio::select! {
            next = self.lines.recv() => next,
            _ = self.tool.stop_signal() => {
                return self.tool.go_on("run the same line again; the programs before this one may still be at work").map(|()| None);
            }
        };
        match next {
            None => Ok(None),
            Some(Err(e)) => Err(Failure::usage(e.to_string(), at, "look at what standard input is")),
            Some(Ok(line)) if line.len() > MAX_LINE => Err(Failure::usage(
                "the line is over 32 MiB",
                at,
                "look at the program before this one in the line",
            )),
            Some(Ok(line)) => Ok(Some((self.number, line))),
        }
    }

    /// The rest, as one text. `first` is a line that was read already.
    ///
    /// # Errors
    /// As [`Input::next`]; or it is not UTF-8 (2).
    pub async fn text(&mut self, first: Option<(usize, Vec<u8>)>) -> Result<String, Failure> {
        let mut bytes = first.map(|(_, line)| line).unwrap_or_default();
        while let Some((_, line)) = self.next().await? {
            bytes.extend(line);
        }
        String::from_utf8(bytes).map_err(|_| {
            let hint = "name tables, or a list with `-f`";
            Failure::usage("the list is not UTF-8", "standard input", hint)
        })
    }
}

/// What a stream holds.
#[derive(Debug, Default)]
pub struct Stream {
    /// The run it is of.
    pub run: Option<RunId>,
    /// The project and endpoint of its `begin`s.
    pub home: Option<(Option<ProjectId>, String)>,
    /// Its protected tables.
    pub snapshots: Vec<Snapshot>,
    /// Its files of migration.
    pub migrations: Vec<Migration>,
    /// Its counts.
    pub counts: Vec<Count>,
    /// Its restored tables.
    pub restores: Vec<Restore>,
    /// What its bq-check said last.
    pub verdict: Option<Verdict>,
    /// Whether it was made with `-n`.
    pub dry_run: bool,
    empty: bool,
    open: Vec<String>,
    counted: Option<u64>,
    wrong: Option<String>,
    /// Programs that said that they did not do what was asked, and how they ended.
    failed: Vec<(String, String)>,
    ended: BTreeSet<String>,
}

impl Stream {
    /// Reads a stream to its end, copying it. `first` is a line that was read already.
    ///
    /// Beside what could be read comes what went wrong with the reading: a malformed line or no standard input (2), a reader of
    /// standard output that is gone (5), a signal. Whatever it was, everything is read (but after a signal): the programs before this
    /// one must not lose their reader for it, and this one may have to say which run has come to grief.
    pub async fn read(tool: &Tool, mut input: Input<'_>, first: Option<(usize, Vec<u8>)>) -> (Stream, Option<Failure>) {
        let mut stream = Stream {
            empty: true,
            ..Stream::default()
        };
        let mut wrong: Option<Failure> = None;
        let mut gone: Option<Failure> = None;
        let mut first = first;
        loop {
            let next = match first.take() {
                Some(line) => Ok(Some(line)),
                None => input.next().await,
            };
            let (number, line) = match next {
                Ok(Some(line)) => line,
                // What is wrong with the stream counts for more than that nobody reads it.
                Ok(None) => return (stream, wrong.or(gone)),
                Err(failure) => return (stream, Some(wrong.unwrap_or(failure))),
            };
            // The next record must not stand on the same line.
            let newline: &[u8] = if line.ends_with(b"\n") { b"" } else { b"\n" };
            if let Err(failure) = tool.out.pass_on(&line).and_then(|()| tool.out.pass_on(newline)) {
                gone.get_or_insert(failure);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            stream.empty = false;
            match parse(&line) {
                Ok(Line::Known(record)) => stream.take(*record),
                Ok(Line::Other) => {}
                Err(why) => {
                    wrong.get_or_insert_with(|| {
                        Failure::usage(
                            format!("the stream is malformed: {why}"),
                            format!("standard input, line {number}"),
                            "let only programs that keep JSON lines whole stand in the line",
                        )
                    });
                }
            }
        }
    }

    fn take(&mut self, record: Record) {
        let run = match &record {
            Record::Begin(r) => r.run.clone(),
            Record::Snapshot(r) => Some(r.run.clone()),
            Record::Migration(r) => Some(r.run.clone()),
            Record::Count(r) => r.run.clone(),
            Record::Check(r) => r.run.clone(),
            Record::Verdict(r) => r.run.clone(),
            Record::Restore(r) => Some(r.run.clone()),
            Record::Warning(r) | Record::Error(r) => r.run.clone(),
            Record::End(r) => r.run.clone(),
        };
        match (&self.run, run) {
            (None, run) => self.run = run,
            (Some(ours), Some(run)) if *ours != run => self.blame(format!("it holds two runs, `{ours}` and `{run}`")),
            _ => {}
        }
        match record {
            Record::Begin(begin) => {
                self.dry_run |= begin.dry_run;
                match &self.home {
                    None => self.home = Some((begin.project, begin.endpoint)),
                    Some((_, endpoint)) if *endpoint != begin.endpoint => {
                        self.blame(format!("it is of two endpoints, {endpoint} and {}", begin.endpoint));
                    }
                    Some(_) => {}
                }
                self.open.push(begin.tool);
            }
            Record::End(end) => {
                match self.open.iter().rposition(|tool| *tool == end.tool) {
                    Some(at) => drop(self.open.remove(at)),
                    None => self.blame(format!("{} ended without having begun", end.tool)),
                }
                self.ended.insert(end.tool.clone());
                if !end.ok {
                    let how = format!("{} ended with {} ({})", end.tool, end.code, end.name);
                    self.failed.push((end.tool.clone(), how));
                }
                if end.tool == "bq-snap" {
                    self.counted = Some(self.counted.unwrap_or(0) + end.count);
                }
            }
            Record::Snapshot(snapshot) => self.snapshots.push(snapshot),
            Record::Migration(migration) => self.migrations.push(migration),
            Record::Count(count) => self.counts.push(count),
            Record::Restore(restore) => self.restores.push(restore),
            Record::Verdict(verdict) => self.verdict = Some(verdict),
            Record::Check(_) | Record::Warning(_) | Record::Error(_) => {}
        }
    }

    /// Whether a program said that it ended, well or not.
    pub fn has_ended(&self, tool: &str) -> bool {
        self.ended.contains(tool)
    }

    fn blame(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    /// Why the stream is broken, if it is. `dry_run`: whether the reader was told `-n`.
    pub fn broken(&self, dry_run: bool) -> Option<String> {
        if self.empty {
            return Some("it is empty".to_owned());
        }
        if let Some(why) = self.wrong.as_ref().or(self.failed.first().map(|(_, how)| how)) {
            return Some(why.clone());
        }
        if let Some(tool) = self.open.first() {
            return Some(format!("{tool} began and never said that it ended"));
        }
        self.miscounted().or_else(|| self.unreal(dry_run))
    }

    /// Why its snapshots cannot be restored from, if they cannot: not all of them may be in it, or it holds those of two runs. What came
    /// after bq-snap may have failed, or died: then one restores. `dry_run`: as in [`Stream::broken`].
    ///
    /// A stream without any `begin` is a list that a person wrote, and counts itself.
    pub fn unrestorable(&self, dry_run: bool) -> Option<String> {
        let of_snap = |tool: &String| tool == "bq-snap";
        if self.snapshots.is_empty() {
            return Some("it holds no snapshot".to_owned());
        }
        let failed = self.failed.iter().find(|(tool, _)| of_snap(tool)).map(|(_, how)| how);
        if let Some(why) = self.wrong.as_ref().or(failed) {
            return Some(why.clone());
        }
        let miscounted = self.miscounted().filter(|_| self.home.is_some());
        miscounted.or_else(|| self.unreal(dry_run))
    }

    fn miscounted(&self) -> Option<String> {
        let found = self.snapshots.len() as u64;
        match self.counted {
            Some(counted) if counted != found => {
                Some(format!("bq-snap counted {counted} tables, and {found} are in it"))
            }
            None if found > 0 => Some("it holds snapshots, and bq-snap never said that it ended".to_owned()),
            _ => None,
        }
    }

    fn unreal(&self, dry_run: bool) -> Option<String> {
        (self.dry_run && !dry_run).then(|| "it was made with `-n`: nothing in it is real".to_owned())
    }
}

/// The failure of a broken stream (5).
pub fn broken(why: &str, hint: &str) -> Failure {
    Failure::new(
        Exit::Upstream,
        format!("the stream is broken: {why}"),
        "standard input",
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lines: &[&str]) -> Stream {
        let mut stream = Stream {
            empty: lines.is_empty(),
            ..Stream::default()
        };
        for line in lines {
            match parse(line.as_bytes()).unwrap() {
                Line::Known(record) => stream.take(*record),
                Line::Other => {}
            }
        }
        stream
    }

    const BEGIN: &str = r#"{"type":"begin","run":"r","v":1,"tool":"bq-snap","version":"0","project":"p","endpoint":"e","dry_run":false,"at":"2026-01-01T00:00:00Z"}"#;
    const SNAPSHOT: &str = r#"{"type":"snapshot","run":"r","table":"p.d.t"}"#;
    const END: &str = r#"{"type":"end","run":"r","tool":"bq-snap","ok":true,"code":0,"name":"ok","count":1}"#;

    #[test]
    fn a_whole_stream_is_not_broken() {
        assert_eq!(stream(&[BEGIN, SNAPSHOT, r#"{"type":"new"}"#, END]).broken(false), None);
    }

    #[test]
    fn every_way_to_be_broken() {
        let failed = END.replace("true", "false");
        let other = SNAPSHOT.replace("\"r\"", "\"s\"");
        let dry = BEGIN.replace("false", "true");
        for lines in [
            &[][..],
            &[BEGIN],
            &[BEGIN, SNAPSHOT],
            &[SNAPSHOT],
            &[BEGIN, END],
            &[BEGIN, SNAPSHOT, SNAPSHOT, END],
            &[BEGIN, SNAPSHOT, &failed],
            &[BEGIN, &other, END],
            &[SNAPSHOT, END],
            &[&dry, SNAPSHOT, END],
        ] {
            assert!(stream(lines).broken(false).is_some(), "{lines:#?}");
        }
        assert_eq!(stream(&[&dry, SNAPSHOT, END]).broken(true), None);
    }

    #[test]
    fn what_can_be_restored_from() {
        let run = BEGIN.replace("bq-snap", "bq-run");
        let failed = END.replace("bq-snap", "bq-run").replace("true", "false");
        let died = END.replace("true", "false");
        let other = SNAPSHOT.replace("\"r\"", "\"s\"");
        let dry = BEGIN.replace("false", "true");
        for (lines, can) in [
            (&[BEGIN, SNAPSHOT, END][..], true),
            (&[BEGIN, SNAPSHOT, END, &run, &failed], true),
            (&[BEGIN, SNAPSHOT, END, &run], true),
            (&[SNAPSHOT], true),
            (&[], false),
            (&[BEGIN, END], false),
            (&[BEGIN, SNAPSHOT], false),
            (&[BEGIN, SNAPSHOT, &died], false),
            (&[BEGIN, SNAPSHOT, SNAPSHOT, END], false),
            (&[SNAPSHOT, &other], false),
            (&[&dry, SNAPSHOT, END], false),
        ] {
            assert_eq!(stream(lines).unrestorable(false).is_none(), can, "{lines:#?}");
        }
    }
}
