//! What the files would do, and what BigQuery finds wrong with them, before anything is submitted.

use bqlib::api::{Api, QueryJob};
use bqlib::exit::{Exit, Failure};
use bqlib::foresight::{Deeds, Verdict, deeds, is_of_the_syntax, lint};
use bqlib::names::{JobId, Location, TableRef};
use bqlib::plan::foresee::{Given, Objection, There, misread, objections, refusal};
use bqlib::record::{Foreseen, Migration, MigrationState, Record, Snapshot};
use bqlib::script::{Kind, Statement};
use bqlib::source::Source;
use bqlib::sql::{self, Labels};
use bqlib::stream::{self, Stream};
use bqlib::tool::Tool;

use crate::asked::{Answers, ask};
use crate::submit::places;
use crate::{Setting, foreseen, look};

pub(crate) fn query_job(
    mut labels: Labels,
    setting: &Setting,
    source: &Source,
    id: JobId,
    location: Option<Location>,
) -> QueryJob {
    labels.extend(setting.labels.iter().cloned());
    QueryJob {
        params: setting.params.clone(),
        limits: setting.limits.clone(),
        ..QueryJob::plain(id, location, source.sql.clone(), labels)
    }
}

/// The record of a file before it has run.
pub(crate) fn record_of(
    run: &bqlib::names::RunId,
    setting: &Setting,
    source: &Source,
    state: MigrationState,
) -> Migration {
    Migration {
        run: run.clone(),
        source: source.name.clone(),
        sha256: source.sha256.clone(),
        job: None,
        location: None,
        state,
        statements: Vec::new(),
        allowed: setting.guards.allowed.clone(),
        bytes_billed: None,
        slot_ms: None,
        ms: None,
        error: None,
        foreseen: None,
        allowed_datasets: setting.guards.datasets_here.clone(),
        unforeseen: Vec::new(),
    }
}

/// A file with its statements.
pub(crate) struct Read<'s> {
    pub(crate) source: &'s Source,
    pub(crate) statements: &'s [Statement],
    pub(crate) deeds: Vec<Deeds>,
}

/// What was foreseen of all files.
pub(crate) struct Foresight {
    /// Where each file runs, as far as its dry run told; empty: none was asked about.
    pub(crate) places: Vec<Option<Location>>,
    /// Of each file.
    pub(crate) files: Vec<Foreseen>,
    /// Why nothing may be submitted.
    pub(crate) refused: Option<Failure>,
}

impl Foresight {
    /// The tables that a file was foreseen to write.
    pub(crate) fn writes(&self, file: usize) -> impl Iterator<Item = &str> {
        let statements = self.files.get(file).map_or(&[][..], |file| file.statements.as_slice());
        let effects = statements.iter().flat_map(|statement| &statement.effects);
        effects
            .filter(|effect| effect.object == "table")
            .map(|effect| effect.name.as_str())
    }
}

/// Foresees all files: looks at what they write, lets BigQuery validate each statement, and says what keeps them from being run.
pub(crate) async fn foresee(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    setting: &Setting,
    location: Option<&Location>,
    (snapshots, unprotected): (&[Snapshot], bool),
) -> Result<Foresight, Failure> {
    let read = read(api, setting);
    let given = Given {
        protected: snapshots.iter().map(|s| s.table.clone()).collect(),
        snapshots: snapshots.iter().filter_map(|s| s.snapshot.clone()).collect(),
        allowed: setting.guards.allowed.iter().cloned().collect(),
        allowed_datasets: setting.guards.datasets.clone(),
        irreversible: setting.guards.irreversible,
        opaque: setting.guards.opaque,
        unprotected,
    };
    let mut there = look::at_what_is_written(t, api, &read, &given).await?;
    there.protected = snapshots
        .iter()
        .filter(|s| !s.absent)
        .map(|s| s.table.clone())
        .collect();
    let asked = match setting.foresight {
        true => Some(ask(t, api, labels, setting, location, &read, &there).await?),
        false => None,
    };
    let none = Vec::new();
    let answers = asked.as_ref().map_or(&none, |asked| &asked.files);
    let mut refused = guarded(&read, answers, &given, &there);
    let mut files = Vec::new();
    for (i, file) in read.iter().enumerate() {
        let answers = answers.get(i).map(|answers| answers.statements.as_slice());
        files.push(foreseen::of_file(file, answers, (&given, &there), setting.price));
    }
    let before = look::before_image(t, api, &read, snapshots, &there).await;
    for (i, file) in read.iter().enumerate() {
        for trap in lint::traps(&file.source.sql, file.statements, &file.deeds, &before) {
            let place = file.source.place(trap.at);
            files[i].traps.push(format!("line {}: {}", place.line, trap.what));
            let failure = Failure::refused(trap.what, place.to_string(), trap.next.clone());
            t.warn(&failure);
            if setting.strict && refused.is_none() {
                let hint = format!("{}; nothing was submitted", trap.next);
                refused = Some(Failure { hint, ..failure }.pointing(file.source.context(trap.at)));
            }
        }
    }
    // Of two codes the graver one is said; what else was found is in the records.
    for may_fail in foreseen::may_fail(&read, answers) {
        t.warn(&may_fail);
        if setting.strict {
            refused = refused.or(Some(may_fail));
        }
    }
    // That too little could be validated says nothing next to what is wrong.
    refused = refused
        .or_else(|| foreseen::wrong(&read, answers))
        .or_else(|| foreseen::not_enough(&read, answers, setting.min_coverage));
    Ok(Foresight {
        places: asked.map(|asked| asked.places).unwrap_or_default(),
        files,
        refused,
    })
}

