//! What the files would do, and what BigQuery finds wrong with them, before anything is submitted.

use std::collections::BTreeMap;

use bqlib::api::{Api, ApiError, Job, Kind, Limits, QueryJob};
use bqlib::exit::{Exit, Failure};
use bqlib::foresight::{Ask, Deeds, History, Said, Script, Verdict, deeds, lint, verdict};
use bqlib::names::{JobId, Location, TableRef};
use bqlib::perform::at_a_time;
use bqlib::place::Told;
use bqlib::plan::foresee::{Given, There, objections, refusal};
use bqlib::record::{Foreseen, Migration, MigrationState, Record, Snapshot};
use bqlib::script::Statement;
use bqlib::source::Source;
use bqlib::sql::{self, Labels};
use bqlib::stream::{self, Stream};
use bqlib::tool::Tool;
use serde_json::Value;

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
    let mut refused = guarded(&read, &given, &there);
    let mut files = Vec::new();
    for (i, file) in read.iter().enumerate() {
        let answers = asked.as_ref().map(|asked| asked.files[i].as_slice());
        files.push(foreseen::of_file(file, answers, (&given, &there), setting.price));
    }
    let before = look::before_image(t, api, &read, snapshots, &there).await;
    for (i, file) in read.iter().enumerate() {
        for trap in lint::traps(&file.source.sql, &file.statements, &file.deeds, &before) {
            let failure = Failure::refused(trap.what.clone(), "", trap.next);
            let failure = Failure {
                at: file.source.place(trap.at).to_string(),
                ..failure
            };
            files[i]
                .traps
                .push(format!("line {}: {}", file.source.place(trap.at).line, trap.what));
            t.warn(&failure);
            if setting.strict {
                refused = refused.or(Some(failure));
            }
        }
    }
    if let Some(asked) = &asked {
        refused = refused.or_else(|| foreseen::not_enough(&read, &asked.files, setting.min_coverage));
        if let Some(wrong) = foreseen::wrong(&read, &asked.files) {
            // Of two codes the graver one is said; what else was found is in the records.
            refused = refused.or(Some(wrong));
        }
    }
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

