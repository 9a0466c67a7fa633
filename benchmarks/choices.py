"""The table that `train.precision: auto` looks up: the precision by capability of the device and network.

`python -m benchmarks.loops --choices` writes it for the processor on which it runs, `python -m benchmarks.gpu choices`
from what a GPU measured. A precision is chosen where it is at least a tenth faster than the finer ones. Only the row of
the capability that was measured is rewritten. (Telling oneDNN not to use AMX does not make a processor without it:
where bfloat16 has no AMX, an AMD EPYC gains by it and an Intel Xeon loses.)
"""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.common import FOLDER, keep
from src.compute.device import CHOICES
from src.core.errors import UserError

RESULTS = FOLDER / "choices.json"
# By the system that is measured; resnet18 stands for all that torchvision has.
NETWORKS = {
    "cifar10-basic": "cifar_basic",
    "fashion-mnist": "fashion_net",
    "mnist": "mnist_convnet",
    "cifar10-vgg": "cifar_vgg",
    "dogs-vs-cats": "others",
}
FASTER = 1.1  # than a finer precision, to be chosen instead


def write(measured: Mapping[str, Any], speeds: Mapping[str, Mapping[str, float | None]]) -> str:
    """Keep images per second by system and precision, and make what they choose the capability's row of the table.

    measured: `capability`, `hardware` and `versions`. What was not measured in several precisions keeps its choice.
    Return a line for each network. Raises `UserError` where nothing was measured.
    """
    found = {}
    for system, network in NETWORKS.items():
        rates = {precision: rate for precision, rate in speeds.get(system, {}).items() if rate is not None}
        if len(rates) > 1:
            found[network] = rates
    if not found:
        raise UserError("no system was measured in several precisions: measure the loops again")
    keep(RESULTS, {**measured, "images_per_second": found}, same=("capability",))
    table = json.loads(CHOICES.read_text(encoding="utf-8"))
    own = {network: chosen(rates) for network, rates in found.items()}
    table[measured["capability"]] = own | {
        network: choice for network, choice in table.get(measured["capability"], {}).items() if network not in own
    }
    CHOICES.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return "\n".join(f"{measured['capability']:<16} {network:<14} {found[network]}: {own[network]}" for network in own)


def chosen(rates: Mapping[str, float]) -> str:
    """Choose a precision by images per second, which are in the order from the finest precision to the coarsest."""
    best, *coarser = rates
    for name in coarser:
        if rates[name] >= FASTER * rates[best]:
            best = name
    return best
