"""Keep the champion: the version of a registered model that the alias `champion` names, and those that had it before.

A version's tags tell its part in that: `champion.promoted` counts promotions, the highest being the latest, and
`champion.rolled_back` takes it out of the line.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import VALIDATION_PREDICTIONS
from src.evaluation import tables
from src.tracking.runs import runs_of
from src.tracking.store import Store, artifacts, explained

ALIAS = "champion"
_PROMOTED = f"{ALIAS}.promoted"
_ROLLED_BACK = f"{ALIAS}.rolled_back"


class Version(NamedTuple):
    number: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def model_md5(self) -> str:
        return self.tags.get("model_md5", "")


class Trained(NamedTuple):
    """Name a run that holds a model."""

    run_id: str
    model_id: str


class Registry:
    """Hold the versions of one registered model. Every method raises `UserError` where the store cannot be used."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    def champion(self) -> Version | None:
        with explained(self._store.uri):
            found = self._store.client.search_registered_models(f"name = '{self.name}'")
            number = found[0].aliases.get(ALIAS) if found else None
        return next((version for version in self._versions() if version.number == str(number)), None)

    def exists(self) -> bool:
        """Tell whether the name was ever used: it stays when its versions are deleted."""
        with explained(self._store.uri):
            return bool(self._store.client.search_registered_models(f"name = '{self.name}'"))

    def line(self) -> list[Version]:
        """Return those that are or were champion and were not rolled back, in the order of their promotion."""
        own = [v for v in self._versions() if _PROMOTED in v.tags and _ROLLED_BACK not in v.tags]
        return sorted(own, key=_order)

    def trained(self, model_md5: str) -> Trained:
        """Return the newest run that trained this model. Raises `UserError` where the store has none."""
        for run in runs_of(self._store, model_md5):
            if run.outputs and run.outputs.model_outputs:
                return Trained(run.info.run_id, run.outputs.model_outputs[-1].model_id)
        where = without_credentials(self._store.uri)
        raise UserError(f"no run at {where} holds the model {model_md5}: python -m src.track sync makes one")

    def answers(self, version: Version) -> pandas.DataFrame:
        """Return what the version's model answered to its validation images."""
        with tempfile.TemporaryDirectory() as folder, explained(self._store.uri):
            location = self._store.client.get_run(version.run_id).info.artifact_uri
            copy = artifacts(self._store, location).download_artifacts(VALIDATION_PREDICTIONS.as_posix(), folder)
            return tables.read(Path(copy))

    def promote(self, trained: Trained, model_md5: str, tags: Mapping[str, str], against: Version | None) -> Version:
        """Make the model the champion; a version that it has already is used again.

        Raises `UserError` where the champion is not the one any more `against` which the model was judged: MLflow
        has no locks, and a promotion may run on another machine.
        """
        client = self._store.client
        known = self.exists()
        with explained(self._store.uri):
            if not known:
                client.create_registered_model(self.name)
            every = self._versions()
            number = next((version.number for version in every if version.model_md5 == model_md5), None)
            if number is None:
                source = f"models:/{trained.model_id}"
                made = client.create_model_version(self.name, source, trained.run_id, model_id=trained.model_id)
                number = str(made.version)
            count = 1 + max((_order(version) for version in every), default=0)
            for key, value in {**tags, "model_md5": model_md5}.items():
                client.set_model_version_tag(self.name, number, key, value)
            self._unmoved(against)
            client.set_model_version_tag(self.name, number, _PROMOTED, str(count))
            client.delete_model_version_tag(self.name, number, _ROLLED_BACK)
            client.set_registered_model_alias(self.name, ALIAS, number)
        return next(version for version in self._versions() if version.number == number)

    def _unmoved(self, champion: Version | None) -> None:
        present = self.champion()
        if (present and present.number) != (champion and champion.number):
            now = f"version {present.number}" if present else "none"
            raise UserError(f"the champion of {self.name} changed meanwhile ({now} has the title now): promote again")

    def rollback(self) -> tuple[Version, Version]:
        """Give the alias back to the champion before; the present one leaves the line. Returns both.

        Raises `UserError` where there is none before.
        """
        present, line = self.champion(), self.line()
        if present is None:
            raise UserError(f"{self.name} has no champion")
        before = [version for version in line if _order(version) < _order(present)]
        if not before:
            raise UserError(
                f"version {present.number} of {self.name} is the first champion: there is none to go back to"
            )
        with explained(self._store.uri):
            self._store.client.set_registered_model_alias(self.name, ALIAS, before[-1].number)
            self._store.client.set_model_version_tag(self.name, present.number, _ROLLED_BACK, "true")
        return present, before[-1]

    def _versions(self) -> list[Version]:
        with explained(self._store.uri):
            found = self._store.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return [Version(str(version.version), version.run_id or "", dict(version.tags)) for version in found]


def _order(version: Version) -> int:
    return int(version.tags.get(_PROMOTED, 0))
