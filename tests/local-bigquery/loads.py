"""Uploads and loads as BigQuery makes them: resumable uploads that go on where they were cut, and rows that a schema
refuses. https://docs.cloud.google.com/bigquery/docs/reference/api-uploads

This file knows no table's history and no lock: launcher.py calls `prepared` before a load runs and includes `router`.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import pathlib
import re
import zlib

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from local_bigquery.api import Router, uploads
from local_bigquery.catalog import tables
from local_bigquery.engine.database import quote
from local_bigquery.errors import BigQueryError
from local_bigquery.jobs import load, runner
from local_bigquery.models import Job, JobConfigurationLoad, TableFieldSchema
from starlette.concurrency import run_in_threadpool

# --- Uploads: multipart, and resumable -------------------------------------------------------------------------------

UNIT = 256 * 1024  # every chunk but the last is a multiple of it
RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
router = Router(tags=["jobs"])
open_uploads: dict[str, Upload] = {}


@dataclasses.dataclass
class Upload:
    """A resumable upload: what has landed of it, and the job it became."""

    project_id: str
    body: Job
    path: pathlib.Path
    size: int = 0
    job_id: str | None = None


def bad(why: str) -> BigQueryError:
    return BigQueryError("invalid", why)


def upload_id(body: Job) -> str:
    """The same for the same job, so that a record of the calls is: with a number, as a job may be uploaded twice."""
    job_id = (body.jobReference and body.jobReference.jobId) or ""
    name = hashlib.sha256(job_id.encode()).hexdigest()[:16]
    return f"{name}-{sum(other.startswith(name) for other in open_uploads)}"


def split(content_type: str, payload: bytes) -> tuple[bytes, bytes]:
    """The two parts of multipart/related, byte for byte: Python's e-mail parser knows lines of text."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if not match:
        raise bad("Multipart upload without a boundary")
    parts = payload.split(b"--" + match[1].encode())
    # What is before the first boundary, the JSON, the media, what is behind the last one.
    if len(parts) != 4 or not parts[3].startswith(b"--"):
        raise bad("Multipart upload must have two parts")
    bodies = [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[-1] for part in parts[1:3]]
    return tuple(re.sub(rb"\r?\n\Z", b"", body) for body in bodies)


@router.post("/projects/{project_id}/jobs")
async def upload(project_id: str, uploadType: str, request: Request):
    if uploadType == "multipart":
        described, media = split(request.headers["content-type"], await request.body())
        body = uploads._job(described)
        path = pathlib.Path(uploads._file(upload_id(body) + "-whole"))
        path.write_bytes(media)
        return await run_in_threadpool(uploads._start, project_id, body, str(path))
    if uploadType != "resumable":
        raise bad(f"Unsupported uploadType: {uploadType}")
    body = uploads._job(await request.body())
    name = upload_id(body)
    path = pathlib.Path(uploads._file(name))
    path.write_bytes(b"")
    open_uploads[name] = Upload(project_id, body, path)
    location = request.url.include_query_params(upload_id=name)
    return Response(headers={"Location": str(location), "X-GUploader-UploadID": name})


@router.put("/projects/{project_id}/jobs")
async def upload_chunk(project_id: str, upload_id: str, request: Request):
    found = open_uploads.get(upload_id)
    if found is None:
        raise BigQueryError("notFound", f"Not found: Upload {upload_id}")
    if found.job_id is None and not landed(found, request.headers.get("content-range"), await request.body()):
        received = {"Range": f"bytes=0-{found.size - 1}"} if found.size else {}
        return Response(status_code=308, headers=received)
    if found.job_id is None:
        answer = await run_in_threadpool(uploads._start, project_id, found.body, str(found.path))
        found.job_id = json.loads(answer.body)["jobReference"]["jobId"]
        return answer
    # The answer to the last chunk was lost: it is given again.
    return JSONResponse(runner.get(project_id, found.job_id).dump())


def landed(found: Upload, told: str | None, chunk: bytes) -> bool:
    """Keeps what is new of a chunk; whether all is there."""
    match = RANGE.fullmatch(told or f"bytes 0-{len(chunk) - 1}/{len(chunk)}")
    if not match:
        raise bad(f"Failed to parse Content-Range header: {told}")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return total == found.size
    first, last = int(match[1]), int(match[2])
    if last - first + 1 != len(chunk) or first > found.size or (total is not None and last >= total):
        raise bad(f"Invalid request. {told} with {len(chunk)} bytes; {found.size} bytes have been received.")
    complete = total is not None and last + 1 == total
    if not complete and len(chunk) % UNIT:
        raise bad(f"Invalid request. The bytes of every chunk but the last must be a multiple of {UNIT}.")
    new = chunk[found.size - first :]
    with found.path.open("ab") as file:
        file.write(new)
    found.size += len(new)
    return complete


