"""Features of a frozen network, computed once, since they never change: its last layer then learns in seconds."""

import hashlib
import json
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from src.compute.batches import Batches
from src.compute.device import evaluation_batch
from src.core.paths import features_folder
from src.data.prepared import Dataset, LabelledImages, SplitName
from src.models.classifier import Classifier
from src.models.layers import head

_PROBE = 16  # images
_UNUSED = 30 * 24 * 3600  # seconds after which features that no training read are removed


def head_classifier(classifier: Classifier, images: Batches) -> Classifier | None:
    """Return a classifier of features (N, 1, 1, F): the network's last layer itself, with the same weights.

    None if the network's output is not simply that of its last layer (squeezenet pools it), which is found by trying.
    """
    learned = Classifier(head(classifier.network), nn.Flatten()).eval()
    order = torch.arange(min(_PROBE, len(images)))
    (features,) = _features(classifier, images, order)
    if features.ndim != 2:
        return None
    with torch.no_grad():
        ((pixels, _),) = images.take(order, len(order))
        expected, found = classifier(pixels), learned(features)
    return learned if found.shape == expected.shape and torch.allclose(found, expected, atol=1e-6) else None


def features_of(classifier: Classifier, images: Batches, dataset: Dataset, split: SplitName) -> Batches:
    """Return a split with the features (N, 1, 1, F) that a frozen network gives its last layer in the place of images.

    They are stored in `.cache/features` under a digest of the split and of the features of its first images, which
    depend on weights, preprocessing, device and versions. Computed in float32 without dropout. What a process that was
    killed has computed is gone on from.
    """
    probe = torch.cat(list(_features(classifier, images, torch.arange(min(_PROBE, len(images))))) or [torch.empty(0)])
    content = json.dumps(dataset.splits[split].md5, sort_keys=True).encode() + probe.cpu().numpy().tobytes()
    path = features_folder() / f"{split}-{hashlib.sha256(content).hexdigest()[:32]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name("lock")):  # of several processes that train, one computes
        part = path.with_suffix(".part")
        if not path.is_file():
            part.touch()
            with part.open("r+b") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(images), 1, 1, probe.shape[-1])}
                np.lib.format.write_array_header_1_0(file, header)
                size = evaluation_batch(images.device, images.image_shape)
                batch_bytes = max(1, 4 * probe.shape[-1] * size)
                done = max(0, part.stat().st_size - file.tell()) // batch_bytes
                file.truncate(file.seek(done * batch_bytes, os.SEEK_CUR))
                batches = _features(classifier, images, torch.arange(done * size, len(images)))
                for batch in tqdm(batches, f"features of {split}", unit=" batches", leave=False, disable=None):
                    file.write(batch.cpu().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        path.touch()
        for other in path.parent.glob("*-*"):
            if time.time() - other.stat().st_mtime > _UNUSED:
                other.unlink()
        kept = np.load(path, mmap_mode="r")
    found = Batches(LabelledImages(kept, images.labels.cpu().numpy()), images.device)
    found.shards = images.shards  # which decide the order in which images are learned
    return found


def _features(classifier: Classifier, images: Batches, order: Tensor) -> Iterator[Tensor]:
    """Yield the inputs of the last layer for these images, batch by batch: float32 (B, F) in most networks."""
    seen: list[Tensor] = []
    with head(classifier.network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        for batch, _ in images.take(order, evaluation_batch(images.device, images.image_shape)):
            with torch.no_grad():
                classifier.eval()(batch)
            yield seen.pop()