fn read<'s>(api: &Api<'_>, setting: &'s Setting) -> Vec<Read<'s>> {
    let default = setting.limits.default_dataset.as_ref();
    let read = |source: &'s Source| Read {
        source,
        statements: &source.statements,
        deeds: deeds(&source.sql, &source.statements, api.project(), default),
    };
    setting.sources.iter().map(read).collect()
}

fn guarded(read: &[Read<'_>], answers: &[Answers], given: &Given, there: &There) -> Option<Failure> {
    let mut all: Vec<Objection> = Vec::new();
    for (i, file) in read.iter().enumerate() {
        let answers = answers.get(i).map_or(&[][..], |answers| answers.statements.as_slice());
        // A script that BigQuery cannot read does nothing: what is wrong with it helps more than that it was not understood here.
        let unread = answers
            .iter()
            .any(|answer| matches!(&answer.verdict, Verdict::Wrong(why, _) if is_of_the_syntax(why)));
        let found = objections(i, &file.source.sql, file.statements, &file.deeds, given, there);
        all.extend(
            found
                .into_iter()
                .filter(|one| !unread || file.statements[one.statement].kind != Kind::Opaque),
        );
        for (number, answer) in answers.iter().enumerate() {
            let reading = answer.reading.as_ref();
            all.extend(reading.and_then(|reading| misread((i, number), &file.statements[number], reading, given)));
        }
    }
    let failure = refusal(&all, |objection| {
        read[objection.file].source.place(objection.at).to_string()
    })?;
    let first = all.first()?;
    Some(failure.pointing(read[first.file].source.context(first.at)))
}

/// `-n`: the same guards and the dry run, and records that say so.
pub(crate) async fn plan_only(
    t: &Tool,
    api: &Api<'_>,
    stream: &Stream,
    setting: &Setting,
    location: Option<Location>,
) -> Result<Exit, Failure> {
    let run = stream
        .run
        .clone()
        .ok_or_else(|| stream::broken("it names no run", "begin the line with bq-snap"))?;
    let labels = sql::labels(t.name, Some(&run));
    let of = (stream.snapshots.as_slice(), false);
    let foresight = foresee(t, api, &labels, setting, location.as_ref(), of).await?;
    write_plans(t, &run, setting, &foresight)?;
    if let Some(refused) = foresight.refused {
        return Err(refused);
    }
    places(t, api, &labels, setting, location, &stream.snapshots, &foresight.places).await?;
    Ok(Exit::Ok)
}

/// The records of what is not to be run, for `-n` or because it is refused, before it is said why: a person sees all of
/// it.
pub(crate) fn write_plans(
    t: &Tool,
    run: &bqlib::names::RunId,
    setting: &Setting,
    foresight: &Foresight,
) -> Result<(), Failure> {
    let state = match t.dry_run {
        true => MigrationState::Planned,
        false => MigrationState::Refused,
    };
    for (source, foreseen) in setting.sources.iter().zip(&foresight.files) {
        let mut record = record_of(run, setting, source, state);
        match t.dry_run {
            true => record.bytes_billed = foreseen.bytes,
            false => {
                let why = foresight.refused.as_ref();
                record.error = why.map(|refused| format!("{} at {}", refused.what, refused.at));
            }
        }
        record.foreseen = Some(Box::new(foreseen.clone()));
        t.out.write(&Record::Migration(record))?;
    }
    Ok(())
}

/// The tables that a file wrote and was not foreseen to.
pub(crate) fn unforeseen(record: &Migration, foresight: &Foresight, file: usize) -> Vec<TableRef> {
    let foreseen: Vec<&str> = foresight.writes(file).collect();
    let mut found: Vec<TableRef> = Vec::new();
    for (_, table) in bqlib::migration::writes(&record.statements) {
        if !foreseen.contains(&table.to_string().as_str()) && !found.contains(table) {
            found.push(table.clone());
        }
    }
    found
}
