"""Runs as they are found in a store that exists already; nothing is made by looking."""

import re
from typing import TYPE_CHECKING

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.tracking.store import Store, database, explained, open_store, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run


def existing_store() -> Store | None:
    """The store; None where its database is not there yet."""
    place = database(tracking_uri())
    return None if place is not None and not place.is_file() else open_store()


def find_runs(store: Store, query: str = "") -> list["Run"]:
    """All that match, newest first."""
    found: list[Run] = []
    token: str | None = None
    with explained(store.uri):
        while token != "":
            page = store.client.search_runs(
                [store.experiment_id], query, order_by=["attributes.start_time DESC"], page_token=token
            )
            found += page
            token = page.token or ""
    return found


def runs_of(store: Store, model_md5: str) -> list["Run"]:
    """Those of a model, newest first."""
    return find_runs(store, f"tags.model_md5 = '{model_md5}'")


def run_by_id(store: Store, run_id: str) -> "Run | None":
    """Asked for by a query, which finds nothing where `get_run` would raise."""
    return next(iter(find_runs(store, f"attributes.run_id = '{run_id}'")), None)


def registered_run(store: Store, uri: str) -> "Run":
    """The run of `models:/NAME@ALIAS` or `models:/NAME/VERSION`. Raises `UserError`."""
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if match is None:
        raise UserError(f"{uri}: must be models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, version = match.groups()
    with explained(store.uri):
        client = store.client
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    run = run_by_id(store, found.run_id) if found.run_id else None
    if run is None:
        raise UserError(f"{uri}: the run that it came from is gone from {without_credentials(store.uri)}")
    return run
