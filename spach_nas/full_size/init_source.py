"""What `--init` names, as far as it can be told without torch."""

from pathlib import Path

from spach_nas.errors import BundleError, did_you_mean, one_of
from spach_nas.space.references import REFERENCES

OFFICIAL = "official:"


def check_initial(init: str, *, source: str) -> None:
    """Whether there is something of the kind that `--init` names.

    Args:
        init: `official:PATH`, or the folder of a bundle or of a study.
        source: What is trained.

    Raises:
        BundleError: There is not.
    """
    if init.startswith(OFFICIAL):
        if source not in REFERENCES:
            raise BundleError(
                f"--init {init}: belongs to a model of the paper, and {source} is none; expected "
                f"{one_of(REFERENCES)}{did_you_mean(source, REFERENCES)}"
            )
        if not Path(init.removeprefix(OFFICIAL)).is_file():
            raise BundleError(
                f"--init {init}: no such file; expected a checkpoint of the paper's code"
            )
    elif not Path(init).is_dir():
        raise BundleError(
            f"--init {init}: is no folder; expected official:PATH, or the folder of a bundle or of "
            "a study"
        )
