//! `--to-dataset`: the tables of a run made again beside the live ones, for a look: no live table is touched, and the run stays what it is.
//!
//! While a table is not finished it carries our labels and dies in a day; the last call takes the labels off and gives it the options that
//! the table had. So the same command finds what an earlier one left, finishes it, and never touches what is somebody else's.

use std::collections::BTreeMap;
use std::time::Duration;

use bqlib::api::{Api, Table};
use bqlib::clock::later;
use bqlib::exit::{Exit, Failure};
use bqlib::meta::TableMeta;
use bqlib::names::{DatasetId, Location, ProjectId, RunId, TableRef};
use bqlib::perform::{Ended, Held, at_a_time, of_job_error, taken};
use bqlib::plan::Source;
use bqlib::plan::beside::{self as plan, Place, Standing, Target};
use bqlib::plan::restore::{Planned, Request, Seen, has_snapshots, wanted};
use bqlib::record::{Record, Restore, RestoredFrom};
use bqlib::runs;
use bqlib::runs::look;
use bqlib::sql::{self, CopyOptions, Verb};
use bqlib::state::Step;
use bqlib::tool::Tool;

use crate::Args;
use crate::backup::Backups;
use crate::choose::{choose, in_hand};
use crate::extras::Beyond;
use crate::put_back::Task;
use crate::rehearse::rehearse;
use crate::rollback::{Known, task};
use crate::seen::would_be;
use crate::stage::{Beside, is_done, is_over, stage, unstage_own};

/// A look, or a drill.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Put the tables, as they were at the cut, into this dataset beside the live ones; the run stays what it is
    #[arg(long, value_name = "DATASET", conflicts_with_all = ["tables", "pending", "list", "undo", "stage", "clear", "even_accepted", "discard_foreign"])]
    to_dataset: Option<String>,
    /// The project of --to-dataset; without it each table's own
    #[arg(long, value_name = "PROJECT", requires = "to_dataset")]
    to_project: Option<String>,
    /// A drill: make the tables of the newest accepted or pending run (or --run) again as scratch tables, compare and drop them, and say how long the real restore would take
    #[arg(long, conflicts_with_all = ["tables", "pending", "list", "undo", "stage", "clear", "even_accepted", "discard_foreign"])]
    rehearse: bool,
}

impl Flags {
    pub(crate) fn are_given(&self) -> bool {
        self.to_dataset.is_some() || self.rehearse
    }

    fn place(&self) -> Result<Place, Failure> {
        let bad = |flag: &'static str| {
            move |e: bqlib::names::BadName| Failure::usage(e.to_string(), flag, "name one that is there")
        };
        let dataset = self.to_dataset.as_deref().map(str::parse::<DatasetId>).transpose();
        let project = self.to_project.as_deref().map(str::parse::<ProjectId>).transpose();
        Ok(Place {
            dataset: dataset.map_err(bad("--to-dataset"))?,
            project: project.map_err(bad("--to-project"))?,
        })
    }
}

/// A run whose tables are made somewhere, with all that is known of them.
pub(crate) struct Aside<'t> {
    pub(crate) held: Held<'t>,
    pub(crate) targets: Vec<Target>,
    pub(crate) seen: Seen,
}

/// Makes the tables beside the live ones, or rehearses.
pub(crate) async fn beside(t: &Tool, args: &Args, request: &Request) -> Result<Exit, Failure> {
    let place = args.beside.place()?;
    if args.beside.rehearse {
        return rehearse(t, request, &place).await;
    }
    let run = choose(t, args, false)?;
    let api = t.api().await?;
    let aside = open(t, &api, &run, request, &place, "").await?;
    let standings = not_taken(&aside, sql::BESIDE)?;
    let is_finished = |target: &&Target| standings.get(&target.to) == Some(&Standing::Finished);
    let (finished, rest): (Vec<&Target>, Vec<&Target>) = aside.targets.iter().partition(is_finished);
    // Before anything is made: what an earlier attempt had made is there under its name, and has to be as it was.
    let compared = at_a_time(t.jobs.min(100), finished, async |target: &Target| {
        one(t, &api, &aside, target, true).await
    })
    .await;
    let (mut made, failed) = parted(compared);
    if !failed.is_empty() {
        let codes: Vec<Exit> = failed.iter().map(|failure| failure.exit).collect();
        let hint = "no live table was touched";
        return Err(sum_up(t, failed, "nothing was made", &format!("run {run}"), hint).with_exit(plan::exit(0, &codes)));
    }
    if t.dry_run {
        return would(t, &aside);
    }
    let results = at_a_time(t.jobs.min(100), rest, async |target: &Target| {
        one(t, &api, &aside, target, false).await
    })
    .await;
    let (more, failed) = parted(results);
    made.extend(more);
    ended(t, &run, made, failed)
}

