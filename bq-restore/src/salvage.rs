//! `--salvage`: copying what others added to a table to one of its own, before it is put back.
//!
//! The table's states between the migration's writes are made beside it, measured, and their differences copied in one statement, of which
//! the number of rows is known before. Which differences those are, `bqlib::foreign` says. Crash anywhere: what was made is found again by
//! its name, which holds its instant, and the copy by its step in the journal.

use std::collections::BTreeMap;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::{from_millis, later};
use bqlib::count::{self, Question};
use bqlib::exit::{Exit, Failure};
use bqlib::foreign::query::{self, Apart, Stated};
use bqlib::foreign::windows::{Measured, Piece, Since, State, choose};
use bqlib::meta::integer;
use bqlib::names::{Location, RunId, TableRef};
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::plan::restore::Planned;
use bqlib::record::Salvaged;
use bqlib::sql::{self, AsOf, CopyOptions, Counted, RUN_LABEL, Verb};
use bqlib::state::{Event, Saved, Step};
use bqlib::tool::Tool;

use crate::keep::beside;
use crate::put_back::Task;
use crate::stage::is_over;

/// What is asked for.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Before a table named by --discard-foreign is put back, copy the rows that others added to it to TABLE_foreign_RUN
    #[arg(long, requires = "discard_foreign")]
    pub(crate) salvage: bool,
}

/// How long a state of the table is there, if nobody takes it away.
const STATE_FOR: Duration = Duration::from_secs(3600);

/// Steps of copies are numbered apart from those of states.
const COPIES: u32 = 1000;
/// How many names are tried for a copy.
const NAMES: u32 = 50;
/// Drops of states are numbered apart from those of staged tables.
const DROPS: u32 = 1000;

/// Copies what others added to the table, of which what was there is kept already, and journals how much that is.
pub(crate) async fn salvage(
    t: &Tool,
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    location: Option<&Location>,
) -> Result<(), Failure> {
    let table = task.table;
    let Some(since) = &task.planned.salvage else {
        return Ok(());
    };
    let (kept, before) = {
        let run = held.run();
        let protected = run.tables.get(table);
        let kept = run.kept(table).cloned();
        (kept, protected.and_then(|p| p.salvaged.clone()))
    };
    let is_there = task.found.is_some_and(|found| found.kind() == "TABLE");
    if !is_there && before.is_some() {
        return Ok(());
    }
    let Some(kept) = kept.filter(|_| is_there) else {
        let what = format!("nothing can be copied of what others wrote to `{table}`: there is no table any more");
        let hint = "its history may hold it: look at the table as of before it went";
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
        return Ok(());
    };
    let mut one = Salvage {
        t,
        api,
        held,
        task,
        location,
        kept: kept.clone(),
        made: BTreeMap::new(),
    };
    if before.as_ref().is_some_and(|saved| saved.kept == kept) {
        one.made = one.names(&since.pieces())?;
        return one.clean().await;
    }
    let mut since = since.clone();
    let parts = loop {
        let pieces = since.pieces();
        match one.parts(&pieces).await? {
            Ok(parts) => break pieces.into_iter().zip(parts).collect::<Vec<_>>(),
            Err(why) => match since.instead(&why) {
                Some(less) => since = less,
                None => return Err(no_way(table, &why)),
            },
        }
    };
    let salvaged = one.copy(&since, parts).await?;
    // What an earlier attempt has copied is not forgotten because there is nothing new.
    if salvaged.table.is_some() || before.is_none() {
        let saved = Saved {
            of: table.clone(),
            kept,
            salvaged: salvaged.clone(),
        };
        held.note(&[Event::Salvaged(saved)]).await?;
    }
    one.clean().await?;
    t.tell(&told(table, &salvaged));
    Ok(())
}

/// What was copied of a table, in this round.
pub(crate) fn salvaged(held: &Held<'_>, planned: &Planned) -> Option<Salvaged> {
    let run = held.run();
    let saved = run.tables.get(&planned.snapshot.table)?.salvaged.as_ref()?;
    Some(saved.salvaged.clone())
}

