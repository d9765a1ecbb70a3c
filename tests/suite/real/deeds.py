"""Google's own client does what the five programs do, one deed after the other, so that the requests can be compared.

deeds.py DATASET   there must be a table `t` (id INT64) in it; a table `loaded` is made.
"""

import datetime
import os
import sys
import tempfile

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def main(dataset: str) -> int:
    endpoint = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=endpoint, location="US")
    client.get_dataset(dataset)
    [*client.list_tables(dataset, page_size=1000)]
    table = client.get_table(f"{dataset}.t")

    def config(**more) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter("least", "INT64", 0)],
            labels={"made-by": "deeds"},
            maximum_bytes_billed=10**9,
            use_legacy_sql=False,
            **more,
        )

    sql = f"SELECT id FROM `{client.project}.{dataset}.t` WHERE id > @least ORDER BY id"
    client.query(sql, job_config=config(dry_run=True, job_timeout_ms=600_000))
    # An exact job ID cannot be retried under another, and `job_retry` says so.
    job = client.query(
        sql,
        job_config=config(job_timeout_ms=600_000),
        job_id=f"deeds-{dataset}",
        job_retry=None,
    )
    rows = [row.id for row in job.result(page_size=2)]
    assert rows == sorted(rows) and rows, rows
    client.get_job(job.job_id, location=job.location)
    [*client.list_jobs(parent_job=job.job_id, max_results=10)]
    client.cancel_job(job.job_id, location=job.location)

    table.labels = {"made-by": "deeds", "gone": None}
    table.expires = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    table.description = "as deeds.py has it"
    table = client.update_table(table, ["labels", "expires", "description"])
    table.description = None
    client.update_table(table, ["description"])

    with tempfile.TemporaryFile() as file:
        size = file.write(b"id,name\n1,one\n2,two\n")
        # A size that is known is sent in one request, with the job.
        client.load_table_from_file(
            file,
            f"{dataset}.loaded",
            rewind=True,
            size=size,
            job_id=f"deeds-load-{dataset}",
            job_config=bigquery.LoadJobConfig(
                source_format="CSV",
                skip_leading_rows=1,
                labels={"made-by": "deeds"},
                schema=[bigquery.SchemaField("id", "INT64", "REQUIRED"), bigquery.SchemaField("name", "STRING")],
                write_disposition="WRITE_TRUNCATE",
                allow_quoted_newlines=True,
                null_marker="NULL",
            ),
        ).result()
    assert client.get_table(f"{dataset}.loaded").num_rows == 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
