"""What Google's own client does: copies of every kind, and what it knows of a job.

copies.py snapshot TABLE COPY    a snapshot of a table, by a copy job
copies.py copy COPY TABLE        a copy over a table, by a copy job
copies.py query SQL              a query, or a script
copies.py labels JOB LOCATION    the labels of a job, as JSON
"""

import json
import os
import sys

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.enums import WriteDisposition
from google.cloud.bigquery.job import CopyJobConfig, OperationType


def main(deed: str, *words: str) -> int:
    endpoint = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=endpoint)
    if deed == "snapshot":
        config = CopyJobConfig(operation_type=OperationType.SNAPSHOT, write_disposition=WriteDisposition.WRITE_EMPTY)
        client.copy_table(*(f"{client.project}.{word}" for word in words), job_config=config).result()
    elif deed == "copy":
        config = CopyJobConfig(write_disposition=WriteDisposition.WRITE_TRUNCATE)
        client.copy_table(*(f"{client.project}.{word}" for word in words), job_config=config).result()
    elif deed == "query":
        client.query(words[0]).result()
    elif deed == "labels":
        json.dump(client.get_job(words[0], location=words[1]).labels, sys.stdout)
    else:
        sys.exit(f"unknown deed: {deed}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
