//! The preflight before the first snapshot: one question about rights for each dataset, and what the listings that were
//! made anyway say. What the answers mean is decided in `rights`, `preflight` and `limits`.

use std::collections::{BTreeMap, BTreeSet};

use bqlib::api::{Api, Kind, Listed};
use bqlib::exit::Failure;
use bqlib::names::{DatasetRef, RunId, TableRef};
use bqlib::perform::at_a_time;
use bqlib::rivals::Shared;
use bqlib::state::Run;
use bqlib::tool::Tool;

use crate::absent::Absent;
use crate::limits::{self, Made};
use crate::planning::{Datasets, Planned, tell_all};
use crate::preflight::{self, Finding};
use crate::rights::{self, Answer, Place, Right};

/// What is known before anything more is asked.
pub(crate) struct Known<'a> {
    pub(crate) planned: &'a [Planned],
    pub(crate) absent: &'a [Absent],
    pub(crate) datasets: &'a Datasets,
    /// What is where the snapshots are to be.
    pub(crate) beside: &'a [Listed],
    pub(crate) shared: &'a [Shared],
    pub(crate) runs: &'a [Run],
    /// The run that is to be made.
    pub(crate) run: &'a RunId,
    /// Whether snapshots expire.
    pub(crate) expire: bool,
}

/// Refuses (4) a run that could not be undone, everything that is wrong being named; asks once a dataset.
pub(crate) async fn preflight(t: &Tool, api: &Api<'_>, known: &Known<'_>) -> Result<(), Failure> {
    let mut findings = of_facts(t, api, known);
    let mut questions: Vec<Question> = samples(known.planned)
        .into_iter()
        .map(|(on, of)| Question {
            on,
            of: Some(of),
            wanted: rights::on_table(is_apart(known), false),
        })
        .collect();
    questions.extend(of_snapshots(known, false));
    let answers = ask_all(t, api, &questions).await?;
    let (of_rights, _) = judge(t, &questions, &answers);
    findings.extend(of_rights);
    let (refusals, warnings): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(|f| f.refuses);
    for warning in &warnings {
        t.warn(&warning.failure);
    }
    let mut refusals: Vec<Failure> = refusals.into_iter().map(|f| f.failure).collect();
    if let Some(last) = refusals.last_mut() {
        last.hint = format!("{}; or, if you know better: `--no-preflight`", last.hint);
    }
    tell_all(t, refusals)
}

/// What follows from what is known already: of datasets, places and numbers.
pub(crate) fn of_facts(t: &Tool, api: &Api<'_>, known: &Known<'_>) -> Vec<Finding> {
    let of_tables = known.planned.iter().filter_map(|p| {
        let here = p.found.location();
        preflight::of_location(&p.table, here.as_ref(), t.location.as_ref())
    });
    let of_absent = known.absent.iter().filter_map(|a| {
        let dataset = known.datasets.get(&a.table.dataset_ref())?;
        preflight::of_location(&a.table, dataset.location.as_ref(), t.location.as_ref())
    });
    let mut findings: Vec<Finding> = of_tables.chain(of_absent).collect();
    for (name, dataset) in known.datasets {
        if known.planned.iter().any(|p| p.snapshot.dataset_ref() == *name) {
            findings.extend(preflight::of_snapshot_dataset(name, dataset, known.expire));
        }
        let mut tables = known.planned.iter().map(|p| &p.table);
        let mut gone = known.absent.iter().map(|a| &a.table);
        if tables.any(|table| table.dataset_ref() == *name) || gone.any(|table| table.dataset_ref() == *name) {
            findings.extend(preflight::of_table_dataset(name, dataset));
        }
    }
    findings.extend(
        numbers(t, known)
            .iter()
            .filter_map(|(table, made)| limits::judge(table, made, api.now())),
    );
    findings
}

/// The snapshots of each table, as far as this state directory and the dataset of the snapshots know them.
pub(crate) fn numbers(t: &Tool, known: &Known<'_>) -> Vec<(TableRef, BTreeMap<TableRef, Made>)> {
    let here = known.runs.iter().filter(|run| run.created.endpoint == t.endpoint);
    let runs: Vec<&Run> = here.collect();
    let copies = limits::copies(known.beside);
    let of = |shared: &Shared| limits::made(shared, &runs, &copies, known.run);
    // What does not exist is not snapshotted.
    let there = |shared: &&Shared| known.planned.iter().any(|p| p.table == *shared.table());
    known
        .shared
        .iter()
        .filter(there)
        .map(|shared| (shared.table().clone(), of(shared)))
        .collect()
}

