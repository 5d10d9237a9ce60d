"""Networks as runtimes compute them best: the same function of the same tensors, fewer operators.

PyTorch and other runtimes are fast at different layouts. These modules compute what those that they
replace do, except for rounding, and are used for graphs of other runtimes alone, so that trainings
and searches compute as before.

Letters: B batch, H and W resolution, N = H * W positions, C width, D width of a head.
"""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.networks.block import ChannelMlp, Conv1Stem, Downsample
from spach_nas.networks.mixer_modules import Attention, TokenMlp


class _Conv1Stem(Conv1Stem):
    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.conv(image)
        return patches.permute(0, 2, 3, 1)


class _ChannelMlp(ChannelMlp):
    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        # With two dimensions, product and bias are one operator, and weights stay as they are.
        mixed: Tensor = self.fc2(F.gelu(self.fc1(x.reshape(B * H * W, C))))
        return mixed.reshape(B, H, W, C)


class _Attention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        D = C // self.heads
        parts = self.qkv(x.reshape(B * H * W, C)).split(C, dim=-1)
        q, k, v = (part.reshape(B, H * W, self.heads, D) for part in parts)
        # Transposed once, to where the product needs them, and scaled where runtimes fuse it.
        scores = (q.transpose(1, 2) @ k.permute(0, 2, 3, 1)) * D**-0.5
        mixed = (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(B * H * W, C))
        return out.reshape(B, H, W, C)


class _TokenMlp(TokenMlp):
    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        # From the left, the weights mix positions without a transposition, for any batch.
        hidden = self.fc1.weight @ x.reshape(B, H * W, C) + self.fc1.bias[:, None]
        mixed = self.fc2.weight @ F.gelu(hidden) + self.fc2.bias[:, None]
        return mixed.reshape(B, H, W, C)


class _Downsample(Downsample):
    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        B, H, W, C = halved.shape
        # One group is all of an image, in any layout.
        whole = F.instance_norm(halved.reshape(B, 1, H * W * C), eps=self.norm.eps)
        return whole.reshape(B, H, W, C) * self.norm.weight + self.norm.bias


_FOR_RUNTIMES: dict[type[nn.Module], type[nn.Module]] = {
    Conv1Stem: _Conv1Stem,
    ChannelMlp: _ChannelMlp,
    Attention: _Attention,
    TokenMlp: _TokenMlp,
    Downsample: _Downsample,
}


def for_runtimes(module: nn.Module) -> nn.Module:
    """A copy whose graph is fast in other runtimes, on the same tensors with the same names.

    Modules of users, also those that derive from ours, stay as they are.
    """
    # The tensors are shared, not copied.
    memo = {id(value): value for value in (*module.parameters(), *module.buffers())}
    faster = copy.deepcopy(module, memo)
    for own in faster.modules():
        own.__class__ = _FOR_RUNTIMES.get(type(own), type(own))
    return faster
