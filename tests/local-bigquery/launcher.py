"""Starts local-bigquery 0.4.0 with the gaps closed that tests of snapshot, migrate and restore would lie through.

`launcher.py --host 127.0.0.1 --port P --grpc-port G --project ID --data-dir DIR` serves BigQuery's REST API and leaves
when its parent dies. Sections, each of them replacing functions of local-bigquery, in the order they build on each
other: history, schema, tables, options, copies, statements, scripts, jobs, HTTP, main. Every comment at a patch says
what BigQuery does. What is still different is listed in README.md beside this file.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import pathlib
import re
import sys
import threading
import time
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Annotated

import duckdb
import fastapi.routing
import sqlglot
import uvicorn
from duckdb_extensions import import_extension
from fastapi import Depends, Query
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator
from sqlglot import exp

# DuckDB downloads a missing extension at its first use; these come from wheels. Before the first connection.
for extension in ("ducklake", "icu", "spatial"):
    import_extension(extension)

from local_bigquery.api import Router, paginate, uploads, with_rows
from local_bigquery.api import jobs as jobs_api
from local_bigquery.app import PREFIX, app, valid_project
from local_bigquery.catalog import datasets, ddl, iam, metadata, names, options, row_access, tabledata, tables
from local_bigquery.engine import database
from local_bigquery.errors import STATUSES, BigQueryError, already_exists, from_exception, not_found
from local_bigquery.grpc import server as grpc_server
from local_bigquery.jobs import copy as copy_job
from local_bigquery.jobs import load as load_job
from local_bigquery.jobs import merge, query, runner, store
from local_bigquery.models import (
    Dataset,
    Job,
    JobCancelResponse,
    JobConfiguration,
    JobConfigurationQuery,
    JobConfigurationTableCopy,
    JobStatistics,
    JobStatistics2,
    JobStatistics5,
    Policy,
    QueryRequest,
    RowAccessPolicy,
    Table,
    TableFieldSchema,
    TableListTablesItem,
    TableReference,
    TableSchema,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)
from local_bigquery.resource import Resource
from local_bigquery.settings import settings
from local_bigquery.sql import dialect, js, script, translate
from local_bigquery.sql.rules import ddl as ddl_rules
from local_bigquery.sql.rules import information_schema
from local_bigquery.sql.rules import tables as table_rules

import limits
import loads
import parameters

Reference = tuple[str, str, str]
Evaluate = Callable[[exp.Expression], object]

DAY_MS = 86_400_000
DEEPEST_CHAIN = 3
DEPTH = "emulatorChainDepth"  # kept with a stored table, never answered
MULTI_REGIONS = ("US", "EU")
STATUSES["bytesBilledLimitExceeded"] = (400, "INVALID_ARGUMENT")
STATUSES["quotaExceeded"] = (403, "RESOURCE_EXHAUSTED")
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns at every CREATE SNAPSHOT TABLE


@dataclasses.dataclass
class Progress:
    """A job as it runs: what it is found to be, to write and to cost."""

    job: Job
    running: runner.Running
    kind: str = ""
    target: Reference | None = None
    destination: TableReference | None = None
    children: int = 0
    processed: int = 0
    billed: int = 0
    # The frames of the statement that failed last.
    failed_at: list[dict] = dataclasses.field(default_factory=list)

    @property
    def project_id(self) -> str:
        return self.job.jobReference.projectId

    @property
    def job_id(self) -> str:
        return self.job.jobReference.jobId

    @property
    def location(self) -> str:
        return self.job.jobReference.location

    def anonymous_table(self) -> TableReference:
        return TableReference(projectId=self.project_id, datasetId=tables.RESULTS, tableId=self.job_id)

    def begin(self, kind: str, target: Reference | None):
        self.kind, self.target = kind, target

    def add(self, statistics: JobStatistics2):
        self.processed += int(statistics.totalBytesProcessed or 0)
        self.billed += int(statistics.totalBytesBilled or 0)


PROGRESS: contextvars.ContextVar[Progress | None] = contextvars.ContextVar("progress", default=None)
LOCATION: contextvars.ContextVar[str | None] = contextvars.ContextVar("location", default=None)
CONTEXT: contextvars.ContextVar[translate.Context] = contextvars.ContextVar("context")


def parts(reference: Reference) -> dict[str, str]:
    return dict(zip(("projectId", "datasetId", "tableId"), reference))


def not_allowed(reference: Reference, kind: str) -> BigQueryError:
    label = names.label(*reference)
    return BigQueryError("invalid", f"{label} is not allowed for this operation because it is currently a {kind}.")


# DuckLake of 1.5.5 crashes when the COMMIT of a transaction that created a table meets other connections: it frees the
# schema such a table refers to (duckdb/ducklake#1248). So writers go one at a time, and never create in a transaction.
WRITER = threading.RLock()


# --- History: what a table held and how it was described at an instant --------------------------------------------
#
# DuckLake keeps every version of the rows and stamps it at commit. Instants are microseconds since 1970; versions are
# DuckLake's snapshot IDs, so that rows, columns and descriptions are all read at one version.

database.EMULATOR_SCHEMA += """
CREATE TABLE IF NOT EXISTS emulator.table_history (
    project_id VARCHAR, dataset_id VARCHAR, table_id VARCHAR, at_us BIGINT, resource JSON
);
"""


@dataclasses.dataclass(frozen=True)
class Life:
    """One table under a name: from its creation or replacement to its drop or next replacement."""

    table_id: int
    begin: int
    end: int | None
    began: int


def now_us() -> int:
    return time.time_ns() // 1000


def lake(project_id: str, table: str) -> str:
    return database.quote(f"__ducklake_metadata_{project_id}", "main", table)


def lives(reference: Reference) -> list[Life]:
    project_id, dataset_id, table_id = reference
    if project_id not in database.projects():
        return []
    rows = database.fetch(
        "SELECT t.table_id, t.begin_snapshot, t.end_snapshot, epoch_us(s.snapshot_time) "
        f"FROM {lake(project_id, 'ducklake_table')} t "
        f"JOIN {lake(project_id, 'ducklake_schema')} d USING (schema_id) "
        f"JOIN {lake(project_id, 'ducklake_snapshot')} s ON s.snapshot_id = t.begin_snapshot "
        "WHERE d.schema_name = ? AND t.table_name = ? ORDER BY t.begin_snapshot",
        [dataset_id, table_id],
    )
    return [Life(*row) for row in rows]


def first_life(past: list[Life]) -> Life:
    """From when on the name has held a table: CREATE OR REPLACE keeps history readable, DROP and CREATE does not."""
    first = past[-1]
    for life in reversed(past[:-1]):
        if life.end != first.begin:
            break
        first = life
    return first


def born(past: list[Life]) -> int:
    return first_life(past).began


def born_version(past: list[Life]) -> int:
    return first_life(past).begin


def version_at(project_id: str, instant: int) -> int:
    [(version,)] = database.fetch(
        f"SELECT coalesce(max(snapshot_id), 0) FROM {lake(project_id, 'ducklake_snapshot')} "
        "WHERE epoch_us(snapshot_time) <= ?",
        [instant],
    )
    return version


def rows_changed(reference: Reference) -> int:
    """When the rows or columns last changed, in milliseconds: the newest version that touches the table."""
    project_id = reference[0]
    past = lives(reference)
    if not past:
        return 0
    life = past[-1]
    touched = " UNION ALL ".join(
        f"SELECT greatest(begin_snapshot, coalesce(end_snapshot, 0)) AS v FROM {lake(project_id, table)} "
        f"WHERE table_id = {life.table_id}"
        for table in ("ducklake_data_file", "ducklake_delete_file", "ducklake_column")
    )
    # A small DELETE is kept inside the catalogue, and in no file.
    touched += (
        f" UNION ALL SELECT snapshot_id AS v FROM {lake(project_id, 'ducklake_snapshot_changes')} "
        f"WHERE regexp_matches(changes_made, '(^|,)(inlined|inserted|deleted)[a-z_]*:{life.table_id}(,|$)')"
    )
    [(changed,)] = database.fetch(
        f"SELECT epoch_ms(max(snapshot_time)) FROM {lake(project_id, 'ducklake_snapshot')} "
        f"WHERE snapshot_id = (SELECT greatest({life.begin}, max(v)) FROM ({touched}))"
    )
    return changed


def remember(reference: Reference, resource: Table):
    database.execute(
        "INSERT INTO emulator.table_history VALUES (?, ?, ?, ?, ?)",
        [*reference, now_us(), json.dumps(resource.dump())],
    )


def described_at(reference: Reference, instant: int, life: Life) -> Table:
    """The resource at an instant. It is saved just after the DDL commits: nothing older than the life belongs to it."""
    rows = database.fetch(
        "SELECT resource FROM emulator.table_history WHERE project_id = ? AND dataset_id = ? AND table_id = ? "
        "ORDER BY at_us >= ? DESC, at_us <= ? DESC, abs(at_us - ?) LIMIT 1",
        [*reference, life.began, instant, instant],
    )
    return Table.model_validate_json(rows[0][0]) if rows else tables.defaults(*reference)


def invalid_instant(reference: Reference, instant: int, why: str) -> BigQueryError:
    label = names.label(*reference)
    return BigQueryError("invalidQuery", f"Invalid snapshot time {instant // 1000} for table {label}. {why}")


def check_instant(reference: Reference, instant: int, past: list[Life], dropped_too: bool = False):
    """BigQuery refuses to read the future, past the travel window, and before the table's creation."""
    if instant > now_us():
        raise invalid_instant(reference, instant, "Cannot read in the future.")
    hours = datasets.get(*reference[:2]).maxTimeTravelHours or "168"
    oldest = now_us() - int(hours) * 3_600_000_000
    if past and not dropped_too:
        oldest = max(oldest, born(past))
    if instant < oldest:
        raise invalid_instant(reference, instant, f"Cannot read before {oldest // 1000}.")


# --- Schema: what a column carries besides name and type ------------------------------------------------------------


def column_options(column: exp.ColumnDef, evaluate: Evaluate) -> dict:
    """Mode, default, description and type parameters, at any depth.

    local-bigquery keeps descriptions and parameters of top-level columns only, and cannot parse NOT NULL in a STRUCT.
    """
    extras: dict = ddl._parameters(column.args.get("kind"))
    for constraint in column.args.get("constraints") or []:
        kind = constraint.args.get("kind")
        if isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
            extras["mode"] = "REQUIRED"
        elif isinstance(kind, exp.DefaultColumnConstraint):
            extras["defaultValueExpression"] = kind.this.sql(dialect.BigQueryDialect)
        elif isinstance(kind, exp.Properties):
            extras |= ddl.options(kind, options.COLUMN_OPTIONS, evaluate)
    datatype = column.args.get("kind")
    while datatype is not None and datatype.is_type(exp.DataType.Type.ARRAY) and datatype.expressions:
        datatype = datatype.expressions[0]
    members = datatype.expressions if datatype is not None and datatype.is_type(exp.DataType.Type.STRUCT) else []
    nested = [column_options(member, evaluate) for member in members if isinstance(member, exp.ColumnDef)]
    if any(len(member) > 1 for member in nested):
        extras["fields"] = nested
    return {"name": column.name} | extras


def declared_fields(schema: exp.Expression, evaluate: Evaluate) -> list[dict]:
    columns = schema.expressions if isinstance(schema, exp.Schema) else []
    found = [column_options(column, evaluate) for column in columns if isinstance(column, exp.ColumnDef)]
    return [field for field in found if len(field) > 1]


