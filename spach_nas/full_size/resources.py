"""Where a full-size training runs."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict

from spach_nas.config.training_settings import outside, raise_mistakes
from spach_nas.full_size.bounds import From0Whole, From1, checked

HERE, LOCAL = "here", "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class FullResources:
    """Workers that share every batch, and what each gets.

    Attributes:
        address: `here`: one worker, in this process. Otherwise Ray Train starts the workers: on
            this machine (`local`), or on a running Ray cluster (`auto` or `host:port`) whose
            machines see the data and the output folder under the same names.
        workers: How many; auto: one for each GPU, or one where there is none.
        cpus_per_worker: Cores, and threads of torch; auto: those of the largest machine, shared by
            its workers.
        gpus_per_worker: 0 or 1; auto: 1 where there are GPUs.
        max_failures: How often lost workers are replaced, from the last checkpoint.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    address: Annotated[str, checked("here, local, auto or host:port", bool)]
    workers: From1 | Literal["auto"]
    cpus_per_worker: From1 | Literal["auto"]
    gpus_per_worker: Literal[0, 1, "auto"]
    max_failures: From0Whole

    def __post_init__(self) -> None:
        enough = self.address != HERE or self.workers in ("auto", 1)
        raise_mistakes(
            outside("workers", self.workers, "1 where address is here; local takes more", enough)
        )

    @property
    def known_workers(self) -> int:
        """How many workers there will be, as far as it is known; at least so many."""
        return 1 if self.workers == "auto" else self.workers
