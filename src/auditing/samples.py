"""The images of several splits as one."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
import pandas
from numpy.typing import NDArray

from src.data.prepared import SAMPLES, LabelledImages, Shards, SplitName, split_folder
from src.data.splitting import Indices, find_units


class Samples(NamedTuple):
    """Hold N images of the data set, split by split."""

    images: NDArray[np.uint8]  # (N, H, W, C), `Shards` of memory maps
    labels: Indices  # (N,)
    names: list[str]
    splits: NDArray[np.str_]  # (N,)
    units: Indices  # (N,), equal for equal images and for those of one group


def together(opened: Mapping[SplitName, LabelledImages]) -> Samples:
    """Put the images of splits, which are open already, behind each other."""
    table = pandas.concat([pandas.read_parquet(split_folder(split) / SAMPLES) for split in opened])
    columns = [table["digest"]] if table["group"].isna().any() else [table["digest"], table["group"]]
    return Samples(
        images=cast(NDArray[np.uint8], Shards([found.images for found in opened.values()])),
        labels=np.concatenate([found.labels for found in opened.values()]),
        names=table["name"].tolist(),
        splits=np.repeat(list(opened), [len(found.labels) for found in opened.values()]),
        units=find_units(*(pandas.factorize(column)[0].astype(np.int64) for column in columns)),
    )
