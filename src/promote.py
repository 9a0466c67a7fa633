"""Make the model of the last `dvc repro` the champion, if it is shown not to be worse than the champions before it.

    python -m src.promote                       then models:/digits@champion is this model
    python -m src.promote --force "why"         whatever speaks against it; the reason is kept with the version
    python -m src.promote --rollback            the champion before becomes champion again

Not worse: on the same validation images, the lower end of the one-sided 95 % interval of the difference of accuracy
lies above -report.margin, against the present champion and against the best one so far, or a row of champions could
each be a little worse than the one before. Where the champion was removed from the registry, the best of those that
remain counts. The code that trained it must be committed, or nobody could train it again.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas

from src.core.errors import UserError, command
from src.core.files import digest
from src.core.paths import LOCK, MODEL, RAW, VALIDATION_PREDICTIONS
from src.data.prepared import split_folder
from src.evaluation import tables
from src.params import load
from src.review.answers import obstacle, pair
from src.review.revision import Revision, at, locks, recorded, working_tree
from src.review.stale import leads_to, stale
from src.stats.paired import accuracy_interval
from src.stats.verdicts import EQUIVALENCE_LEVEL, images_for_margin
from src.tracking.champion import ACCURACY, ALIAS, Registry, Version
from src.tracking.store import open_store

# What must agree, one of them at least, for two models to have answered the same images.
_IMAGES = {"validation_md5": split_folder("validation"), "raw_md5": RAW}


class Candidate(NamedTuple):
    model_md5: str
    answers: pandas.DataFrame
    images: Mapping[str, str]  # digests of its data, by the keys of _IMAGES

    @property
    def accuracy(self) -> float:
        return float((self.answers["label"] == self.answers["prediction"]).mean()) if len(self.answers) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="of the registered model (default: data.title, or data.name)")
    parser.add_argument("--force", metavar="REASON", help="promote whatever speaks against it")
    parser.add_argument("--rollback", action="store_true", help="give the title back to the champion before")
    arguments = parser.parse_args()
    params = load()
    name = arguments.name or params.data.display_name
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise UserError(f"--name is {name!r}: letters, digits, spaces, ., - and _ only")
    if arguments.rollback and arguments.force is not None:
        raise UserError("--rollback takes no --force: it asks nothing")
    if arguments.force is not None and not arguments.force.strip():
        raise UserError("--force needs a reason, which is kept with the version")
    if arguments.rollback:
        gone, champion = Registry(open_store(), name).rollback()
        _say("champion", f"{name} version {champion.number} again, not version {gone.number} any more")
        return
    _promote(_candidate(working_tree()), name, params.report.margin / 100, arguments.force)


def _promote(candidate: Candidate, name: str, margin: float, reason: str | None) -> None:
    commit = _commit(candidate.model_md5)
    registry = Registry(open_store(), name)
    champion = registry.champion()
    if champion and champion.model_md5 == candidate.model_md5:
        _say("champion", f"{name} version {champion.number} is this model already")
        return
    objections = [] if commit else [f"no commit holds {LOCK} with this model and the code that trained it"]
    rivals = list(_rivals(registry, champion, candidate))
    if not rivals and registry.registered() is not None:
        objections.append(f"{name} has lost its champion, and no version is left to compare with")
    for version, what in rivals:
        objection, finding = _against(registry, version, what, candidate, margin)
        _say("against", finding)
        objections += [objection] if objection else []
    if objections and reason is None:
        raise UserError(f"not promoted: {'; '.join(objections)} (--force REASON promotes it all the same)")
    tags = {f"images.{key}": value for key, value in candidate.images.items()}
    tags |= {ACCURACY: f"{candidate.accuracy:.6f}", "commit": commit or "none", "margin": f"{margin:g}"}
    if objections and reason is not None:
        tags |= {f"{ALIAS}.forced": reason, f"{ALIAS}.objections": "; ".join(objections)}
    version = registry.promote(candidate.model_md5, tags, champion)
    _say("champion", f"{name} version {version.number}: models:/{name}@{ALIAS}")
    _say("run", version.run_id)
    _say("commit", commit or "none")
    for objection in objections:
        _say("in spite of", objection)


def _candidate(tree: Revision) -> Candidate:
    """The model that lies here, if `dvc.lock` and the answers are its own. Raises `UserError`."""
    for path in (MODEL, VALIDATION_PREDICTIONS):
        if not path.is_file():
            raise UserError(f"{path} is missing: run dvc repro, or dvc pull where a remote has it")
        if tree.output(path).get("md5") != digest(path):
            raise UserError(f"{path} is not the one that {LOCK} records: run dvc repro")
    images = {key: str(tree.output(path).get("md5")) for key, path in _IMAGES.items()}
    return Candidate(digest(MODEL), tables.read(VALIDATION_PREDICTIONS), images)


def _commit(model_md5: str) -> str | None:
    """A commit from which the model can be trained again: its `dvc.lock` holds it, and so does its code."""
    holders = (commit for commit, lock in locks().items() if recorded(lock, "train", MODEL) == model_md5)
    for revision in (at("HEAD"), *(Revision(commit[:9], commit) for commit in holders)):
        try:
            old = any(leads_to(stage, MODEL, revision.pipeline) for stage in stale(revision))
        except UserError:  # it cannot be read, so nobody could train again from it
            continue
        if revision.model_md5 == model_md5 and not old:
            return revision.commit
    return None


def _rivals(registry: Registry, champion: Version | None, candidate: Candidate) -> Iterator[tuple[Version, str]]:
    """Yield the present champion, and the best so far of those that were validated on the same images.

    Without a present one, the best or the latest of those that were champion.
    """
    line = registry.line()
    comparable = [version for version in line if _same_images(version, candidate)]
    latest = champion or (line[-1] if line else None)
    best = max(comparable, key=lambda version: float(version.tags[ACCURACY]), default=latest)
    if champion is not None:
        yield champion, "the champion"
    if best is not None and best.number != (champion and champion.number) and best.model_md5 != candidate.model_md5:
        yield best, "the best champion so far"


def _same_images(version: Version, candidate: Candidate) -> bool:
    return any(version.tags.get(f"images.{key}") == md5 for key, md5 in candidate.images.items())


def _against(
    registry: Registry, version: Version, what: str, candidate: Candidate, margin: float
) -> tuple[str | None, str]:
    """Return what speaks against the candidate, or None, and what was found."""
    rival = f"version {version.number}, {what}"
    before, after = registry.answers(version), candidate.answers
    reason = obstacle(before, after)
    if reason is None and not _same_images(version, candidate):
        known = any(key.startswith("images.") for key in version.tags)
        reason = "other images under the same names" if known else "not promoted from here: nothing tells its images"
    if reason is not None:
        return f"{rival}, cannot be compared ({reason})", f"{rival}: cannot be compared, {reason}"
    pairs, corrected = pair(before, after)
    was, now = (pairs["label"] == pairs[answer] for answer in ("prediction_base", "prediction"))
    broken, fixed, images = int((was & ~now).sum()), int((now & ~was).sum()), len(pairs)
    low, high = accuracy_interval(broken, fixed, images, EQUIVALENCE_LEVEL)
    finding = (
        f"{rival}: {100 * (fixed - broken) / images:+.2f} points on {images:,} images ({broken:,} newly wrong, "
        f"{fixed:,} newly right), surely above {100 * low:+.2f} (one-sided 95 %)"
        f"{f'; {corrected} since' if corrected else ''}"
    )
    if low > -margin:
        return None, finding
    limit = f"the difference to {rival}, may be as low as {100 * low:+.2f} points, and the margin is {100 * margin:g}"
    if high < 0:
        return f"worse than {rival}: {100 * (fixed - broken) / images:+.2f} points; {limit}", finding
    enough = images_for_margin(broken + fixed, images, margin)
    if images < enough:
        told = f"{images:,} validation images are too few to tell, about {enough:,} would do in 4 of 5 cases"
        return f"{told}: {limit}", finding
    return limit, finding


def _say(label: str, text: str) -> None:
    print(f"{label:<12}{text}", flush=True)


if __name__ == "__main__":
    command(main)
