"""Short names of architectures that are unique within one table.

`conv3 | attn2` names mixers and depths. If several architectures agree in these and differ in the
rest, their differences are appended: `conv3 | attn2 (width 64, expansion 2)`.
"""

from collections.abc import Callable, Sequence

from spach_nas.space.architecture import Architecture, Stage


def short_names(architectures: Sequence[Architecture]) -> tuple[str, ...]:
    """A name for each architecture, in the given order; equal architectures share one."""
    groups: dict[str, dict[Architecture, None]] = {}
    for architecture in architectures:
        groups.setdefault(str(architecture), {})[architecture] = None
    named: dict[Architecture, str] = {}
    for name, members in groups.items():
        # Different architectures with equal mixers and depths get different names.
        if len(members) == 1:
            named |= dict.fromkeys(members, name)
            continue
        found = [_words(member) for member in members]
        # What all of them have in common does not help to distinguish them.
        differing = [key for key in found[0] if len({item[key] for item in found}) > 1]
        for member, item in zip(members, found, strict=True):
            named[member] = f"{name} ({', '.join(filter(None, (item[key] for key in differing)))})"
    return tuple(named[architecture] for architecture in architectures)


def details(architecture: Architecture) -> dict[str, str]:
    """What the short name leaves out, with one number per stage: `64 128 256 512`."""
    return {
        "stem": architecture.stem,
        "stem_width": str(architecture.stem_width) if architecture.stem == "conv4" else "",
        "patch_size": str(architecture.patch_size),
        "depth": _listed(architecture, lambda stage: stage.depth),
        "width": _listed(architecture, lambda stage: stage.width),
        "heads": _listed(architecture, lambda stage: stage.heads),
        "expansion_ratio": _listed(architecture, lambda stage: stage.expansion_ratio),
        "token_ratio": _listed(architecture, lambda stage: stage.token_ratio),
        "shared": _listed(architecture, lambda stage: int(stage.shared)),
    }


def _words(architecture: Architecture) -> dict[str, str]:
    """Everything in which architectures can differ, in words for readers."""
    stages = architecture.stages
    shared = [str(number) for number, stage in enumerate(stages, 1) if stage.shared]
    height, width = architecture.image_size
    deep = architecture.stem == "conv4"
    return {
        "width": f"width {_brief(_listed(architecture, lambda stage: stage.width))}",
        "expansion": f"expansion {_brief(_listed(architecture, lambda s: s.expansion_ratio))}",
        "tokens": f"token ratio {_brief(_listed(architecture, lambda s: s.token_ratio))}",
        "shared": _shared(shared),
        "stem": f"{architecture.stem} stem" + (f" {architecture.stem_width}" if deep else ""),
        "patch": f"patch {architecture.patch_size}",
        "heads": f"heads {_brief(_listed(architecture, lambda stage: stage.heads))}",
        "size": f"{height}x{width} px",
        "options": "; ".join(" ".join(f"{k} {v}" for k, v in stage.options) for stage in stages),
        "data": f"{architecture.in_channels} channels, {architecture.num_classes} classes",
    }


def _shared(stages: Sequence[str]) -> str:
    if not stages:
        return "not shared"
    return f"shared in stage{'s' if len(stages) > 1 else ''} {', '.join(stages)}"


def _listed(architecture: Architecture, figure: Callable[[Stage], float]) -> str:
    return " ".join(f"{figure(stage):g}" for stage in architecture.stages)


def _brief(figures: str) -> str:
    """Only the first number if all stages agree, or if each stage doubles it; otherwise all."""
    values = [float(item) for item in figures.split()]
    doubled = [values[0] * 2**place for place in range(len(values))]
    return figures.split()[0] if values in (doubled, values[:1] * len(values)) else figures