def plain_members(tree: exp.Expression, context) -> exp.Expression:
    """DuckDB knows no constraint inside a STRUCT; the catalogue keeps it."""
    for datatype in tree.find_all(exp.DataType):
        for member in datatype.expressions:
            if isinstance(member, exp.ColumnDef):
                member.set("constraints", None)
    return tree


def duckdb_expression(sql: str, reference: Reference) -> str:
    tree = translate.parse(f"SELECT {sql} AS v")[0]
    translated, _ = translate.translate(tree, translate.Context(*reference[:2]))
    value = sqlglot.parse_one(translated, dialect=dialect.DuckDBDialect).expressions[0].unalias()
    return value.sql(dialect=dialect.DuckDBDialect)


def set_columns(cur, reference: Reference, fields: list[TableFieldSchema], required: set[str]):
    """Enforce what BigQuery enforces on a table made by SELECT: REQUIRED, and defaults of omitted columns."""
    table = tables.name(*reference)
    if required and cur.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,):
        # DuckLake finds out from a table's statistics whether a column holds nulls, and an empty table has none:
        # it is made anew with its columns as they must be.
        columns = [
            f"{database.quote(name)} {kind}{' NOT NULL' if name in required else ''}"
            for name, kind, *_ in cur.execute(f"DESCRIBE {table}").fetchall()
        ]
        cur.execute(f"CREATE OR REPLACE TABLE {table} ({', '.join(columns)})")
        required = set()
    for column in sorted(required):
        cur.execute(f"ALTER TABLE {table} ALTER COLUMN {database.quote(column)} SET NOT NULL")
    for field in fields:
        if field.defaultValueExpression:
            default = duckdb_expression(field.defaultValueExpression, reference)
            cur.execute(f"ALTER TABLE {table} ALTER COLUMN {database.quote(field.name)} SET DEFAULT {default}")


def by_ingestion(cur, reference: Reference):
    """An ingestion-time partitioned table has its pseudo-column: of today, unless a writer says otherwise. DuckLake
    takes such a default at CREATE only, so the table is made anew."""
    table, column = tables.name(*reference), database.quote(tables.INGESTION_TIME)
    today = "CAST(date_trunc('day', current_timestamp) AS TIMESTAMPTZ)"
    found = cur.execute(
        "SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = ? AND table_name = ? ORDER BY column_index",
        list(tables.physical(*reference)),
    ).fetchall()
    columns = [
        f"{database.quote(name)} {kind}{'' if nullable else ' NOT NULL'}{f' DEFAULT {default}' if default else ''}"
        for name, kind, nullable, default in found
        if name != tables.INGESTION_TIME
    ]
    kept = database.quote(f"_by_ingestion_{uuid.uuid4().hex}")
    day = "" if len(columns) < len(found) else f", {today} AS {column}"
    cur.execute(f"CREATE TEMP TABLE {kept} AS SELECT *{day} FROM {table}")
    cur.execute(f"CREATE OR REPLACE TABLE {table} ({', '.join(columns)}, {column} TIMESTAMPTZ DEFAULT {today})")
    cur.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {kept}")
    cur.execute(f"DROP TABLE {kept}")


translate.STATEMENT_RULES.append(plain_members)
ddl._fields = declared_fields


# --- Tables: tables.get, list, patch ---------------------------------------------------------------------------------

_save, _defaults, _load, _get, _list = metadata.save, tables.defaults, tables.load, tables.get, tables.list_
_create, _update, _write = tables.create, tables.update, tables.write
_lookup, _forget, _delete = tables._lookup, tables.forget, tables.delete
_insert_all, _load_run, _dataset_record = tabledata.insert_all, load_job.run, datasets.record


def save(resource: Resource, *keys: str) -> Resource:
    saved = _save(resource, *keys)
    if isinstance(resource, Table):
        remember(keys, saved)
    return saved


def etag(resource: Resource) -> str:
    body = {key: value for key, value in resource.dump().items() if key != "etag"}
    return hashlib.md5(json.dumps(body, sort_keys=True).encode()).hexdigest()


def location_of(project_id: str, dataset_id: str) -> str:
    dataset = metadata.load(Dataset, project_id, dataset_id)
    return (dataset and dataset.location) or "US"


def defaults(project_id: str, dataset_id: str, table_id: str) -> Table:
    resource = _defaults(project_id, dataset_id, table_id)
    return resource.replace(location=location_of(project_id, dataset_id))


def with_dataset_defaults(reference: Reference, given: dict) -> dict:
    """A new partitioned table takes the dataset's partition expiration, and then not its table expiration."""
    dataset = metadata.load(Dataset, *reference[:2])
    expiration = dataset and dataset.defaultPartitionExpirationMs
    partitioning = given.get("timePartitioning")
    if not (expiration and partitioning):
        return given
    partitioning = {"expirationMs": expiration} | {k: v for k, v in partitioning.items() if v is not None}
    return {"expirationTime": None} | given | {"timePartitioning": partitioning}


_objects = database.objects


def objects(project_id: str, dataset_id: str, table_id: str | None = None) -> list[tuple[str, str, int]]:
    """The tables and views of a dataset, with their rows as far as DuckLake knows them.

    From DuckLake's own list: `duckdb_tables()` looks up the size of every table of the server, whichever is asked for,
    and every call asks several times.
    """
    if project_id == "emulator" and table_id:
        try:
            [(rows,)] = database.fetch(f"SELECT count(*) FROM {database.quote(project_id, dataset_id, table_id)}")
        except duckdb.CatalogException:
            return []
        return [(table_id, "TABLE", rows)]
    if project_id not in database._attached:
        return _objects(project_id, dataset_id, table_id)
    lake = database.quote(f"__ducklake_metadata_{project_id}", "main")
    return database.fetch(
        f"WITH here AS (SELECT schema_id FROM {lake}.ducklake_schema WHERE schema_name = $1 AND end_snapshot IS NULL) "
        f"SELECT table_name, 'TABLE', coalesce(record_count, 0) FROM {lake}.ducklake_table "
        f"LEFT JOIN {lake}.ducklake_table_stats USING (table_id) "
        "WHERE schema_id IN (FROM here) AND end_snapshot IS NULL AND table_name = coalesce($2, table_name) "
        f"UNION ALL SELECT view_name, 'VIEW', 0 FROM {lake}.ducklake_view "
        "WHERE schema_id IN (FROM here) AND end_snapshot IS NULL AND view_name = coalesce($2, view_name) ORDER BY 1",
        [dataset_id, table_id],
    )


database.objects = objects


