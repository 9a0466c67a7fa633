"""The images of several splits as one."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import pandas
from numpy.typing import NDArray

from src.data.duplicates import near_duplicates
from src.data.prepared import SAMPLES, LabelledImages, Shards, SplitName, split_folder
from src.data.splitting import Indices, find_units


class Samples(NamedTuple):
    """Hold N images of the data set, split by split."""

    images: NDArray[np.uint8]  # (N, H, W, C), `Shards` of memory maps
    labels: Indices  # (N,)
    names: list[str]
    splits: NDArray[np.str_]  # (N,)
    same: Indices  # (N,), of each the first image that shows the same picture: equal, or nearly equal
    units: Indices  # (N,), equal for images that show the same picture and for those of one group


def together(opened: Mapping[SplitName, LabelledImages], near: bool) -> Samples:
    """Put the images of splits, which are open already, behind each other.

    near: nearly equal images are looked for, since the split stage may have divided them as the source does.
    """
    table = pandas.concat([pandas.read_parquet(split_folder(split) / SAMPLES) for split in opened])
    images = cast(NDArray[np.uint8], Shards([found.images for found in opened.values()]))
    digest, group = (pandas.factorize(table[column])[0].astype(np.int64) for column in ("digest", "group"))
    same = find_units(digest)
    if near:
        same = near_duplicates(images, same)
    return Samples(
        images=images,
        labels=np.concatenate([found.labels for found in opened.values()]),
        names=table["name"].tolist(),
        splits=np.repeat(list(opened), [len(found.labels) for found in opened.values()]),
        same=same,
        units=same if table["group"].isna().any() else find_units(same, group),
    )
