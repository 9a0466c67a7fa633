"""Make the model of the last `dvc repro` the champion, if it is shown not to be worse than the champions before it.

    python -m src.promote                       then models:/digits@champion is this model
    python -m src.promote --force "why"         promote it in spite of all objections, and keep the reason

"Not worse" means: on the validation images of both, the lower end of the one-sided 95 % interval of the difference of
accuracy lies above -report.margin. It must hold against the present champion and against the best one so far; else each
champion could be a little worse than the one before. The code that trained the model must be committed, so that it can
be trained again. To go back, give the alias `champion` to an earlier version in MLflow, and delete the wrong one.
"""

import argparse
from collections.abc import Mapping
from math import ceil

from pandas import DataFrame

from src.core.errors import UserError, command
from src.core.files import digest
from src.core.paths import LOCK, MODEL, RAW, VALIDATION_PREDICTIONS
from src.data.prepared import split_folder
from src.evaluation import tables
from src.params import load
from src.review.answers import pair
from src.review.revision import at, working_tree
from src.review.stale import leads_to, stale
from src.stats.paired import accuracy_interval, change_effect
from src.stats.verdicts import EQUIVALENCE_LEVEL, images_for_margin
from src.tracking.champion import ACCURACY, ALIAS, Registry, Version
from src.tracking.store import open_store

# Images with equal names are the same if at least one of these MD5s agrees; else those with equal pixels are.
_IMAGES = {"validation_md5": split_folder("validation"), "raw_md5": RAW}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", metavar="REASON", help="promote whatever speaks against it")
    arguments = parser.parse_args()
    if arguments.force is not None and not arguments.force.strip():
        raise UserError("--force needs a reason, which is kept with the version")
    params = load()
    name = params.data.display_name
    tree = working_tree()
    for path in (MODEL, VALIDATION_PREDICTIONS):
        if not path.is_file():
            raise UserError(f"{path} is missing: run dvc repro, or dvc pull where a remote has it")
        if tree.output(path).get("md5") != digest(path):
            raise UserError(f"{path} is not the one that {LOCK} records: run dvc checkout, or dvc repro")
    model_md5, answers, margin = digest(MODEL), tables.read(VALIDATION_PREDICTIONS), params.report.margin / 100
    images = {f"images.{key}": str(tree.output(path).get("md5")) for key, path in _IMAGES.items()}
    commit = _commit(model_md5)
    registry = Registry(open_store(), name)
    champion = registry.champion()
    if champion and champion.model_md5 == model_md5:
        _say("champion", f"{name} version {champion.number} is this model already")
        return

    # The rivals: the present champion, and the best version so far that was validated on the same images.
    comparable = [each for each in registry.versions() if ACCURACY in each.tags and _same_images(each, images)]
    best = max(comparable, key=lambda version: float(version.tags[ACCURACY]), default=None)
    rivals = [(champion, "the champion")] if champion else []
    if best and best != champion and best.model_md5 != model_md5:
        rivals.append((best, "the best champion so far"))
    objections = [] if commit else [f"HEAD does not hold {LOCK} with this model and the code that trained it"]
    for version, title in rivals:
        rival = f"version {version.number}, {title}"
        try:
            pairs, corrected = pair(registry.answers(version), answers, _same_images(version, images))
            objection, finding = _compare(pairs, rival, margin)
            finding += f"; {corrected} since" if corrected else ""
        except UserError as error:  # it has other images, or its run or its files were removed for good
            objection, finding = f"{rival}, cannot be compared ({error})", f"{rival}: cannot be compared, {error}"
        _say("against", finding)
        objections += [objection] if objection else []
    if objections and arguments.force is None:
        raise UserError(f"not promoted: {'; '.join(objections)} (--force REASON promotes it all the same)")

    accuracy = (answers["label"] == answers["prediction"]).mean() if len(answers) else 0.0
    tags = {**images, ACCURACY: f"{accuracy:.6f}", "commit": commit or "none", "margin": f"{margin:g}"}
    if objections:
        tags |= {f"{ALIAS}.forced": arguments.force, f"{ALIAS}.objections": "; ".join(objections)}
    version = registry.promote(model_md5, tags)
    _say("champion", f"{name} version {version.number}: models:/{name}@{ALIAS}")
    _say("run", version.run_id)
    _say("commit", commit or "none")
    for objection in objections:
        _say("in spite of", objection)


def _commit(model_md5: str) -> str | None:
    """Return the commit that is checked out, if its `dvc.lock` and code can make the model again, or None."""
    head = at("HEAD")
    made_again = head.model_md5 == model_md5 and not leads_to(stale(head), MODEL, head.pipeline)
    return head.commit if made_again else None


def _same_images(version: Version, images: Mapping[str, str]) -> bool:
    """Tell if the version was validated on these images: one of their digests is enough."""
    return any(version.tags.get(key) == md5 for key, md5 in images.items())


def _compare(pairs: DataFrame, rival: str, margin: float) -> tuple[str | None, str]:
    """Compare the predictions of two models; return the objection to the second, or None, and what was found."""
    was, now = ((pairs["label"] == pairs[answer]).to_numpy() for answer in ("prediction_base", "prediction"))
    broken, fixed, images, groups = int((was & ~now).sum()), int((now & ~was).sum()), len(pairs), pairs.get("group")
    low, high = accuracy_interval(was, now, groups, EQUIVALENCE_LEVEL)
    finding = (
        f"{rival}: {100 * (fixed - broken) / images:+.2f} points on {images:,} images ({broken:,} newly wrong, "
        f"{fixed:,} newly right), surely above {100 * low:+.2f} (one-sided 95 %)"
    )
    if low > -margin:
        return None, finding
    limit = f"the difference to {rival}, may be as low as {100 * low:+.2f} points, and the margin is {100 * margin:g}"
    if high < 0:  # which src.report tests more strictly, among other numbers
        change = f"{100 * (fixed - broken) / images:+.2f} points, surely below {100 * high:+.2f} (one-sided 95 %)"
        return f"worse than {rival}: {change}; the margin is {100 * margin:g}", finding
    effect = change_effect(was, now, groups, EQUIVALENCE_LEVEL)
    enough = ceil(images_for_margin(broken + fixed, images, margin) * effect)
    if images < enough:
        told = f"{images:,} validation images are too few to tell, about {enough:,} would do in 4 of 5 cases"
        return f"{told}: {limit}", finding
    return limit, finding


def _say(label: str, text: str) -> None:
    print(f"{label:<12}{text}", flush=True)


if __name__ == "__main__":
    command(main)