fn guarded(read: &[Read<'_>], given: &Given, there: &There) -> Option<Failure> {
    let of_file = |(i, file): (usize, &Read<'_>)| objections(i, &file.statements, &file.deeds, given, there);
    let all: Vec<_> = read.iter().enumerate().flat_map(of_file).collect();
    let failure = refusal(&all, |objection| {
        read[objection.file].source.place(objection.at).to_string()
    })?;
    let first = all.first()?;
    Some(failure.pointing(read[first.file].source.context(first.at)))
}

/// BigQuery's answer about a statement.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Bytes it would process.
    pub(crate) bytes: Option<u64>,
}

/// What BigQuery answered about each statement of each file.
struct Answers {
    files: Vec<Vec<Answer>>,
    places: Vec<Option<Location>>,
}

/// Asks BigQuery about each file as a whole, and then about each statement that it did not reach so.
async fn ask(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    setting: &Setting,
    location: Option<&Location>,
    read: &[Read<'_>],
    there: &There,
) -> Result<Answers, Failure> {
    let mut history = History::default();
    let (mut files, mut places) = (Vec::new(), Vec::new());
    for file in read {
        history.begin_file(&file.source.name);
        let script = Script::new(&file.source.sql, &file.statements);
        let id = look::dry_run_id(api)?;
        let whole = query_job(labels.clone(), setting, file.source, id, location.cloned());
        let answered = api.dry_run(&whole).await;
        let mut place = answered.as_ref().ok().and_then(Job::location);
        let doing = format!("checking {}", file.source.name);
        let whole_said = said(&answered, |told| told.offset(&file.source.sql)).map_err(|e| e.failure(&doing))?;
        let asks = script.asks(&setting.params);
        let at = location.or(place.as_ref()).cloned();
        let pieces = ask_pieces(t, api, &whole, at, &asks).await?;
        let mut answers = Vec::new();
        for (number, statement) in file.statements.iter().enumerate() {
            let deeds = &file.deeds[number];
            let answer = match &asks[number] {
                Ask::NoNeed => (Verdict::NoNeed, None),
                Ask::Unknowable(why) => (Verdict::NotKnowable(why.clone()), None),
                Ask::Whole | Ask::Piece(_) => {
                    let (said, denied, stops) = match (&asks[number], pieces.get(&number)) {
                        (Ask::Piece(piece), Some(answered)) => {
                            let at = |told: &Told<'_>| piece.sent.origin(told.offset(&piece.sent.sql)?);
                            place = place.or_else(|| answered.as_ref().ok().and_then(Job::location));
                            let said = said(answered, at).map_err(|e| e.failure(&doing))?;
                            (said, answered.as_ref().err(), piece.stops_early.as_ref())
                        }
                        _ => (whole_said.clone(), answered.as_ref().err(), None),
                    };
                    let under = history.under(&script, &statement.range, deeds);
                    let words = script.names_in(&statement.range);
                    let beneath = |reads: &_| history.beneath(reads);
                    let verdict = verdict(&said, under, beneath, |m| history.excuse(&words, m), stops);
                    if let (Verdict::Wrong(..), Some(e)) = (&verdict, denied)
                        && e.exit() != Exit::Refused
                    {
                        return Err(e.failure(&doing));
                    }
                    (verdict, bytes_of(&said))
                }
            };
            history.note(&script, (number + 1, statement), deeds, |thing| there.has(thing));
            let (verdict, bytes) = answer;
            answers.push(Answer { verdict, bytes });
        }
        doubt(
            file,
            &script,
            &history,
            &whole_said,
            answered.as_ref().err(),
            &mut answers,
        )?;
        if t.verbose {
            let tally = bqlib::foresight::tally(answers.iter().map(|answer| &answer.verdict));
            t.tell(&format!(
                "{}: {} % of what needs validation is validated",
                file.source.name,
                tally.percent()
            ));
        }
        files.push(answers);
        places.push(place);
    }
    Ok(Answers { files, places })
}

/// What BigQuery finds wrong with a file as a whole, where none of its statements was found wrong by itself.
fn doubt(
    file: &Read<'_>,
    script: &Script<'_>,
    history: &History,
    whole: &Said,
    failed: Option<&ApiError>,
    answers: &mut [Answer],
) -> Result<(), Failure> {
    let Said::Wrong { message, at, .. } = whole else {
        return Ok(());
    };
    if answers
        .iter()
        .any(|answer| matches!(answer.verdict, Verdict::Wrong(..)))
    {
        return Ok(());
    }
    let inside = |statement: &Statement| at.is_some_and(|at| statement.range.contains(&at));
    let number = file.statements.iter().rposition(inside).unwrap_or(0);
    let Some(statement) = file.statements.get(number) else {
        return Ok(());
    };
    let words = at.map(|_| script.names_in(&statement.range)).unwrap_or_default();
    let verdict = verdict(whole, None, |_| None, |message| history.excuse(&words, message), None);
    if let Verdict::Wrong(..) = verdict {
        if let Some(e) = failed.filter(|e| e.exit() != Exit::Refused) {
            return Err(e.failure(&format!("checking {}", file.source.name)));
        }
        answers[number].verdict = Verdict::Wrong(message.clone(), *at);
    }
    Ok(())
}

/// Asks about the pieces of a file, each text once, several at a time.
async fn ask_pieces(
    t: &Tool,
    api: &Api<'_>,
    whole: &QueryJob,
    location: Option<Location>,
    asks: &[Ask],
) -> Result<BTreeMap<usize, Result<Job, ApiError>>, Failure> {
    let mut texts: BTreeMap<(&str, String), Vec<usize>> = BTreeMap::new();
    let mut jobs: Vec<(usize, QueryJob)> = Vec::new();
    for (number, ask) in asks.iter().enumerate() {
        let Ask::Piece(piece) = ask else { continue };
        let same = texts
            .entry((&piece.sent.sql, Value::from(piece.params.clone()).to_string()))
            .or_default();
        same.push(number);
        if same.len() == 1 {
            let job = QueryJob {
                sql: piece.sent.sql.clone(),
                params: piece.params.clone(),
                location: location.clone(),
                // What limits the job limits all of its statements together.
                limits: Limits {
                    default_dataset: whole.limits.default_dataset.clone(),
                    ..Limits::default()
                },
                ..whole.clone()
            };
            jobs.push((number, job));
        }
    }
    t.go_on("nothing was submitted; run the same line again")?;
    let ask = async |(number, job): &(usize, QueryJob)| (*number, api.dry_run(job).await);
    let mut answered: BTreeMap<usize, Result<Job, ApiError>> =
        at_a_time(t.jobs, &jobs, ask).await.into_iter().collect();
    for same in texts.values() {
        for other in &same[1..] {
            if let Some(first) = answered.get(&same[0]).cloned() {
                answered.insert(*other, first);
            }
        }
    }
    Ok(answered)
}

fn bytes_of(said: &Said) -> Option<u64> {
    match said {
        Said::Fine { bytes, .. } => *bytes,
        Said::Wrong { .. } => None,
    }
}

/// What an answer says of the SQL.
///
/// # Errors
/// It says nothing of it: BigQuery or the network failed.
fn said(answered: &Result<Job, ApiError>, at: impl Fn(&Told<'_>) -> Option<usize>) -> Result<Said, ApiError> {
    match answered {
        Ok(job) => Ok(Said::Fine {
            bytes: job.bytes_processed(),
            reads: job.reads(),
        }),
        Err(e) if matches!(e.kind, Kind::Answer { .. }) && matches!(e.exit(), Exit::Refused | Exit::Denied) => {
            let text = e.to_string();
            let told = Told::of(&text);
            Ok(Said::Wrong {
                at: told.as_ref().and_then(at),
                unsupported: e.status() == Some(501),
                message: told.map_or_else(|| text.clone(), |told| format!("{}{}", told.before, told.after)),
            })
        }
        Err(e) if e.status() == Some(501) => Ok(Said::Wrong {
            message: e.to_string(),
            at: None,
            unsupported: true,
        }),
        Err(e) => Err(e.clone()),
    }
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