def load(project_id: str, dataset_id: str, table_id: str) -> Table:
    """tables.get: lastModifiedTime and etag move with every change of rows or description, numRows is exact."""
    reference = (project_id, dataset_id, table_id)
    resource = _load(*reference)
    if dataset_id == tables.RESULTS or resource.type == "VIEW":
        return resource
    changes = {"location": location_of(project_id, dataset_id)}
    if resource.externalDataConfiguration:
        changes["type"] = "EXTERNAL"
    if database.objects(*reference):
        waiting = limits.buffered(reference, now_us()) if resource.type == "TABLE" else []
        stored = limits.stored_only(reference, now_us()) if waiting else "TRUE"
        [(rows,)] = database.fetch(f"SELECT count(*) FROM {tables.name(*reference)} WHERE {stored}")
        size = str(tables.logical_bytes(rows, len(tables.fields(resource))))
        modified = max(int(resource.lastModifiedTime or 0), rows_changed(reference))
        changes |= {"numRows": str(rows), "numBytes": size, "lastModifiedTime": str(modified)}
        changes |= {"numTotalLogicalBytes": size, "numActiveLogicalBytes": size}
        if waiting:
            estimated = sum(row_count for _, row_count, _ in waiting)
            changes["streamingBuffer"] = {
                "estimatedRows": str(estimated),
                "estimatedBytes": str(tables.logical_bytes(estimated, len(tables.fields(resource)))),
                "oldestEntryTime": str(waiting[0][2] // 1000),
            }
    resource = resource.replace(**changes)
    return resource.replace(etag=etag(resource))


def get(project_id: str, dataset_id: str, table_id: str, selected: str | None = None, view: str | None = None) -> Table:
    return _get(project_id, dataset_id, table_id, selected, view).without(DEPTH)


def list_tables(project_id: str, dataset_id: str) -> list[Table]:
    """tables.list answers a short form; local-bigquery answers all it has stored."""
    listed = [
        table.replace(type="EXTERNAL") if table.externalDataConfiguration else table
        for table in _list(project_id, dataset_id)
    ]
    short = [table.only(*TableListTablesItem.model_fields) for table in listed]
    return [table.replace(view={"useLegacySql": False}) if table.view else table for table in short]


def create(project_id: str, dataset_id: str, body: Table, translate_view) -> Table:
    check_labels(body.labels)
    table_id = (body.tableReference and body.tableReference.tableId) or ""
    reference = (project_id, dataset_id, table_id)
    body = Table.model_validate(with_dataset_defaults(reference, body.given()))
    with WRITER, database.cursor() as cur:
        created = _create(project_id, dataset_id, body, translate_view)
        set_columns(cur, reference, tables.fields(body), set())
        if body.timePartitioning and not body.timePartitioning.field and tables.fields(body):
            by_ingestion(cur, reference)
    return created


def update(
    project_id: str, dataset_id: str, table_id: str, body: Table, etag: str | None, replace: bool
) -> Table:
    """tables.patch cannot turn a table into a partitioned one, nor change what it is partitioned by."""
    check_labels(body.labels)
    reference = (project_id, dataset_id, table_id)
    current = load(*reference)
    merged = layout(current.merged(body))
    if body.timePartitioning and merged["timePartitioning"] != layout(current)["timePartitioning"]:
        raise BigQueryError("invalid", "Cannot change partitioning spec for a partitioned table.")
    with WRITER:
        return _update(project_id, dataset_id, table_id, body, etag, replace)


def write(cur, sql, params, reference, config, default="WRITE_EMPTY", *args, **kwargs) -> bool:
    """Loads and query destinations: never into a snapshot; WRITE_TRUNCATE drops column descriptions and keys."""
    stored = metadata.load(Table, *reference)
    if stored and stored.type == "SNAPSHOT":
        raise not_allowed(reference, "SNAPSHOT")
    with contextlib.nullcontext() if reference[1] == tables.RESULTS else WRITER:
        created = _write(cur, sql, params, reference, config, default, *args, **kwargs)
    if created and reference[1] != tables.RESULTS:
        fresh = tables.defaults(*reference).dump()
        given = {k: v for k, v in (metadata.load(Table, *reference) or Table()).dump().items() if k in tables.LAYOUT}
        tables.record(*reference, Table.model_validate(fresh).merged(
            Table.model_validate(with_dataset_defaults(reference, given))))
    elif stored and (config.writeDisposition or default) == "WRITE_TRUNCATE":
        kept = metadata.load(Table, *reference).without("schema", "tableConstraints")
        tables.record(*reference, kept.replace(lastModifiedTime=metadata.now()))
    return created


def asked_layout(config) -> Table:
    given = {key: value for key, value in config.dump().items() if key in tables.LAYOUT}
    return Table.model_validate(given)


def run_load(cur, config, upload):
    """A load that creates the table gives it exactly the schema and layout that it says."""
    reference = tables.reference(config.destinationTable)
    datasets.get(*reference[:2])
    config = loads.prepared(config, upload)
    created = not tables.exists(*reference)
    asked = layout(asked_layout(config))
    if not created and any(asked.values()) and asked != layout(old := tables.load(*reference)):
        raise BigQueryError(
            "invalid",
            f"Incompatible table partitioning specification. Expects partitioning specification {spec(old)}, "
            f"but input partitioning specification is {spec(asked_layout(config))}",
        )
    statistics = _load_run(cur, config, upload)
    given = (config.schema_ and config.schema_.fields) or []
    if created or config.writeDisposition == "WRITE_TRUNCATE":
        with WRITER:
            set_columns(cur, reference, given, {field.name for field in given if field.mode == "REQUIRED"})
            if created and config.timePartitioning and not config.timePartitioning.field:
                by_ingestion(cur, reference)
        if given:
            tables.annotate(reference, Table(schema=config.schema_))
        if created and config.destinationTableProperties:
            tables.annotate(reference, Table.model_validate(config.destinationTableProperties.dump()))
    return statistics


def insert_all(project_id: str, dataset_id: str, table_id: str, body) -> dict:
    stored = metadata.load(Table, project_id, dataset_id, table_id)
    if stored and stored.type == "SNAPSHOT":
        raise not_allowed((project_id, dataset_id, table_id), "SNAPSHOT")
    with WRITER:
        before = version_at(project_id, now_us())
        answer = _insert_all(project_id, dataset_id, table_id, body)
        reference = (project_id, dataset_id, table_id + (body.templateSuffix or ""))
        for version in range(before + 1, version_at(project_id, now_us()) + 1):
            name = tables.name(*reference)
            [(rows,)] = database.fetch(f"SELECT count(*) FROM {name} WHERE snapshot_id = ?", [version])
            limits.streamed(reference, version, rows)
    return answer


def lookup(project_id: str, dataset_id: str, table_id: str) -> tuple[str, int] | None:
    """What has expired is dropped when it is looked for: as any drop, one writer at a time."""
    if tables.expired(metadata.load(Table, project_id, dataset_id, table_id)):
        with WRITER:
            return _lookup(project_id, dataset_id, table_id)
    return _lookup(project_id, dataset_id, table_id)


def forget(project_id: str, dataset_id: str, table_id: str):
    """A table that is dropped takes its row access policies along; its IAM policy goes with its resource."""
    _forget(project_id, dataset_id, table_id)
    metadata.delete(RowAccessPolicy, project_id, dataset_id, table_id)


def delete(project_id: str, dataset_id: str, table_id: str):
    with WRITER:
        _delete(project_id, dataset_id, table_id)


def check_labels(labels: dict | None):
    """Label keys and values: lower case, digits, _ and -, at most 63 characters; keys begin with a letter."""
    for key, value in (labels or {}).items():
        allowed = all(c.islower() or c.isdigit() or c in "_-" or (c.isalpha() and not c.isupper()) for c in key)
        fine = not value or all(c.isalnum() and not c.isupper() or c in "_-" for c in value)
        if not (key[:1].isalpha() and allowed and fine and len(key) <= 63 and len(value or "") <= 63):
            raise BigQueryError("invalid", f'Invalid label "{key}": "{value}".')


def record_dataset(project_id: str, dataset_id: str, resource: Dataset) -> Dataset:
    location = resource.location or (PROGRESS.get().location if PROGRESS.get() else "US")
    location = location.upper() if location.upper() in MULTI_REGIONS else location.lower()
    return _dataset_record(project_id, dataset_id, resource.replace(location=location))


metadata.save = save
tables.defaults, tables.load, tables.get, tables.list_ = defaults, load, get, list_tables
tables.create, tables.update, tables.write = create, update, write
tables._lookup, tables.forget, tables.delete = lookup, forget, delete
tabledata.load, tabledata.get, tabledata.create, tabledata.insert_all = load, get, create, insert_all
runner.HANDLERS["load"] = run_load
datasets.record = record_dataset


_table_list = information_schema.table_list


def table_list(project_id: str, dataset_id: str | None):
    """INFORMATION_SCHEMA.TABLES: a clone, and so a restored table, is not a BASE TABLE; the DDL of materialized views, of others none.

    From what tables.list tells: local-bigquery counts the rows of every table for it, seconds in a dataset of hundreds.
    """
    datasets_of = [dataset_id] if dataset_id else [d.datasetReference.datasetId for d in datasets.list_(project_id)]
    rows = []
    for listed in metadata.existing(_list, [(project_id, dataset) for dataset in datasets_of]):
        for table in listed:
            kind = "CLONE" if table.dump().get("cloneDefinition") else information_schema.TABLE_TYPES.get(table.type, table.type)
            view = table.type == "MATERIALIZED_VIEW" and table.materializedView
            identity = information_schema._identity(table)
            ddl = f"CREATE MATERIALIZED VIEW `{'.'.join(identity)}` AS {view.query}" if view else None
            insertable = "YES" if table.type == "TABLE" else "NO"
            made = information_schema._timestamp(table.creationTime)
            rows.append([*identity, kind, insertable, "NO", made, ddl])
    columns, _ = _table_list(project_id, "nothing")
    return [*columns, "ddl"], rows


def only_where_some_are(view):
    """The indexes of a dataset without looking at each of its tables, if it has none."""

    def indexes_of(project_id: str, dataset_id: str | None):
        keys = (project_id, dataset_id) if dataset_id else (project_id,)
        return view(project_id, dataset_id if metadata.list_(metadata.Index, *keys) else "nothing")

    return indexes_of


for _name in ("SEARCH_INDEXES", "VECTOR_INDEXES"):
    information_schema.VIEWS[_name] = only_where_some_are(information_schema.VIEWS[_name])
information_schema.VIEWS["TABLES"] = table_list

# INFORMATION_SCHEMA.JOBS: what a job wrote, when it ended, its labels. A job's labels are an object here, in BigQuery a list.
information_schema.JOBS = """
SELECT
    job_id,
    project_id,
    resource ->> '$.configuration.jobType' AS job_type,
    resource ->> '$.statistics.query.statementType' AS statement_type,
    state,
    make_timestamp(creation_time * 1000) AS creation_time,
    make_timestamp(CAST(resource ->> '$.statistics.endTime' AS BIGINT) * 1000) AS end_time,
    resource ->> '$.user_email' AS user_email,
    resource ->> '$.configuration.query.query' AS query,
    parent_job_id,
    CAST(NULL AS VARCHAR) AS transaction_id,
    resource -> '$.configuration.labels' AS labels,
    resource -> '$.status.errorResult' AS error_result,
    struct_pack(
        project_id := resource ->> '$.configuration.query.destinationTable.projectId',
        dataset_id := resource ->> '$.configuration.query.destinationTable.datasetId',
        table_id := resource ->> '$.configuration.query.destinationTable.tableId'
    ) AS destination_table,
    struct_pack(
        inserted_row_count := CAST(resource ->> '$.statistics.query.dmlStats.insertedRowCount' AS BIGINT),
        updated_row_count := CAST(resource ->> '$.statistics.query.dmlStats.updatedRowCount' AS BIGINT),
        deleted_row_count := CAST(resource ->> '$.statistics.query.dmlStats.deletedRowCount' AS BIGINT)
    ) AS dml_statistics
FROM emulator.main.jobs
WHERE project_id = {project}
"""


# --- Options: OPTIONS(...), partitioning, ALTER ----------------------------------------------------------------------

_options, _partitioning, _table, _alteration, _apply = (
    ddl.options, ddl._partitioning, ddl._table, ddl._alteration, ddl.apply,
)
_expression = dialect.BigQueryDialect.Parser.expression


def days(key: str) -> options.Option:
    return options.Option(
        key,
        "FLOAT64",
        lambda node, evaluate: str(int(float(evaluate(node)) * DAY_MS)),
        lambda value: str(int(value) / DAY_MS),
    )


options.DATASET_OPTIONS["default_partition_expiration_days"] = days("defaultPartitionExpirationMs")
options.DATASET_OPTIONS["max_time_travel_hours"] = options.Option(
    "maxTimeTravelHours", "INT64", lambda node, evaluate: str(evaluate(node))
)


def expression(self, instance, *args, **kwargs):
    """`CLONE source … OPTIONS(…)`: sqlglot stops before OPTIONS."""
    node = _expression(self, instance, *args, **kwargs)
    if isinstance(node, exp.Clone) and self._curr and self._curr.text.upper() == "OPTIONS":
        node.meta["options"] = self._parse_properties()
    return node


def given_options(node: exp.Expression | None, mapping: dict, evaluate: Evaluate) -> dict:
    """As local-bigquery, and `option = NULL`: None, which clears the option in ALTER and is ignored in CREATE."""
    given: dict = {}
    for prop in node.find_all(exp.Property) if node else []:
        if isinstance(prop, exp.LocationProperty) and "location" in mapping:
            given["location"] = prop.name
        option = mapping.get(prop.name.lower()) if "value" in prop.args else None
        if option is not None:
            value = prop.args["value"]
            given[option.key] = None if isinstance(value, exp.Null) else option.parse(value, evaluate)
    check_labels(given.get("labels"))
    return given


def partition_expiration(node: exp.Expression | None, evaluate: Evaluate) -> dict:
    """`partition_expiration_days`, as a change of timePartitioning."""
    mapping = {"partition_expiration_days": days("expirationMs")}
    return given_options(node, mapping, evaluate)


def partitioning(node: exp.PartitionedByProperty) -> dict:
    """`RANGE_BUCKET(column, GENERATE_ARRAY(start, end, interval))`: local-bigquery's own macro hides it from itself."""
    bucket = node.this
    if not (isinstance(bucket, exp.Anonymous) and bucket.name.lower().endswith("range_bucket")):
        return _partitioning(node)
    column, series = bucket.expressions
    bounds = dict(zip(("start", "end", "interval"), (bound.sql("bigquery") for bound in series.expressions)))
    return {"rangePartitioning": {"field": column.name, "range": {"interval": "1"} | bounds}}


def created_table(tree: exp.Create, reference: Reference, evaluate: Evaluate) -> dict:
    resource = {key: value for key, value in _table(tree, reference, evaluate).items() if value is not None}
    if expiration := partition_expiration(tree.args.get("properties"), evaluate).get("expirationMs"):
        if "timePartitioning" not in resource:
            raise BigQueryError("invalidQuery", "partition_expiration_days needs a time-partitioned table")
        resource["timePartitioning"] = resource["timePartitioning"] | {"expirationMs": expiration}
    return with_dataset_defaults(reference, resource)


def with_field(stored: Table, name: str, changes: dict) -> dict:
    fields = [
        field.replace(**changes) if field.name.casefold() == name.casefold() else field
        for field in tables.fields(stored)
    ]
    return {"schema": {"fields": fields}}


def alteration(stored: Table, action: exp.Expression, reference: Reference, evaluate: Evaluate) -> dict:
    """ALTER TABLE actions whose traces local-bigquery loses; `stored` is the table after the action."""
    if isinstance(action, exp.AlterSet):
        changes = _alteration(stored, action, reference, evaluate)
        if (labels := changes.get("labels")) is not None:  # the option is replaced, not merged
            changes["labels"] = dict.fromkeys(stored.labels or {}) | labels
        expiration = partition_expiration(action, evaluate)
        return changes | ({"timePartitioning": expiration} if expiration else {})
    if isinstance(action, exp.ColumnDef):
        return with_field(stored, action.name, column_options(action, evaluate))
    if isinstance(action, exp.RenameColumn):
        before = metadata.load(Table, *reference) or Table()
        old, new = action.this.name, action.args["to"].name
        extras = next((f.dump() for f in tables.fields(before) if f.name.casefold() == old.casefold()), {})
        now = next(f.dump() for f in tables.fields(stored) if f.name.casefold() == new.casefold())
        return with_field(stored, new, extras | now)
    if isinstance(action, exp.AlterColumn):
        if (value := action.args.get("default")) is not None:
            return with_field(stored, action.name, {"defaultValueExpression": value.sql(dialect.BigQueryDialect)})
        if action.args.get("drop") and not action.args.get("allow_null"):
            return with_field(stored, action.name, {"defaultValueExpression": None})
        if (kind := action.args.get("dtype")) is not None:
            unsized = dict.fromkeys(("maxLength", "precision", "scale"))
            return with_field(stored, action.name, unsized | ddl._parameters(kind))
    return _alteration(stored, action, reference, evaluate)


def apply(tree: exp.Expression, project_id: str, dataset_id: str, evaluate: Evaluate):
    """Every ALTER TABLE moves lastModifiedTime and etag, also one that changes descriptions only."""
    _apply(tree, project_id, dataset_id, evaluate)
    if isinstance(tree, exp.Alter) and (tree.args.get("kind") or "").upper() in ("TABLE", "VIEW"):
        reference = names.reference(tree.find(exp.Table), project_id, dataset_id)
        for action in tree.args.get("actions") or []:
            if isinstance(action, exp.AlterRename):
                reference = (*reference[:2], action.this.name)
        if metadata.load(Table, *reference):
            tables.annotate(reference, Table(lastModifiedTime=metadata.now()))


dialect.BigQueryDialect.Parser.expression = expression
ddl.options, ddl._partitioning, ddl._table = given_options, partitioning, created_table
ddl._alteration, ddl.apply = alteration, apply


# --- Copies: snapshots, clones, restores, COPY -----------------------------------------------------------------------


def layout(resource: Table) -> dict:
    """Partitioning and clustering, without what may change in place."""
    time_partitioning, range_partitioning = resource.timePartitioning, resource.rangePartitioning
    return {
        "timePartitioning": time_partitioning
        and (time_partitioning.type or "DAY", (time_partitioning.field or "_PARTITIONTIME").casefold()),
        "rangePartitioning": range_partitioning and json.dumps(range_partitioning.dump(), sort_keys=True),
        "clustering": [f.casefold() for f in (resource.clustering and resource.clustering.fields) or []],
    }


def spec(resource: Table) -> str:
    described = []
    if by := resource.timePartitioning:
        described.append(f"interval(type:{(by.type or 'DAY').lower()},field:{by.field or '_PARTITIONTIME'})")
    if by := resource.rangePartitioning:
        bounds = by.range
        described.append(f"range(field:{by.field},start:{bounds.start},end:{bounds.end},interval:{bounds.interval})")
    if resource.clustering and resource.clustering.fields:
        described.append(f"clustering({','.join(resource.clustering.fields)})")
    return " ".join(described) or "none"


def check_replaceable(reference: Reference, new: Table):
    """CREATE OR REPLACE TABLE: not over a view or a snapshot, not with another partitioning or clustering."""
    old = tables.load(*reference)
    if old.type != "TABLE":
        raise not_allowed(reference, old.type)
    if layout(old) != layout(new):
        raise BigQueryError(
            "invalidQuery",
            "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and then recreate it. "
            f"New partitioning spec is {spec(new)} and existing spec is {spec(old)}",
        )


@dataclasses.dataclass(frozen=True)
class Source:
    """A table at an instant."""

    reference: Reference
    instant: int
    version: int
    life: Life
    resource: Table
    buried: bool = False  # dropped or expired, or another table has the name

    @property
    def depth(self) -> int:
        return self.resource.dump().get(DEPTH, 0)

    @property
    def time(self) -> str:
        moment = datetime.datetime.fromtimestamp(self.instant / 1_000_000, datetime.UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

    def by_ingestion(self) -> bool:
        partitioning = self.resource.timePartitioning
        return bool(partitioning) and not partitioning.field

    def required(self) -> set[str]:
        rows = database.fetch(
            f"SELECT column_name FROM {lake(self.reference[0], 'ducklake_column')} WHERE table_id = ? "
            "AND parent_column IS NULL AND NOT nulls_allowed "
            "AND begin_snapshot <= ? AND (end_snapshot IS NULL OR end_snapshot > ?)",
            [self.life.table_id, self.version, self.version],
        )
        return {column for (column,) in rows}


def source_at(reference: Reference, instant: int | None, dropped_too: bool = False) -> Source:
    stored = metadata.load(Table, *reference)
    if not datasets.exists(*reference[:2]):
        raise table_rules._not_found(*reference)
    exists = tables.exists(*reference)
    if not exists and not dropped_too:
        raise table_rules._not_found(*reference)
    if exists and (kind := tables.load(*reference).type) not in ("TABLE", "SNAPSHOT"):
        raise not_allowed(reference, kind)
    past = lives(reference)
    if dropped_too and not past:
        raise table_rules._not_found(*reference)
    at = now_us() if instant is None else instant
    if instant is not None:
        check_instant(reference, instant, past, dropped_too)
    version = version_at(reference[0], at)
    life = next((p for p in past if p.begin <= version and (p.end is None or version < p.end)), None)
    if life is None and instant is None:
        raise BigQueryError("invalid", f"Table {names.label(*reference)} does not have a schema.")
    if life is None:
        raise invalid_instant(reference, at, "The table did not exist then.")
    resource = stored if instant is None and stored else described_at(reference, at, life)
    buried = not exists or version < born_version(past)
    return Source(reference, at, version, life, resource, buried)


KEPT = ("schema", "tableConstraints", "clustering", "rangePartitioning", "timePartitioning", "labels", "description")
OWN = ("id", "selfLink", "tableReference", "creationTime", "lastModifiedTime", "etag", "location", "type", "kind", DEPTH)


def inherited(source: Source, kind: str) -> dict:
    """What a copy takes over. COPY: all options. A snapshot or clone: the schema with its keys, the layout without
    partition expiration, labels and description. BigQuery documents no more than that for CLONE, so nothing else is
    given: friendly name, expirations and (for a clone) the required partition filter have to be put back."""
    resource = source.resource.dump()
    if kind == "COPY":
        return {k: v for k, v in resource.items() if k not in (*OWN, "snapshotDefinition", "cloneDefinition")}
    kept = {k: v for k, v in resource.items() if k in KEPT}
    if "timePartitioning" in kept:
        kept["timePartitioning"] = {k: v for k, v in kept["timePartitioning"].items() if k != "expirationMs"}
    if kind == "SNAPSHOT" and resource.get("requirePartitionFilter"):
        kept["requirePartitionFilter"] = True
    return kept


def definition(source: Source, kind: str) -> dict:
    base = parts(source.reference)
    if kind == "SNAPSHOT":
        return {
            "type": "SNAPSHOT",
            DEPTH: source.depth + 1,
            "snapshotDefinition": {"baseTableReference": base, "snapshotTime": source.time},
        }
    if kind == "CLONE":
        return {DEPTH: source.depth + 1, "cloneDefinition": {"baseTableReference": base, "cloneTime": source.time}}
    return {}


def planned_copy(
    source: Source, target: Reference, kind: str, travels: bool, given: dict, partition_expiration: str | None = None
) -> Table:
    """The table that a copy would make, or the reason why BigQuery makes none."""
    if source.reference == target and not (source.buried and not tables.exists(*target)):
        raise BigQueryError("invalid", "Cannot clone data from and to the same table")
    if kind == "SNAPSHOT" and source.resource.type == "SNAPSHOT" and travels and not source.buried:
        raise BigQueryError("invalidQuery", "FOR SYSTEM_TIME AS OF is not supported for a snapshot of a snapshot")
    if kind != "COPY" and source.depth >= DEEPEST_CHAIN:
        raise BigQueryError(
            "invalid",
            f"Cannot clone or snapshot {names.label(*source.reference)}: "
            f"a chain of clones and snapshots can be at most {DEEPEST_CHAIN} deep.",
        )
    if kind != "COPY":
        limits.check_copy(source.reference, kind == "SNAPSHOT")
    resource = inherited(source, kind) | given
    if partition_expiration and resource.get("timePartitioning"):
        resource["timePartitioning"] |= {"expirationMs": partition_expiration}
    resource = with_dataset_defaults(target, resource) | definition(source, kind)
    return tables.defaults(*target).merged(Table.model_validate(resource))


def copy_policies(source: Reference, target: Reference):
    """Row access policies travel with the data."""
    policies = metadata.list_(RowAccessPolicy, *source)
    metadata.delete(RowAccessPolicy, *target)
    for policy in policies:
        policy_id = policy.rowAccessPolicyReference.policyId
        own = policy.replace(rowAccessPolicyReference=parts(target) | {"policyId": policy_id})
        metadata.save(own, *target, policy_id)


def make_copy(cur, source: Source, target: Reference, resource: Table, replace: bool):
    verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE"
    with WRITER:  # and no BEGIN … COMMIT around these: see WRITER
        if replace and tables._lookup(*target) == ("EMPTY", 0):
            verb = "CREATE TABLE"
        columns = "*"
        if not resource.timePartitioning and source.resource.timePartitioning and source.by_ingestion():
            columns = f"* EXCLUDE ({database.quote(tables.INGESTION_TIME)})"
        cur.execute(
            f"{verb} {tables.name(*target)} AS "
            f"SELECT {columns} FROM {tables.name(*source.reference)} AT (VERSION => {source.version}) "
            f"WHERE {limits.stored_only(source.reference, source.instant)}"
        )
        set_columns(cur, target, tables.fields(resource), source.required())
        if source.by_ingestion() and resource.timePartitioning:
            by_ingestion(cur, target)
    metadata.delete(metadata.Index, *target)  # a table that is replaced keeps its IAM policy: no `forget`
    tables.record(*target, resource)
    if source.buried:
        metadata.delete(RowAccessPolicy, *target)
    else:
        copy_policies(source.reference, target)
    if resource.type == "SNAPSHOT":
        limits.made_snapshot(source.reference)


def run_clone(cur, tree: exp.Create, context, dry_run: bool) -> JobStatistics2:
    """CREATE [OR REPLACE] [SNAPSHOT] TABLE target CLONE|COPY source [FOR SYSTEM_TIME AS OF t] [OPTIONS(…)]."""
    clone = tree.args["clone"]
    kind = "SNAPSHOT" if tree.meta.get("snapshot") else "COPY" if clone.args.get("copy") else "CLONE"
    target = names.reference(tree.find(exp.Table), context.project_id, context.dataset_id)
    reference = names.reference(clone.this, context.project_id, context.dataset_id)
    statistics = query._ddl(tree, context).replace(
        statementType=query.statement_type(tree), referencedTables=[parts(reference)]
    )
    if statistics.ddlOperationPerformed == "SKIP":
        return statistics
    replace = statistics.ddlOperationPerformed == "REPLACE"
    if not replace and tables.exists(*target):
        raise already_exists("Table", names.label(*target))
    if not datasets.exists(*target[:2]):
        raise table_rules._not_found(*target)
    evaluate = evaluator(cur, context)
    version = clone.this.args.get("version")
    source = source_at(reference, instant_of(version.expression, cur, context) if version else None)
    given = ddl.options(clone.meta.get("options"), options.TABLE_OPTIONS, evaluate)
    given = {key: value for key, value in given.items() if value is not None}
    expiration = partition_expiration(clone.meta.get("options"), evaluate).get("expirationMs")
    resource = planned_copy(source, target, kind, version is not None, given, expiration)
    if replace:
        check_replaceable(target, resource)
    if not dry_run:
        make_copy(cur, source, target, resource, replace)
    return statistics


def decorated(reference: Reference) -> tuple[Reference, int | None]:
    """`table@ms`, `table@-ms` (before now) and `table@0` (the oldest there is)."""
    match = table_rules.DECORATOR.match(reference[2])
    if not match:
        return reference, None
    reference = (*reference[:2], match[1])
    milliseconds = int(match[2])
    if milliseconds == 0:
        past = lives(reference)
        return reference, max(born(past), now_us() - 7 * DAY_MS * 1000) if past else now_us()
    return reference, milliseconds * 1000 if milliseconds > 0 else now_us() + milliseconds * 1000


def check_operation(operation: str, disposition: str, source: Source):
    """What a copy job may be asked: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#operationtype"""
    if operation in ("SNAPSHOT", "CLONE") and disposition != "WRITE_EMPTY":
        raise BigQueryError(
            "invalid",
            f"{operation.capitalize()} operation with write disposition {disposition} is not supported. "
            "Please try again with WRITE_EMPTY.",
        )
    if operation == "RESTORE" and source.resource.type != "SNAPSHOT":
        raise BigQueryError(
            "invalid", f"Restore operation is not supported: {names.label(*source.reference)} is not a snapshot."
        )


def check_place(target: Reference, config: JobConfigurationTableCopy, resource: Table) -> bool:
    """Whether a copy job replaces a table; or the reason why it may not."""
    if not tables.exists(*target):
        if config.createDisposition == "CREATE_NEVER":
            raise table_rules._not_found(*target)
        return False
    old = tables.load(*target)
    only_new = config.operationType in ("SNAPSHOT", "CLONE")
    if only_new or ((config.writeDisposition or "WRITE_EMPTY") == "WRITE_EMPTY" and old.numRows != "0"):
        raise already_exists("Table", names.label(*target))
    if old.type != "TABLE":
        raise not_allowed(target, old.type)
    if layout(old) != layout(resource):
        raise BigQueryError(
            "invalid", f"Incompatible table partitioning specification: {spec(resource)} to {spec(old)}."
        )
    return True


def run_copy(cur, config: JobConfigurationTableCopy, upload: str | None) -> JobStatistics5:
    """Copy jobs: SNAPSHOT, CLONE, RESTORE and the plain copy, with decorators, also of what was dropped."""
    sources = [tables.reference(table) for table in config.sourceTables or [config.sourceTable]]
    target = tables.reference(config.destinationTable)
    datasets.get(*target[:2])
    operation = config.operationType if config.operationType in ("SNAPSHOT", "CLONE", "RESTORE") else "COPY"
    disposition = config.writeDisposition or "WRITE_EMPTY"
    if operation == "COPY" and (len(sources) > 1 or disposition == "WRITE_APPEND"):
        return _copy_run(cur, config, upload)
    reference, instant = decorated(sources[0])
    source = source_at(reference, instant, dropped_too=instant is not None)
    check_operation(operation, disposition, source)
    kind = {"RESTORE": "CLONE"}.get(operation, operation)
    given: dict = {"expirationTime": None} if kind == "COPY" else {}
    if source.buried or (kind == "COPY" and instant is not None):
        # BigQuery: what is copied back of t@ms keeps no partitioning and no tags. The worse: nothing but its schema.
        given |= {key: None for key in inherited(source, kind) if key != "schema"}
    if at := config.destinationExpirationTime:
        given["expirationTime"] = str(int(datetime.datetime.fromisoformat(at).timestamp() * 1000))
    elif expiration := tables.defaults(*target).expirationTime:
        given["expirationTime"] = expiration
    resource = planned_copy(source, target, kind, instant is not None, given)
    replace = check_place(target, config, resource)
    make_copy(cur, source, target, resource, replace)
    copied = tables.load(*target)
    return JobStatistics5(copiedRows=copied.numRows, copiedLogicalBytes=copied.numBytes)


_copy_run = copy_job.run
runner.HANDLERS["copy"] = run_copy


# --- Who may see what: row access policies, IAM ---------------------------------------------------------------------

_policies, _policy, _save_policy, _iam = row_access.list_, row_access.get, row_access.save, iam._load
VIEWER = "roles/bigquery.filteredDataViewer"


def policies(project_id: str, dataset_id: str, table_id: str) -> list[RowAccessPolicy]:
    """`grantees` is only put in: who is granted is told by rowAccessPolicies.getIamPolicy."""
    return [policy.without("grantees") for policy in _policies(project_id, dataset_id, table_id)]


def policy(project_id: str, dataset_id: str, table_id: str, policy_id: str) -> RowAccessPolicy:
    return _policy(project_id, dataset_id, table_id, policy_id).without("grantees")


def save_policy(project_id: str, dataset_id: str, table_id: str, body: RowAccessPolicy, replace: bool = False):
    return _save_policy(project_id, dataset_id, table_id, body, replace).without("grantees")


def iam_policy(resource: str) -> Policy:
    found = _iam(resource)
    match resource.split("/"):
        case ["projects", project_id, "datasets", dataset_id, "tables", table_id, "rowAccessPolicies", policy_id]:
            members = _policy(project_id, dataset_id, table_id, policy_id).grantees
            return found.replace(bindings=[{"role": VIEWER, "members": members}]) if members else found
    return found


row_access.list_, row_access.get, row_access.save, iam._load = policies, policy, save_policy, iam_policy




# --- Statements: what is checked and counted around each of them -----------------------------------------------------

_statement, _normalise, _statement_type = query._statement, ddl_rules.normalise, query.statement_type
_merge, _table_check = merge.run, table_rules._check

DROP_EXTERNAL = re.compile(r"^DROP\s+EXTERNAL\s+(TABLE\s.*)$", re.IGNORECASE | re.DOTALL)
ALTER_SNAPSHOT = re.compile(r"^ALTER\s+SNAPSHOT\s+(TABLE\s.*)$", re.IGNORECASE | re.DOTALL)
ZONED = re.compile(r"(Z|UTC|[+-]\d{1,2}(:?\d\d)?|[A-Za-z]+/\w+)$", re.IGNORECASE)
TRANSACTIONS = {
    exp.Transaction: "BEGIN_TRANSACTION",
    exp.Commit: "COMMIT_TRANSACTION",
    exp.Rollback: "ROLLBACK_TRANSACTION",
}
BILLING_MINIMUM = 10 * 1024 * 1024


def evaluator(cur, context) -> Evaluate:
    """The value of a constant expression: also of query parameters and functions, which local-bigquery does not do."""

    def evaluate(node: exp.Expression):
        tree = exp.select(exp.alias_(node.copy(), "v"))
        sql, bound = translate.translate(tree, context)
        [(value,)] = cur.execute(f"SELECT to_json(v) FROM ({sql}) AS q(v)", bound).fetchall()
        return None if value is None else json.loads(value)

    return evaluate


def instant_of(node: exp.Expression, cur, context) -> int:
    """The instant of FOR SYSTEM_TIME AS OF. BigQuery reads a time without zone as Los Angeles time there."""
    node = node.copy()
    zone = context.settings.get("time_zone") or "America/Los_Angeles"
    for literal in node.find_all(exp.Literal):
        if literal.is_string and not ZONED.search(literal.name) and re.match(r"\d{4}-", literal.name):
            local = datetime.datetime.fromisoformat(literal.name).replace(tzinfo=zoneinfo.ZoneInfo(zone))
            literal.replace(exp.Literal.string(local.astimezone(datetime.UTC).isoformat(sep=" ")))
    value = evaluator(cur, context)(node)
    if value is None:
        raise BigQueryError("invalidQuery", "FOR SYSTEM_TIME AS OF must not be NULL")
    moment = datetime.datetime.fromisoformat(str(value))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1_000_000)


def normalise(tree: exp.Expression) -> exp.Expression:
    if isinstance(tree, exp.Command):
        text = tree.sql(dialect=dialect.BigQueryDialect).strip()
        if match := ALTER_SNAPSHOT.match(text):
            tree = translate.parse(f"ALTER {match[1]}")[0]
            tree.meta["snapshot"] = True
        elif match := DROP_EXTERNAL.match(text):
            tree = translate.parse(f"DROP {match[1]}")[0]
            tree.meta["external"] = True
    return _normalise(tree)


def statement_type(tree: exp.Expression) -> str:
    return TRANSACTIONS.get(type(tree)) or _statement_type(tree)


def temporary(tree: exp.Expression) -> bool:
    return tree.find(exp.TemporaryProperty) is not None


def target_of(tree: exp.Expression, context) -> Reference | None:
    table = names.target(tree)
    if table is None or temporary(tree) or (not table.db and table.name.casefold() in context.temporary):
        return None
    if not table.db and context.dataset_id is None:
        return None
    return names.reference(table, context.project_id, context.dataset_id)


def dropped_kind(tree: exp.Drop) -> str:
    """What the statement means to drop: BigQuery has a verb for each kind, and drops nothing else by it."""
    if tree.meta.get("snapshot"):
        return "SNAPSHOT"
    if tree.meta.get("external"):
        return "EXTERNAL"
    return "MATERIALIZED_VIEW" if tree.args.get("materialized") else tree.args["kind"].upper()


def check_ddl(tree: exp.Expression, context, evaluate: Evaluate):
    """What BigQuery refuses of CREATE and DROP, and DuckDB does."""
    if context.__dict__.get("transaction") and not temporary(tree):
        raise BigQueryError(
            "invalidQuery",
            "DDL statements are not supported in a transaction, other than those creating or dropping "
            "temporary tables or temporary functions.",
        )
    reference = target_of(tree, context)
    if reference is None or (tree.args.get("kind") or "").upper() not in ("TABLE", "VIEW"):
        return
    if not tables.exists(*reference):
        return
    current = tables.load(*reference).type
    if isinstance(tree, exp.Drop) and current != dropped_kind(tree):
        raise not_allowed(reference, current)
    if isinstance(tree, exp.Drop | exp.Alter):
        return
    if tree.args.get("exists"):
        return
    if not tree.args.get("replace"):
        raise already_exists("Table", names.label(*reference))
    if external(tree):
        if current != "EXTERNAL":
            raise not_allowed(reference, current)
    elif tree.args["kind"].upper() == "TABLE" and not tree.args.get("clone"):
        check_replaceable(reference, Table.model_validate(ddl._table(tree, reference, evaluate)))


def check_times(cur, tree: exp.Expression, context):
    """FOR SYSTEM_TIME AS OF: the instant must be readable, and one table is read at one instant only."""
    target, seen = names.target(tree), {}
    ctes = {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if table is target or (reference := table_rules.resolve(table, context, ctes)) is None:
            continue
        instant = None
        if version := table.args.get("version"):
            instant = instant_of(version.expression, cur, context)
            if not tables.exists(*reference):
                raise table_rules._not_found(*reference)
            check_instant(reference, instant, lives(reference))
            moment = datetime.datetime.fromtimestamp(instant / 1_000_000, datetime.UTC)
            version.set("expression", exp.cast(exp.Literal.string(moment.isoformat(sep=" ")), "TIMESTAMPTZ"))
        if seen.setdefault(reference, instant) != instant:
            raise BigQueryError(
                "invalidQuery", f"Table {names.label(*reference)} cannot be read at two points in time in one statement"
            )


def check_location(tree: exp.Expression, context):
    """A job sees the datasets of its own location only."""
    progress = PROGRESS.get()
    if progress is None:
        return
    for table in tree.find_all(exp.Table):
        dataset = (table.catalog or context.project_id, table.db or context.dataset_id)
        if dataset[1] and datasets.exists(*dataset) and tree.args.get("kind") != "SCHEMA":
            if location_of(*dataset).casefold() != progress.location.casefold():
                name = f"{dataset[0]}:{dataset[1]}"
                raise BigQueryError(
                    "notFound", f"Not found: Dataset {name} was not found in location {progress.location}"
                )


def processed_bytes(tree: exp.Expression, context) -> int:
    """On-demand billing counts the columns a statement names; COUNT(*) names none and is free."""
    if not isinstance(tree, exp.Query | names.DML) and not isinstance(tree.args.get("expression"), exp.Query):
        return 0
    if isinstance(tree, exp.TruncateTable):
        return 0
    star = any(not isinstance(node.parent, exp.Count) for node in tree.find_all(exp.Star))
    named = {column.name.casefold() for column in tree.find_all(exp.Column)}
    if not star and not named:
        return 0
    total = 0
    ctes = {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        reference = table_rules.resolve(table, context, ctes)
        if table is names.target(tree) and isinstance(tree, exp.Insert | exp.Create) or reference is None:
            continue
        if not database.objects(*reference):
            continue
        fields = tables.columns(*reference)
        [(rows,)] = database.fetch(f"SELECT count(*) FROM {tables.name(*reference)}")
        total += rows * 8 * sum(star or field.name.casefold() in named for field in fields)
    return total


def billed(processed: int) -> int:
    mebibytes = -(-processed // (1024 * 1024)) * 1024 * 1024
    return max(BILLING_MINIMUM, mebibytes) if processed else 0


def check_bytes(config: JobConfigurationQuery, processed: int):
    limit = config.maximumBytesBilled
    if limit and billed(processed) > int(limit):
        raise BigQueryError(
            "bytesBilledLimitExceeded",
            f"Query exceeded limit for bytes billed: {limit}. {billed(processed)} or higher required.",
        )


def external(tree: exp.Expression) -> bool:
    return isinstance(tree, exp.Create) and tree.find(exp.ExternalProperty) is not None


def run_external(tree: exp.Create, context, dry_run: bool) -> JobStatistics2:
    """CREATE EXTERNAL TABLE: its description only, nothing reads from it here."""
    reference = target_of(tree, context)
    statistics = query._ddl(tree, context).replace(statementType="CREATE_EXTERNAL_TABLE")
    if statistics.ddlOperationPerformed == "SKIP" or dry_run:
        return statistics
    datasets.get(*reference[:2])
    file_format, uris = tree.find(exp.FileFormatProperty), tree.find(exp.Array)
    config = {
        "sourceFormat": file_format.name.upper() if file_format else "CSV",
        "sourceUris": [uri.name for uri in uris.expressions] if uris else [],
    }
    described = Table.model_validate({"externalDataConfiguration": config})
    tables.record(*reference, tables.defaults(*reference).merged(described))
    return statistics


def run_drop_external(reference: Reference, tree: exp.Drop, dry_run: bool) -> JobStatistics2:
    exists = tables.exists(*reference)
    if not exists and not tree.args.get("exists"):
        raise table_rules._not_found(*reference)
    if exists and not dry_run:
        tables.delete(*reference)
    return JobStatistics2(
        statementType="DROP_EXTERNAL_TABLE",
        ddlOperationPerformed="DROP" if exists else "SKIP",
        ddlTargetTable=parts(reference),
    )


def run_create_as(cur, tree: exp.Create, context, run: Callable[[], JobStatistics2]) -> JobStatistics2:
    """`CREATE OR REPLACE TABLE t (columns) AS query` runs as CREATE, then INSERT. When the second fails, BigQuery's
    table is as it was: it is put back, or a failed migration would seem to have emptied it."""
    reference = target_of(tree, context)
    before = source_at(reference, None) if tables.exists(*reference) else None
    try:
        return run()
    except Exception:
        if before is None:
            cur.execute(f"DROP TABLE IF EXISTS {tables.name(*reference)}")
        elif lives(reference)[-1].begin != before.life.begin:
            make_copy(cur, before, reference, before.resource, True)
        raise


def run_statement(cur, tree, context, destination, config, dry_run: bool, isolated: bool) -> JobStatistics2:
    tree = ddl_rules.normalise(tree)
    CONTEXT.set(context)
    progress = PROGRESS.get()
    kind = statement_type(tree)
    if progress and not dry_run:
        progress.begin(kind, written(tree, context))
    is_ddl = isinstance(tree, exp.Create | exp.Drop | exp.Alter)
    copies = isinstance(tree, exp.Create) and tree.args.get("clone") is not None
    check_location(tree, context)
    if is_ddl:
        check_ddl(tree, context, evaluator(cur, context))
    if isinstance(tree, exp.Drop) and tree.meta.get("external"):
        return run_drop_external(target_of(tree, context), tree, dry_run)
    if external(tree):
        return run_external(tree, context, dry_run)
    if copies:
        try:
            return run_clone(cur, tree, context, dry_run)
        except duckdb.Error as error:
            raise query.from_duckdb(error, context, tree) from error
    check_times(cur, tree, context)
    processed = processed_bytes(tree, context)
    check_bytes(config, processed)

    def run() -> JobStatistics2:
        with contextlib.nullcontext() if dry_run or isinstance(tree, exp.Query) else WRITER:
            return _statement(cur, tree, context, destination, config, dry_run, isolated)

    columns_and_query = isinstance(tree, exp.Create) and isinstance(tree.this, exp.Schema) and tree.expression
    if columns_and_query and not dry_run and target_of(tree, context):
        statistics = run_create_as(cur, tree, context, run)
    else:
        statistics = run()
    if is_ddl and not dry_run and statistics.ddlOperationPerformed == "REPLACE" and (replaced := target_of(tree, context)):
        # Google does not say what becomes of the policies of a table that is replaced: the worse is that they are lost.
        metadata.delete(RowAccessPolicy, *replaced)
    if type(tree) in TRANSACTIONS:
        context.__dict__["transaction"] = isinstance(tree, exp.Transaction)
    if isinstance(tree, exp.TruncateTable) and not dry_run:
        deleted = statistics.numDmlAffectedRows or "0"
        statistics = statistics.replace(dmlStats={"deletedRowCount": deleted})
    return statistics.replace(
        totalBytesProcessed=str(processed),
        totalBytesBilled="0" if dry_run else str(billed(processed)),
        statementType=statistics.statementType or kind,
    )


def written(tree: exp.Expression, context) -> Reference | None:
    """The table that DML or CREATE TABLE AS SELECT writes: the job's destinationTable in BigQuery."""
    creates = isinstance(tree, exp.Create) and (tree.args.get("kind") or "").upper() == "TABLE" and tree.expression
    return target_of(tree, context) if creates or isinstance(tree, names.DML) else None


class JoinedCursor:
    """A cursor whose BEGIN fails at once: in a script's transaction DuckDB's own refusal would abort it."""

    def __init__(self, cursor):
        self._cursor = cursor

    def __getattr__(self, name: str):
        return getattr(self._cursor, name)

    def execute(self, sql: str, *args):
        if sql == "BEGIN":
            raise duckdb.TransactionException("already in a transaction")
        return self._cursor.execute(sql, *args)


def run_merge(cur, tree: exp.Merge, context) -> JobStatistics2:
    return _merge(JoinedCursor(cur) if context.__dict__.get("transaction") else cur, tree, context)


def check_table(tree: exp.Expression, table: exp.Table, is_target: bool):
    """A range-partitioned table that requires a filter wants it on its own column, not on _PARTITIONTIME."""
    stored = metadata.load(Table, table.catalog, table.db, table.name)
    if not (stored and stored.requirePartitionFilter and stored.rangePartitioning):
        return _table_check(tree, table, is_target)
    field = stored.rangePartitioning.field
    where = {c.name.casefold() for w in tree.find_all(exp.Where) for c in w.find_all(exp.Column)}
    if not is_target and field.casefold() not in where:
        raise BigQueryError(
            "invalidQuery",
            f"Cannot query over table '{table.catalog}.{table.db}.{table.name}' without a filter over column(s) "
            f"'{field}' that can be used for partition elimination",
        )


ddl_rules.normalise, query.statement_type, query._statement = normalise, statement_type, run_statement
query._evaluator = lambda cur: evaluator(cur, CONTEXT.get())
merge.run = run_merge
table_rules._check = check_table


# --- Scripts: one child job a statement, recorded as it runs ----------------------------------------------------------

_query_execute, _parser_statement = query._execute, script.Parser.statement


def located_statement(self: script.Parser) -> script.Statement:
    """Remember where a statement stands: child jobs tell it in scriptStatistics."""
    start = self.i
    statement = _parser_statement(self)
    first, last = self.tokens[start], self.tokens[max(start, self.i - 1)]
    start_line, start_column = line_and_column(self.sql, first.start)
    end_line, end_column = line_and_column(self.sql, last.end + 1)
    statement.frame = {
        "startLine": start_line,
        "startColumn": start_column,
        "endLine": end_line,
        "endColumn": end_column,
        "text": self.text(start, self.i),
    }
    return statement


def line_and_column(sql: str, index: int) -> tuple[int, int]:
    """Line and column as BigQuery counts them: from 1, in characters, a tab reaching to the next column that 8 divides."""
    line = sql[sql.rfind("\n", 0, index) + 1 : index]
    column = 1
    for character in line:
        column += 8 - (column - 1) % 8 if character == "\t" else 1
    return sql.count("\n", 0, index) + 1, column


PLACE = re.compile(r" at \[(\d+):(\d+)\]$")


def in_script(message: str, frame: dict) -> str:
    """A statement is parsed by itself here; BigQuery's places are those of the script that it stands in."""
    told = PLACE.search(message)
    if not told or not frame:
        return message
    line, column = int(told[1]), int(told[2])
    column += frame["startColumn"] - 1 if line == 1 else 0
    return f"{message[: told.start()]} at [{frame['startLine'] + line - 1}:{column}]"


def check_syntax(statements: list[script.Statement]):
    """BigQuery parses the whole script before it runs the first statement of it."""
    for statement in statements:
        if statement.kind == "SQL":
            try:
                trees = translate.parse(statement.text)
            except BigQueryError as error:
                message = in_script(error.message, getattr(statement, "frame", {}))
                raise BigQueryError(error.reason, message, error.location) from error
            for tree in trees:
                tree = ddl_rules.normalise(tree)
                if isinstance(tree, exp.Condition | exp.Alias) and not isinstance(tree, exp.Query):
                    word = statement.text.split()[0]
                    raise BigQueryError("invalidQuery", f'Syntax error: Unexpected identifier "{word}"')
        for body in (statement.body, statement.otherwise or [], *(body for _, body in statement.branches)):
            check_syntax(body)


class Interpreter(script.Interpreter):
    """Runs a script and records a child job for every statement, and for every expression that reads tables."""

    def __init__(self, cur, context, config: JobConfigurationQuery, progress: Progress):
        super().__init__(cur, context, self.run_tree, self.report_definition)
        self.config, self.progress = config, progress
        self.frame: dict = {}
        # Of a procedure that is being run: its name, and the frames of those who called it, the script's last.
        self.called: str | None = None
        self.callers: list[dict] = []
        self.result: TableReference | None = None

    def statements(self, statements: list[script.Statement]):
        for index, statement in enumerate(statements):
            if statement.kind == "DECLARE" and any(s.kind != "DECLARE" for s in statements[:index]):
                return super().statements(statements)  # which refuses it
        for statement in statements:
            self.frame = getattr(statement, "frame", None) or self.frame
            here = self.stack()
            try:
                super().statements([statement])
            except script.Control:
                raise
            except Exception as exception:
                # The innermost statement is the one that failed; what is caught and fails anew is another exception.
                exception.stack = getattr(exception, "stack", here)
                self.progress.failed_at = exception.stack
                raise

    def stack(self) -> list[dict]:
        """`stackFrames`: the statement that runs, and in a procedure the calls that led to it."""
        if not self.frame:
            return []
        procedure = {"procedureId": self.called} if self.called else {}
        return [self.frame | procedure, *self.callers]

    def call(self, statement: script.Statement):
        if statement.text.upper().startswith("BQ."):
            return super().call(statement)
        outside = self.frame, self.called, self.callers
        self.callers = self.stack()
        self.called = ".".join(self.reference(statement.text))
        try:
            return super().call(statement)
        finally:
            self.frame, self.called, self.callers = outside

    def raise_error(self, statement: script.Statement):
        caught = self.progress.failed_at
        try:
            super().raise_error(statement)
        except Exception as exception:
            # Without words of its own it raises again what was caught, from where that was raised.
            exception.stack = self.stack() if statement.text else caught or self.stack()
            raise

    def run_tree(self, tree: exp.Expression) -> JobStatistics2 | None:
        if query._temporary_function(tree):
            if js.is_udf(tree):
                return js.bind(self.cursor, tree, self.context)
            self.cursor.execute(translate.translate(tree, self.context)[0])
            return None
        return self.child("STATEMENT", lambda child: self.run_child(tree, child))

    def run_child(self, tree: exp.Expression, child: Progress) -> JobStatistics2:
        if js.is_udf(tree):
            statistics = query._ddl(tree, self.context).replace(statementType=query.statement_type(tree))
            js.bind(self.cursor, tree, self.context)
            query.routines.record(tree, self.context.project_id, self.context.dataset_id)
            return statistics
        destination = child.anonymous_table() if isinstance(tree, exp.Query) else None
        self.result = destination
        statistics = query._statement(self.cursor, tree, self.context, destination, self.config, False, True)
        child.destination = destination or (child.target and TableReference(**parts(child.target)))
        return statistics

    def report_definition(self, statistics: JobStatistics2):
        self.result = None
        self.child("STATEMENT", lambda child: statistics)

    def check(self, statement: script.Statement):
        def assertion(child: Progress) -> JobStatistics2:
            super(Interpreter, self).check(statement)
            return JobStatistics2(statementType="ASSERT")

        self.result = None
        self.child("STATEMENT", assertion)

    def evaluate(self, sql: str):
        return self.expression_child(sql, lambda: super(Interpreter, self).evaluate(sql))

    def store(self, value: exp.Expression) -> str:
        text = value.sql(dialect=dialect.BigQueryDialect)
        return self.expression_child(text, lambda: super(Interpreter, self).store(value))

    def assign(self, table: str, value: exp.Expression):
        text = value.sql(dialect=dialect.BigQueryDialect)
        self.expression_child(text, lambda: super(Interpreter, self).assign(table, value))

    def expression_child(self, text: str, run: Callable[[], object]):
        inside = PROGRESS.get() is not self.progress
        if inside or not re.search(r"\bSELECT\b", text, re.IGNORECASE):
            return run()
        value: list = []

        def expression(child: Progress) -> JobStatistics2:
            value.append(run())
            return JobStatistics2(statementType="SELECT")

        self.child("EXPRESSION", expression, f"SELECT {text}")
        return value[0]

    def child(self, evaluation: str, run: Callable[[Progress], JobStatistics2], text: str | None = None):
        """A child job: saved as running, run, saved as done or failed, with times that enclose what it changed."""
        parent = self.progress
        if parent.running.cancelled:
            raise duckdb.InterruptException("cancelled")
        job_id = f"script_job_{hashlib.md5(parent.job_id.encode()).hexdigest()}_{parent.children}"
        parent.children += 1
        config = JobConfiguration(
            jobType="QUERY",
            query={"query": text or self.frame.get("text", ""), "useLegacySql": False, "priority": "INTERACTIVE"},
        )
        job = runner._job(parent.project_id, job_id, config)
        statistics = job.statistics.replace(
            startTime=metadata.now(),
            parentJobId=parent.job_id,
            scriptStatistics={"evaluationKind": evaluation, "stackFrames": self.stack()},
        )
        job = store.save(job.replace(status={"state": "RUNNING"}, statistics=statistics))
        child = Progress(job, parent.running)
        token = PROGRESS.set(child)
        try:
            result = run(child)
            store.save(runner._done(job, JobStatistics(query=result)))
        except Exception as exception:
            error = cancelled() if parent.running.cancelled else from_exception(exception)
            store.save(runner._done(job, JobStatistics(query={}), error))
            raise
        finally:
            PROGRESS.reset(token)
        parent.add(result)
        return result


def cancelled() -> BigQueryError:
    return BigQueryError("stopped", "Job execution was cancelled: User requested cancellation")


def dry_run_script(cur, context, config: JobConfigurationQuery, statements: list[script.Statement]) -> int:
    """The bytes of a script's statements. BigQuery validates a script up to its first DDL, IF, loop, CALL or
    EXECUTE IMMEDIATE; -1 says that it stopped there."""
    interpreter, total = script.Interpreter(cur, context, lambda tree: None, lambda statistics: None), 0
    for statement in statements:
        if statement.kind in ("DECLARE", "SET"):
            interpreter.handlers[statement.kind](statement)
        elif statement.kind == "BLOCK":
            total += dry_run_script(cur, context, config, statement.body)
        elif statement.kind == "SQL":
            for tree in translate.parse(statement.text):
                if type(tree) in TRANSACTIONS:
                    continue
                statistics = query._statement(cur, tree, context, None, config, True, True)
                total += int(statistics.totalBytesProcessed or 0)
                if isinstance(tree, exp.Create | exp.Drop | exp.Alter | exp.Command):
                    raise Stop(total)
        elif statement.kind != "ASSERT":
            raise Stop(total)
    return total


class Stop(Exception):
    """A script's dry run ends here."""


def execute_statements(cur, project_id, job_id, config, dry_run, isolated, context, statements):
    progress = PROGRESS.get()
    if progress and config.useLegacySql is not False and not re.match(r"(?i)\s*#standardSQL", config.query or ""):
        # BigQuery's REST API takes a query without the flag for legacy SQL, in which none of ours is valid.
        raise BigQueryError("invalidQuery", "Legacy SQL is not served here: useLegacySql must be false.")
    check_syntax(statements)
    if not script.is_script([s for s in statements if s.kind != "TEMP_FUNCTION"]):
        if dry_run and len(statements) > 1:
            # local-bigquery dry-runs one statement: here, that behind its temporary functions.
            for tree in translate.parse("".join(f"{s.text};" for s in statements[:-1])):
                if js.is_udf(tree):
                    js.bind(cur, tree, context)
                else:
                    cur.execute(translate.translate(tree, context)[0])
            statements = statements[-1:]
        return _query_execute(cur, project_id, job_id, config, dry_run, isolated, context, statements)
    config = config.replace(writeDisposition="WRITE_TRUNCATE")
    # BigQuery knows a lone ASSERT by its name.
    kind = "ASSERT" if [s.kind for s in statements] == ["ASSERT"] else "SCRIPT"
    if dry_run:
        try:
            total = dry_run_script(cur, context, config, statements)
        except Stop as stop:
            total = stop.args[0]
        return JobStatistics2(statementType=kind, totalBytesProcessed=str(total)), [], None
    progress.kind = kind
    interpreter = Interpreter(cur, context, config, progress)
    interpreter.run(statements)
    statistics = JobStatistics2(
        statementType=kind, totalBytesProcessed=str(progress.processed), totalBytesBilled=str(progress.billed)
    )
    return statistics, [], interpreter.result


script.Parser.statement = located_statement
query._execute = execute_statements


# --- Jobs: locations, times, errors, what they wrote ------------------------------------------------------------------

_new_job, _done, _execute_job, _submit, _dry_run = (
    runner._job, runner._done, runner._execute, runner.submit, runner._dry_run,
)
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
SUBMITTING = threading.Lock()


def new_job(project_id: str, job_id: str | None, configuration: JobConfiguration) -> Job:
    """A job lives in a location; without it, a job elsewhere than in US or EU is not found."""
    job = _new_job(project_id, job_id, configuration)
    location = LOCATION.get() or "US"
    job = job.replace(jobReference=job.jobReference.replace(location=location))
    if job_id is None:
        return job.without("id", "selfLink")
    path = f"/bigquery/v2/projects/{project_id}/jobs/{job_id}?location={location}"
    return job.replace(id=f"{project_id}:{location}.{job_id}", selfLink=path)


def inferred_location(project_id: str, configuration: JobConfiguration) -> str:
    """Where a job runs that does not say: where the datasets it names are."""
    destination = next(
        (c.destinationTable for c in (configuration.load, configuration.copy_) if c and c.destinationTable), None
    )
    if destination:
        return location_of(destination.projectId or project_id, destination.datasetId)
    text = (configuration.query and configuration.query.query) or ""
    default = configuration.query and configuration.query.defaultDataset
    if default:
        return location_of(default.projectId or project_id, default.datasetId)
    for dataset in metadata.list_(Dataset, project_id):
        name = re.escape(dataset.datasetReference.datasetId)
        if (dataset.location or "US") != "US" and re.search(rf"(?<![\w-]){name}`?\.", text):
            return dataset.location
    return "US"


def submit(project_id: str, job_id: str, configuration: JobConfiguration, upload: str | None = None) -> Job:
    check_labels(configuration.labels)
    if not JOB_ID.fullmatch(job_id):
        raise BigQueryError("invalid", f'Invalid job ID "{job_id}".')
    LOCATION.set(LOCATION.get() or inferred_location(project_id, configuration))
    if configuration.dryRun:
        return _submit(project_id, job_id, configuration, upload)
    with SUBMITTING:  # of two inserts with one ID, one is refused
        return _submit(project_id, job_id, configuration, upload)


def dry_run(project_id: str, configuration: JobConfiguration) -> Job:
    PROGRESS.set(Progress(runner._job(project_id, None, configuration), runner.Running()))
    return _dry_run(project_id, configuration)


def execute_job(job: Job, job_type: str, session, running: runner.Running, upload: str | None):
    PROGRESS.set(Progress(job, running))
    _execute_job(job, job_type, session, running, upload)


def cancel(project_id: str, job_id: str) -> Job:
    """Interrupts until the job ends: one interrupt alone is lost if it falls between two statements."""
    running = runner._running.get((project_id, job_id))
    if running:
        running.cancelled = True

        def insist():
            while not running.future.done():
                if running.cursor:
                    running.cursor.interrupt()
                concurrent.futures.wait([running.future], timeout=0.1)

        threading.Thread(target=insist, daemon=True).start()
    return runner.wait(project_id, job_id, 1000)


def told(error: BigQueryError, progress: Progress) -> BigQueryError:
    """A script's error says where: `Query error: … at [line:column]`."""
    message = error.message
    if progress.kind == "SCRIPT" and progress.failed_at and error.reason != "stopped":
        frame = progress.failed_at[0]
        place = f"{frame['startLine']}:{frame['startColumn']}"
        if procedure := frame.get("procedureId"):
            message = f"{PLACE.sub('', message)} at [{procedure}:{place}]"
        else:
            message = in_script(message, frame) if PLACE.search(message) else f"{message} at [{place}]"
        message = f"Query error: {message}"
    return BigQueryError(error.reason, message, error.location or "query")


def done(job: Job, statistics: JobStatistics, error: BigQueryError | None = None) -> Job:
    """How a job ends: with its type, also when it failed; with what it wrote; with its children counted."""
    progress = PROGRESS.get()
    if progress is None:
        return _done(job, statistics, error)
    job = _done(job, statistics, error and told(error, progress))
    ended, found = job.statistics, job.statistics.query
    changes: dict = {}
    if ended.startTime:
        changes["totalSlotMs"] = str(max(1, int(ended.endTime) - int(ended.startTime)))
    if progress.children:
        changes["numChildJobs"] = str(progress.children)
    if found is not None:
        changes["totalBytesProcessed"] = found.totalBytesProcessed or "0"
        changes["query"] = found.dump() | {"totalSlotMs": changes.get("totalSlotMs", "0")}
        if kind := found.statementType or progress.kind:
            changes["query"]["statementType"] = kind
    job = job.replace(statistics=ended.replace(**changes))
    destination = progress.destination or (progress.target and TableReference(**parts(progress.target)))
    config = job.configuration
    if found is not None and destination and not config.query.destinationTable:
        job = job.replace(configuration=config.replace(query=config.query.replace(destinationTable=destination)))
    return job


runner._job, runner._done, runner._execute, runner.submit, runner._dry_run = (
    new_job, done, execute_job, submit, dry_run,
)
runner.cancel = cancel
runner.SUBMIT_WAIT_MS = 0  # BigQuery answers jobs.insert before the job is done: clients have to wait for it


# --- HTTP: answers without nulls, jobs by location ---------------------------------------------------------------------

_serialize, _uploaded = fastapi.routing.serialize_response, uploads._start
router = Router(tags=["jobs"])
LISTED = ("kind", "id", "jobReference", "statistics", "status", "user_email")
requests: dict[tuple[str, str], str] = {}


def lean(value):
    """Null and empty fields are left out of BigQuery's answers: `"nextPageToken": null` keeps Google's bq paging."""
    if isinstance(value, dict):
        return {k: lean(v) for k, v in value.items() if v is not None and v != [] and v != {}}
    return [lean(item) for item in value] if isinstance(value, list) else value


async def serialize_response(*, response_content=None, **kwargs):
    if isinstance(response_content, Resource):
        response_content = lean(response_content.dump())
    return await _serialize(response_content=response_content, **kwargs)


def found_job(project_id: str, job_id: str, location: str | None) -> Job:
    job = runner.get(project_id, job_id)
    where = job.jobReference.location
    wanted = (location.casefold(),) if location else ("us", "eu")
    if where.casefold() not in wanted:
        raise not_found("Job", f"{project_id}:{f'{location}.' if location else ''}{job_id}")
    return job


def uploaded(project_id: str, body: Job, upload: str) -> JSONResponse:
    LOCATION.set(body.jobReference and body.jobReference.location)
    return _uploaded(project_id, body, upload)


@router.post("/projects/{project_id}/jobs")
def insert_job(project_id: str, body: Annotated[Job, BeforeValidator(parameters.with_empty_arrays)]) -> Job:
    LOCATION.set(body.jobReference and body.jobReference.location)
    return jobs_api.insert_job(project_id, body)


@router.get("/projects/{project_id}/jobs/{job_id}")
def get_job(project_id: str, job_id: str, location: str | None = None) -> Job:
    return found_job(project_id, job_id, location)


@router.post("/projects/{project_id}/jobs/{job_id}/cancel")
def cancel_job(project_id: str, job_id: str, location: str | None = None) -> JobCancelResponse:
    found_job(project_id, job_id, location)
    return jobs_api.cancel_job(project_id, job_id)


@router.get("/projects/{project_id}/jobs")
def list_jobs(
    project_id: str,
    maxResults: int | None = None,
    pageToken: str | None = None,
    stateFilter: list[str] | None = Query(None),
    projection: str = "minimal",
    parentJobId: str | None = None,
    minCreationTime: int | None = None,
    maxCreationTime: int | None = None,
):
    """The configuration comes with projection=full only."""
    states = [state.upper() for state in stateFilter] if stateFilter else None
    found = store.list_(project_id, states, parentJobId, minCreationTime, maxCreationTime)
    page, token = paginate(found, maxResults, pageToken)
    keys = (*LISTED, "configuration") if projection.lower() == "full" else LISTED
    items = [
        {key: value for key, value in job.dump().items() if key in keys}
        | {"state": job.status.state, "errorResult": job.status.errorResult and job.status.errorResult.dump()}
        for job in page
    ]
    return JSONResponse(lean({"kind": "bigquery#jobList", "jobs": items, "nextPageToken": token}))


@router.get("/projects/{project_id}/queries/{job_id}")
def get_query_results(
    project_id: str,
    job_id: str,
    maxResults: int | None = None,
    pageToken: str | None = None,
    startIndex: int = 0,
    timeoutMs: int | None = None,
    location: str | None = None,
    int64_timestamps: bool = Query(False, alias="formatOptions.useInt64Timestamp"),
):
    found_job(project_id, job_id, location)
    return jobs_api.get_query_results(
        project_id, job_id, maxResults, pageToken, startIndex, timeoutMs, int64_timestamps
    )


@router.post("/projects/{project_id}/queries")
def run_query(project_id: str, body: QueryRequest):
    """requestId names a request, not a job: the same one again gets the first one's result."""
    LOCATION.set(body.location)
    given = body.given()
    own = {key: given[key] for key in jobs_api.QUERY_CONFIGURATION if key in given}
    config = {k: v for k, v in given.items() if k not in (*own, *jobs_api.QUERY_ONLY, "requestId", "location")}
    job_id = f"job_{uuid.uuid4().hex}"
    if body.requestId:
        job_id = requests.setdefault((project_id, body.requestId), job_id)
    if not store.load(project_id, job_id):
        job = runner.submit(project_id, job_id, JobConfiguration.model_validate(own | {"query": config}))
        if job.jobReference.jobId is None:
            return JSONResponse(lean({"kind": "bigquery#queryResponse"} | dry_run_answer(job)))
    job = runner.wait(project_id, job_id, body.timeoutMs)
    if error := runner.error(job):
        raise runner.synchronous(error)
    int64_timestamps = bool(body.formatOptions and body.formatOptions.useInt64Timestamp)
    payload, rows = results(job, body.maxResults, 0, int64_timestamps)
    times = {key: getattr(job.statistics, key) for key in ("creationTime", "startTime", "endTime", "sessionInfo")}
    kind = {"kind": "bigquery#queryResponse", "queryId": job_id, "jobCreationReason": job.jobCreationReason}
    return with_rows(kind | payload | times, rows)


@router.post("/projects/{project_id}/datasets/{dataset_id}/tables/{table_id}:testIamPermissions")
def test_permissions(
    project_id: str, dataset_id: str, table_id: str, body: TestIamPermissionsRequest
) -> TestIamPermissionsResponse:
    """Everybody may do everything; on a table that does not exist nobody may do anything, which is no error."""
    try:
        tables.load(project_id, dataset_id, table_id)
    except BigQueryError as error:
        if error.reason != "notFound":
            raise
        return TestIamPermissionsResponse()
    return TestIamPermissionsResponse(permissions=body.permissions or [])


@app.put("/emulator/limits", include_in_schema=False)
def set_limits(body: dict) -> dict:
    """Of this emulator, for tests: see limits.py."""
    return limits.set_limits(body)


@app.post("/emulator/flush", include_in_schema=False)
def flush() -> dict:
    limits.flush()
    return {}


def dry_run_answer(job: Job) -> dict:
    found = job.statistics.query.dump()
    told = {key: found.get(key) for key in ("schema", "totalBytesProcessed", "statementType", "ddlTargetTable")}
    return {"jobReference": job.jobReference.dump(), "jobComplete": True} | told


def results(job: Job, max_results: int | None, start: int, int64_timestamps: bool) -> tuple[dict, list[str]]:
    """Rows come from a SELECT only: the destination table of DML is the table it wrote, not its result."""
    payload: dict = {"jobReference": job.jobReference, "jobComplete": False}
    if job.status.state != "DONE":
        return payload, []
    if error := runner.error(job):
        raise error
    statistics = job.statistics.query
    if statistics is None:
        raise BigQueryError("invalid", "Job is not a query job")
    payload |= {
        "jobComplete": True,
        "cacheHit": False,
        "location": job.jobReference.location,
        "totalBytesProcessed": statistics.totalBytesProcessed or "0",
        "totalBytesBilled": statistics.totalBytesBilled or "0",
        "totalSlotMs": job.statistics.totalSlotMs,
        "statementType": statistics.statementType,
        "numDmlAffectedRows": statistics.numDmlAffectedRows,
        "dmlStats": statistics.dmlStats,
    }
    destination = job.configuration.query.destinationTable
    if statistics.statementType not in ("SELECT", "SCRIPT") or not destination:
        return payload, []
    page, schema = tabledata.list_rows(
        *tables.reference(destination), max_results, start, None, int64_timestamps
    )
    payload |= {"schema": TableSchema(fields=schema), "totalRows": str(page.total), "pageToken": page.next_token}
    return payload, page.rows


fastapi.routing.serialize_response, uploads._start, jobs_api.results = serialize_response, uploaded, results
before = len(app.router.routes)
app.include_router(router, prefix=PREFIX, dependencies=[Depends(valid_project)])
for place in ("/upload", "/resumable/upload"):
    app.include_router(loads.router, prefix=f"{place}{PREFIX}", dependencies=[Depends(valid_project)])
app.router.routes[:] = app.router.routes[before:] + app.router.routes[:before]  # the first that matches answers


# --- main ---------------------------------------------------------------------------------------------------------------


def leave_with_parent():
    """A server whose parent was killed would keep its port and its 400 MB for ever."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description="A local BigQuery for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9050)
    parser.add_argument("--grpc-port", type=int, default=9060)
    parser.add_argument("--project", default="local")
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--stay", action="store_true", help="do not leave when the parent process ends")
    args = parser.parse_args()
    if not args.stay:
        leave_with_parent()
    settings.bigquery_host, settings.bigquery_port, settings.grpc_port = args.host, args.port, args.grpc_port
    settings.default_project_id, settings.data_dir = args.project, args.data_dir
    database.connection()  # so that the first answer finds the engine warm
    storage, _ = grpc_server.start(args.host, args.grpc_port)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
    storage.stop(None)


if __name__ == "__main__":
    sys.exit(main())
