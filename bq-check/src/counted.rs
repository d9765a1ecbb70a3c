//! A stream of counts, as bq-count writes it: what was counted against what the list says, and the user's questions beside it.
//!
//! Nothing is protected here, so there is no run to journal.

use std::collections::BTreeSet;

use bqlib::exit::{Exit, Failure};
use bqlib::expect::Expect;
use bqlib::names::TableRef;
use bqlib::record::Check;
use bqlib::stream::Stream;
use bqlib::tool::Tool;

use crate::checks::Finding;
use crate::evaluate::not_in_the_set;
use crate::verdict::{Answer, exit_of, tell};
use crate::{Asked, content};

/// Counts against `records`: the stream of bq-count.
pub(crate) async fn counted(t: &Tool, stream: &Stream, asked: &Asked) -> Result<Exit, Failure> {
    let run = stream.run.as_ref();
    if run.is_none() && t.run_flag_given() {
        let hint = "leave `--run` out; a run is checked behind bq-run, or without a stream";
        return Err(Failure::usage("the stream holds counts of no run", "--run", hint));
    }
    let known = |table: &TableRef| stream.counts.iter().any(|count| count.table == *table);
    not_in_the_set(asked, known)?;
    if !asked.probes.is_empty() {
        let hint = "give it the stream of a migration, or leave `--probe` out";
        let what = "a count stream has no snapshots to compare with";
        return Err(Failure::usage(what, "--probe", hint));
    }
    if asked.content.is_some() {
        return Err(content::no_snapshots());
    }
    let mut checks = of_counts(stream, asked)?;
    let asked_of = |table: &TableRef| checks.iter().any(|check| check.table.as_ref() == Some(table));
    let unasked = stream.counts.iter().filter(|count| !asked_of(&count.table)).count();
    if unasked > 0 && !checks.is_empty() {
        t.tell(&format!(
            "of {unasked} of the {} tables nothing was asked: they have no `records`",
            stream.counts.len()
        ));
    }
    let questions = asked.questions.of_counts(t)?;
    let mut trouble = Exit::Ok;
    t.begin(run, None)?;
    if !questions.is_empty() {
        let api = t.api().await?;
        let labels = bqlib::sql::labels(t.name, run);
        let location = t.location.as_ref();
        let asking = asked.questions.ask(&api, t.jobs, &questions, run, location, &labels);
        let (more, exit) = asking.await;
        checks.extend(more);
        trouble = exit;
    }
    let answer = Answer { checks, trouble };
    tell(t, &asked.junit, run, &answer)?;
    if answer.checks.is_empty() {
        let hint = "fill the column `records` of the list, or ask with `--expect` or `--sql`";
        return Err(Failure::new(
            Exit::No,
            "nothing was asked: no count has `records`",
            "the stream",
            hint,
        ));
    }
    Ok(exit_of(&answer))
}

/// The checks of the counts themselves.
///
/// # Errors
/// A table is counted twice, or an expectation is from a cut that there is not (2).
fn of_counts(stream: &Stream, asked: &Asked) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let mut seen = BTreeSet::new();
    for count in &stream.counts {
        // Which of them is meant nobody can tell, and one may hold where the other does not.
        if !seen.insert(&count.table) {
            let what = format!("`{}` is counted twice", count.table);
            return Err(Failure::usage(what, "the stream", "count each table once").about(&count.table));
        }
        let expected = asked
            .expect
            .iter()
            .filter(|(table, _)| *table == count.table)
            .map(|(_, wanted)| ("expect", *wanted));
        let wanted = count
            .records
            .map(|wanted| ("records", wanted))
            .into_iter()
            .chain(expected);
        // What always holds is no check: a yes must be earned.
        for (name, wanted) in wanted.filter(|(_, wanted)| *wanted != Expect::Any) {
            if matches!(wanted, Expect::Gained(..) | Expect::GainedPercent(..)) {
                let what = format!("`{wanted}` is rows gained since the cut, and a stream of counts has no cut");
                let hint = "compare with a number, such as `>= 100`";
                return Err(Failure::usage(what, name, hint).about(&count.table));
            }
            let finding = Finding {
                name,
                table: Some(&count.table),
                ok: wanted.holds(Some(count.rows), Some(count.rows)),
                want: wanted.to_string(),
                got: count.rows.to_string(),
            };
            checks.push(finding.record(stream.run.as_ref()));
        }
    }
    Ok(checks)
}
