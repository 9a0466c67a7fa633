"""A review as headings, sentences and tables: what both Markdown and HTML set, in the same order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from src.comparison import Comparison, Difference, Flip
from src.review.changes import Change, CodeChange
from src.review.gather import Answers, Review, Side
from src.significance import ALPHA

_MOST = 10  # rows of a list: the report is one screen
_MARKS = {"better": "▲ better", "worse": "▼ worse", "up": "↑", "down": "↓", "": ""}


class Name(str):
    """Text that somebody else chose: a class, a file, a branch. It is shown as it is, never as markup."""

    __slots__ = ()


class Link(str):
    """An address."""

    __slots__ = ()


Line = Sequence[str]  # plain text, names and links, one after the other


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int = 0  # rows that are left out


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[Line] = ()
    tables: Sequence[Table] = ()
    flips: Sequence[tuple[str, Sequence[Flip]]] = ()  # of validation images, with a heading
    folded: bool = False


@dataclass(frozen=True)
class View:
    title: str
    lead: Sequence[Line]
    warnings: Sequence[Line]
    sections: Sequence[Section] = field(default_factory=list)


def view(review: Review) -> View:
    sections = [_validation(review), _test(review), *_recipes(review), *_changes(review), *_details(review)]
    return View(_title(review), list(_lead(review)), list(_warnings(review)), [*sections, _runs(review)])


def _title(review: Review) -> str:
    words = {"worse": "Worse", "better": "Better", "equivalent": "Equivalent", "no evidence": "No evidence either way"}
    title = "Not comparable" if review.verdict is None else words[review.verdict]
    stale = review.base.numbers_stale or review.head.numbers_stale
    return f"{title}{' (the same model)' if review.same_model else ''}{', by stale numbers' if stale else ''}"


def _lead(review: Review) -> Iterator[Line]:
    sides = [Name(review.head.name), " against ", Name(review.base.name)]
    if review.same_model:
        yield [*sides, ": both hold the model ", Name(str(review.head.model_md5)), "."]
        return
    models = ": two trained models are compared, not the recipes that made them; other seeds would answer otherwise."
    yield [*sides, models]
    found = review.validation.comparison
    if found is None:
        yield [f"No paired test on validation: {review.validation.obstacle}."]
        return
    if reasons := [each for each in found.differences if each.verdict == review.verdict != "no evidence"]:
        texts = (f"{each.name} {_signed(each)} (p = {_p(each.adjusted)}, Holm)" for each in reasons)
        yield [f"On validation {'; '.join(texts)}."]
    elif review.verdict == "equivalent":
        yield [f"On validation the accuracies surely differ by less than {_margin(review)}."]
    else:
        level = f"{100 * ALPHA:.0f} %"
        yield [
            f"On validation none of accuracy, log loss and macro F1 differs significantly ({level}, Holm), "
            f"and a difference of {_margin(review)} is not excluded."
        ]


def _warnings(review: Review) -> Iterator[Line]:
    for side in (review.head, review.base):
        if not side.stale:
            continue
        what = "its numbers are stale" if side.numbers_stale else "its figures are stale, its numbers are not"
        line = [Name(side.name), f": {what}: dvc.lock was not made with the present"]
        for stage, reasons in side.stale.items():
            line += [", " if stage != next(iter(side.stale)) else " ", Name(stage), " ("]
            for number, reason in enumerate(reasons[:_MOST]):
                line += [", " if number else "", Name(reason)]
            line.append(f", {len(reasons) - _MOST} more)" if len(reasons) > _MOST else ")")
        yield [*line, ". Run dvc repro and commit what it changes."]
    for side in (review.head, review.base):
        for path, reason in side.damaged.items():
            yield [Name(side.name), ": ", Name(path), " counts as missing, since it ", Name(reason), "."]
    for split, answers in (("validation", review.validation), ("test", review.test)):
        if answers.prepared_otherwise:
            yield [f"The {split} images are the same photos, prepared otherwise: what differs may come from that."]
    if review.environment:
        line = ["Trained in another environment, which alone can change the last bits and more: "]
        for number, change in enumerate(review.environment):
            line += [
                ", " if number else "",
                Name(change.name),
                " ",
                Name(change.base or "none"),
                " → ",
                Name(change.head or "none"),
            ]
        yield [*line, "."]
    if review.margin_from == "head":
        yield ["The base has no report.margin: the head's own is used."]


def _validation(review: Review) -> Section:
    return Section("Validation", *_paired(review.validation, review))


def _test(review: Review) -> Section:
    lines, tables = _paired(review.test, review)
    models = f"{review.judged:,} distinct model{'s' * (review.judged != 1)}"
    judged = f"These test images have judged at least {models}, by dvc.lock's history"
    first = [f"Not for choosing, and no part of the verdict. {judged}: the more, the less a best one means."]
    return Section("Test", [first, *lines], tables)


def _paired(answers: Answers, review: Review) -> tuple[list[Line], list[Table]]:
    found = answers.comparison
    if found is None:
        return [[f"No paired test: {answers.obstacle}."]], []
    if not any(each.difference or each.p < 1 for each in found.differences):
        return [[f"{found.images:,} images, and every answer is the same."]], []
    low, high = found.equivalence
    sentences = (
        f"{found.images:,} images: {len(found.broken):,} newly wrong, {len(found.fixed):,} newly right.",
        f"90 % interval of the difference of accuracy {_points(low)} to {_points(high)} points;",
        f"the margin is ±{_margin(review)}.",
        f"The smallest difference that so many images, so many of them changed, could have shown: "
        f"{100 * found.smallest:.2f} points.",
    )
    lines: list[Line] = [[" ".join(sentences)]]
    columns = ["", "base", "head", "difference", "95 % interval, unadjusted", "p", "p, Holm", ""]
    return lines, [Table("", columns, [_row(each) for each in found.differences])]


def _row(each: Difference) -> list[str]:
    share = each.name != "log loss"
    base, head = (f"{100 * value:.2f} %" if share else f"{value:.4f}" for value in (each.base, each.head))
    scale, unit = (100, " points") if share else (1, "")
    ends = " to ".join(
        "unknown" if end != end else f"{scale * end:+.{2 if share else 4}f}" for end in (each.low, each.high)
    )
    mark = _MARKS[each.verdict] if each.verdict != "no evidence" else each.verdict
    return [each.name, base, head, _signed(each), f"{ends}{unit}", _p(each.p), _p(each.adjusted), mark]


def _recipes(review: Review) -> Iterator[Section]:
    found = review.recipes
    if found is None:
        if review.recipes_obstacle:
            yield Section("Recipes", [["Not compared: ", Name(review.recipes_obstacle), "."]])
        return
    means = (100 * sum(values) / len(values) for values in (found.base, found.head))
    words = {"no evidence": "no evidence either way"}
    yield Section("Recipes", [[
        f"Over seeds, by validation accuracy: {words.get(found.verdict, found.verdict)}. "
        "Mean of {:.2f} % → {:.2f} %".format(*means),
        f" ({len(found.base)} and {len(found.head)} seeds): {_points(found.difference)} points, 95 % interval "
        f"{_points(found.low)} to {_points(found.high)} (Welch, p = {_p(found.p)}); "
        f"90 % interval {_points(found.equivalence[0])} to {_points(found.equivalence[1])}, margin ±{_margin(review)}.",
    ]])  # fmt: skip


def _changes(review: Review) -> Iterator[Section]:
    """Parameters, data and code stand open, since they are what was done; the metrics follow from them."""
    tables = [
        _table("Parameters", review.parameters),
        _table("Data", review.data),
        _code(review.code),
    ]
    some = [table for table in tables if table.rows]
    unused = sum(not change.stages for change in review.code)
    lines: list[Line] = [] if some else [["No parameters, no data, and no code that a stage uses."]]
    if unused:
        lines.append([f"{unused:,} file{'s' * (unused > 1)} of code that no stage uses."])
    yield Section("What was changed", lines, some)
    for title, changes in (("Metrics", review.metrics), ("Packages", review.packages)):
        if changes:
            yield Section(f"{title} that differ: {len(changes):,}", (), [_table("", changes, 100)], folded=True)


def _code(changes: Sequence[CodeChange]) -> Table:
    used = [change for change in changes if change.stages]
    rows = [
        [Name(c.file), "binary" if c.added is None else f"+{c.added:,} -{c.removed:,} lines", Name(", ".join(c.stages))]
        for c in used[:_MOST]
    ]
    return Table("Code", ["", "", "stages that use it"], rows, max(0, len(used) - _MOST))


def _table(title: str, changes: Sequence[Change], most: int = _MOST) -> Table:
    rows = [
        [
            Name(c.name),
            Name(c.base or "none"),
            Name(c.head or "none"),
            " ".join(filter(None, (c.difference, _MARKS[c.direction]))),
        ]
        for c in changes[:most]
    ]
    return Table(title, ["", "base", "head", ""], rows, max(0, len(changes) - most))


def _details(review: Review) -> Iterator[Section]:
    found = review.validation.comparison
    if found is None or not (found.broken or found.fixed or found.confusions):
        return
    yield Section(
        "Classes and images of validation",
        [["Descriptive: picked for being large, and not tested."]],
        list(_class_tables(found)),
        [(f"{len(flips):,} newly {what}", flips[:_MOST]) for what, flips in _flips(found) if flips],
        folded=True,
    )


def _flips(found: Comparison) -> Iterator[tuple[str, Sequence[Flip]]]:
    yield "wrong", found.broken
    yield "right", found.fixed


def _class_tables(found: Comparison) -> Iterator[Table]:
    if found.classes:
        rows = [
            [Name(c.name), f"{c.images:,}", f"{100 * c.base:.2f} %", f"{100 * c.head:.2f} %",
             f"{_points(c.head - c.base)} points {_MARKS['better' if c.head > c.base else 'worse']}"]
            for c in found.classes[:_MOST]
        ]  # fmt: skip
        yield Table("Classes by their share recognised", ["class", "images", "base", "head", ""], rows,
                    max(0, len(found.classes) - _MOST))  # fmt: skip
    if found.confusions:
        rows = [
            [Name(c.label), Name(c.prediction), f"{c.base:,}", f"{c.head:,}",
             f"{c.head - c.base:+,} {_MARKS['worse' if c.head > c.base else 'better']}"]
            for c in found.confusions[:_MOST]
        ]  # fmt: skip
        yield Table(
            "Confusions", ["label", "taken for", "base", "head", ""], rows, max(0, len(found.confusions) - _MOST)
        )


def _runs(review: Review) -> Section:
    return Section("MLflow runs", [_run("base", review.base), _run("head", review.head)])


def _run(which: str, side: Side) -> Line:
    if side.run:
        return [f"{which}: ", Link(side.run)]
    return [f"{which}: ", Name(side.show) if side.show else "none: dvc.lock holds no model"]


def _margin(review: Review) -> str:
    points = 100 * review.margin
    return f"{points:g} point{'s' * (points != 1)}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _signed(each: Difference) -> str:
    return f"{each.difference:+.4f}" if each.name == "log loss" else f"{_points(each.difference)} points"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
