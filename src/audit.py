"""Find what is wrong with the data: labels, images that resemble no other, contradicting copies, shortcuts.

    python -m src.audit
    python -m src.audit --backbone tf_efficientnet_lite0 --weights ../weights.safetensors

The audit reads train and validation as `split` left them. It writes a page, `reports/audit/index.html`, and a table,
`reports/audit/suggestions.csv`: first copies with different labels, then the most doubtful labels, then images that
resemble no other. Copy the lines that you agree with into `data/corrections.csv`, and `dvc repro` applies them. Images
in that file are not suggested again: to keep a label that is right, relabel the image as what it is.
"""

import argparse

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

import numpy as np

from src.auditing.findings import STRANGE, suggest, wrong_labels
from src.auditing.page import write_page
from src.auditing.probabilities import out_of_fold, pixel_features, pretrained_features
from src.auditing.samples import together
from src.auditing.shortcuts import properties, shortcuts
from src.core.errors import UserError, command
from src.core.paths import AUDIT, CORRECTIONS
from src.data.corrections import read_corrections
from src.data.prepared import SPLITS, open_split, read_dataset
from src.evaluation import tables
from src.params import load
from src.params.networks import TIMM, check_timm
from src.params.writing import load_recipe

# If fewer labels are predicted there is no estimate: at 75 and 84 % a third and more of it were the judge's mistakes.
_TRUSTED = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="compare images by the features of this network of timm (default: that of params.yaml if it is "
        "pretrained, else by their pixels)",
    )
    parser.add_argument("--weights", help="file of that network's weights (default: as in params.yaml, or timm's)")
    parser.add_argument("--test", action="store_true", help="audit the test images, into test.html and test.csv")
    arguments = parser.parse_args()
    from sklearn.metrics import balanced_accuracy_score  # which takes a second

    recipe, dataset = load(), read_dataset()
    model = recipe.model if recipe.model.weights != "none" else None
    if arguments.backbone:
        name = TIMM + arguments.backbone.removeprefix(TIMM)
        check_timm(name)
        model = load_recipe("own-images").model.model_copy(update={"name": name})
    if arguments.weights is not None:
        if model is None:
            raise UserError(f"--weights needs --backbone: {recipe.model.name}, of params.yaml, is not pretrained")
        model = model.model_copy(update={"weights": arguments.weights})
    audited = SPLITS[2:] if arguments.test else SPLITS[:2]
    # Test images are judged by models that learned from all splits; the others by models that saw no test image.
    splits = [split for split in (SPLITS if arguments.test else audited) if dataset.splits[split].count]
    if arguments.test and "test" not in splits:
        raise UserError("there are no test images: set split.test")
    opened = {split: open_split(split) for split in splits}
    samples = together(opened, near=dataset.duplicates.near is not None)
    if model is None:
        features = pixel_features(samples.images)
        judge = f"pixels, since {recipe.model.name} is not pretrained (--backbone sees more in photos)"
    else:
        features = pretrained_features(model, recipe.train, dataset, opened)
        judge = f"features of {model.name}"
    probabilities = out_of_fold(features, samples.labels, samples.units, dataset.classes)

    found = suggest(samples, features, probabilities, dataset.classes)
    asked = np.isin(samples.splits, audited)
    new = asked & ~np.isin(samples.names, [each.file for each in read_corrections()])
    found = found[new[found.index]]
    page, table = ("test.html", "test.csv") if arguments.test else ("index.html", "suggestions.csv")
    tables.write(AUDIT / table, found)

    # As a mean of the classes: else to call every image of a rare class wrong would count for little.
    predicted = balanced_accuracy_score(samples.labels[asked], probabilities[asked].argmax(axis=1))
    wrong = wrong_labels(samples.labels[new], probabilities[new]) if predicted >= _TRUSTED else None
    doubtful = found[found["reason"] != STRANGE]
    first = min(max(wrong or 0, (doubtful["action"] == "drop").sum()), len(doubtful))  # at least all copies
    write_page(
        AUDIT / page,
        samples,
        dataset,
        found,
        title=recipe.data.title or dataset.name,
        images=asked.sum(),
        audited=audited,
        judge=judge,
        predicted=predicted,
        wrong=wrong,
        first=first,
        table=AUDIT / table,
        shortcuts=shortcuts(properties(samples, round(recipe.data.max_gib * 2**30)), samples.labels, samples.units),
    )
    counts = found["action"].value_counts()
    print(f"compared     {judge}")
    print(f"predicted    {predicted:.2%} of {asked.sum():,} labels, mean of classes, by models that have not seen them")
    if wrong is None:
        print("wrong        no estimate: it predicts so few that most doubts are its own mistakes")
    else:
        print(f"wrong        {wrong:,} labels of {asked.sum():,}, by confident learning's estimate")
    print(f"suggestions  {counts.get('relabel', 0):,} to relabel, {counts.get('drop', 0):,} to drop: {AUDIT / table}")
    print(f"see          {AUDIT / page}")
    if first:
        print(
            f"sed -n 2,{first + 1}p {AUDIT / table} >> {CORRECTIONS}   "
            f"# the {first:,} that are probably wrong, once you have looked at them"
        )


if __name__ == "__main__":
    command(main)
