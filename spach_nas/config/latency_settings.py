"""What a search YAML says about the latency of its targets, as a value free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from spach_nas.config.training_settings import Device, outside, raise_mistakes
from spach_nas.units import Whole

RuntimeName = Literal["eager", "compile", "onnx"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
# What is measured: matrix products of another format than the weights' would add conversions.
Format = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySettings:
    """Where the latency of targets comes from: a table of the times of their parts.

    A key that is left out takes what the table says, or its default where a table is measured.

    Attributes:
        table: A file that `spach-nas latency SEARCH --table FILE` wrote, on this device or on
            another; None: the parts are measured here when the search begins.
        runtime: `eager` (default), `compile` (torch.compile) or `onnx` (ONNX Runtime).
        device: `cpu`, `cuda`, `mps` or `auto` (default), CUDA where there is one.
        batch_size: Images in a forward pass; the latency is that of the whole batch. Default 1.
        threads: Threads of the CPU. Default 1.
        precision: Format of weights and features, `fp32` (default) or `bf16`.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads it)

    table: Path | None = None
    runtime: RuntimeName | None = None
    device: Device | None = None
    batch_size: Whole | None = None
    threads: Whole | None = None
    precision: Format | None = None

    def __post_init__(self) -> None:
        raise_mistakes(
            *(
                outside(name, value, "at least 1", value is None or value >= 1)
                for name, value in (("batch_size", self.batch_size), ("threads", self.threads))
            )
        )