/// Says what was made, and how it ended.
fn ended(t: &Tool, run: &RunId, mut made: Vec<Restore>, failed: Vec<Failure>) -> Result<Exit, Failure> {
    made.sort_by(|a, b| a.table.cmp(&b.table));
    let codes: Vec<Exit> = failed.iter().map(|failure| failure.exit).collect();
    let exit = match t.stopped_by() {
        Some(signal) if !failed.is_empty() => Exit::Signal(signal),
        _ => plan::exit(made.len(), &codes),
    };
    let all = tables(made.len() + failed.len());
    for restore in made {
        let _ = t.out.write(&Record::Restore(restore));
    }
    if failed.is_empty() {
        t.tell(&format!(
            "{all} of run {run}, as at the cut, beside the live ones; those were not touched"
        ));
        return Ok(exit);
    }
    let what = format!("of {all} of run `{run}`, {} could not be made", failed.len());
    let hint = "no live table was touched; the same command again goes on";
    Err(sum_up(t, failed, &what, &format!("run {run}"), hint).with_exit(exit))
}

/// So many tables, in words.
pub(crate) fn tables(count: usize) -> String {
    match count {
        1 => "1 table".to_owned(),
        n => format!("{n} tables"),
    }
}

/// What came of each, and what failed.
pub(crate) fn parted<R>(results: Vec<Result<R, Failure>>) -> (Vec<R>, Vec<Failure>) {
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => made.push(one),
            Err(failure) => failed.push(goes_on(failure)),
        }
    }
    (made, failed)
}

/// A failure of a call that a restore makes too, with what goes on here: that is no restore.
fn goes_on(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Retry => Failure {
            hint: "no live table was touched; the same command again goes on".to_owned(),
            ..failure
        },
        _ => failure,
    }
}

/// One failure of several: if there is but one, it is that one, else each is told.
pub(crate) fn sum_up(t: &Tool, mut failed: Vec<Failure>, what: &str, at: &str, hint: &str) -> Failure {
    match failed.pop() {
        Some(only) if failed.is_empty() => Failure {
            what: format!("{what}: {}", only.what),
            hint: match only.hint.starts_with("no live table") {
                true => only.hint,
                false => format!("{hint}; {}", only.hint),
            },
            ..only
        },
        last => {
            failed.extend(last);
            failed.iter().for_each(|failure| t.error(failure));
            Failure::refused(what, at, hint)
        }
    }
}

/// Holds a run that nobody has in hand, and looks at its tables, its snapshots and the names that are to be made.
pub(crate) async fn open<'t>(
    t: &'t Tool,
    api: &Api<'_>,
    run: &RunId,
    request: &Request,
    place: &Place,
    suffix: &str,
) -> Result<Aside<'t>, Failure> {
    in_hand(t, run).await?;
    let held = Held::open(t, run).await?;
    let created = held.run().created.clone();
    has_snapshots(&held.run())?;
    runs::same_home(t, run, &created.endpoint, Some(&created.project), api.project())?;
    let snapshots = wanted(&held.run(), request)?;
    let absent: Vec<TableRef> = snapshots.iter().filter(|s| s.absent).map(|s| s.table.clone()).collect();
    let targets = plan::targets(&held.run(), snapshots, place, suffix)?;
    let _ = t.begin(Some(run), Some(api.project()));
    for table in absent {
        t.tell(&format!(
            "{table} did not exist at the cut: there is nothing to make of it"
        ));
    }
    is_a_place(t, api, place, &targets).await?;
    let all = targets.iter().flat_map(|target| {
        let snapshot = &target.snapshot;
        [&snapshot.table, &target.to].into_iter().chain(&snapshot.snapshot)
    });
    let seen = Seen {
        tables: look(api, t.jobs, all).await?,
        ..Seen::default()
    };
    Ok(Aside { held, targets, seen })
}

