"""Hypothesis strategies of small values: networks of them build and run quickly."""

from hypothesis import strategies as st

from spach_nas.space.architecture import Architecture, Stage

BUILT_IN = ("conv", "attention", "mlp")


@st.composite
def stages(draw, *, tokens: int, mixers: tuple[str, ...] = BUILT_IN) -> Stage:
    """One stage of at most four blocks on `tokens` positions."""
    heads = draw(st.integers(1, 3))
    # A token-MLP needs two positions.
    names = [name for name in mixers if name != "mlp" or tokens >= 2] or ["conv"]
    return Stage(
        mixers=tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))),
        # A norm over two or three channels is ill-conditioned: no two programs would agree on it.
        width=heads * draw(st.integers(6 // heads, 6)),
        heads=heads,
        expansion_ratio=draw(st.sampled_from([1, 1.5, 2, 2.7, 3])),
        token_ratio=draw(st.sampled_from([0.5, 0.8, 1, 1.7])),
        shared=draw(st.booleans()),
    )


@st.composite
def architectures(draw, *, mixers: tuple[str, ...] = BUILT_IN) -> Architecture:
    """Any stem, mixers, ratios, depths and heads, with and without sharing, on oblong images."""
    stem = draw(st.sampled_from(["conv1", "conv4"]))
    patch_size = draw(st.sampled_from([2, 4] if stem == "conv4" else [1, 2, 3, 4]))
    count = draw(st.integers(1, 4))
    height, width = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    grids = [(height << i, width << i) for i in reversed(range(count))]
    return Architecture(
        stem=stem,
        stem_width=draw(st.integers(1, 6)),
        patch_size=patch_size,
        stages=tuple(draw(stages(tokens=h * w, mixers=mixers)) for h, w in grids),
        image_size=(patch_size * grids[0][0], patch_size * grids[0][1]),
        in_channels=draw(st.integers(1, 4)),
        num_classes=draw(st.integers(1, 7)),
    )