/// The first table of each dataset, and how many there are in it.
fn samples(planned: &[Planned]) -> Vec<(TableRef, usize)> {
    let mut number: BTreeMap<DatasetRef, usize> = BTreeMap::new();
    for p in planned {
        *number.entry(p.table.dataset_ref()).or_default() += 1;
    }
    let mut samples = Vec::new();
    for p in planned {
        if let Some(of) = number.remove(&p.table.dataset_ref()) {
            samples.push((p.table.clone(), of));
        }
    }
    samples
}

/// Whether snapshots are kept in a dataset of their own.
pub(crate) fn is_apart(known: &Known<'_>) -> bool {
    known.planned.iter().any(|p| p.apart.is_some())
}

/// The question about a dataset of the snapshots' own; absent also where there is nothing to ask about.
pub(crate) fn of_snapshots(known: &Known<'_>, policies: bool) -> Option<Question> {
    let home = known.planned.iter().find_map(|p| p.apart.clone())?;
    // A snapshot, if there is one, is what restoring is about.
    let entries = || known.beside.iter().filter(|entry| entry.table.dataset_ref() == home);
    let sample = entries()
        .find(|entry| entry.kind == "SNAPSHOT")
        .or_else(|| entries().next())?;
    Some(Question {
        on: sample.table.clone(),
        of: None,
        wanted: rights::on_snapshots(known.expire, policies),
    })
}

/// Rights that are asked about.
pub(crate) struct Question {
    pub(crate) on: TableRef,
    /// As in [`Place`].
    pub(crate) of: Option<usize>,
    pub(crate) wanted: Vec<Right>,
}

/// The answers, in the order of the questions.
pub(crate) async fn ask_all(t: &Tool, api: &Api<'_>, questions: &[Question]) -> Result<Vec<Answer>, Failure> {
    let mut answers = at_a_time(
        t.jobs,
        questions.iter().enumerate(),
        async |(i, question): (usize, &Question)| (i, ask(api, question).await),
    )
    .await;
    answers.sort_by_key(|(i, _)| *i);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn ask(api: &Api<'_>, question: &Question) -> Result<Answer, Failure> {
    let all: BTreeSet<&'static str> = question.wanted.iter().map(|right| right.name).collect();
    let doing = format!("asking for the rights on {}", question.on);
    let names: Vec<&str> = all.iter().copied().collect();
    match api.permissions(&question.on, &names).await {
        Ok(held) => Ok(Answer::Told { asked: all, held }),
        // IAM refuses a whole question for a right that it does not know of such a thing.
        Err(e) if matches!(e.kind, Kind::Answer { status: 400, .. }) => Ok(Answer::Silent(e.to_string())),
        Err(e) => match rights::silent(&e) {
            Some(why) => Ok(Answer::Silent(why)),
            None => Err(e.failure(&doing)),
        },
    }
}

/// What the answers come to; and of each question which rights are lacking, or why that is not known.
pub(crate) fn judge(
    t: &Tool,
    questions: &[Question],
    answers: &[Answer],
) -> (Vec<Finding>, Vec<Result<Vec<Right>, String>>) {
    let (mut findings, mut told) = (Vec::new(), Vec::new());
    // Who can read tables, and all of these were just read, has a right on them: an endpoint that knows of none does
    // not test.
    let tests = answers.iter().any(Answer::tells);
    let mut why_not = None;
    for (question, answer) in questions.iter().zip(answers) {
        let silent = match answer {
            Answer::Silent(why) => Some(why.clone()),
            told if !told.tells() && (question.of.is_some() || !tests) => {
                Some("the answer says that there is not one, not even the right to read".to_owned())
            }
            _ => None,
        };
        if let Some(why) = silent {
            why_not.get_or_insert(why.clone());
            told.push(Err(why));
            continue;
        }
        let place = Place {
            on: &question.on,
            of: question.of,
        };
        let (lacking, untested) = answer.of(&question.wanted);
        findings.extend(rights::of_rights(&place, &lacking));
        if !untested.is_empty() {
            let names: Vec<&str> = untested.iter().map(|right| right.name).collect();
            why_not.get_or_insert(format!("BigQuery does not answer for {} on a table", names.join(", ")));
        }
        told.push(Ok(lacking));
    }
    if let Some(why) = why_not {
        findings.insert(0, rights::untested(&why, &t.endpoint));
    }
    (findings, told)
}