fn told(table: &TableRef, salvaged: &Salvaged) -> String {
    let Some(copy) = &salvaged.table else {
        return format!("{table}: others have added no rows that are there; nothing was copied");
    };
    let more = salvaged
        .more
        .as_ref()
        .map(|why| format!(" (perhaps more than others': {why})"));
    let rows = if salvaged.rows == 1 { "row" } else { "rows" };
    format!(
        "{table}: {} {rows} that others added are in {copy}, which does not expire{}; rows that others deleted are in no copy",
        salvaged.rows,
        more.unwrap_or_default()
    )
}

fn no_way(table: &TableRef, why: &str) -> Failure {
    let what = format!("what others added to `{table}` cannot be found: {why}");
    let hint = "nothing was replaced; without --salvage it is only in the copy that is kept";
    Failure::refused(what, format!("table {table}"), hint).about(table)
}

struct Salvage<'a, 'h> {
    t: &'a Tool,
    api: &'a Api<'a>,
    held: &'a Held<'h>,
    task: &'a Task<'a>,
    location: Option<&'a Location>,
    /// What was there, as a table that nobody changes.
    kept: TableRef,
    /// The states that were made beside the table, by their instants.
    made: BTreeMap<u64, TableRef>,
}

impl Salvage<'_, '_> {
    /// The states of the pieces as tables; or why they cannot be had.
    async fn parts(&mut self, pieces: &[Piece]) -> Result<Result<Vec<Apart>, String>, Failure> {
        let mut parts = Vec::new();
        for piece in pieces {
            let before = match piece.before {
                None => None,
                Some(state) => match self.stated(state).await? {
                    Ok(stated) => Some(stated),
                    Err(why) => return Ok(Err(why)),
                },
            };
            match self.stated(piece.after).await? {
                Ok(after) => parts.push(Apart { before, after }),
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(parts))
    }

    async fn stated(&mut self, state: State) -> Result<Result<Stated, String>, Failure> {
        let ms = match state {
            State::Kept => {
                let kept = self.read(&self.kept).await?;
                let gone = || format!("`{}` is gone", self.kept);
                return Ok(kept.map(|kept| Stated::new(&self.kept, &kept.meta())).ok_or_else(gone));
            }
            State::Base => {
                // The snapshot of the cut, of an undo too: what the rollback had put back.
                let snapshot = {
                    let run = self.held.run();
                    run.tables
                        .get(self.task.table)
                        .and_then(|p| p.snapshot.snapshot.clone())
                };
                if let Some(name) = snapshot
                    && let Some(found) = self.read(&name).await?
                {
                    return Ok(Ok(Stated::new(&name, &found.meta())));
                }
                match self.task.cut {
                    Some(cut) => bqlib::clock::millis(cut),
                    None => return Ok(Err("its snapshot is gone".to_owned())),
                }
            }
            State::At(ms) => ms,
        };
        if let Some(name) = self.made.get(&ms) {
            let name = name.clone();
            let found = self.read(&name).await?;
            return Ok(found
                .map(|found| Stated::new(&name, &found.meta()))
                .ok_or_else(|| format!("`{name}` is gone")));
        }
        self.make(ms).await
    }

    /// Makes a state beside the table: a clone, or, of a table at the end of a chain of clones, a copy.
    async fn make(&mut self, ms: u64) -> Result<Result<Stated, String>, Failure> {
        let (held, table) = (self.held, self.task.table);
        let (run, at) = (held.id(), from_millis(ms));
        let name = state_name(table, ms, &run)?;
        let number = u32::try_from(self.made.len()).unwrap_or(0) + 1;
        let mut why = String::new();
        if self.ours(&name).await?.is_none() {
            let description = format!("{table} as of {at}, for bq-restore --salvage of run {run}");
            let options = CopyOptions {
                places: &[],
                expires: Some(later(self.api.now(), STATE_FOR)),
                tool: held.tool(),
                run: &run,
                state: sql::STAGED,
                description: &description,
            };
            let clone = sql::stage(&name, table, Verb::Clone, Some(at), &options, self.task.lives);
            let of = Counted::new(table, AsOf::At(at), self.task.found.map(Table::meta).as_ref());
            for text in [clone, query::state(&name, &of, &options)] {
                let ended = held
                    .statement(self.api, Step::Salvage(number), Some(table), self.location, &text)
                    .await?;
                match ended {
                    Ended::Done(_) => break,
                    Ended::Failed(e) if e.reason == "duplicate" => break,
                    Ended::Failed(e) if is_over(&e.reason) => {
                        why = format!("the table's history does not tell ({}: {})", e.reason, e.message);
                    }
                    Ended::Failed(e) => {
                        let failure = of_job_error(&e, &format!("making {name}"), &format!("table {table}"));
                        return Err(failure.about(table));
                    }
                    Ended::Taken(job) => return Err(taken(&job).about(table)),
                }
            }
        }
        let Some(found) = self.ours(&name).await? else {
            let not_ours = format!("`{name}` is not there, or none of ours");
            return Ok(Err(if why.is_empty() { not_ours } else { why }));
        };
        self.made.insert(ms, name.clone());
        Ok(Ok(Stated::new(&name, &found.meta())))
    }

    async fn read(&self, name: &TableRef) -> Result<Option<Table>, Failure> {
        let read = self.api.table(name).await;
        read.map_err(|e| e.failure(&format!("reading {name}")).about(self.task.table))
    }

    async fn ours(&self, name: &TableRef) -> Result<Option<Table>, Failure> {
        let run = self.held.id();
        let found = self.read(name).await?;
        Ok(found.filter(|found| found.label(RUN_LABEL) == Some(run.as_str())))
    }

    /// Copies what the states have that others added, and makes sure that it is all there.
    async fn copy(&self, since: &Since, parts: Vec<(Piece, Apart)>) -> Result<Salvaged, Failure> {
        let (pieces, parts): (Vec<Piece>, Vec<Apart>) = parts.into_iter().unzip();
        let chosen = choose(&pieces, &self.measure(&parts).await?);
        let taken: Vec<&Apart> = chosen.pieces.iter().filter_map(|place| parts.get(*place)).collect();
        let mixed = "rows came while the migration wrote, and cannot be told from its own".to_owned();
        let more = since
            .more()
            .map(str::to_owned)
            .or_else(|| chosen.mixed.then_some(mixed));
        let mut salvaged = Salvaged {
            table: None,
            rows: chosen.rows,
            more: more.filter(|_| chosen.rows > 0),
        };
        if chosen.rows == 0 {
            return Ok(salvaged);
        }
        let name = self.fill(&taken).await?;
        let found = self.lasting(&name).await?;
        let rows = self.count(&name, &found).await?;
        if rows != Some(chosen.rows) {
            let what = format!(
                "`{name}` has {} rows, and {} that others added to `{}` were to be in it",
                rows.map_or_else(|| "unknown".to_owned(), |n| n.to_string()),
                chosen.rows,
                self.task.table
            );
            let hint = "the table was left as it is; a person should look";
            let at = format!("table {}", self.task.table);
            return Err(Failure::new(Exit::Unknown, what, at, hint).about(self.task.table));
        }
        salvaged.table = Some(name);
        Ok(salvaged)
    }

    async fn measure(&self, parts: &[Apart]) -> Result<Vec<Measured>, Failure> {
        let labels = self.held.labels();
        let question = Question {
            what: "salvage",
            location: self.location,
            labels: &labels,
            params: &[],
        };
        let table = self.task.table;
        let failed = |e: bqlib::api::ApiError| {
            e.failure(&format!("looking for what others added to {table}"))
                .about(table)
        };
        let (rows, ..) = count::query(self.api, &question, &query::measure(parts), None)
            .await
            .map_err(failed)?;
        let mut measured = BTreeMap::new();
        for row in &rows {
            let number = |key: &str| row.get(key).and_then(integer);
            if let (Some(i), Some(before), Some(after), Some(added)) =
                (number("i"), number("n_before"), number("n_after"), number("n_added"))
            {
                measured.insert(i, Measured { before, after, added });
            }
        }
        if measured.len() == parts.len() {
            return Ok(measured.into_values().collect());
        }
        let what = format!("BigQuery's answer does not say what was added to `{table}`");
        Err(Failure::new(
            Exit::Retry,
            what,
            format!("table {table}"),
            "run the same command again",
        )
        .about(table))
    }

    /// The table of these rows, under the first name that is free; one that an earlier attempt made of the same is not made twice.
    async fn fill(&self, taken_parts: &[&Apart]) -> Result<TableRef, Failure> {
        let (held, table) = (self.held, self.task.table);
        let run = held.id();
        let description = format!(
            "rows that others than run {run} added to {table}, found in {}",
            self.kept
        );
        let options = CopyOptions {
            places: &[],
            expires: None,
            tool: held.tool(),
            run: &run,
            state: sql::FOREIGN,
            description: &description,
        };
        for number in 1..=NAMES {
            let name = beside(table, "foreign", &run, number)?;
            let text = query::copy(&name, taken_parts, &options);
            let step = Step::Salvage(COPIES + number);
            if held.has_done(step, table, &text) && self.ours(&name).await?.is_some() {
                return Ok(name);
            }
            match held
                .statement(self.api, step, Some(table), self.location, &text)
                .await?
            {
                Ended::Done(_) => return Ok(name),
                Ended::Failed(e) if e.reason == "duplicate" => {}
                Ended::Failed(e) => {
                    let failure = of_job_error(
                        &e,
                        &format!("copying what others added to {table}"),
                        &format!("table {table}"),
                    );
                    return Err(failure.about(table));
                }
                Ended::Taken(job) => return Err(taken(&job).about(table)),
            }
        }
        let what = format!("no name is free for what others added to `{table}`");
        let hint = "remove old copies (label bq-rollback-state: foreign)";
        Err(Failure::refused(what, format!("table {table}"), hint).about(table))
    }

    /// The copy as it is, once no dataset's default lets it expire.
    async fn lasting(&self, name: &TableRef) -> Result<Table, Failure> {
        let gone = || {
            let what = format!("`{name}` is gone right after it was made");
            let at = format!("table {}", self.task.table);
            Failure::new(Exit::Unknown, what, at, "run the same command again").about(self.task.table)
        };
        let found = self.ours(name).await?.ok_or_else(gone)?;
        if found.expires_ms().is_none() {
            return Ok(found);
        }
        self.held.make_last(self.api, Step::Salvage(COPIES), name).await?;
        self.ours(name).await?.ok_or_else(gone)
    }

    async fn count(&self, name: &TableRef, found: &Table) -> Result<Option<u64>, Failure> {
        let counted = Counted::new(name, AsOf::Plain, Some(&found.meta()));
        let location = self.t.location.clone().or_else(|| found.location());
        let counts = count::rows(self.api, &self.held.labels(), &[(counted, location)]).await?;
        Ok(counts.rows.first().copied())
    }

    /// The names of the states that these pieces need beside the table.
    fn names(&self, pieces: &[Piece]) -> Result<BTreeMap<u64, TableRef>, Failure> {
        let states = pieces
            .iter()
            .flat_map(|piece| piece.before.into_iter().chain([piece.after]));
        let instants = states.filter_map(|state| match state {
            State::At(ms) => Some(ms),
            State::Base | State::Kept => None,
        });
        let name = |ms| Ok((ms, state_name(self.task.table, ms, &self.held.id())?));
        instants.map(name).collect()
    }

    /// Takes the states away that were made beside the table.
    async fn clean(&self) -> Result<(), Failure> {
        for (number, name) in (DROPS..).zip(self.made.values()) {
            if self.ours(name).await?.is_none() {
                continue;
            }
            let (table, text) = (self.task.table, sql::drop("TABLE", name));
            let step = Step::Unstage(number);
            match self
                .held
                .statement(self.api, step, Some(table), self.location, &text)
                .await?
            {
                Ended::Done(_) => {}
                // It expires by itself, within the hour.
                Ended::Failed(e) => {
                    if self.t.verbose {
                        self.t
                            .tell(&format!("{name} was not dropped: {} ({})", e.message, e.reason));
                    }
                }
                Ended::Taken(job) => return Err(taken(&job).about(table)),
            }
        }
        Ok(())
    }
}

fn state_name(table: &TableRef, ms: u64, run: &RunId) -> Result<TableRef, Failure> {
    beside(table, &format!("salvaging_at{ms}"), run, 1)
}