/// Refuses (4) a dataset that is not there, or not where the tables are.
async fn is_a_place(t: &Tool, api: &Api<'_>, place: &Place, targets: &[Target]) -> Result<(), Failure> {
    if place.dataset.is_none() {
        return Ok(());
    }
    let datasets: BTreeMap<String, &Target> = targets.iter().map(|t| (t.to.dataset_ref().to_string(), t)).collect();
    for (name, first) in datasets {
        let dataset = first.to.dataset_ref();
        let found = api.dataset(&dataset).await;
        let found = found.map_err(|e| e.failure(&format!("reading the dataset {name}")))?;
        let here = |target: &&Target| target.to.dataset_ref() == dataset;
        let Some(found) = found else {
            let place = t.location.clone().or_else(|| first.snapshot.meta.as_ref()?.location());
            let place = place.map(|place| format!(" --location={place}")).unwrap_or_default();
            let what = format!("there is no dataset `{name}`");
            let hint = format!("bq{place} mk --dataset {}:{}", dataset.project, dataset.dataset);
            return Err(Failure::refused(what, format!("dataset {name}"), hint));
        };
        for target in targets.iter().filter(here) {
            let table = &target.snapshot.table;
            let theirs = target.snapshot.meta.as_ref().and_then(|meta| meta.location());
            if let (Some(is), Some(wants)) = (&found.location, &theirs)
                && !is.is(wants)
            {
                let what =
                    format!("the dataset `{name}` is in {is}, and `{table}` in {wants}: no snapshot leaves its region");
                let hint = format!("name a dataset in {wants}, with `--only` for the tables that are there");
                return Err(Failure::refused(what, format!("dataset {name}"), hint).about(table));
            }
        }
    }
    Ok(())
}

/// What the names stand for; refuses (4) if one is taken.
pub(crate) fn not_taken(aside: &Aside<'_>, state: &str) -> Result<BTreeMap<TableRef, Standing>, Failure> {
    let run = aside.held.run();
    let standing = |target: &Target| {
        let found = aside.seen.tables.get(&target.to).and_then(Option::as_ref);
        (target.to.clone(), plan::standing(&run, &target.to, found, state))
    };
    let standings: BTreeMap<TableRef, Standing> = aside.targets.iter().map(standing).collect();
    let taken: Vec<&TableRef> = standings
        .iter()
        .filter(|(_, standing)| **standing == Standing::Taken)
        .map(|(name, _)| name)
        .collect();
    plan::none_taken(&taken)?;
    Ok(standings)
}

/// `-n`: what would be made.
pub(crate) fn would(t: &Tool, aside: &Aside<'_>) -> Result<Exit, Failure> {
    for target in &aside.targets {
        let planned = plan::planned(&aside.held.run(), &target.snapshot, &aside.seen);
        t.out.write(&Record::Restore(record(aside, target, &planned)))?;
    }
    Ok(Exit::Ok)
}

/// The record of a table that would be made.
pub(crate) fn record(aside: &Aside<'_>, target: &Target, planned: &Planned) -> Restore {
    Restore {
        to: Some(target.to.clone()),
        happened: None,
        ..would_be(&aside.held, planned, target.snapshot.rows)
    }
}

/// What a table is made for that is not to be put in a live one's place.
#[derive(Clone, Copy)]
pub(crate) struct Purpose {
    /// Its step in the journal.
    pub(crate) step: Step,
    /// Its label until it is finished.
    pub(crate) state: &'static str,
    /// How long it lives unless it is finished.
    pub(crate) lives: Duration,
}

/// A table to keep.
const TO_KEEP: Purpose = Purpose {
    step: Step::Beside,
    state: sql::BESIDE,
    lives: Duration::from_secs(24 * 3600),
};

