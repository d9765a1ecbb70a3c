//! What BigQuery answers about the statements of the files, each by itself, before anything is submitted.

use std::cell::Cell;
use std::collections::BTreeMap;

use bqlib::api::{Api, ApiError, Job, Kind, Limits, QueryJob};
use bqlib::exit::{Exit, Failure};
use bqlib::foresight::{
    Ask, History, MOST, Named, Piece, Reading, Said, Script, Verdict, distinct, other_reading, verdict,
};
use bqlib::names::Location;
use bqlib::perform::at_a_time;
use bqlib::place::Told;
use bqlib::plan::foresee::There;
use bqlib::script::Statement;
use bqlib::sql::Labels;
use bqlib::tool::Tool;

use crate::foresight::{Read, query_job};
use crate::{Setting, look};

/// BigQuery's answer about a statement.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Bytes it would process.
    pub(crate) bytes: Option<u64>,
    /// What BigQuery takes it for, if it is another thing than it was read as.
    pub(crate) reading: Option<Reading>,
    /// BigQuery's word for why not, if it finds it wrong.
    pub(crate) reason: Option<String>,
}

impl Answer {
    fn of(verdict: Verdict) -> Answer {
        Answer {
            verdict,
            bytes: None,
            reading: None,
            reason: None,
        }
    }
}

/// What BigQuery answered about a file.
pub(crate) struct Answers {
    pub(crate) statements: Vec<Answer>,
    /// What is wrong with the file, where it does not say at which statement.
    pub(crate) wrong: Option<String>,
}

/// What BigQuery answered about the files.
pub(crate) struct Asked {
    pub(crate) files: Vec<Answers>,
    pub(crate) places: Vec<Option<Location>>,
}

