"""Query parameters as BigQuery binds them: empty arrays, nulls of arrays, structs and ranges, and intervals.

local-bigquery takes every value but these. Knows no job.
"""

import re

from local_bigquery.sql import params

_plain, _decode = params._plain, params._decode
HELD = {"ARRAY": "arrayValues", "STRUCT": "structValues", "RANGE": "rangeValue"}
INTERVAL = re.compile(r"(?:(-?\d+)-(\d+))?(?:(?:^| )(-?\d+)(?= |$))?(?: ?(-?\d+:\d+:\d+(?:\.\d+)?))?")


def with_empty_arrays(body):
    """`"value": {}` is an array without elements: so Google's own `bq` sends one."""

    def mended(value):
        if isinstance(value, list):
            return [mended(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("value") == {}:
            return {"arrayValues": []}
        return {key: mended(item) for key, item in value.items()}

    query = (body.get("configuration") or {}).get("query") if isinstance(body, dict) else None
    for parameter in (query or {}).get("queryParameters") or []:
        parameter["parameterValue"] = mended(parameter.get("parameterValue"))
    return body


def interval(text: str) -> str:
    """`Y-M D H:M:S`, any part of which may be missing, as DuckDB reads an interval."""
    found = INTERVAL.fullmatch(text)
    if not text or not found:
        return text
    years, months, days, time = found.groups()
    sign = "-" if (years or "").startswith("-") else ""
    parts = [f"{years} years {sign}{months} months"] if years else []
    return " ".join([*parts, *([f"{days} days"] if days else []), *([time] if time else [])])


def plain(kind, value):
    """A null of an array, a struct or a range is none of its parts."""
    held = HELD.get(kind.type)
    if held and (value is None or getattr(value, held) is None):
        return None
    found = _plain(kind, value)
    return interval(found) if kind.type == "INTERVAL" and found else found


def decode(expression: str, kind) -> str:
    decoded = _decode(expression, kind)
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE {decoded} END" if kind.type in ("STRUCT", "RANGE") else decoded


params._plain, params._decode = plain, decode
