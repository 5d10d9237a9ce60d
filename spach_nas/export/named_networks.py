"""A trained network to begin with: an official one, a bundle's, or the best proxy of a search.

Torch is imported after everything that can be checked without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spach_nas.config.search_settings import OFFICIAL
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError, did_you_mean, one_of
from spach_nas.export.bundle import load_weights
from spach_nas.export.choice import choose
from spach_nas.space.references import REFERENCES

if TYPE_CHECKING:
    from spach_nas.networks import Spach


def check_initial(init: str, *, model: str, key: str = "--init") -> None:
    """Check that a network exists that a user names to begin with.

    Args:
        init: `official:PATH`, or the folder of a bundle or of a study.
        model: Of an official checkpoint: the name of a model of the paper.
        key: Where `init` was given, for messages.

    Raises:
        BundleError: It does not.
    """
    if init.startswith(OFFICIAL):
        if model not in REFERENCES:
            raise BundleError(
                f"{key} {init}: belongs to a model of the paper, which {model} is not; expected "
                f"{one_of(REFERENCES)}{did_you_mean(model, REFERENCES)}"
            )
        if not Path(init.removeprefix(OFFICIAL)).is_file():
            raise BundleError(
                f"{key} {init}: no such file; expected a checkpoint of the paper's code"
            )
    elif not Path(init).is_dir():
        raise BundleError(
            f"{key} {init}: is not a folder; expected official:PATH, or the folder of a bundle or "
            "of a study"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Initial:
    """A network to begin with.

    Attributes:
        network: The network with its weights.
        name: As the user names it.
        preprocessing: How the images were prepared on which it was trained; None: unknown.
    """

    network: "Spach"
    name: str
    preprocessing: Preprocessing | None = None


def load_initial(init: str, *, model: str, key: str = "--init") -> Initial:
    """The network that a user names.

    Args:
        init: `official:PATH`, a checkpoint of the paper's code of `model`;
            the folder of a bundle; or that of a study, whose best proxy is taken.
        model: Of an official checkpoint: the name of a model of the paper.
        key: Where `init` was given, for messages.

    Raises:
        BundleError: It does not exist, has no weights, is damaged, or would execute code.
    """
    check_initial(init, model=model, key=key)
    from spach_nas.networks import build, load_official

    if init.startswith(OFFICIAL):
        return Initial(network=load_official(Path(init.removeprefix(OFFICIAL)), model), name=init)
    choice = choose(init)
    if choice.weights is None:
        raise BundleError(f"{key} {init}: has no trained weights; expected a bundle with them")
    network = build(choice.architecture)
    load_weights(network, choice.weights, where=init)
    return Initial(network=network, name=init, preprocessing=choice.preprocessing)