/// Asks BigQuery about each file as a whole, and then about each statement that it did not reach so.
pub(crate) async fn ask(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    setting: &Setting,
    location: Option<&Location>,
    read: &[Read<'_>],
    there: &There,
) -> Result<Asked, Failure> {
    let mut history = History::default();
    let (mut files, mut places) = (Vec::new(), Vec::new());
    let mut left = MOST;
    for file in read {
        history.begin_file(&file.source.name);
        let script = Script::new(&file.source.sql, file.statements);
        let id = look::dry_run_id(api)?;
        let whole = query_job(labels.clone(), setting, file.source, id, location.cloned());
        let answered = api.dry_run(&whole).await;
        let mut place = answered.as_ref().ok().and_then(Job::location);
        let doing = format!("checking {}", file.source.name);
        let whole_said = said(&answered, |told| told.offset(&file.source.sql)).map_err(|e| e.failure(&doing))?;
        let targets = targets(file, &script, history.clone(), there);
        let mut asks = script.asks(&setting.params, &targets.keys().copied().collect());
        let at = location.or(place.as_ref()).cloned();
        let pieces = ask_pieces(t, api, &whole, at, (&mut asks, &mut left)).await?;
        let mut answers = Vec::new();
        for (number, statement) in file.statements.iter().enumerate() {
            let deeds = &file.deeds[number];
            let answer = match &asks[number] {
                Ask::NoNeed => Answer::of(Verdict::NoNeed),
                Ask::Unknowable(why) => Answer::of(Verdict::NotKnowable(why.clone())),
                Ask::Whole | Ask::Piece(_) => {
                    let (said, answered, piece) = match (&asks[number], pieces.get(&number)) {
                        (Ask::Piece(piece), Some(answered)) => {
                            let at = |told: &Told<'_>| piece.sent.origin(told.offset(&piece.sent.sql)?);
                            place = place.or_else(|| answered.as_ref().ok().and_then(Job::location));
                            let said = said(answered, at).map_err(|e| e.failure(&doing))?;
                            (said, answered, Some(piece))
                        }
                        _ => (whole_said.clone(), &answered, None),
                    };
                    let own = std::slice::from_ref(&statement.range);
                    let named = Named::of(&script, statement, deeds, piece.map_or(own, |piece| &piece.asked));
                    let target = targets.get(&number);
                    let under = history.under(&named).or_else(|| Some(history.target(&named)?.0));
                    let stops = piece.and_then(|piece| piece.stops_early.as_ref());
                    let stops = stops.or(target.filter(|(_, tells)| !tells).map(|(why, _)| why));
                    let verdict = verdict(
                        &said,
                        under,
                        |reads| history.beneath(reads),
                        |message| history.excuse(Some(&named), message),
                        stops,
                        || script.may_not_run(number),
                    );
                    if let (Verdict::Wrong(..), Err(e)) = (&verdict, answered)
                        && e.exit() != Exit::Refused
                    {
                        return Err(e.failure(&doing));
                    }
                    let is_itself = piece.is_none_or(|piece| piece.is_itself);
                    let job = answered.as_ref().ok().filter(|_| is_itself);
                    Answer {
                        verdict,
                        bytes: bytes_of(&said),
                        reason: reason(answered.as_ref().err()),
                        reading: job
                            .and_then(|job| other_reading(statement.kind, deeds, job.statement_type(), job.written())),
                    }
                }
            };
            history.note(&script, (number + 1, statement), deeds, |thing| there.has(thing));
            answers.push(answer);
        }
        let failed = answered.as_ref().err();
        let wrong = doubt(file, &script, &history, &whole_said, failed, &mut answers)?;
        if t.verbose {
            let tally = bqlib::foresight::tally(answers.iter().map(|answer| &answer.verdict));
            t.tell(&format!(
                "{}: {} % of what needs validation is validated",
                file.source.name,
                tally.percent()
            ));
        }
        files.push(Answers {
            statements: answers,
            wrong,
        });
        places.push(place);
    }
    Ok(Asked { files, places })
}

/// The statements of which only the target will be another than it is now, so that their query can be asked about: why, and whether that
/// tells all there is to know.
fn targets(
    file: &Read<'_>,
    script: &Script<'_>,
    mut history: History,
    there: &There,
) -> BTreeMap<usize, (String, bool)> {
    let mut found = BTreeMap::new();
    for (number, (statement, deeds)) in file.statements.iter().zip(&file.deeds).enumerate() {
        let named = Named::of(script, statement, deeds, std::slice::from_ref(&statement.range));
        if history.under(&named).is_none()
            && let Some(target) = history.target(&named)
            && script.query_of(number).is_some()
        {
            found.insert(number, target);
        }
        history.note(script, (number + 1, statement), deeds, |thing| there.has(thing));
    }
    found
}

/// What BigQuery finds wrong with a file as a whole, where none of its statements was found wrong by itself: the statement at the place that
/// it names is, or else this message is of the file.
fn doubt(
    file: &Read<'_>,
    script: &Script<'_>,
    history: &History,
    whole: &Said,
    failed: Option<&ApiError>,
    answers: &mut [Answer],
) -> Result<Option<String>, Failure> {
    let Said::Wrong { at, .. } = whole else {
        return Ok(None);
    };
    if answers
        .iter()
        .any(|answer| matches!(answer.verdict, Verdict::Wrong(..)))
    {
        return Ok(None);
    }
    let of = |is: &dyn Fn(&Statement) -> bool| file.statements.iter().rposition(is);
    // What is at the end of a file is in none, and said of the last.
    let number = at.and_then(|at| of(&|s| s.range.contains(&at)).or_else(|| of(&|s| s.range.start <= at)));
    let number = number.or((file.statements.len() == 1).then_some(0));
    let named = number.map(|number| {
        let statement = &file.statements[number];
        Named::of(
            script,
            statement,
            &file.deeds[number],
            std::slice::from_ref(&statement.range),
        )
    });
    let verdict = verdict(
        whole,
        None,
        |_| None,
        |message| history.excuse(named.as_ref(), message),
        None,
        || script.may_not_run(number?),
    );
    let known = number.map(|number| &mut answers[number]);
    match (verdict, known) {
        (Verdict::Wrong(..), _) if failed.is_some_and(|e| e.exit() != Exit::Refused) => match failed {
            Some(e) => Err(e.failure(&format!("checking {}", file.source.name))),
            None => Ok(None),
        },
        (Verdict::Wrong(why, _), None) => Ok(Some(why)),
        (found @ Verdict::Wrong(..), Some(known)) => {
            known.reason = reason(failed);
            known.verdict = found;
            Ok(None)
        }
        (found @ Verdict::MayFail(..), Some(known))
            if matches!(known.verdict, Verdict::Validated | Verdict::NoNeed) =>
        {
            known.verdict = found;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Asks about the pieces of a file, each text once, several at a time; no more are begun once one has failed for another reason than its SQL.
async fn ask_pieces(
    t: &Tool,
    api: &Api<'_>,
    whole: &QueryJob,
    location: Option<Location>,
    (asks, left): (&mut [Ask], &mut usize),
) -> Result<BTreeMap<usize, Result<Job, ApiError>>, Failure> {
    const LEFT: &str = "nothing was submitted; run the same line again";
    let groups = distinct(asks, left);
    let failed = Cell::new(false);
    t.go_on(LEFT)?;
    let ask = async |same: &Vec<usize>| {
        let piece = same.first().and_then(|number| match &asks[*number] {
            Ask::Piece(piece) => Some(piece),
            _ => None,
        });
        if t.stopped_by().is_some() || failed.get() {
            return None;
        }
        let answered = api.dry_run(&job_of(piece?, whole, location.clone())).await;
        failed.set(failed.get() || answered.as_ref().is_err_and(|e| !is_of_the_sql(e)));
        Some((same.clone(), answered))
    };
    let answered = at_a_time(t.jobs, &groups, ask).await;
    t.go_on(LEFT)?;
    let all = answered.into_iter().flatten();
    Ok(all
        .flat_map(|(same, answered)| same.into_iter().map(move |number| (number, answered.clone())))
        .collect())
}

/// The dry run of a piece: it runs as the file does, but what limits the job limits all of its statements together.
fn job_of(piece: &Piece, whole: &QueryJob, location: Option<Location>) -> QueryJob {
    QueryJob {
        params: piece.params.clone(),
        limits: Limits {
            default_dataset: whole.limits.default_dataset.clone(),
            ..Limits::default()
        },
        ..QueryJob::plain(whole.id.clone(), location, piece.sent.sql.clone(), whole.labels.clone())
    }
}

fn reason(failed: Option<&ApiError>) -> Option<String> {
    failed.and_then(ApiError::reason).map(str::to_owned)
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
        Err(e) if is_of_the_sql(e) => {
            let text = e.to_string();
            let told = Told::of(&text);
            Ok(Said::Wrong {
                at: told.as_ref().and_then(at),
                unsupported: e.status() == Some(501),
                message: told.map_or_else(|| text.clone(), |told| format!("{}{}", told.before, told.after)),
            })
        }
        Err(e) => Err(e.clone()),
    }
}

/// Whether it is the SQL that was refused, or its dry run; anything else befalls all that is asked.
fn is_of_the_sql(e: &ApiError) -> bool {
    let refused = matches!(e.kind, Kind::Answer { .. }) && matches!(e.exit(), Exit::Refused | Exit::Denied);
    refused || e.status() == Some(501)
}