# --- Loads: what of a file a schema takes ----------------------------------------------------------------------------

_projection = load._projection
TEXT = {"CSV", "NEWLINE_DELIMITED_JSON"}
WHOLE = r"^\s*[+-]?\d+\s*$"


def reading(why: str) -> BigQueryError:
    return bad(f"Error while reading data, error message: {why}")


def prepared(config: JobConfigurationLoad, upload: str | None) -> JobConfigurationLoad:
    """Before a load: the schema it has, and a file that can be read with it."""
    kind = config.sourceFormat or "CSV"
    reference = tables.reference(config.destinationTable)
    if not (config.schema_ and config.schema_.fields) and not config.autodetect and kind in TEXT:
        if not tables.exists(*reference):
            raise bad("No schema specified on job or table.")
        config = config.replace(schema={"fields": [f.dump() for f in tables.columns(*reference)]})
    if upload and kind in TEXT:
        file = pathlib.Path(upload)
        unpacked(file)
        if kind == "CSV":
            check_csv(file.read_bytes(), config)
        elif config.schema_ and config.schema_.fields and not config.ignoreUnknownValues:
            check_json(file.read_bytes(), config.schema_.fields)
    return config


def unpacked(file: pathlib.Path):
    """CSV and JSON may come as gzip: BigQuery finds that out by itself."""
    packed = file.read_bytes()
    if packed[:2] != b"\x1f\x8b":
        return
    try:
        file.write_bytes(gzip.decompress(packed))
    except (EOFError, OSError, zlib.error) as error:
        raise reading(f"Invalid gzip data: {error}") from None


def check_csv(data: bytes, config: JobConfigurationLoad):
    """A line's end within quotes is a missing quote, unless allowQuotedNewlines says that it is not."""
    mark = ('"' if config.quote is None else config.quote).encode()
    if config.allowQuotedNewlines or not mark or mark not in data:
        return
    for number, line in enumerate(data.splitlines(), 1):
        if line.count(mark) % 2:
            raise reading(f"CSV table encountered too many errors. Missing close quote character in line {number}")


def check_json(data: bytes, fields: list[TableFieldSchema]):
    """DuckDB leaves out what no column is for; BigQuery refuses it."""
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise reading(f"JSON parsing error in line {number}: {error}") from None
        if not isinstance(row, dict):
            raise reading(f"JSON parsing error in line {number}: a row must be an object")
        if unknown := unknown_field(row, fields):
            raise reading(f"JSON parsing error in line {number}: No such field: {unknown}.")


def unknown_field(row: dict, fields: list[TableFieldSchema], path: str = "") -> str | None:
    known = {field.name.casefold(): field for field in fields}
    for name, value in row.items():
        field = known.get(name.casefold())
        if field is None:
            return path + name
        if not field.fields:
            continue
        for member in value if isinstance(value, list) else [value]:
            inner = isinstance(member, dict) and unknown_field(member, field.fields, f"{path}{name}.")
            if inner:
                return inner
    return None


def checked_projection(config: JobConfigurationLoad, fields: list[TableFieldSchema], columns: list[str]):
    """A value that BigQuery does not take for a column is a bad row: 1.5 is no INTEGER, and NULL is not REQUIRED."""
    projection, refused = _projection(config, fields, columns)
    if (config.sourceFormat or "CSV") not in TEXT:
        return required(fields), refused
    conditions = [] if refused == "false" else [refused]
    for field in fields:
        column = quote(field.name)
        if field.mode == "REQUIRED":
            conditions.append(f"{column} IS NULL")
        if field.mode == "REPEATED" or field.fields:
            continue
        if field.type in ("INTEGER", "INT64"):
            conditions.append(f"({column} IS NOT NULL AND NOT regexp_matches({column}, '{WHOLE}'))")
        if field.maxLength and field.type == "STRING":
            conditions.append(f"length({column}) > {int(field.maxLength)}")
    return projection, " OR ".join(conditions) or "false"


def required(fields: list[TableFieldSchema]) -> str:
    """The columns of a file that has types of its own; a NULL for a REQUIRED one ends the load."""
    if not fields:
        return "*"
    columns = []
    for field in fields:
        column = quote(field.name)
        value = f"CAST({column} AS {load.types.duckdb_type(field)})"
        if field.mode == "REQUIRED":
            why = f"Only optional fields can be set to NULL. Field: {field.name}".replace("'", "''")
            value = f"CASE WHEN {column} IS NULL THEN error('{why}') ELSE {value} END"
        columns.append(f"{value} AS {column}")
    return ", ".join(columns)


def csv_options(config: JobConfigurationLoad, fields: list[TableFieldSchema]) -> dict:
    """What is quoted is a text, also if it reads like NULL."""
    return _csv(config, fields) | {"allow_quoted_nulls": "false"}


_csv = load._csv
load._projection, load._csv = checked_projection, csv_options
