"""What several tests of networks need: weights under which every part matters, small networks."""

import torch

from spach_nas.networks import Spach, build
from spach_nas.space.architecture import Architecture, Stage


@torch.no_grad()
def randomise(network: torch.nn.Module, *, seed: int = 0) -> None:
    """Seeded weights of order 1 in effect: a fresh network's head is 0 and its gamma_1 1e-4."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif value.ndim == 1:
            centre = 1.0 if name.endswith(("weight", "gamma_1")) else 0.0
            value.copy_(centre + 0.3 * noise)
        else:
            value.copy_(noise / value[0].numel() ** 0.5)


def images(architecture: Architecture, *, batch: int = 2, seed: int = 1) -> torch.Tensor:
    """Seeded random images, (batch, c, H, W) in float32."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, architecture.in_channels, *architecture.image_size)
    return torch.randn(shape, generator=generator)


def randomised(architecture: Architecture, *, drop_path_rate: float = 0.0) -> Spach:
    network = build(architecture, drop_path_rate=drop_path_rate)
    randomise(network)
    return network


def small(*layout: tuple[str, ...], shared: bool = False, stem: str = "conv1") -> Architecture:
    """A few small stages on oblong images of two channels."""
    return Architecture(
        stem=stem,
        stem_width=5,
        patch_size=2,
        stages=tuple(
            Stage(mixers=mixers, width=12 + 4 * i, heads=2, expansion_ratio=2, shared=shared)
            for i, mixers in enumerate(layout)
        ),
        image_size=(16, 24),
        in_channels=2,
        num_classes=5,
    )


def zoo() -> dict[str, Architecture]:
    """One small architecture for each mixer, stem, hybrid, sharing, single stage."""
    hybrid = (("conv",), ("conv", "attention"), ("mlp", "attention", "mlp"))
    return {
        "conv": small(("conv", "conv"), ("conv",)),
        "attention": small(("conv",), ("attention", "attention")),
        "mlp": small(("conv",), ("mlp", "mlp")),
        "hybrid": small(*hybrid),
        "hybrid_plus": small(*hybrid, stem="conv4"),
        "hybrid_shared": small(*hybrid, shared=True),
        "single_attention": small(("attention", "attention", "attention")),
        "single_mlp_shared": small(("mlp", "mlp", "mlp"), shared=True),
    }
