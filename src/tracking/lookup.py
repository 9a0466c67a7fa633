"""The run that trained a model, found without importing MLflow (5 s with its database layer): for `src.summary`."""

import os
import sqlite3
from contextlib import closing
from typing import Any, NamedTuple

from src.tracking.store import EXPERIMENT, database, logged_in, tracking_uri


class Found(NamedTuple):
    id: str
    name: str
    experiment_id: str


def find_run(model_md5: str) -> Found | None:
    """The newest run whose tag `model_md5` is this. None where there is none or the store does not answer in 2 s."""
    uri = logged_in(tracking_uri())
    if uri.startswith(("http://", "https://")):
        return _ask(uri.rstrip("/"), model_md5)
    file = database(uri)
    if file is None or not file.is_file():
        return None
    query = """
        SELECT runs.run_uuid, runs.name, runs.experiment_id FROM runs
        JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid)
        WHERE experiments.name = ? AND tags.key = 'model_md5' AND tags.value = ? AND runs.lifecycle_stage = 'active'
        ORDER BY runs.start_time DESC LIMIT 1
    """
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            row = connection.execute(query, (EXPERIMENT, model_md5)).fetchone()
    except sqlite3.Error:  # locked, damaged or of another version: the summary says that no run was found
        return None
    return Found(row[0], row[1], str(row[2])) if row else None


def _ask(uri: str, model_md5: str) -> Found | None:
    import requests

    user, password = (os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD"))
    options: dict[str, Any] = {"timeout": 1, "auth": (user, password or "") if user else None}
    api = f"{uri}/api/2.0/mlflow"
    try:
        answer = requests.get(f"{api}/experiments/get-by-name", params={"experiment_name": EXPERIMENT}, **options)
        answer.raise_for_status()
        experiment = answer.json()["experiment"]["experiment_id"]
        search = {
            "experiment_ids": [experiment],
            "filter": f"tags.model_md5 = '{model_md5}'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        answer = requests.post(f"{api}/runs/search", json=search, **options)
        answer.raise_for_status()
        runs = answer.json().get("runs", [])
    except (requests.RequestException, KeyError, ValueError):
        return None
    return Found(runs[0]["info"]["run_id"], runs[0]["info"]["run_name"], experiment) if runs else None
