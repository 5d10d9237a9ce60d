"""Whether the networks of mixers that others wrote work, tried before anything is trained.

Letters: B batch, H and W resolution, C width.
"""

from collections.abc import Iterable, Sequence

import torch

from spach_nas.errors import ArchitectureError, one_line
from spach_nas.networks.mixers import load_mixer
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerSite, MixerSpec

# More than one image: a batch norm takes no single one at a resolution of 1 x 1.
_BATCH = 2


def check_mixers(architectures: Iterable[Architecture], specs: Sequence[MixerSpec]) -> None:
    """Run each mixer once at every resolution at which these architectures have it.

    A result of another shape would be broadcast, and trained as if nothing were wrong.

    Raises:
        ArchitectureError: A mixer cannot be imported, made or run, or does not keep the shape of
            its features; the message names it.
    """
    known = {spec.name: spec for spec in specs if spec.is_branch}
    sites: dict[tuple[str, tuple[int, int]], MixerSite] = {}
    for item in architectures:
        for stage, resolution in zip(item.stages, item.resolutions, strict=True):
            site = MixerSite(stage.width, resolution, stage.heads, stage.token_ratio, stage.options)
            for name in stage.mixers:
                if name in known:
                    sites.setdefault((name, resolution), site)
    for (name, _), site in sites.items():
        _try(known[name], site)


def _try(spec: MixerSpec, site: MixerSite) -> None:
    shape = (_BATCH, *site.resolution, site.width)
    where = f"mixer {spec.name!r}: {spec.module}"
    # Its weights are drawn, and those of the search must not depend on that.
    with torch.random.fork_rng(devices=()), torch.no_grad():
        try:
            found = load_mixer(spec, site)(torch.randn(shape))
        except ArchitectureError:
            raise
        except Exception as problem:  # whatever foreign code finds wrong
            raise ArchitectureError(
                f"{where} cannot run on features (B, H, W, C) of {shape}: "
                f"{one_line(problem, named=True)}; expected a module Class(site) that maps "
                "(B, H, W, C) to (B, H, W, C)"
            ) from problem
    got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if got != shape:
        raise ArchitectureError(
            f"{where} maps features of {shape} to {got}; expected (B, H, W, C) as it came"
        )
