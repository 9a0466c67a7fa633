"""Receptive fields: the pixels of the image that a unit of a layer can see, computed from the network's graph.

The network's graph is traced (torch.fx) and walked once: a convolution or pooling widens the field by its kernel,
stride, padding and dilation; where branches meet, the field is the smallest box around theirs. See A. Araujo,
W. Norris and J. Sim, "Computing receptive fields of convolutional neural networks", Distill (2019). A unit can see all
of its field; how much of it matters depends on the weights (Luo et al., NeurIPS 2016).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

Pair = tuple[int, int]  # height, width


class Field(NamedTuple):
    """Hold what a layer sees: unit i sees the pixels low + i·step to high + i·step, along height and width.

    They may reach beyond the image. With step 0 every unit sees the same.
    """

    low: Pair
    high: Pair
    step: Pair

    @property
    def size(self) -> Pair:
        return self.high[0] - self.low[0] + 1, self.high[1] - self.low[1] + 1


_PIXEL = Field((0, 0), (0, 0), (1, 1))
_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def receptive_fields(network: nn.Module, channels: int, height: int, width: int) -> dict[str, Field]:
    """Return the field of every layer by its name, for images of `height` × `width` pixels.

    The network must be on the CPU, and is left in evaluation mode. Layers behind an operation whose reach is not known
    (attention, other axes) are left out. For a network that cannot be traced nothing is returned.
    """
    try:
        walk = _Walk(fx.GraphModule(network, _Tracer().trace(network.eval())))
        with torch.no_grad():
            walk.run(torch.zeros(1, channels, height, width))
    except Exception:  # tracing runs the network's own code with proxies, which may raise anything
        return {}
    return walk.layers


class _Tracer(fx.Tracer):
    """Keep timm's layers whole: its convolutions compute their padding, and its batch norms hold their activation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_WINDOWS, nn.BatchNorm2d)) or super().is_leaf_module(m, module_qualified_name)


class _Walk(fx.Interpreter):
    """Run the graph node by node on one image, whose pixels do not matter."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.layers: dict[str, Field] = {}
        self._seen: dict[fx.Node, tuple[torch.Size, Field | None]] = {}
        self._image: Pair = (0, 0)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and note its field if it is a layer."""
        result = super().run_node(n)
        # Parameters in the graph ("get_attr") see nothing of the image.
        if isinstance(result, Tensor) and n.op != "get_attr":
            if n.op == "placeholder":
                self._image = (result.shape[-2], result.shape[-1])
            field = _PIXEL if n.op == "placeholder" else self._field(n, result.shape)
            self._seen[n] = result.shape, field
            if n.op == "call_module" and field is not None:
                self.layers.setdefault(str(n.target), field)
        return result

    def _field(self, node: fx.Node, shape: torch.Size) -> Field | None:
        """Return the field of a node whose output has this shape; None if it is not known."""
        inputs = [self._seen[source] for source in node.all_input_nodes if source in self._seen]
        all_of_it = Field((0, 0), (self._image[0] - 1, self._image[1] - 1), (0, 0))
        # The smallest box around the fields of the inputs, if all are known and step alike.
        known = [field for _, field in inputs if field is not None]
        field = None
        if known and len(known) == len(inputs):
            if any(each.step == (0, 0) for each in known):
                field = all_of_it
            elif len({each.step for each in known}) == 1:
                low = np.min([each.low for each in known], axis=0)
                high = np.max([each.high for each in known], axis=0)
                field = Field(_pair(low), _pair(high), known[0].step)

        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _WINDOWS):
            dilation = getattr(module, "dilation", 1)
            padding: Any = module.padding
            if type(module).__name__ == "Conv2dSame":  # of timm
                from timm.layers.padding import get_same_padding

                window = map(_pair, (module.kernel_size, module.stride, dilation))
                padding = [get_same_padding(*each) // 2 for each in zip(inputs[0][0][-2:], *window, strict=True)]
            return field and _widened(field, module.kernel_size, module.stride, padding, dilation)
        if len(shape) >= 3 and any(shape[-2:] == source[-2:] for source, _ in inputs):  # or one channel
            return field
        return all_of_it if len(shape) <= 2 or shape[-2:] == (1, 1) else None


def _widened(field: Field, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Field:
    """Return the field of a unit whose window covers units of `field`."""
    low, high, step = map(np.array, field)
    reach = np.multiply(dilation, np.subtract(kernel, 1))  # of one number, or of one for each axis
    before = {"same": reach // 2, "valid": 0}[padding] if isinstance(padding, str) else np.array(padding)
    return Field(_pair(low - before * step), _pair(high + (reach - before) * step), _pair(step * stride))


def _pair(value: Any) -> Pair:
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width
