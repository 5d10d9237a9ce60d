"""Measures the cost of a built network by tracing it, to check the closed form.

A trace takes seconds, the closed form microseconds; a search never calls this module.
"""

import copy
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from spach_nas.cost.closed_form import Cost

with warnings.catch_warnings():
    # fvcore is built on torch.jit, which warns on import that it is deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
    from fvcore.nn import FlopCountAnalysis, jit_handles

# A rule of fvcore: inputs and outputs of an operator -> its cost.
Rule = Callable[[list[Any], list[Any]], Any]


def trace_cost(network: nn.Module, image_size: Sequence[int], *, in_channels: int = 3) -> Cost:
    """Cost of one image of `image_size` (height, width), by fvcore and a rule for fused attention.

    A copy is traced: the network itself does not change, and may be on any device. Meta will do
    for our own, whose layers read no indices from their buffers.
    """
    # Tracing runs the network, which needs real memory, but the values of weights do not matter.
    ghost = copy.deepcopy(network).eval()
    meta = any(parameter.is_meta for parameter in ghost.parameters())
    ghost = ghost.to_empty(device="cpu") if meta else ghost.to("cpu")
    image = torch.zeros(1, in_channels, *image_size, dtype=next(ghost.parameters()).dtype)
    analysis = FlopCountAnalysis(ghost, image).set_op_handle(**_rules())
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    found = analysis.by_operator()
    params = sum(parameter.numel() for parameter in network.parameters())
    macs = found["macs"]
    return Cost(params, macs, macs + found["norms"], found["activations"])


def _rules() -> dict[str, Rule]:
    """The rule of each operator that has a cost; a rule says whether it counts as MACs or norms."""
    products = {
        "_convolution": jit_handles.conv_flop_jit,
        "linear": jit_handles.linear_flop_jit,
        "addmm": jit_handles.addmm_flop_jit,
        "matmul": jit_handles.matmul_flop_jit,
        "bmm": jit_handles.bmm_flop_jit,
        "einsum": jit_handles.einsum_flop_jit,
    }
    norms = {
        "layer_norm": jit_handles.norm_flop_counter(2),
        "group_norm": jit_handles.norm_flop_counter(2),
        "batch_norm": jit_handles.batchnorm_flop_jit,
    }
    rules = {f"aten::{name}": _product(rule) for name, rule in products.items()}
    rules |= {f"aten::{name}": _norm(rule) for name, rule in norms.items()}
    # fvcore skips fused attention with a warning, which would make attention look too cheap.
    return {**rules, "aten::scaled_dot_product_attention": _attention}


def _product(rule: Rule) -> Rule:
    def count(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        counted = rule(inputs, outputs)
        macs = sum(counted.values()) if isinstance(counted, Counter) else counted
        return Counter(macs=int(macs), activations=math.prod(outputs[0].type().sizes()))

    return count


def _norm(rule: Rule) -> Rule:
    return lambda inputs, outputs: Counter(norms=int(rule(inputs, outputs)))


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    q, k, v = (value.type().sizes() for value in inputs[:3])
    # Scores (..., N, D) x (..., M, D), then their product with the values (..., M, E).
    return Counter(macs=math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1]))
