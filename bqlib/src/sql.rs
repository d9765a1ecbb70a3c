//! PURE: every SQL text that the programs themselves send.
//!
//! Names reach SQL only through `names`, so nothing a user wrote can become SQL here. All of it is parsed by Google's own
//! parser in the tests.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::clock::millis;
use crate::names::{DatasetRef, Location, RunId, TableRef, sql_string};
use crate::script::words::Words;

/// Every snapshot and job of a run carries this label, its value the run.
pub const RUN_LABEL: &str = "bq-rollback-run";
/// A snapshot's label that says how its run ended; `open` until it has.
pub const STATE_LABEL: &str = "bq-rollback-state";
/// The label of a job, snapshot or kept copy that names the program that made it.
pub const TOOL_LABEL: &str = "bq-rollback-tool";
/// The state of a copy of what was there before a restore.
pub const KEPT: &str = "kept";
/// The state of a table that is made beside a live one, to be compared and dropped again.
pub const STAGED: &str = "staged";
/// The state of a table that is made in another dataset, until it is finished and carries no label of ours.
pub const BESIDE: &str = "beside";
/// The state of a scratch table of a rehearsal.
pub const REHEARSAL: &str = "rehearsal";
/// The state of a table of the rows that others wrote, copied before a restore.
pub const FOREIGN: &str = "foreign";
/// With a number from 1: a label of the snapshots of a run over several regions, each of which they name. Where the run's jobs may be.
pub const PLACE_LABEL: &str = "bq-rollback-place-";
/// A job's label that tells runs of one ID apart.
pub const NONCE_LABEL: &str = "bq-rollback-nonce";

/// The label of a job that only takes an ID, so that nothing else can.
pub const FENCE_LABEL: &str = "bq-rollback-fence";

/// Takes the cut: BigQuery's own clock in whole milliseconds.
pub const CUT: &str = "SELECT UNIX_MILLIS(CURRENT_TIMESTAMP()) AS cut";

/// Does nothing: that its job is there is what it says, to other runs.
pub const ANNOUNCE: &str = "SELECT 'a migration is about to be submitted'";

/// How many tables one counting query names at most: BigQuery allows 1,000 resources a query, and this one names each
/// table once, or a table and its snapshot.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#query_jobs>.
pub const TABLES_A_COUNT: usize = 400;

/// An instant as a literal, its offset written out: without one BigQuery reads Los Angeles time in options.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/system-variables>.
pub(crate) fn timestamp(at: Timestamp) -> String {
    format!("TIMESTAMP '{}+00:00'", at.strftime("%Y-%m-%d %H:%M:%S%.3f"))
}

/// What is said of a copy that the programs make.
pub struct CopyOptions<'a> {
    /// When it expires; `None`: never.
    pub expires: Option<Timestamp>,
    /// The program that makes it.
    pub tool: &'a str,
    /// The run it belongs to.
    pub run: &'a RunId,
    /// Its label [`STATE_LABEL`].
    pub state: &'a str,
    /// The regions of the run, if they are several.
    pub places: &'a [Location],
    /// For people who find it.
    pub description: &'a str,
}

impl CopyOptions<'_> {
    pub(crate) fn sql(&self) -> String {
        let expires = self
            .expires
            .map(|at| format!("expiration_timestamp={}, ", timestamp(at)))
            .unwrap_or_default();
        // A label's value is lower case.
        let place = |(n, place): (usize, &Location)| {
            format!(
                ", ('{PLACE_LABEL}{}', {})",
                n + 1,
                sql_string(&place.as_str().to_ascii_lowercase())
            )
        };
        let places: String = self.places.iter().enumerate().map(place).collect();
        format!(
            "OPTIONS({expires}labels=[('{RUN_LABEL}', '{}'), ('{TOOL_LABEL}', {}), ('{STATE_LABEL}', '{}'){places}], description={})",
            self.run,
            sql_string(self.tool),
            self.state,
            sql_string(self.description)
        )
    }
}

