"""Reports what this machine has, and which features lack something."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from spach_nas.errors import DataError, one_line
from spach_nas.machine import cores
from spach_nas.version import __version__

_REQUIRED = (
    "torch",
    "torchvision",
    "timm",
    "ray",
    "optuna",
    "plotly",
    "fvcore",
    "pydantic",
    "safetensors",
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        name: What was checked.
        value: What was found.
        fault: Whether searches fail or are slow because of it.
        advice: What to do if something is missing.
    """

    name: str
    value: str
    fault: bool = False
    advice: str = ""


def diagnose() -> tuple[Finding, ...]:
    """Check versions, devices, threads and optional parts."""
    return (
        Finding(name="spach-nas", value=__version__),
        Finding(name="Python", value=platform.python_version()),
        *(_package(name) for name in _REQUIRED),
        *_devices(),
        *_formats(),
        _threads(),
        _optional(
            "kaleido", "static pictures", "report --static", "pip install 'spach-nas[static]'"
        ),
        _browser(),
        _optional(
            "optuna_dashboard",
            "optuna-dashboard",
            "viewing study.db in a browser",
            "pip install 'spach-nas[dashboard]'",
        ),
        _runtimes(),
        _fashion_mnist(),
    )


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, value=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            name=name, value="missing", fault=True, advice=f"nothing works: pip install {name}"
        )


def _devices() -> tuple[Finding, ...]:
    try:
        import torch
    except Exception as problem:
        # A broken installation can raise anything, and this command is there to report it.
        return (Finding(name="device", value=f"torch: {one_line(problem)}", fault=True),)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        # Not one that it only emulates, which `precision: auto` does not take either.
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        shown = "bf16" if bf16 else "no bf16"
        return tuple(Finding(name="device", value=f"CUDA, {name}, {shown}") for name in names)
    if torch.backends.mps.is_available():
        return (Finding(name="device", value="MPS"),)
    return (Finding(name="device", value=f"CPU, {torch.backends.cpu.get_cpu_capability()}"),)


def _formats() -> tuple[Finding, ...]:
    try:
        from spach_nas.training import cpu_rates
    except Exception:  # the line about the device has already said why
        return ()
    rates = cpu_rates()
    # A format that the processor computes in is at least as fast as fp32.
    emulated = [name for name in ("bf16", "fp16") if getattr(rates, name) < rates.fp32]
    shown = f"fp32 {rates.fp32:.0f}, bf16 {rates.bf16:.1f}, fp16 {rates.fp16:.1f} GFLOP/s per core"
    return (
        Finding(
            name="formats",
            value=f"{shown}, batched products of 128 x 128",
            advice=f"emulated and slow here: {', '.join(emulated)}; `precision: auto` avoids them"
            if emulated
            else "",
        ),
    )


def _threads() -> Finding:
    usable = cores()
    wanted = os.environ.get("OMP_NUM_THREADS")
    crowded = wanted is not None and wanted.isdigit() and int(wanted) > usable
    return Finding(
        name="threads",
        value=f"{usable} cores" + (f", OMP_NUM_THREADS={wanted}" if wanted else ""),
        fault=crowded,
        advice="training is many times slower with more threads than cores" if crowded else "",
    )


def _optional(module: str, name: str, feature: str, advice: str) -> Finding:
    if importlib.util.find_spec(module) is not None:
        return Finding(name=name, value="installed")
    return Finding(name=name, value="missing", advice=f"needed for {feature}: {advice}")


def _browser() -> Finding:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    advice = "" if found else "needed for static pictures: install Chrome or Chromium"
    return Finding(name="browser", value=found or "missing", advice=advice)


def _runtimes() -> Finding:
    """What latency can be measured with; installed is not yet able to use a GPU."""
    from spach_nas.config.runtime_registry import RUNTIMES

    known = [RUNTIMES.find(name) for name in RUNTIMES.names()]
    return Finding(
        name="runtimes",
        value=", ".join(spec.name for spec in known if not spec.missing),
        advice="; ".join(f"{spec.name} {spec.missing}" for spec in known if spec.missing),
    )


def _fashion_mnist() -> Finding:
    from spach_nas.config.training_settings import DataSettings
    from spach_nas.data import validate_settings

    try:
        validate_settings(DataSettings(name="fashion-mnist"))
    except DataError as problem:
        return Finding(name="fashion-mnist", value="missing", advice=str(problem))
    return Finding(name="fashion-mnist", value="installed")


def findings_table(findings: Iterable[Finding]) -> Table:
    """The findings as a table."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        style = "red" if finding.fault else "yellow" if finding.advice else ""
        table.add_row(finding.name, Text(finding.value, style=style), Text(finding.advice))
    return table
