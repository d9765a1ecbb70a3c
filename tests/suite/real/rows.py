"""The rows of a table as Google's own client reads them: rows.py DATASET.TABLE

Prints a JSON array of objects; of what JSON has no word for, what Python says of it.
"""

import json
import os
import sys

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def main(table: str) -> int:
    options = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], credentials=AnonymousCredentials(), client_options=options)
    rows = [dict(row) for row in client.list_rows(client.get_table(table))]
    json.dump(rows, sys.stdout, default=str)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