/// A snapshot of a table as of an instant, options in the same statement.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_snapshot_table_statement>.
pub fn snapshot(name: &TableRef, of: &TableRef, cut: Timestamp, options: &CopyOptions) -> String {
    format!(
        "CREATE SNAPSHOT TABLE {} CLONE {} FOR SYSTEM_TIME AS OF {} {}",
        name.sql(),
        of.sql(),
        timestamp(cut),
        options.sql()
    )
}

/// A snapshot of a table as it is now.
pub fn keep(name: &TableRef, of: &TableRef, options: &CopyOptions) -> String {
    format!(
        "CREATE SNAPSHOT TABLE {} CLONE {} {}",
        name.sql(),
        of.sql(),
        options.sql()
    )
}

/// Removes a snapshot. Nothing else has this verb: what only has the name of one is left alone by BigQuery, too.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#drop_snapshot_table_statement>.
pub fn remove(snapshot: &TableRef) -> String {
    format!("DROP SNAPSHOT TABLE {}", snapshot.sql())
}

/// A full copy of a table as it is now, where BigQuery allows no snapshot.
pub fn keep_in_full(name: &TableRef, of: &TableRef, options: &CopyOptions) -> String {
    format!("CREATE TABLE {} COPY {} {}", name.sql(), of.sql(), options.sql())
}

/// How a table is made of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// As a clone: at once, and part of a chain.
    Clone,
    /// As a copy of its own, which frees the table from its chain.
    Copy,
}

impl Verb {
    fn sql(self) -> &'static str {
        match self {
            Verb::Clone => "CLONE",
            Verb::Copy => "COPY",
        }
    }
}

/// How long a table and its partitions live, said in the statement that makes it: what is not said, the dataset's default gives, and that may
/// delete before the next call comes.
/// Source: <https://docs.cloud.google.com/bigquery/docs/table-snapshots-restore>.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lives {
    /// When the table expires.
    pub expires: Option<Timestamp>,
    /// How long a partition lives, in milliseconds.
    pub partition_ms: Option<u64>,
}

impl Lives {
    /// The options, without the word.
    fn sql(&self) -> Vec<String> {
        let expires = self.expires.map(|at| format!("expiration_timestamp={}", timestamp(at)));
        let partitions = self
            .partition_ms
            .map(|ms| format!("partition_expiration_days={}", in_days(ms)));
        expires.into_iter().chain(partitions).collect()
    }
}

impl From<Option<Timestamp>> for Lives {
    fn from(expires: Option<Timestamp>) -> Lives {
        Lives {
            expires,
            partition_ms: None,
        }
    }
}

/// Milliseconds as days, with a fraction only where it is one.
fn in_days(ms: u64) -> String {
    const DAY: u64 = 86_400_000;
    let (days, rest) = (ms / DAY, u128::from(ms % DAY));
    match rest {
        0 => days.to_string(),
        rest => format!("{days}.{:012}", rest * 1_000_000_000_000 / u128::from(DAY)),
    }
}

/// Puts a copy in the place of a table, in one statement, over what is there if `over`.
///
/// `lives`: of the table at the cut, said here because the dataset's default would else hold at once.
/// Source: <https://docs.cloud.google.com/bigquery/docs/table-snapshots-restore#overwrite_an_existing_table>.
pub fn restore(table: &TableRef, copy: &TableRef, verb: Verb, over: bool, lives: impl Into<Lives>) -> String {
    let create = if over {
        "CREATE OR REPLACE TABLE"
    } else {
        "CREATE TABLE"
    };
    let options = match lives.into().sql() {
        said if said.is_empty() => String::new(),
        said => format!(" OPTIONS({})", said.join(", ")),
    };
    let (verb, table, copy) = (verb.sql(), table.sql(), copy.sql());
    format!("{create} {table} {verb} {copy}{options}")
}

