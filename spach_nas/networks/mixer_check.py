"""Tries whether users' own mixers work, before anything is trained.

Letters: B batch, H and W resolution, C width.
"""

from collections.abc import Iterable, Sequence

import torch

from spach_nas.errors import ArchitectureError, one_line
from spach_nas.networks.mixers import load_mixer
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerSite, MixerSpec

# More than one image, because a batch norm refuses a single one at a resolution of 1 x 1.
_BATCH = 2


def check_mixers(architectures: Iterable[Architecture], specs: Sequence[MixerSpec]) -> None:
    """Run each mixer once at every resolution at which these architectures use it.

    Without this check, a result of another shape could be broadcast and trained without an error.

    Raises:
        ArchitectureError: A mixer cannot be imported, built or run, or does not keep the shape of
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
    # Building it draws random weights, which must not change the random numbers of the search.
    with torch.random.fork_rng(devices=()), torch.no_grad():
        try:
            found = load_mixer(spec, site)(torch.randn(shape))
        except ArchitectureError:
            raise
        except Exception as problem:  # a user's code can raise anything
            raise ArchitectureError(
                f"{where} cannot run on features (B, H, W, C) of {shape}: "
                f"{one_line(problem, named=True)}; expected a module Class(site) that maps "
                "(B, H, W, C) to (B, H, W, C)"
            ) from problem
    got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if got != shape:
        raise ArchitectureError(
            f"{where} maps features of {shape} to {got}; expected the same shape (B, H, W, C)"
        )