/// Makes one table beside the live one, or goes on where an earlier attempt stopped; one that is finished is only compared. Its record.
async fn one(
    t: &Tool,
    api: &Api<'_>,
    aside: &Aside<'_>,
    target: &Target,
    is_finished: bool,
) -> Result<Restore, Failure> {
    let held = &aside.held;
    let planned = plan::planned(&held.run(), &target.snapshot, &aside.seen);
    let backups = Backups::none(t);
    let known = Known {
        seen: &aside.seen,
        beyond: &Beyond::default(),
        backups: &backups,
        round: held.run().round,
    };
    let task = task(api, held, &planned, &known)?;
    t.go_on("no live table was touched; run the same command again")?;
    let location = task.location(t);
    let making = Making {
        t,
        backups: &backups,
        api,
        held,
        task: &task,
        to: &target.to,
        purpose: TO_KEEP,
        location: location.as_ref(),
    };
    let record = record(aside, target, &planned);
    if is_finished {
        let found = making.read().await?;
        // Whatever an earlier attempt has made of it: that it is as it was is what is asked.
        let mut differences = making.differences(&found, false).await?;
        differences.extend(making.unlike(&found));
        // What it was made of may be there yet.
        unstage_own(api, held, task.table, location.as_ref()).await?;
        return match differences.is_empty() {
            true => Ok(Restore {
                from: RestoredFrom::Unchanged,
                source: None,
                how: Some("made by an earlier attempt; compared".to_owned()),
                ..record
            }),
            false => Err(changed_since(&target.to, &differences)),
        };
    }
    let made = making.make().await?;
    if !made.differences.is_empty() {
        return Err(making.differs(&made.differences));
    }
    making.release(&made.table).await?;
    unstage_own(api, held, task.table, location.as_ref()).await?;
    Ok(Restore {
        from: made.from,
        source: Some(made.source),
        ..record
    })
}

fn changed_since(to: &TableRef, differences: &[String]) -> Failure {
    let what = format!(
        "`{to}` was made earlier, and is not as at the cut: {}",
        differences.join("; ")
    );
    let hint = "take it away, and the same command makes it anew";
    Failure::refused(what, format!("table {to}"), hint).about(to)
}

/// A table in the making, under a name that is nobody's.
pub(crate) struct Making<'a, 'h> {
    pub(crate) backups: &'a Backups,
    pub(crate) t: &'a Tool,
    pub(crate) api: &'a Api<'a>,
    pub(crate) held: &'a Held<'h>,
    pub(crate) task: &'a Task<'a>,
    pub(crate) to: &'a TableRef,
    pub(crate) purpose: Purpose,
    pub(crate) location: Option<&'a Location>,
}

/// A table that was made and compared.
pub(crate) struct Made {
    pub(crate) table: Table,
    pub(crate) from: RestoredFrom,
    pub(crate) source: String,
    /// In rows, columns and layout; empty: it is as at the cut.
    pub(crate) differences: Vec<String>,
    /// How long its statement took, in milliseconds.
    pub(crate) statement_ms: u64,
}

impl Making<'_, '_> {
    /// Makes the table of what a restore would make it of, by the same kind of statement, and compares it.
    pub(crate) async fn make(&self) -> Result<Made, Failure> {
        let table = self.task.table;
        let staged = match self.task.source() {
            Source::History | Source::Backup => {
                Some(stage(self.t, self.api, self.held, self.task, self.backups).await?)
            }
            Source::Clone | Source::Copy => None,
        };
        let (of, verb) = match (&staged, self.task.source(), self.task.snapshot) {
            (Some(staged), ..) => (&staged.name, Verb::Copy),
            (None, Source::Copy, Some(snapshot)) => (snapshot, Verb::Copy),
            (None, _, Some(snapshot)) => (snapshot, Verb::Clone),
            (None, _, None) => {
                let what = format!("`{table}` has no snapshot in the journal");
                let at = format!("table {table}");
                return Err(Failure::refused(what, at, "`bq-restore --list` shows the runs").about(table));
            }
        };
        let began = self.t.clock.elapsed();
        let made = self.copy(of, verb).await?;
        let statement_ms = in_ms(self.t.clock.elapsed().saturating_sub(began));
        let differences = self.differences(&made, true).await?;
        let (from, source) = match staged {
            Some(staged) => (staged.from, staged.source),
            None => (RestoredFrom::Snapshot, of.to_string()),
        };
        Ok(Made {
            table: made,
            from,
            source,
            differences,
            statement_ms,
        })
    }

