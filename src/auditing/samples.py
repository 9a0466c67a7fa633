"""Read the images of several splits as one set."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import pandas
from numpy.typing import NDArray

from src.data.duplicates import near_duplicates
from src.data.prepared import SAMPLES, LabelledImages, Shards, SplitName, split_folder
from src.data.splitting import Indices, find_units


class Samples(NamedTuple):
    """Hold N images, one split after the other."""

    images: NDArray[np.uint8]  # (N, H, W, C); `Shards` of memory maps
    labels: Indices  # (N,)
    names: list[str]
    splits: NDArray[np.str_]  # (N,)
    same: Indices  # (N,), the first image that is equal, or nearly equal, to each
    units: Indices  # (N,), equal for images that are copies of each other or are in one group


def together(opened: Mapping[SplitName, LabelledImages], near: bool) -> Samples:
    """Join the images of the opened splits. near: look for nearly equal images, which may lie in different splits."""
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
