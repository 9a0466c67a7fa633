"""The benchmark behind `train.threads: auto`: what it measures, and how the page shows it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import report, threads
from src.compute.device import ONE_THREAD


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    before, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(before)
    torch.set_deterministic_debug_mode(mode)


def test_a_network_is_measured_with_one_thread_and_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LARGEST", 8)
    monkeypatch.setattr(threads, "ROUND", 0.0)
    monkeypatch.setattr(threads, "others_seconds", lambda: 0.0)  # whatever else runs
    row = threads.measure("mnist_convnet", 2, rounds=1)
    assert list(row) == ["1", "2", "auto"]
    assert min(row.values()) > 0
    assert row["auto"] == 1


def test_the_networks_of_the_rule_are_measured() -> None:
    assert set(ONE_THREAD) < set(threads.NETWORKS)


def test_the_page_shows_the_gain_and_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "THREADS", tmp_path / "threads.json")
    assert "Not yet measured." in report._threads()
    entry = {"threads": 2, "runs": 3, "hardware": "2 cores", "versions": {"torch": "2"}}
    rows = {"cifar_vgg": {"1": 100.0, "2": 180.0, "auto": 2}}
    report.THREADS.write_text(json.dumps([entry | {"images_per_second": rows}]), encoding="utf-8")
    assert "| 2 | cifar_vgg | 100.0 | 180.0 | 1.80 × | 2 |" in report._threads()
