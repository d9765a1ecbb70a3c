//! bq-run: migrates. Once, behind snapshots that were just looked at, and never a second time.

mod asked;
mod blame;
mod foreseen;
mod foresight;
mod look;
mod progress;
mod submit;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use bqlib::api::{Api, Limits};
use bqlib::clock::parse_duration;
use bqlib::exit::{Exit, Failure};
use bqlib::foresight::{Coverage, LIST_PRICE, Price};
use bqlib::names::{DatasetId, DatasetRef, ProjectId, TableRef};
use bqlib::perform::{Held, of_journal};
use bqlib::plan::run::{Facts, Look, Next, Request, guard, has_changed, plan};
use bqlib::record::only_place;
use bqlib::runs;
use bqlib::source::{self, Source};
use bqlib::state::Event;
use bqlib::stream::{self, Input, Stream};
use bqlib::tool::{self, Tool};
use clap::Parser;
use serde_json::Value;

use foresight::plan_only;
use submit::migrate;

/// Run a migration on BigQuery, once, behind the snapshots of the stream on standard input
///
///     bq-snap -f tables.csv | bq-run merge.sql | bq-check || bq-restore
///
/// Reads the stream to its end first; does nothing if it is broken. Each file is one job; the first that fails is the last.
#[derive(Parser)]
#[command(name = "bq-run", version, verbatim_doc_comment)]
struct Args {
    /// SQL files, run in this order
    #[arg(value_name = "FILE.sql", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    files_with: source::Flags,
    /// Do not dry-run the files on the server first
    #[arg(long)]
    no_foresight: bool,
    /// Refuse if less than this share of the statements that need it could be validated
    #[arg(long, value_name = "PERCENT", conflicts_with = "no_foresight")]
    min_coverage: Option<String>,
    /// What BigQuery asks for a TiB processed, in US dollars (the default: its list price on demand in the US multi-region, September 2026,
    /// https://cloud.google.com/bigquery/pricing)
    #[arg(long, value_name = "USD", default_value = LIST_PRICE)]
    price_per_tib: String,
    /// A table, view, routine, model or dataset outside the protected set that the migration may write, replace or drop; bq-check then lets it
    /// pass; repeatable
    #[arg(long, value_name = "NAME")]
    allow_unprotected: Vec<String>,
    /// Let pass what no rollback undoes: EXPORT, GRANT, row access policies, procedures, indexes, DROP SCHEMA
    #[arg(long)]
    allow_irreversible: bool,
    /// Let pass what cannot be known beforehand: CALL, EXECUTE IMMEDIATE, statements that are not understood
    #[arg(long)]
    allow_opaque: bool,
    /// Refuse, instead of warn, when a protected table has changed since the cut, or the SQL walks into a known trap
    #[arg(long)]
    strict: bool,
    /// Run without a stream: nothing is protected, standard input is not read
    #[arg(long)]
    unprotected: bool,
    /// The dataset of names that have none: `dataset` or `project.dataset`
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// Let BigQuery refuse a job that would bill more bytes
    #[arg(long, value_name = "N")]
    max_bytes_billed: Option<u64>,
    /// Let BigQuery end a job that takes longer, as far as it can
    #[arg(long, value_name = "D")]
    timeout: Option<String>,
    /// Run at batch priority
    #[arg(long)]
    batch: bool,
    /// A label of the jobs; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

fn main() -> ExitCode {
    tool::main::<Args, _>("bq-run", tool::WAIT, run)
}

/// What every file of the migration runs with.
struct Setting {
    sources: Vec<Source>,
    params: Vec<Value>,
    limits: Limits,
    labels: Vec<(String, String)>,
    guards: Guards,
    foresight: bool,
    strict: bool,
    min_coverage: Option<Coverage>,
    price: Price,
    /// `--dataset`, and its project if that was said.
    dataset: Option<(Option<ProjectId>, DatasetId)>,
}

impl Setting {
    /// What was named without a project is in this one.
    fn in_project(&mut self, project: &ProjectId) {
        self.limits.default_dataset = self.dataset.take().map(|(named, dataset)| DatasetRef {
            project: named.unwrap_or_else(|| project.clone()),
            dataset,
        });
        self.guards.in_project(project);
    }
}

/// What the guards let pass.
struct Guards {
    /// `--allow-unprotected`, as it was written.
    named: Vec<String>,
    allowed: Vec<TableRef>,
    datasets: BTreeSet<DatasetRef>,
    /// Those of this project, for the record: of others a name may as well be a table's.
    datasets_here: Vec<DatasetRef>,
    irreversible: bool,
    opaque: bool,
}

impl Guards {
    /// A name of two parts may be a table's or a dataset's: it is allowed as either. What has no project is in this one.
    fn in_project(&mut self, project: &ProjectId) {
        let table = |name: &String| TableRef::parse(name, Some(project)).ok();
        let dataset = |name: &String| DatasetRef::parse(name.trim_matches('`'), project).ok();
        self.allowed = self.named.iter().filter_map(table).collect();
        self.datasets = self.named.iter().filter_map(dataset).collect();
        let here = self.datasets.iter().filter(|dataset| dataset.project == *project);
        self.datasets_here = here.cloned().collect();
    }
}

async fn run(args: Args, t: &Tool) -> Result<Exit, Failure> {
    let mut setting = read_setting(&args, t)?;
    let request = Request {
        files: u32::try_from(setting.sources.len()).unwrap_or(u32::MAX),
        strict: args.strict,
    };
    t.fetch_credentials();
    if args.unprotected {
        let api = t.api().await?;
        setting.in_project(api.project());
        let held = unprotected(t, &api).await?;
        t.begin(Some(&held.id()), Some(api.project()))?;
        t.warn_of_endpoint();
        return migrate(t, &api, &held, &setting, t.location.clone(), &request, &[]).await;
    }
    // The whole stream first: its end says whether it may be acted upon.
    let (stream, wrong) = Stream::read(t, Input::stdin(t), None).await;
    if let Some(failure) = wrong {
        return Err(failure);
    }
    let hint = "begin the line with bq-snap, or say `--unprotected`";
    if let Some(why) = stream.broken(t.dry_run) {
        return Err(stream::broken(&why, hint));
    }
    if stream.snapshots.is_empty() {
        return Err(stream::broken("it protects no table", hint));
    }
    let api = t.api().await?;
    setting.in_project(api.project());
    let held = match (t.dry_run, stream.dry_run) {
        (true, true) => None,
        _ => Some(runs::of_stream(t, &stream, api.project()).await?),
    };
    if let Some(held) = &held
        && let Next::Refuse(failure) = plan(&held.run(), &Facts::default(), &request)
    {
        return Err(failure);
    }
    t.begin(stream.run.as_ref(), Some(api.project()))?;
    let location = t.location.clone().or_else(|| only_place(&stream.snapshots));
    if t.dry_run {
        let there = look::before(t, &api, &stream.snapshots, !stream.dry_run).await?;
        let look = Look {
            snapshots: &stream.snapshots,
            there: &there,
            now: api.now(),
            made: !stream.dry_run,
        };
        for table in guard(&look, args.strict)? {
            let absent = stream.snapshots.iter().any(|s| s.absent && s.table == table);
            t.warn(&has_changed(&table, absent));
        }
        return plan_only(t, &api, &stream, &setting, location).await;
    }
    let held = held.ok_or_else(|| stream::broken("it was made with `-n`", hint))?;
    migrate(t, &api, &held, &setting, location, &request, &stream.snapshots).await
}

/// Everything that can be wrong before anything is asked of BigQuery.
fn read_setting(args: &Args, t: &Tool) -> Result<Setting, Failure> {
    let (vars, params) = args.files_with.read()?;
    let sources = args
        .files
        .iter()
        .map(|file| source::read(t, file, &vars))
        .collect::<Result<_, _>>()?;
    let timeout = args.timeout.as_deref().map(parse_duration).transpose();
    let mut labels = Vec::new();
    for label in &args.label {
        labels.push(parse_label(label)?);
    }
    let dataset = args.dataset.as_deref().map(DatasetRef::parts).transpose();
    let dataset = dataset.map_err(|e| {
        Failure::usage(
            e.to_string(),
            "--dataset",
            "write `--dataset dataset` or `project.dataset`",
        )
    })?;
    for name in &args.allow_unprotected {
        if let Err(e) = TableRef::parts(name)
            && DatasetRef::parts(name.trim_matches('`')).is_err()
        {
            let hint = "write dataset.table, project.dataset.table, dataset or project.dataset";
            return Err(Failure::usage(e.to_string(), "--allow-unprotected", hint));
        }
    }
    let guards = Guards {
        named: args.allow_unprotected.clone(),
        allowed: Vec::new(),
        datasets: BTreeSet::new(),
        datasets_here: Vec::new(),
        irreversible: args.allow_irreversible,
        opaque: args.allow_opaque,
    };
    let min_coverage = args.min_coverage.as_deref().map(str::parse).transpose();
    Ok(Setting {
        sources,
        params,
        limits: Limits {
            max_bytes_billed: args.max_bytes_billed,
            timeout: timeout.map_err(|e| Failure::usage(e, "--timeout", "for example `--timeout 30m`"))?,
            batch: args.batch,
            ..Limits::default()
        },
        labels,
        guards,
        foresight: !args.no_foresight,
        strict: args.strict,
        min_coverage: min_coverage
            .map_err(|e: String| Failure::usage(e, "--min-coverage", "for example `--min-coverage 80%`"))?,
        price: args
            .price_per_tib
            .parse()
            .map_err(|e: String| Failure::usage(e, "--price-per-tib", "for example `--price-per-tib 6.25`"))?,
        dataset,
    })
}

/// Source of the rules: <https://docs.cloud.google.com/bigquery/docs/labels-intro#requirements>.
fn parse_label(text: &str) -> Result<(String, String), Failure> {
    let part = |c: char| (c.is_alphanumeric() && !c.is_uppercase()) || matches!(c, '_' | '-');
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let good = key.chars().next().is_some_and(char::is_alphabetic)
        && key.chars().count() <= 63
        && value.chars().count() <= 63
        && key.chars().chain(value.chars()).all(part)
        && !key.starts_with("bq-rollback");
    if good {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let hint = "write `--label key=value`: lower case letters, digits, `_`, `-`; keys of ours begin with bq-rollback";
    Err(Failure::usage(
        format!("`{}` is no label", text.escape_debug()),
        "--label",
        hint,
    ))
}

/// Begins a run that protects nothing.
async fn unprotected<'t>(t: &'t Tool, api: &Api<'_>) -> Result<Held<'t>, Failure> {
    let run = match t.asked_run() {
        Some(run) => run.clone(),
        None => look::generated(api)?,
    };
    let created = runs::created(t, &run, api.project(), true, None);
    let held = Held::create(t, &run, vec![created, Event::Protected]).map_err(|e| of_journal(&e))?;
    Ok(held)
}
