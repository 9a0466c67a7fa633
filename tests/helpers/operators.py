"""What every operator that we compute with does on CUDA, in one table, and a log of those that ran.

Names are those of torch's operators below autograd, without the underscore of those that work in place: what a
forward or backward pass, an optimiser or a metric is made of, on every device.
"""

import re
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

# The same bits for the same input where `deterministic` is true, by why that is so. A name comes here once somebody has
# found that torch's list of what raises (below) does not mean it, and that its CUDA kernels add up in a fixed order.
_SAFE = {
    "memory that is made, copied, filled, or looked at in another shape": """
        _foreach_copy _to_copy _unsafe_view alias arange as_strided cat clone constant_pad_nd copy detach empty
        empty_like expand fill flip full full_like lift_fresh new_empty new_empty_strided new_ones new_zeros ones
        ones_like permute repeat roll scalar_tensor select select_backward slice slice_backward split squeeze stack t
        transpose unbind unsqueeze view zero zeros zeros_like""",
    "every element for itself": """
        _amp_update_scale _foreach_abs _foreach_add _foreach_addcdiv _foreach_addcmul _foreach_div _foreach_lerp
        _foreach_maximum _foreach_mul _foreach_pow _foreach_reciprocal _foreach_sign _foreach_sqrt _foreach_sub
        _fused_adam _fused_adamw _fused_sgd abs add addcdiv addcmul binary_cross_entropy_with_logits bitwise_and
        bitwise_or bitwise_right_shift bitwise_xor clamp clamp_min div eq erfinv exp ge floor_divide gelu gelu_backward
        gt hardsigmoid hardsigmoid_backward hardswish hardswish_backward hardtanh hardtanh_backward le lerp lt
        masked_fill maximum minimum mse_loss mse_loss_backward mul ne neg pow reciprocal relu remainder round rsub sgn
        sigmoid sigmoid_backward sign silu silu_backward sqrt sub tanh tanh_backward threshold_backward where""",
    "sums, means and the largest, in an order that the shape decides": """
        _adaptive_avg_pool2d _amp_foreach_non_finite_check_and_unscale _foreach_norm _log_softmax
        _log_softmax_backward_data _safe_softmax _softmax _softmax_backward_data all amax amin aminmax argmax avg_pool2d
        avg_pool2d_backward cudnn_batch_norm cumsum dot linalg_vector_norm logsumexp max max_pool2d_with_indices
        max_pool2d_with_indices_backward mean min multi_margin_loss multi_margin_loss_backward native_batch_norm
        native_batch_norm_backward native_layer_norm native_layer_norm_backward nll_loss_backward nll_loss_forward
        sum""",
    "products, of cuBLAS in its fixed workspace and of cuDNN by torch's flag": """
        _native_multi_head_attention addmm bmm convolution convolution_backward mm""",
    "by position, with torch's flag also where several may be written to one": """
        gather grid_sampler_2d index index_put index_select scatter scatter_add""",
    "numbers of the device's generator, which is seeded": "bernoulli native_dropout",
    "a value that the host reads": "_local_scalar_dense",
}
SAFE = frozenset(" ".join(_SAFE.values()).split())

# By the name that has them in torch's list of what raises where `deterministic` is true. What the list says of a
# function may hold for one kernel alone: of `NLLLoss` for that of images, of `median` for the one that gives indices.
UNSAFE: dict[str, tuple[str, ...]] = {
    "AvgPool3d": ("avg_pool3d_backward",),
    "AdaptiveAvgPool2d": ("_adaptive_avg_pool2d_backward",),
    "AdaptiveAvgPool3d": ("_adaptive_avg_pool3d_backward",),
    "AdaptiveMaxPool2d": ("adaptive_max_pool2d_backward",),
    "FractionalMaxPool2d": ("fractional_max_pool2d_backward",),
    "FractionalMaxPool3d": ("fractional_max_pool3d_backward",),
    "MaxPool3d": ("max_pool3d_with_indices_backward",),
    "MaxUnpool1d": ("max_unpool2d",),
    "MaxUnpool2d": ("max_unpool2d",),
    "MaxUnpool3d": ("max_unpool3d",),
    "interpolate": (
        "upsample_linear1d_backward", "upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward",
        "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward", "upsample_trilinear3d_backward",
    ),
    "ReflectionPad1d": ("reflection_pad1d_backward",),
    "ReflectionPad2d": ("reflection_pad2d_backward",),
    "ReflectionPad3d": ("reflection_pad3d_backward",),
    "NLLLoss": ("nll_loss2d_forward",),
    "CTCLoss": ("_ctc_loss_backward",),
    "EmbeddingBag": ("_embedding_bag_dense_backward",),
    "put_": ("put",),
    "histc": ("histc",),
    "bincount": ("bincount",),
    "cumsum": (),  # of floats, which are not summed here, in torch 2.11; later it has a deterministic kernel
    "kthvalue": ("kthvalue",),
    "median": ("median", "nanmedian"),
    "grid_sample": ("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    "scatter_reduce": ("scatter_reduce",),
    "resize_": ("resize",),
}  # fmt: skip

# The host waits until the GPU has computed what these give it: a value, or how large their result is.
WAITING = {
    "_local_scalar_dense", "_unique2", "bincount", "equal", "masked_select", "nonzero", "unique_consecutive",
    "unique_dim",
}  # fmt: skip


def documented() -> set[str]:
    """The last parts of the names in torch's list of what raises where `deterministic` is true, but for what does so on
    Apple's GPU alone."""
    text = " ".join((torch.use_deterministic_algorithms.__doc__ or "").split())
    raising = text.partition("will throw a :class:`RuntimeError` when ``mode=True``:")[2].partition("In addition")[0]
    named = [entry for entry in raising.split(" * ")[1:] if "MPS" not in entry or "CUDA" in entry]
    return {name for entry in named for name in re.findall(r"^:\w+:`(?:\w+\.)*(\w+)`", entry)}


def name_of(func: OpOverload) -> str:
    return func._opname.removesuffix("_")


class Log(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The names of the operators that run within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.note(func)
        return func(*args, **(kwargs or {}))

    def note(self, func: OpOverload) -> None:
        if func.namespace == "aten":
            self.names.add(name_of(func))

    def not_deterministic(self) -> list[str]:
        """Which of them are not known to give the same bits on CUDA, with a word on each."""
        unsafe = {name for names in UNSAFE.values() for name in names}
        known = "has no deterministic kernel on CUDA"
        return [
            f"{n} {known if n in unsafe else 'is in neither list of operators.py'}" for n in sorted(self.names - SAFE)
        ]
