"""Names of a table tell its architectures apart, and say no more than they must."""

import random
from dataclasses import replace

from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.short_names import details, short_names
from study_factory import make_architecture

CONV = REFERENCES["conv_ms_s"].architecture


def widened(factor: int) -> Architecture:
    stages = tuple(
        replace(stage, width=stage.width * factor, heads=stage.heads * factor)
        for stage in CONV.stages
    )
    return replace(CONV, stages=stages)


def test_a_name_alone_is_short() -> None:
    assert short_names([CONV, REFERENCES["trans_ms_s"].architecture, CONV]) == (
        str(CONV),
        str(REFERENCES["trans_ms_s"].architecture),
        str(CONV),
    )


def test_what_differs_follows_where_mixers_and_depths_agree() -> None:
    deep = replace(CONV, stem="conv4")
    trans = REFERENCES["trans_ms_s"].architecture
    stages = tuple(replace(stage, shared=True) for stage in trans.stages)
    shared = replace(trans, stages=stages)
    wide, first = widened(2), CONV.stages[0].width
    names = short_names([CONV, wide])
    assert names == (
        f"{CONV} (width {first}, heads {CONV.stages[0].heads})",
        f"{CONV} (width {2 * first}, heads {2 * CONV.stages[0].heads})",
    )
    assert short_names([CONV, deep])[1] == f"{CONV} (conv4 stem 64)"
    # The first stage of this model has no mixer that blocks could share.
    assert short_names([trans, shared]) == (
        f"{trans} (not shared)",
        f"{trans} (shared in stages 2, 3, 4)",
    )


def test_no_two_architectures_share_a_name() -> None:
    rng = random.Random(0)
    found = list(dict.fromkeys(make_architecture(rng) for _ in range(300)))
    doubled = [
        replace(item, stages=tuple(replace(s, expansion_ratio=4.0) for s in item.stages))
        for item in found
    ]
    every = list(dict.fromkeys([*found, *doubled, *(replace(i, stem="conv4") for i in found)]))
    assert len({str(item) for item in every}) < len(every)
    assert len(set(short_names(every))) == len(every)


def test_details_have_a_figure_for_each_stage() -> None:
    found = details(CONV)
    assert found["width"] == " ".join(str(stage.width) for stage in CONV.stages)
    assert found["stem"] == "conv1"
    assert found["shared"] == "0 0 0 0"
