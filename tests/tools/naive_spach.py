"""A slow float64 forward pass in numpy, written from the equations and nothing else.

It reads an `Architecture` and a state dict, and shares no code with the package. Letters: B batch,
H and W resolution, N = H * W positions, C width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def forward(architecture: Any, weights: Weights, images: Array) -> tuple[Array, Array]:
    """(B, c, H, W) -> features of the last stage (B, H', W', C), normalised, and logits (B, K)."""
    x = images.transpose(0, 2, 3, 1)
    x = stem(architecture, weights, x)
    x = layer_norm(x, weights["norm.weight"], weights["norm.bias"])
    for s, stage in enumerate(architecture.stages):
        if s > 0:
            x = convolution(x, weights[f"stages.{s}.downsample.conv.weight"], stride=2)
            scale, shift = (weights[f"stages.{s}.downsample.norm.{w}"] for w in ("weight", "bias"))
            x = group_norm(x, scale, shift)
        for b, mixer in enumerate(stage.mixers):
            x = block(stage, mixer, weights, x, f"stages.{s}.", b)
    features = layer_norm(x, weights["head_norm.weight"], weights["head_norm.bias"])
    logits = features.mean(axis=(1, 2)) @ weights["head.weight"].T + weights["head.bias"]
    return features, logits


def stem(architecture: Any, weights: Weights, x: Array) -> Array:
    P = architecture.patch_size
    if architecture.stem == "conv4":
        first = 1 if P == 2 else 3
        for i, (stride, pad) in enumerate([(2, first), (1, 1), (1, 1)], 1):
            x = convolution(x, weights[f"stem.conv{i}.weight"], stride=stride, pad=pad)
            mean, variance, scale, shift = (
                weights[f"stem.bn{i}.{w}"]
                for w in ("running_mean", "running_var", "weight", "bias")
            )
            x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0.0)
        P //= 2
    return convolution(x, weights["stem.conv.weight"], stride=P) + weights["stem.conv.bias"]


def block(stage: Any, mixer: str, weights: Weights, x: Array, prefix: str, b: int) -> Array:
    own = f"{prefix}blocks.{b}."
    y = x
    if mixer != "conv":
        function = f"{prefix}shared.{mixer}." if stage.shared else f"{own}mixer."
        normed = layer_norm(x, weights[f"{own}norm1.weight"], weights[f"{own}norm1.bias"])
        mix = {"attention": attention, "mlp": token_mlp}[mixer]
        y = y + weights[f"{own}gamma_1"] * mix(stage, weights, normed, function)
    y = y + depthwise(x, weights[f"{own}dwconv.weight"]) + weights[f"{own}dwconv.bias"]
    normed = layer_norm(y, weights[f"{own}norm2.weight"], weights[f"{own}norm2.bias"])
    return y + linear(gelu(linear(normed, weights, f"{own}mlp.fc1")), weights, f"{own}mlp.fc2")


def attention(stage: Any, weights: Weights, x: Array, function: str) -> Array:
    B, H, W, C = x.shape
    tokens = linear(x.reshape(B, H * W, C), weights, f"{function}qkv")
    q, k, v = tokens[..., :C], tokens[..., C : 2 * C], tokens[..., 2 * C :]
    d = C // stage.heads
    out = np.empty((B, H * W, C))
    for head in range(stage.heads):
        part = slice(head * d, (head + 1) * d)
        scores = np.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) * d**-0.5
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        out[..., part] = np.einsum("bnm,bmd->bnd", scores, v[..., part])
    return linear(out, weights, f"{function}proj").reshape(B, H, W, C)


def token_mlp(stage: Any, weights: Weights, x: Array, function: str) -> Array:
    B, H, W, C = x.shape
    hidden = np.einsum("tn,bnc->btc", weights[f"{function}fc1.weight"], x.reshape(B, H * W, C))
    hidden = gelu(hidden + weights[f"{function}fc1.bias"][:, None])
    out = np.einsum("nt,btc->bnc", weights[f"{function}fc2.weight"], hidden)
    return (out + weights[f"{function}fc2.bias"][:, None]).reshape(B, H, W, C)


def convolution(x: Array, kernel: Array, *, stride: int, pad: int = 0) -> Array:
    """(B, H, W, c) with a kernel (C, c, k, k) -> (B, H', W', C)."""
    k = kernel.shape[-1]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = ((side - k) // stride + 1 for side in x.shape[1:3])
    out = np.zeros((x.shape[0], rows, columns, kernel.shape[0]))
    for i in range(k):
        for j in range(k):
            window = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            out += window[:, :rows, :columns] @ kernel[:, :, i, j].T
    return out


def depthwise(x: Array, kernel: Array) -> Array:
    """3 x 3, one kernel (1, 3, 3) a channel, padded with zeros."""
    H, W = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + H, j : j + W] * kernel[:, 0, i, j] for i in range(3) for j in range(3)
    )


def layer_norm(x: Array, scale: Array, shift: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-6) * scale + shift


def group_norm(x: Array, scale: Array, shift: Array) -> Array:
    centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2, 3), keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * scale + shift


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def linear(x: Array, weights: Weights, name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
