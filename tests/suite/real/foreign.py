"""Somebody else, who writes with Google's own client.

foreign.py insert SQL [WAIT]   waits until the query WAIT counts something, then runs SQL; prints when that job ended, in milliseconds
foreign.py rows TABLE          prints every row of a table as JSON, sorted, one a line
"""

import json
import os
import sys
import time

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def insert(client: bigquery.Client, sql: str, wait: str | None = None) -> None:
    while wait and not next(iter(client.query(wait).result()))[0]:
        time.sleep(0.01)
    job = client.query(sql)
    job.result()
    print(int(job.ended.timestamp() * 1000))


def rows(client: bigquery.Client, table: str) -> None:
    found = client.query(f"SELECT TO_JSON_STRING(t) AS j FROM `{table}` AS t").result()
    for row in sorted(row.j for row in found):
        print(json.dumps(json.loads(row), sort_keys=True))


if __name__ == "__main__":
    endpoint = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=endpoint)
    {"insert": insert, "rows": rows}[sys.argv[1]](client, *sys.argv[2:])
