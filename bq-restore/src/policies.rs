//! Row access policies of a table that was put back: those of its snapshot, to which BigQuery copies them, must be on it, or people see rows
//! that are not for them. What is missing is made again, where it is known for whom.
//! Source: <https://docs.cloud.google.com/bigquery/docs/using-row-level-security-with-features>.

use bqlib::api::{Api, ApiError, RowPolicy, policy_differences};
use bqlib::exit::{Exit, Failure};
use bqlib::names::{Location, TableRef};
use bqlib::perform::{Ended, Held, taken};
use bqlib::sql;
use bqlib::state::Step;

use crate::extras::was;
use crate::put_back::Task;

/// How it went.
#[derive(Default)]
pub(crate) struct Policies {
    /// Whether any had to be made.
    pub(crate) made: bool,
    /// What could not be known, for people.
    pub(crate) unknown: Vec<String>,
    /// How they are not what they were: a person should look.
    pub(crate) wrong: Vec<String>,
}

/// Compares the policies with those that the table had, and makes again what is missing.
pub(crate) async fn put_back_policies(
    api: &Api<'_>,
    held: &Held<'_>,
    task: &Task<'_>,
    location: Option<&Location>,
) -> Result<Policies, Failure> {
    let mut result = Policies::default();
    let (source, had) = match source(api, held, task).await? {
        Source::Known(source, had) => (source, had),
        Source::Unknown(why) => {
            result.unknown.push(why);
            return Ok(result);
        }
    };
    if Some(&source) != task.snapshot {
        let why = "its snapshot, which held them, is gone; those that it had right before it was put back are on it";
        result.unknown.push(format!("row access policies of the cut ({why})"));
    }
    let table = task.table;
    let mut there = match api.row_policies(table).await {
        Ok(there) => there,
        Err(e) if matches!(e.exit(), Exit::Signal(_)) => return Err(of_list(&e, table)),
        // Who could list those of the snapshot: whether these rows are open to everybody is for a person to see.
        Err(e) if !had.is_empty() => {
            result
                .wrong
                .push(format!("its row access policies could not be read ({e})"));
            return Ok(result);
        }
        Err(e) => {
            result.unknown.push(format!("row access policies ({e})"));
            return Ok(result);
        }
    };
    let missing: Vec<&RowPolicy> = had
        .iter()
        .filter(|had| !there.iter().any(|is| is.is_like(had)))
        .collect();
    if !missing.is_empty() {
        let (statements, unmade) = statements(api, &source, table, &missing).await?;
        result.wrong.extend(unmade);
        if !statements.is_empty() {
            let text = statements.join(";\n");
            match held
                .statement(api, Step::Policies, Some(table), location, &text)
                .await?
            {
                Ended::Done(_) => {}
                Ended::Failed(e) => result.wrong.push(format!(
                    "row access policies were not made: {} ({}): {text}",
                    e.message, e.reason
                )),
                Ended::Taken(job) => return Err(taken(&job).about(table)),
            }
            result.made = true;
            there = api.row_policies(table).await.map_err(|e| of_list(&e, table))?;
        }
    }
    let differ = policy_differences(&had, &there);
    result
        .wrong
        .extend(differ.into_iter().map(|what| format!("row access {what}")));
    Ok(result)
}

/// Where it is known which policies the table had.
enum Source {
    Known(TableRef, Vec<RowPolicy>),
    /// Nowhere: why, for people.
    Unknown(String),
}

/// The snapshot; where that is gone, what was kept of the table that was replaced.
async fn source(api: &Api<'_>, held: &Held<'_>, task: &Task<'_>) -> Result<Source, Failure> {
    let kept = was(&held.run(), task.table).0.and_then(|was| was.kept);
    for source in [task.snapshot.cloned(), kept].into_iter().flatten() {
        match api.row_policies(&source).await {
            Ok(policies) => return Ok(Source::Known(source, policies)),
            Err(e) if matches!(e.exit(), Exit::Signal(_)) => return Err(of_list(&e, task.table)),
            Err(e) if e.is_not_found() => {}
            Err(e) => {
                let right = match e.exit() {
                    Exit::Denied => "; the right to it is bigquery.rowAccessPolicies.list",
                    _ => "",
                };
                return Ok(Source::Unknown(format!(
                    "row access policies, which could not be compared ({e}{right})"
                )));
            }
        }
    }
    let why = "row access policies, if it had any (its snapshot, which held them, is gone)";
    Ok(Source::Unknown(why.to_owned()))
}

/// The statements that make policies again; and why there is none for the rest, which then let nobody in, or everybody.
async fn statements(
    api: &Api<'_>,
    source: &TableRef,
    table: &TableRef,
    missing: &[&RowPolicy],
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut statements, mut unmade) = (Vec::new(), Vec::new());
    for policy in missing {
        let id = &policy.id;
        let grantees = match &policy.grantees {
            Some(grantees) => Ok(grantees.clone()),
            None => api.row_policy_grantees(source, id).await,
        };
        match grantees {
            Ok(grantees) => match sql::row_policy(table, id, &grantees, &policy.filter) {
                Some(statement) => statements.push(statement),
                None => unmade.push(format!(
                    "row access policy {id} cannot be made again: its name or filter was not told as one (`{}`)",
                    policy.filter
                )),
            },
            Err(e) if matches!(e.exit(), Exit::Signal(_)) => return Err(of_list(&e, table)),
            // A policy that lets in the wrong people is worse than one that is missed and said to be.
            Err(e) => unmade.push(format!(
                "row access policy {id} was not made again, for whom it was is not told ({e}; the right to it is \
                 bigquery.rowAccessPolicies.getIamPolicy): CREATE ROW ACCESS POLICY {id} ON {} GRANT TO (…) FILTER USING ({})",
                table.sql(),
                policy.filter
            )),
        }
    }
    Ok((statements, unmade))
}

fn of_list(e: &ApiError, table: &TableRef) -> Failure {
    e.failure(&format!("asking for the row access policies of {table}"))
        .about(table)
}
