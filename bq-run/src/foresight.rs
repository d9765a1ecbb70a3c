//! What BigQuery finds wrong with the files before anything is submitted.

use bqlib::api::{Api, Job, QueryJob};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{JobId, Location};
use bqlib::record::{Migration, MigrationState, Record};
use bqlib::source::Source;
use bqlib::sql::{self, Labels};
use bqlib::stream::{self, Stream};
use bqlib::tool::Tool;

use crate::submit::places;
use crate::{Setting, blame, look};

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
        allowed: setting.allowed.clone(),
        bytes_billed: None,
        slot_ms: None,
        ms: None,
        error: None,
    }
}

/// Lets BigQuery validate each file. A file found wrong is 1: nothing was submitted.
pub(crate) async fn foresee(
    t: &Tool,
    api: &Api<'_>,
    labels: &Labels,
    setting: &Setting,
    location: Option<&Location>,
) -> Result<Vec<Option<Job>>, Failure> {
    let mut plans = Vec::new();
    for (i, source) in setting.sources.iter().enumerate() {
        let id = look::dry_run_id(api)?;
        let job = query_job(labels.clone(), setting, source, id, location.cloned());
        let planned = api.dry_run(&job).await;
        if let Err(e) = &planned
            && e.is_not_found()
            && i > 0
        {
            // What an earlier file will make is not there yet: this file cannot be validated before that one has run.
            let what = format!("{}: not validated: {e}", source.name);
            let hint = "if no earlier file makes it, stop here and mend the file";
            t.warn(&Failure::new(Exit::Ok, what, &source.name, hint));
            plans.push(None);
            continue;
        }
        let plan = planned.map_err(|e| {
            let failure = e.failure(&format!("checking {}", source.name));
            match failure.exit {
                Exit::Refused => {
                    let said = e.to_string();
                    let failure = Failure {
                        what: format!("{}: BigQuery finds the SQL wrong: {said}", source.name),
                        at: source.name.clone(),
                        hint: "mend the file; nothing was submitted".to_owned(),
                        ..failure.with_exit(Exit::No)
                    };
                    blame::wrong(source, failure, &said)
                }
                _ => failure,
            }
        })?;
        if t.verbose {
            let bytes = plan.bytes_processed().unwrap_or(0);
            t.tell(&format!(
                "{}: valid as a whole ({}), {bytes} bytes to process",
                source.name,
                plan.statement_type()
            ));
        }
        plans.push(Some(plan));
    }
    Ok(plans)
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
    let plans = match setting.foresight {
        true => foresee(t, api, &labels, setting, location.as_ref()).await?,
        false => Vec::new(),
    };
    places(t, api, &labels, setting, location, &stream.snapshots, &plans).await?;
    for (i, source) in setting.sources.iter().enumerate() {
        let mut record = record_of(&run, setting, source, MigrationState::Planned);
        record.bytes_billed = plans.get(i).and_then(|plan| plan.as_ref()?.bytes_processed());
        t.out.write(&Record::Migration(record))?;
    }
    Ok(Exit::Ok)
}