/// Makes a row access policy of a table, or makes it over: which rows it lets through, and to whom; to nobody, if the list is empty.
///
/// `None`: what is said to be its filter is more than an expression in brackets can be.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_row_access_policy_statement>.
pub fn row_policy(table: &TableRef, id: &str, grantees: &BTreeSet<String>, filter: &str) -> Option<String> {
    let is_name = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || !is_one_expression(filter) {
        return None;
    }
    let name = match crate::variables::is_reserved(id) {
        true => quoted(id),
        false => id.to_owned(),
    };
    let list: Vec<String> = grantees.iter().map(|who| sql_string(who)).collect();
    let grant = match list.is_empty() {
        true => String::new(),
        false => format!("GRANT TO ({}) ", list.join(", ")),
    };
    // A comment at the filter's end must not swallow the bracket.
    let table = table.sql();
    Some(format!(
        "CREATE OR REPLACE ROW ACCESS POLICY {name} ON {table} {grant}FILTER USING ({filter}\n)"
    ))
}

/// Whether a text stays within the brackets that are put around it, and within one statement.
fn is_one_expression(text: &str) -> bool {
    let Ok(words) = Words::of(text) else {
        return false;
    };
    let mut depth = 0_isize;
    for at in 0..words.len() {
        depth += words.depth(at);
        if depth < 0 || words.symbol(at) == ";" {
            return false;
        }
    }
    words.len() > 0 && depth == 0
}

/// What stands in a dataset on its tables and is not put back with one: its search and vector indexes, and its materialized views, whose DDL
/// names the tables they are on. Columns `kind`, `on_table`, `name`, `ddl`.
/// Sources: <https://docs.cloud.google.com/bigquery/docs/information-schema-indexes>,
/// <https://docs.cloud.google.com/bigquery/docs/information-schema-vector-indexes>,
/// <https://docs.cloud.google.com/bigquery/docs/information-schema-tables>.
pub fn standing(dataset: &DatasetRef) -> String {
    let indexes = |kind: &str, view: &str| {
        format!(
            "SELECT '{kind} index' AS kind, table_name AS on_table, index_name AS name, ddl FROM {}",
            schema_view(dataset, view)
        )
    };
    let views = format!(
        "SELECT 'materialized view' AS kind, '' AS on_table, table_name AS name, ddl FROM {} WHERE table_type = 'MATERIALIZED VIEW'",
        schema_view(dataset, "TABLES")
    );
    let (search, vector) = (indexes("search", "SEARCH_INDEXES"), indexes("vector", "VECTOR_INDEXES"));
    [search, vector, views].join(" UNION ALL ")
}

fn schema_view(dataset: &DatasetRef, name: &str) -> String {
    format!("`{}.{}.INFORMATION_SCHEMA.{name}`", dataset.project, dataset.dataset)
}

/// Makes a table beside a live one, of a snapshot, or of a table as it was at an instant.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_table_clone_statement>.
pub fn stage(
    name: &TableRef,
    of: &TableRef,
    verb: Verb,
    at: Option<Timestamp>,
    options: &CopyOptions,
    lives: Lives,
) -> String {
    let at = at.map(|at| AsOf::At(at).sql()).unwrap_or_default();
    let (name, verb, of) = (name.sql(), verb.sql(), of.sql());
    let partitions = Lives { expires: None, ..lives };
    let partitions: String = partitions.sql().iter().map(|said| format!("{said}, ")).collect();
    let options = options.sql().replacen("OPTIONS(", &format!("OPTIONS({partitions}"), 1);
    format!("CREATE TABLE {name} {verb} {of}{at} {options}")
}

/// Takes a table, or what has become of it, away: `kind` as `tables.get` has it.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#drop_table_statement>.
pub fn drop(kind: &str, name: &TableRef) -> String {
    let kind = match kind {
        "SNAPSHOT" => "SNAPSHOT TABLE",
        "VIEW" => "VIEW",
        "MATERIALIZED_VIEW" => "MATERIALIZED VIEW",
        "EXTERNAL" => "EXTERNAL TABLE",
        _ => "TABLE",
    };
    format!("DROP {kind} IF EXISTS {}", name.sql())
}

