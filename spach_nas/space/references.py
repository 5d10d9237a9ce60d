"""The paper's models as architectures, with their published figures.

Source: Zhao et al. 2021, arXiv:2108.13002v2, tables 1-6 ("T"), and the README of its official code
("R"). What the paper prints as FLOPs are MACs including norms. Figures that were not published are
None.
"""

from dataclasses import dataclass, replace

from spach_nas.errors import ArchitectureError, did_you_mean, one_of
from spach_nas.space.architecture import Architecture, Stage, StemName
from spach_nas.space.scaling import DataShape

Layout = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One model of the paper.

    Attributes:
        name: The name in timm's registry without the prefix `spach_`.
        architecture: The model at 224 px and with 1000 classes.
        params_m: Published parameters, in millions.
        gflops: Published "FLOPs", in 1e9 multiply-accumulates.
        top1: Published ImageNet-1K top-1 accuracy, in percent; higher is better.
        source: Where the figures were published: R, T or both.
    """

    name: str
    architecture: Architecture
    params_m: int | None = None
    gflops: float | None = None
    top1: float | None = None
    source: str = ""


def _single(
    mixer: str, *, width: int, ratio: float, depth: int, shared: bool = False
) -> Architecture:
    stage = Stage(
        mixers=(mixer,) * depth,
        width=width,
        heads=width // 32,
        expansion_ratio=ratio,
        shared=shared,
    )
    return Architecture(stem="conv1", patch_size=16, stages=(stage,))


def _multi(
    layout: Layout, *, width: int, ratio: float, stem: StemName = "conv1", shared: bool = False
) -> Architecture:
    # Heads are set once, from the width of stage 1, and not scaled with the stages.
    stages = tuple(
        Stage(
            mixers=mixers,
            width=width * 2**i,
            heads=width // 32,
            expansion_ratio=ratio,
            shared=shared,
        )
        for i, mixers in enumerate(layout)
    )
    return Architecture(stem=stem, patch_size=4, stages=stages)


def _pure(mixer: str, depths: tuple[int, int, int, int]) -> Layout:
    # Stage 1 is always convolution: the other mixers are too expensive at 3136 positions.
    return (("conv",) * depths[0], *((mixer,) * depth for depth in depths[1:]))


_XXS = (2, 2, 6, 2)
_XS = _S = (3, 4, 12, 3)
_HYBRID_S: Layout = (
    ("conv",) * 3,
    ("conv",) * 2 + ("attention",) * 2,
    ("conv",) * 2 + ("attention",) * 10,
    ("conv",) + ("attention",) * 2,
)
_HYBRID_XS: Layout = (("conv",) * 3, ("conv",) * 4, *_HYBRID_S[2:])


_MODELS = {
    "conv_xxs": _single("conv", width=384, ratio=2, depth=12),
    "trans_xxs": _single("attention", width=192, ratio=2, depth=12),
    "mlp_xxs": _single("mlp", width=384, ratio=2, depth=12),
    "conv_xs": _single("conv", width=384, ratio=2, depth=24),
    "trans_xs": _single("attention", width=384, ratio=2, depth=12),
    "mlp_xs": _single("mlp", width=384, ratio=2, depth=24),
    "conv_s": _single("conv", width=512, ratio=3, depth=24),
    "trans_s": _single("attention", width=512, ratio=3, depth=12),
    "mlp_s": _single("mlp", width=512, ratio=3, depth=24),
    "conv_ms_xxs": _multi(_pure("conv", _XXS), width=64, ratio=2),
    "trans_ms_xxs": _multi(_pure("attention", _XXS), width=32, ratio=2),
    "mlp_ms_xxs": _multi(_pure("mlp", _XXS), width=64, ratio=2),
    "conv_ms_xs": _multi(_pure("conv", _XS), width=96, ratio=2),
    "trans_ms_xs": _multi(_pure("attention", _XS), width=64, ratio=2),
    "mlp_ms_xs": _multi(_pure("mlp", _XS), width=96, ratio=2),
    "conv_ms_s": _multi(_pure("conv", _S), width=128, ratio=3),
    "trans_ms_s": _multi(_pure("attention", _S), width=96, ratio=3),
    "mlp_ms_s": _multi(_pure("mlp", _S), width=128, ratio=3),
    "hybrid_ms_xs": _multi(_HYBRID_XS, width=96, ratio=2),
    "hybrid_ms_s": _multi(_HYBRID_S, width=128, ratio=3),
    "hybrid_ms_xs_plus": _multi(_HYBRID_XS, width=96, ratio=2, stem="conv4"),
    "hybrid_ms_s_plus": _multi(_HYBRID_S, width=128, ratio=3, stem="conv4"),
    "mlp_s_shared": _single("mlp", width=512, ratio=3, depth=24, shared=True),
    "mlp_ms_s_shared": _multi(_pure("mlp", _S), width=128, ratio=3, shared=True),
    "mlp_ms_xxs_shared": _multi(_pure("mlp", _XXS), width=64, ratio=2, shared=True),
    "trans_ms_s_shared": _multi(_pure("attention", _S), width=96, ratio=3, shared=True),
}
# Parameters in millions, FLOPs in 1e9, top-1 in percent, and where they were published.
_PUBLISHED: dict[str, tuple[int, float | None, float, str]] = {
    "conv_ms_xxs": (5, 0.7, 73.1, "R"),
    "trans_ms_xxs": (2, 0.5, 65.4, "R"),
    "mlp_ms_xxs": (6, 0.9, 74.5, "R"),
    "conv_ms_s": (44, 7.2, 81.6, "R, T"),
    "trans_ms_s": (40, 7.6, 82.9, "R, T"),
    "mlp_ms_s": (46, 8.2, 82.1, "R, T"),
    "hybrid_ms_xs": (28, None, 82.4, "T"),
    "hybrid_ms_s": (63, 11.2, 83.7, "R, T"),
    "hybrid_ms_s_plus": (63, 12.3, 83.9, "R, T"),
}


def _reference(name: str, architecture: Architecture) -> Reference:
    params_m, gflops, top1, source = _PUBLISHED.get(name, (None, None, None, ""))
    return Reference(
        name=name,
        architecture=architecture,
        params_m=params_m,
        gflops=gflops,
        top1=top1,
        source=source,
    )


REFERENCES = {name: _reference(name, architecture) for name, architecture in _MODELS.items()}


def get_reference(name: str) -> Reference:
    """The paper's model called `name`.

    Raises:
        ArchitectureError: There is no such model.
    """
    try:
        return REFERENCES[name]
    except (KeyError, TypeError):  # TypeError: something unhashable, such as a list
        raise ArchitectureError(
            f"unknown model {name!r}; expected {one_of(REFERENCES)}{did_you_mean(name, REFERENCES)}"
        ) from None


def reference_target(name: str, shape: DataShape) -> Architecture:
    """The paper's model `name` with the channels and classes of the targets it is compared with.

    Raises:
        ArchitectureError: There is no such model.
    """
    # A comparison is fair only if both networks have the same head and input.
    return replace(
        get_reference(name).architecture,
        in_channels=shape.in_channels,
        num_classes=shape.num_classes,
    )
