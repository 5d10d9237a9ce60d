"""What a search YAML says about the latency of its targets, as a value free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from spach_nas.config.training_settings import Device
from spach_nas.units import Whole
from spach_nas.validation import Settings

RuntimeName = Literal["eager", "compile", "onnx"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
# What is measured: matrix products of another format than the weights' would add conversions.
Format = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySettings(Settings):
    """Where the latency of targets comes from: a table of the times of their parts.

    A key that is left out takes what the table says, or its default where a table is measured.
    """

    table: Annotated[
        Path | None,
        Field(
            description="A file that `spach-nas latency SEARCH --table FILE` wrote, on this device "
            "or on another. Left out: the parts are measured here when the search begins."
        ),
    ] = None
    runtime: Annotated[
        RuntimeName | None,
        Field(description="`eager` (default), `compile` (torch.compile) or `onnx` (ONNX Runtime)."),
    ] = None
    device: Annotated[
        Device | None,
        Field(description="`cpu`, `cuda`, `mps` or `auto` (default), CUDA where there is one."),
    ] = None
    batch_size: Annotated[
        Annotated[Whole, Field(ge=1)] | None,
        Field(
            description="Images in a forward pass; the latency is that of the whole batch. "
            "Default 1."
        ),
    ] = None
    threads: Annotated[
        Annotated[Whole, Field(ge=1)] | None, Field(description="Threads of the CPU. Default 1.")
    ] = None
    precision: Annotated[
        Format | None,
        Field(description="Format of weights and features, `fp32` (default) or `bf16`."),
    ] = None