/// Empties a table.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#truncate_table_statement>.
pub fn clear(table: &TableRef) -> String {
    format!("TRUNCATE TABLE {}", table.sql())
}

/// Fills a table with the rows of another that has the same columns.
pub fn fill(name: &TableRef, of: &TableRef, columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let columns = columns.join(", ");
    format!(
        "INSERT INTO {} ({columns}) SELECT {columns} FROM {}",
        name.sql(),
        of.sql()
    )
}

/// At which instant a table is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AsOf {
    /// Now, one instant for all tables of a query: `CURRENT_TIMESTAMP()` is constant in a statement.
    Now,
    /// An instant of the past.
    At(Timestamp),
    /// As it is: what never changes (a snapshot) has no history to travel in.
    Plain,
}

impl AsOf {
    /// What stands behind a table's name, or its alias.
    pub(crate) fn sql(self) -> String {
        match self {
            AsOf::Now => " FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()".to_owned(),
            AsOf::At(at) => format!(" FOR SYSTEM_TIME AS OF {}", timestamp(at)),
            AsOf::Plain => String::new(),
        }
    }
}

/// A table whose rows are to be counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The table or snapshot.
    pub table: TableRef,
    /// At this instant.
    pub as_of: AsOf,
    /// The column that the table demands a filter by: the filter then lets every row through.
    pub filter_by: Option<String>,
}

impl Counted {
    /// A table at an instant, with the filter that its `meta` demands.
    pub fn new(table: &TableRef, as_of: AsOf, meta: Option<&crate::meta::TableMeta>) -> Counted {
        Counted {
            table: table.clone(),
            as_of,
            filter_by: meta.and_then(crate::meta::TableMeta::required_filter_column),
        }
    }

    /// The filter that the table demands: every row passes it.
    pub(crate) fn filter(&self) -> Option<String> {
        let column = quoted(self.filter_by.as_deref()?);
        Some(format!("{column} IS NULL OR {column} IS NOT NULL"))
    }
}

/// Counts tables in one query, each numbered by its place: columns `i`, `n`, and `as_of_ms`, the query's own instant in milliseconds.
pub fn counts(tables: &[Counted]) -> String {
    let parts: Vec<String> = tables.iter().enumerate().map(|(i, t)| count_of(i, t)).collect();
    parts.join("\nUNION ALL ")
}

/// The part of [`counts`] for one table.
pub fn count_of(i: usize, t: &Counted) -> String {
    let as_of = t.as_of.sql();
    let filter = t.filter().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
    let at = "UNIX_MILLIS(CURRENT_TIMESTAMP()) AS as_of_ms";
    format!(
        "SELECT {i} AS i, COUNT(*) AS n, {at} FROM {}{as_of}{filter}",
        t.table.sql()
    )
}

/// Of which rows the partition still lives at an instant, in a table whose partitions expire.
///
/// A partition ends with the day, hour, month or year that it holds, and lives `expiration_ms` from its beginning.
/// Source: <https://docs.cloud.google.com/bigquery/docs/managing-partitioned-tables#partition-expiration>.
pub fn lives(column: &str, unit: &str, expiration_ms: u64, now: Timestamp) -> String {
    let column = quoted(column);
    format!(
        "{column} IS NULL OR UNIX_MILLIS(TIMESTAMP_TRUNC(TIMESTAMP({column}), {unit})) + {expiration_ms} > {}",
        millis(now)
    )
}

/// The rows of a snapshot in partitions that still live at an instant: what may be missed of a table whose partitions expire.
pub fn living_rows(snapshot: &Counted, column: &str, unit: &str, expiration_ms: u64, now: Timestamp) -> String {
    let lives = lives(column, unit, expiration_ms, now);
    let living = match snapshot.filter() {
        // What lives is reckoned, which is no filter by the column itself.
        Some(filter) => format!("({filter}) AND ({lives})"),
        None => lives,
    };
    format!("SELECT COUNT(*) AS n FROM {} WHERE {living}", snapshot.table.sql())
}

