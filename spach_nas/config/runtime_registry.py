"""The registry of runtimes: what runs the networks whose latency is measured, by name.

A runtime is imported when a time is taken, so that a YAML is checked without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator

from spach_nas.errors import LatencyError, one_of
from spach_nas.registry import Registry
from spach_nas.space.choices import one_of_names
from spach_nas.validation import Written

# Formats of weights and features; with autocast, conversions would be measured, too.
Format = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeSpec:
    """A way to run networks.

    Attributes:
        name: As in the YAML.
        factory: `package.module:function`. Called with a module and an input for it, both in
            float32 on the CPU, and the `Conditions` of a measurement, it returns a function without
            arguments that makes one forward pass. With one thread of the CPU, the pass is computed
            in the thread that calls the function, whose processor time is taken.
        formats: The number formats that it computes in, by device: `cpu`, `cuda` or `mps`.
        modules: Modules that it imports. The first is the runtime itself, whose version is a
            condition of the times.
        install: What to `pip install` for these modules.
    """

    name: str
    factory: str
    formats: Mapping[str, tuple[Format, ...]]
    modules: tuple[str, ...] = ()
    install: str = ""

    @property
    def missing(self) -> str:
        """What to do before it can run here; empty if all its modules are installed."""
        absent = [module for module in self.modules if find_spec(module) is None]
        return f"lacks {', '.join(absent)}; pip install {self.install}" if absent else ""

    def check(self, device: str, precision: Format) -> None:
        """Check that it can be measured here.

        Raises:
            LatencyError: It is not installed, or does not compute in the format on the device.
        """
        if device not in self.formats:
            devices = one_of(self.formats)
            raise LatencyError(f"{self.name}: does not run on {device}; expected {devices}")
        if precision not in self.formats[device]:
            raise LatencyError(
                f"{self.name}: does not compute in {precision} on {device}; expected "
                f"{one_of(self.formats[device])}"
            )
        if self.missing:
            raise LatencyError(f"{self.name}: {self.missing}")


RUNTIMES: Registry[RuntimeSpec] = Registry(
    "runtime", error=LatencyError, homes=lambda spec: {spec.factory.partition(":")[0]}
)
_BUILT_IN = "spach_nas.latency.runtimes"
_OF_TORCH: Mapping[str, tuple[Format, ...]] = {
    "cpu": ("fp32", "bf16"),
    "cuda": ("fp32", "bf16", "fp16"),
    "mps": ("fp32", "bf16", "fp16"),
}
for _spec in (
    RuntimeSpec(name="eager", factory=f"{_BUILT_IN}:eager", formats=_OF_TORCH),
    RuntimeSpec(name="compile", factory=f"{_BUILT_IN}:compiled", formats=_OF_TORCH),
    RuntimeSpec(
        name="onnx",
        factory=f"{_BUILT_IN}:onnx_runtime",
        # ONNX Runtime has no float16 products for x86: it would convert to float32 and back.
        formats={"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")},
        modules=("onnxruntime", "onnxscript"),
        install="'spach-nas[export]'",
    ),
    RuntimeSpec(
        name="openvino",
        factory=f"{_BUILT_IN}:open_vino",
        formats={"cpu": ("fp32",)},
        modules=("openvino", "onnxscript"),
        install="'spach-nas[openvino]'",
    ),
    RuntimeSpec(
        name="tensorrt",
        factory=f"{_BUILT_IN}:tensor_rt",
        formats={"cuda": ("fp32", "fp16")},
        modules=("onnxruntime", "onnxscript"),
        install="onnxruntime-gpu onnxscript",
    ),
):
    RUNTIMES.register(_spec)
# Those that the command `latency` compares unless it is told others.
USUAL = ("eager", "compile", "onnx")


def register_runtime(spec: RuntimeSpec) -> None:
    """Make a runtime known by its name.

    Raises:
        LatencyError: Another runtime has the name.
    """
    RUNTIMES.register(spec)


# A name in a YAML.
RuntimeName = Annotated[
    str, AfterValidator(RUNTIMES.written), Written(lambda: one_of_names(RUNTIMES.names()))
]