    /// The table, once it is there: unless it was seen to be made, it is made.
    async fn copy(&self, of: &TableRef, mut verb: Verb) -> Result<Table, Failure> {
        let (held, table, step) = (self.held, self.task.table, self.purpose.step);
        let run = held.id();
        let description = format!("{table} as it was at the cut of run {run}, in the making by bq-restore");
        let options = CopyOptions {
            places: &[],
            expires: Some(later(self.api.now(), self.purpose.lives)),
            tool: held.tool(),
            run: &run,
            state: self.purpose.state,
            description: &description,
        };
        // The job of an earlier attempt may have made what was dropped since: then it is made once more.
        for _ in 0..2 {
            let is_made = held.run().step(step, self.to).is_some_and(is_done);
            if is_made && let Some(there) = self.inside().read(self.to).await? {
                return Ok(there);
            }
            let ended = loop {
                let text = sql::stage(self.to, of, verb, None, &options, self.task.lives);
                match held
                    .statement(self.api, step, Some(self.to), self.location, &text)
                    .await?
                {
                    // Too deep in a chain, or too many clones of one snapshot: then a full copy, as in a restore.
                    Ended::Failed(e) if e.reason == "invalid" && verb == Verb::Clone => verb = Verb::Copy,
                    ended => break ended,
                }
            };
            match ended {
                Ended::Done(_) => {}
                // Of an attempt that the journal lost: whose it is is looked at.
                Ended::Failed(e) if e.reason == "duplicate" => {}
                Ended::Failed(e) => {
                    let failure = of_job_error(&e, &format!("making {}", self.to), &format!("table {}", self.to));
                    let gone = is_over(&e.reason) && failure.exit != Exit::Denied;
                    let exit = if gone { Exit::Refused } else { failure.exit };
                    return Err(failure.with_exit(exit).about(table));
                }
                Ended::Taken(job) => return Err(taken(&job).about(table)),
            }
            if let Some(there) = self.inside().read(self.to).await? {
                return Ok(there);
            }
        }
        self.read().await
    }

    /// The table, which has to be there.
    async fn read(&self) -> Result<Table, Failure> {
        self.inside().read(self.to).await?.ok_or_else(|| {
            let what = format!("`{}` is gone right after it was made", self.to);
            let hint = "look at who dropped it, then run the same command again";
            Failure::refused(what, format!("table {}", self.to), hint).about(self.task.table)
        })
    }

    /// What compares it, as a table that is made beside a live one before that is replaced is compared.
    fn inside(&self) -> Beside<'_, '_> {
        Beside {
            t: self.t,
            api: self.api,
            held: self.held,
            task: self.task,
            location: self.location,
            number: 1,
            backups: self.backups,
        }
    }

    /// How it differs from the cut in rows, columns and layout; and, while it is labelled, in whose it is.
    async fn differences(&self, made: &Table, labelled: bool) -> Result<Vec<String>, Failure> {
        self.inside().differences(made, self.to, labelled).await
    }

    /// What it shall be: the table at the cut, but for an expiry that has passed, of which it would die at once.
    fn wanted(&self) -> TableMeta {
        self.task.before.without_past_expiry(self.api.now())
    }

    /// How it differs from what it shall be, rows apart.
    fn unlike(&self, now: &Table) -> Vec<String> {
        let differences = self.wanted().differences(&now.meta());
        differences.iter().map(ToString::to_string).collect()
    }

    /// The last call: its options, and our labels off it. Then it is compared with all of the cut.
    async fn release(&self, made: &Table) -> Result<(), Failure> {
        if let Some(body) = self.wanted().options_patch(&made.meta()) {
            self.held.patch(self.api, Step::Release, self.to, &body).await?;
        }
        let differences = self.unlike(&self.read().await?);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(self.differs(&differences)),
        }
    }

    fn differs(&self, differences: &[String]) -> Failure {
        let what = format!("`{}` differs from the cut: {}", self.to, differences.join("; "));
        let hint = "a person should look at the snapshot; no live table was touched";
        Failure::new(Exit::Unknown, what, format!("table {}", self.to), hint).about(self.task.table)
    }
}

/// Whole milliseconds.
pub(crate) fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
