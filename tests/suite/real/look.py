"""What Google's own client finds, so that the evidence does not come from the programs under test.

look.py PATTERN DATASET...   prints one JSON object: of every table of these datasets whose name PATTERN matches as a whole,
by `dataset.table`, what it is, how many rows it holds, and a digest of every value of every row.
"""

import json
import os
import re
import sys

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

KEPT = [
    "type",
    "schema",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "requirePartitionFilter",
    "description",
    "friendlyName",
    "labels",
    "expirationTime",
    "defaultCollation",
    "defaultRoundingMode",
    "maxStaleness",
    "tableConstraints",
    "snapshotDefinition",
]


def contents(client: bigquery.Client, names: list[str]) -> dict[str, tuple[int, str]]:
    parts = [
        f"SELECT '{name}' AS name, COUNT(*) AS n, TO_HEX(SHA256(STRING_AGG(j, '\\n' ORDER BY j))) AS digest"
        f" FROM (SELECT TO_JSON_STRING(t) AS j FROM `{name}` AS t)"
        for name in names
    ]
    return {row.name: (row.n, row.digest) for row in client.query(" UNION ALL ".join(parts)).result()}


def main(pattern: str, *datasets: str) -> int:
    endpoint = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=endpoint)
    names = [
        f"{dataset}.{table.table_id}"
        for dataset in datasets
        for table in client.list_tables(dataset)
        if re.fullmatch(pattern, table.table_id)
    ]
    found = contents(client, names) if names else {}
    seen = {}
    for name in names:
        resource = client.get_table(f"{client.project}.{name}").to_api_repr()
        seen[name] = {key: resource[key] for key in KEPT if resource.get(key)}
        seen[name]["rows"], seen[name]["digest"] = found[name]
    json.dump(seen, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
