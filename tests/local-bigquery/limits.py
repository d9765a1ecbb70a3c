"""What BigQuery lets a table have: snapshots a day, clones and snapshots at a time, and rows in a streaming buffer.

Tests make the numbers small: by the environment before the start, or by `PUT /emulator/limits` (answers those before)
while it runs; `POST /emulator/flush` empties every streaming buffer. Both are calls of this emulator, not of BigQuery.
This file knows no statement and no job: launcher.py asks it.
"""

from __future__ import annotations

import os
import time

from local_bigquery.catalog import names
from local_bigquery.engine import database
from local_bigquery.errors import BigQueryError

Reference = tuple[str, str, str]

DAY_US = 86_400_000_000
HELP = "For more information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas"

# Of a table in 24 hours; of a base that are alive; and how long streamed rows stay in the buffer (0: in none).
DEFAULTS = {"snapshotsADay": 50, "copiesOfABase": 1000, "streamingBufferMs": 0}
VARIABLES = {
    "snapshotsADay": "BQ_LOCAL_SNAPSHOTS_A_DAY",
    "copiesOfABase": "BQ_LOCAL_COPIES_OF_A_BASE",
    "streamingBufferMs": "BQ_LOCAL_STREAMING_BUFFER_MS",
}
now = {key: int(os.environ.get(variable) or DEFAULTS[key]) for key, variable in VARIABLES.items()}

database.EMULATOR_SCHEMA += """
CREATE TABLE IF NOT EXISTS emulator.snapshots_made (
    project_id VARCHAR, dataset_id VARCHAR, table_id VARCHAR, at_us BIGINT
);
CREATE TABLE IF NOT EXISTS emulator.streamed (
    project_id VARCHAR, dataset_id VARCHAR, table_id VARCHAR,
    version BIGINT, row_count BIGINT, at_us BIGINT, until_us BIGINT
);
"""

OF_TABLE = "project_id = ? AND dataset_id = ? AND table_id = ?"


def set_limits(given: dict) -> dict:
    """Changes what is given; answers what was before."""
    if unknown := set(given) - set(now):
        raise BigQueryError("invalid", f"Unknown limits: {', '.join(sorted(unknown))}")
    before = dict(now)
    now.update({key: int(value) for key, value in given.items()})
    return before


# --- Snapshots and clones ---------------------------------------------------------------------------------------------


def check_copy(source: Reference, snapshot: bool):
    """Before a snapshot or a clone of `source` is made: https://docs.cloud.google.com/bigquery/quotas#table_snapshots"""
    of_base = " AND ".join(
        f"json_extract_string(resource, '$.' || ? || '.baseTableReference.{key}') = ?"
        for key in ("projectId", "datasetId", "tableId")
    )
    alive = 0
    for definition in ("snapshotDefinition", "cloneDefinition"):
        values = [value for part in source for value in (definition, part)]
        [(found,)] = database.fetch(f"SELECT count(*) FROM emulator.tables WHERE {of_base}", values)
        alive += found
    if alive >= now["copiesOfABase"]:
        raise BigQueryError(
            "invalid",
            f"Cannot have more than {now['copiesOfABase']} active clones and snapshots of a table: "
            f"{names.label(*source)}",
        )
    if not snapshot:
        return
    since = time.time_ns() // 1000 - DAY_US
    [(made,)] = database.fetch(
        f"SELECT count(*) FROM emulator.snapshots_made WHERE {OF_TABLE} AND at_us > ?", [*source, since]
    )
    if made >= now["snapshotsADay"]:
        raise BigQueryError(
            "quotaExceeded", f"Quota exceeded: Your table exceeded quota for snapshots per table per day. {HELP}"
        )


def made_snapshot(source: Reference):
    """Dropping a snapshot does not give it back."""
    database.execute("INSERT INTO emulator.snapshots_made VALUES (?, ?, ?, ?)", [*source, time.time_ns() // 1000])


# --- The streaming buffer ---------------------------------------------------------------------------------------------
#
# Streamed rows are rows of the table, marked by the version that brought them: SQL sees them, copies leave them out.


def streamed(reference: Reference, version: int, row_count: int):
    """Rows came by tabledata.insertAll, in this version."""
    at = time.time_ns() // 1000
    if row_count and now["streamingBufferMs"]:
        until = at + now["streamingBufferMs"] * 1000
        values = [*reference, version, row_count, at, until]
        database.execute("INSERT INTO emulator.streamed VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def flush():
    """What is in a buffer is in the table from now on."""
    at = time.time_ns() // 1000
    database.execute("UPDATE emulator.streamed SET until_us = ? WHERE until_us > ?", [at, at])


def buffered(reference: Reference, instant: int) -> list[tuple[int, int, int]]:
    """What was in the buffer at an instant: version, number of rows, since when."""
    return database.fetch(
        f"SELECT version, row_count, at_us FROM emulator.streamed WHERE {OF_TABLE} AND until_us > ? ORDER BY at_us",
        [*reference, instant],
    )


def stored_only(reference: Reference, instant: int) -> str:
    """A condition that leaves out what is in the buffer."""
    versions = [str(version) for version, _, _ in buffered(reference, instant)]
    return f"snapshot_id NOT IN ({', '.join(versions)})" if versions else "TRUE"