/// The tables of a dataset that have fine-grained DML: `tables.get` does not tell.
/// Source: <https://docs.cloud.google.com/bigquery/docs/information-schema-tables>.
pub fn fine_grained(dataset: &DatasetRef) -> String {
    format!(
        "SELECT table_name FROM `{}.{}.INFORMATION_SCHEMA.TABLES` WHERE is_fine_grained_mutations_enabled = 'YES'",
        dataset.project, dataset.dataset
    )
}

/// A column in backticks. Column names come from BigQuery's own answers; those that would break out are escaped.
pub(crate) fn quoted(column: &str) -> String {
    format!("`{}`", column.replace('\\', "\\\\").replace('`', "\\`"))
}

/// Labels of a job.
pub type Labels = BTreeMap<String, String>;

/// The labels of a job: the program that sends it, and the run that it is for, if there is one.
pub fn labels(tool: &str, run: Option<&RunId>) -> Labels {
    let tool = (TOOL_LABEL.to_owned(), tool.to_owned());
    let run = run.map(|run| (RUN_LABEL.to_owned(), run.to_string()));
    [tool].into_iter().chain(run).collect()
}

/// The labels of a table that is made beside a live one.
pub fn staged_labels(run: &RunId) -> Labels {
    let labels = [(RUN_LABEL, run.as_str()), (STATE_LABEL, STAGED)];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The labels of a job that belongs to one journal's run, not only to a run of its ID.
pub fn job_labels(run: &RunId, tool: &str, nonce: &str) -> Labels {
    let mut labels = labels(tool, Some(run));
    labels.insert(NONCE_LABEL.to_owned(), nonce.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lexer::{Token, tokens};
    use proptest::prelude::*;
    use serde_json::json;

    /// The tokens of a text, names and strings without their content.
    fn shape(sql: &str) -> Vec<String> {
        let one = |token: Token, text: &str| match token {
            Token::Quoted => "`name`".to_owned(),
            Token::Word if is_alias(text) => "alias".to_owned(),
            Token::Literal => "'text'".to_owned(),
            _ => text.to_owned(),
        };
        let tokens = tokens(sql).unwrap_or_else(|e| panic!("{e:?} in {sql}"));
        tokens
            .iter()
            .map(|placed| one(placed.token, &sql[placed.range()]))
            .collect()
    }

    /// Whether this is a name that a query of ours gives, whatever it has to keep away from.
    fn is_alias(word: &str) -> bool {
        let rest = word.strip_prefix('v').map(|rest| rest.trim_start_matches('_'));
        rest.is_some_and(|rest| matches!(rest, "0" | "1" | "1o"))
    }

    /// Fingerprints by partition of a table with this column: of every kind of SQL that a name gets into.
    fn fingerprints(counted: &Counted, column: &str) -> Vec<String> {
        use crate::fingerprint::{choice::Choice, columns::Columns, partitions::Partitions, query};
        let inner = json!([{"name": column, "type": "FLOAT"}]);
        let fields = json!([{"name": column, "type": "RECORD", "mode": "REPEATED", "fields": inner}]);
        let layouts = [
            json!({"timePartitioning": {"type": "DAY", "field": column}}),
            json!({"rangePartitioning": {"field": column, "range": {"start": "-5", "end": "5", "interval": "1"}}}),
        ];
        let one = |mut resource: serde_json::Value| {
            resource["schema"] = json!({"fields": fields});
            let meta = serde_json::from_value(resource).unwrap();
            let columns = Columns::of(&meta, &Choice::All).unwrap();
            let lives = lives(column, "DAY", 1, at());
            query::query(&query::Asked {
                table: counted,
                columns: &columns,
                by: Partitions::of(&meta).as_ref(),
                only: Some(&lives),
            })
        };
        layouts.into_iter().map(one).collect()
    }

    #[test]
    fn a_filter_stays_within_its_brackets() {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let of = |id: &str, filter: &str| row_policy(&table, id, &["user:o'n@x".to_owned()].into(), filter);
        assert_eq!(
            of("eu", "region = 'EU' -- all").unwrap(),
            "CREATE OR REPLACE ROW ACCESS POLICY eu ON `p.d.t` GRANT TO ('user:o\\'n@x') FILTER USING (region = 'EU' -- all\n)"
        );
        assert!(of("all", "TRUE").unwrap().contains("POLICY `all` ON"));
        let nobody = row_policy(&table, "eu", &BTreeSet::new(), "TRUE").unwrap();
        assert!(nobody.ends_with("ON `p.d.t` FILTER USING (TRUE\n)"), "{nobody}");
        for (id, filter) in [
            ("", "TRUE"),
            ("a b", "TRUE"),
            ("eu", ""),
            ("eu", " /* */ "),
            ("eu", "TRUE) OR (TRUE"),
            ("eu", "(TRUE"),
            ("eu", "TRUE; DROP TABLE x"),
            ("eu", "region = 'EU"),
        ] {
            assert_eq!(of(id, filter), None, "{id} {filter}");
        }
    }

    #[test]
    fn how_long_it_lives_is_said_in_the_statement_that_makes_it() {
        let table = TableRef::parse("p.d.t", None).unwrap();
        let lives = |expires, partition_ms| {
            restore(&table, &table, Verb::Clone, false, Lives { expires, partition_ms })
                .rsplit_once("CLONE `p.d.t`")
                .map(|(_, said)| said.to_owned())
                .unwrap()
        };
        assert_eq!(lives(None, None), "");
        assert_eq!(
            lives(None, Some(2 * 86_400_000)),
            " OPTIONS(partition_expiration_days=2)"
        );
        assert_eq!(
            lives(None, Some(86_400_000 / 2)),
            " OPTIONS(partition_expiration_days=0.500000000000)"
        );
        let both = lives(Some(at()), Some(86_400_000));
        assert!(both.starts_with(" OPTIONS(expiration_timestamp=TIMESTAMP '"), "{both}");
        assert!(both.ends_with(", partition_expiration_days=1)"), "{both}");
    }

    /// What is asked and copied of others' writes, of tables with this column.
    fn foreign(table: &TableRef, other: &TableRef, options: &CopyOptions, column: &str) -> Vec<String> {
        use crate::foreign::{jobs, query};
        let meta = |kind: &str| {
            let fields = json!([{"name": column, "type": kind}, {"name": format!("{column}2"), "type": "STRING"}]);
            let layout = json!({"type": "DAY", "field": column});
            serde_json::from_value(json!({
                "schema": {"fields": fields}, "timePartitioning": layout, "requirePartitionFilter": true,
            }))
            .unwrap()
        };
        let stated = |name: &TableRef, kind: &str| query::Stated::new(name, &meta(kind));
        let part = |before: Option<&str>, kind: &str| query::Apart {
            before: before.map(|kind| stated(other, kind)),
            after: stated(table, kind),
        };
        let parts = [part(Some("DATE"), "DATE"), part(None, "STRING")];
        vec![
            query::measure(&parts),
            query::copy(other, &parts.iter().collect::<Vec<_>>(), options),
            query::state(
                other,
                &Counted::new(table, AsOf::At(at()), Some(&meta("DATE"))),
                options,
            ),
            jobs::question(&table.project, &"EU".parse().unwrap(), at(), &[table, other]),
        ]
    }

    /// Every text that is made of names, with these.
    fn all(table: &TableRef, other: &TableRef, run: &RunId, text: &str, column: &str) -> Vec<String> {
        let options = CopyOptions {
            places: &[],
            expires: Some(at()),
            tool: "bq-snap",
            run,
            state: "open",
            description: text,
        };
        let mut counted = Counted::new(table, AsOf::At(at()), None);
        counted.filter_by = Some(column.to_owned());
        let made = vec![
            snapshot(other, table, at(), &options),
            keep(other, table, &options),
            keep_in_full(other, table, &options),
            restore(table, other, Verb::Copy, true, Some(at())),
            restore(table, other, Verb::Clone, false, None),
            stage(other, table, Verb::Clone, Some(at()), &options, Lives::default()),
            row_policy(table, "eu", &[text.to_owned()].into(), "x = ')'").unwrap_or_default(),
            standing(&table.dataset_ref()),
            drop("MATERIALIZED_VIEW", table),
            clear(table),
            fill(other, table, &[column.to_owned(), column.to_owned()]),
            counts(std::slice::from_ref(&counted)),
            living_rows(
                &Counted {
                    table: other.clone(),
                    ..counted.clone()
                },
                column,
                "DAY",
                1,
                at(),
            ),
            fine_grained(&table.dataset_ref()),
        ];
        [
            made,
            fingerprints(&counted, column),
            foreign(table, other, &options, column),
        ]
        .concat()
    }

    const HOSTILE: &str = "[a-z`'\"\\\\;()#/*$ .:@\\-\n\u{1F600}]{1,12}";

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No table name, description or column becomes SQL: with any of them a text has the tokens that it has with plain ones.
        #[test]
        fn nothing_becomes_sql(
            project in "\\PC{1,8}|example\\.com:[a-z]{3}|[a-z-]{1,9}", dataset in "\\PC{1,8}|[a-z_]{1,9}", name in "\\PC{1,16}",
            hostile in HOSTILE, run in "[a-z0-9_]{1,63}|\\PC{1,5}", text in "\\PC{0,20}", column in "[a-z'\";()#/*$ .:@-]{1,12}",
        ) {
            let plain = all(&table("p.d.t"), &table("p.d.u"), &"r".parse().unwrap(), "x", "c");
            let plain: Vec<_> = plain.iter().map(|sql| shape(sql)).collect();
            let run: RunId = run.parse().unwrap_or("r".parse().unwrap());
            for name in [&name, &hostile] {
                for text in [&text, &hostile] {
                    let Ok(odd) = TableRef::parse(&format!("{project}.{dataset}.{name}"), None) else { continue };
                    let copy = odd.with_suffix("_copy").unwrap();
                    // A run is in a string of its own, never to be seen.
                    let made = all(&odd, &copy, &run, text, &column);
                    prop_assert_eq!(made.iter().map(|sql| shape(sql)).collect::<Vec<_>>(), plain.clone(), "{:#?}", made);
                }
            }
        }
    }

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn at() -> Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    #[test]
    fn a_snapshot_says_its_instant_with_an_offset_and_all_its_options() {
        let run = "r1".parse().unwrap();
        let options = CopyOptions {
            places: &[],
            expires: Some(at()),
            tool: "bq-snap",
            run: &run,
            state: "open",
            description: "it's",
        };
        assert_eq!(
            snapshot(&table("p.d.t_snapshot_r1"), &table("p.d.t"), at(), &options),
            "CREATE SNAPSHOT TABLE `p.d.t_snapshot_r1` CLONE `p.d.t` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-02 03:04:05.678+00:00' \
             OPTIONS(expiration_timestamp=TIMESTAMP '2026-01-02 03:04:05.678+00:00', \
             labels=[('bq-rollback-run', 'r1'), ('bq-rollback-tool', 'bq-snap'), ('bq-rollback-state', 'open')], description='it\\'s')"
        );
    }

    #[test]
    fn counts_are_numbered_and_filtered_where_they_must_be() {
        let mut b = Counted::new(&table("p.d.b"), AsOf::Plain, None);
        b.filter_by = Some("da`y".into());
        let sql = counts(&[Counted::new(&table("p.d.a"), AsOf::At(at()), None), b]);
        assert_eq!(
            sql,
            "SELECT 0 AS i, COUNT(*) AS n, UNIX_MILLIS(CURRENT_TIMESTAMP()) AS as_of_ms FROM `p.d.a` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-02 03:04:05.678+00:00'\n\
             UNION ALL SELECT 1 AS i, COUNT(*) AS n, UNIX_MILLIS(CURRENT_TIMESTAMP()) AS as_of_ms FROM `p.d.b` WHERE `da\\`y` IS NULL OR `da\\`y` IS NOT NULL"
        );
    }
}
