"""The front of a search, timed whole after its trials: `front_latency.json` in its folder.

Records and fronts hold what the table predicts. These times say how far that is true.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from spach_nas.config.study_files import FRONT_LATENCY_JSON
from spach_nas.errors import LatencyError
from spach_nas.files import replace_text
from spach_nas.latency.latency_table import Timing
from spach_nas.validation import STRICT, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontLatency:
    """Times of whole networks under the conditions of the study's table.

    Attributes:
        conditions: In words.
        times: By `arch_id`.
        missing: Why not all of the front was timed; empty if it was.
    """

    __pydantic_config__ = STRICT

    conditions: str
    times: Mapping[str, Timing] = field(default_factory=dict)
    missing: str = ""


def read_front_latency(folder: Path) -> FrontLatency | None:
    """The times of a study's front; None if it has none, such as an older study.

    Raises:
        LatencyError: The file is damaged.
    """
    path = folder / FRONT_LATENCY_JSON
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LatencyError(f"{path}: is damaged; expected times, or no such file") from None
    return validate(_adapter(), plain, where=str(path), error=LatencyError)


def write_front_latency(folder: Path, found: FrontLatency) -> None:
    """Write them completely or not at all."""
    replace_text(folder / FRONT_LATENCY_JSON, json.dumps(asdict(found), indent=1) + "\n")


@cache
def _adapter() -> TypeAdapter[FrontLatency]:
    return TypeAdapter(FrontLatency)
