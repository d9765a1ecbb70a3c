"""Looks at the seven tables through Google's own client, so that the demo's evidence does not come from the programs shown.

look.py save FILE            writes what is there
look.py compare FILE [NEW]   shows what was there and what is there, side by side; exits 1 if they differ; writes what is there to NEW
"""

import csv
import hashlib
import json
import os
import pathlib
import sys

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def contents(client: bigquery.Client, names: list[str]) -> dict[str, tuple[int, str]]:
    """Rows, and a digest of every value of every row in an order of its own."""
    parts = [
        f"SELECT '{name}' AS name, COUNT(*) AS n, TO_HEX(SHA256(STRING_AGG(j, '\\n' ORDER BY j))) AS digest"
        f" FROM (SELECT TO_JSON_STRING(t) AS j FROM `{name}` AS t)"
        for name in names
    ]
    return {row.name: (row.n, row.digest[:8] if row.digest else "empty") for row in client.query(" UNION ALL ".join(parts)).result()}


def look(client: bigquery.Client, name: str, rows: int, content: str) -> dict[str, str]:
    table = client.get_table(name)
    schema = json.dumps([field.to_api_repr() for field in table.schema], sort_keys=True)
    time, span = table.time_partitioning, table.range_partitioning
    parts = [f"{time.type_}({time.field})"] if time else []
    parts += [f"RANGE({span.field})"] if span else []
    parts += [f"cluster({', '.join(table.clustering_fields)})"] if table.clustering_fields else []
    return {
        "rows": str(rows),
        "content": content,
        "columns": str(len(table.schema)),
        "schema": hashlib.sha256(schema.encode()).hexdigest()[:8],
        "layout": " ".join(parts) or "none",
        "labels": json.dumps(table.labels, sort_keys=True),
        "description": table.description or "",
    }


def main(verb: str, file: str, new: str | None = None) -> int:
    endpoint = os.environ["BIGQUERY_EMULATOR_HOST"]
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=ClientOptions(api_endpoint=endpoint))
    with open(pathlib.Path(__file__).with_name("tables.csv")) as tables:
        names = [f"{row['project']}.{row['dataset']}.{row['table']}" for row in csv.DictReader(tables)]
    found = contents(client, names)
    now = {name: look(client, name, *found[name]) for name in names}
    if verb == "save":
        pathlib.Path(file).write_text(json.dumps(now))
        return 0
    if new:
        pathlib.Path(new).write_text(json.dumps(now))
    before = json.loads(pathlib.Path(file).read_text())
    shown = ["rows", "content", "columns", "schema"]
    print(f"{'':44}{'before':>34}  {'after':>34}")
    different = 0
    for name in names:
        same = before[name] == now[name]
        different += not same
        left, right = ("  ".join(f"{seen[name][key]:>8}" for key in shown) for seen in (before, now))
        print(f"{name.split('.', 1)[1]:44}{left:>34}  {right:>34}  {'same' if same else 'DIFFERENT'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
