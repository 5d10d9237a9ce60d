"""Search spaces small enough to enumerate, which together use every feature of one."""

import itertools
from functools import cache

from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace

ALL = ["conv", "attention", "mlp"]
HYBRID = {"leading": ALL, "trailing": ALL}

PLAIN = {
    "layouts and free blocks": {
        "patch_size": 2,
        "image_size": 16,
        "in_channels": 1,
        "num_classes": 5,
        "stem": ["conv1", "conv4"],
        "stem_width": [4, 8],
        "expansion_ratio": [1, 2],
        "heads": {"width_per_head": 4, "of": "stage"},
        "stages": [
            {"depth": [1, 2], "width": [4, 8], "mixers": HYBRID},
            {"depth": {"from": 1, "to": 2}, "width": {"times": [1, 2]}, "mixers": ALL},
        ],
    },
    "global ratio and sharing": {
        "patch_size": 2,
        "image_size": 16,
        "expansion_ratio": 2,
        "token_ratio": [0.25, 0.5, 1],
        "shared": [True, False],
        "heads": 2,
        "stages": [
            {"depth": [1, 2], "width": 4, "mixers": ["conv", "mlp"]},
            {"depth": [1, 3], "width": {"times": 1.5}, "mixers": HYBRID},
        ],
    },
    "stages with choices of their own": {
        "patch_size": 2,
        "image_size": 8,
        "expansion_ratio": 2,
        "token_ratio": [0.5, 1],
        "shared": [False, True],
        "heads": 2,
        "stages": [
            {
                "depth": [1, 2],
                "width": 6,
                "mixers": ["attention", "conv"],
                "expansion_ratio": [1, 3],
                "heads": [1, 2],
            },
            {
                "depth": 2,
                "width": {"times": 2},
                "mixers": ["mlp", "conv"],
                "token_ratio": [0.75, 1],
                "shared": [True, False],
            },
        ],
    },
    "all stages with their own": {
        "patch_size": 4,
        "image_size": 16,
        "token_ratio": [0.5, 1],
        "shared": [False, True],
        "stages": [
            {
                "depth": [1, 2],
                "width": 4,
                "mixers": {"leading": ["mlp"], "trailing": ["conv", "attention"]},
                "expansion_ratio": [1, 2],
                "token_ratio": [1, 0.5],
                "shared": [False, True],
                "heads": {"width_per_head": 2},
            }
        ],
    },
    "some trailing depths": {
        "patch_size": 1,
        "image_size": [4, 6],
        "expansion_ratio": [1, 1.5],
        "heads": [1, 2],
        "shared": [False, True],
        "stages": [
            {
                "depth": [1, 2, 4],
                "width": [4, 6],
                "mixers": {**HYBRID, "trailing_depth": [1, 3]},
            }
        ],
    },
    "widths of their own": {
        "patch_size": [2, 4],
        "image_size": 32,
        "stem": "conv4",
        "stem_width": [4, 8],
        "expansion_ratio": 1,
        "heads": {"width_per_head": 2, "of": "stage1"},
        "stages": [
            {"depth": 1, "width": [2, 4], "mixers": "conv"},
            {"depth": [1, 2], "width": [4, 8], "mixers": ["attention", "mlp"]},
            {"depth": 1, "width": {"times": [1, 2, 3]}, "mixers": HYBRID},
        ],
    },
    "choices that nothing feels": {
        "patch_size": 2,
        "image_size": 8,
        "expansion_ratio": 2,
        "token_ratio": [0.25, 0.5],
        "shared": [True, False],
        "heads": 1,
        "stages": [{"depth": [1, 2], "width": [4, 8], "mixers": "conv"}],
    },
    "no choice": {
        "patch_size": 2,
        "image_size": 8,
        "expansion_ratio": 2,
        "heads": 2,
        "stages": [{"depth": 3, "width": 4, "mixers": "attention"}],
    },
}
SPACES = {name: SearchSpace.from_dict(plain) for name, plain in PLAIN.items()}


def encodings(space: SearchSpace):
    """Every encoding, whether it gives an architecture of its own or not."""
    choices = space.parameters
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


@cache
def enumerate_space(space: SearchSpace) -> tuple[Architecture, ...]:
    """Every distinct architecture, by brute force, in an order that is the same everywhere."""
    found = {space.decode(encoding) for encoding in encodings(space)}
    return tuple(sorted(found, key=lambda architecture: architecture.arch_id))
