"""ONNX models in small number formats, made by ONNX Runtime's tools: float16, and static INT8.

Both keep float32 input and output. Letters: B batch, C channels, H and W image.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from spach_nas.networks.onnx_graph import INPUT, quiet

# What INT8 computes: products with weights, in which the time and the memory are. The others stay
# in float32; `results/benchmarks/onnx_formats.csv` says what they would gain and cost.
_INT8_OPERATORS = ("Gemm",)


def fp16_bytes(data: bytes) -> bytes:
    """A model with float16 weights and features."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        small = convert_float_to_float16(onnx.load_from_string(data), keep_io_types=True)
    made: bytes = small.SerializeToString()
    return made


def int8_bytes(
    data: bytes, images: Sequence[Tensor], *, operators: Sequence[str] = _INT8_OPERATORS
) -> bytes:
    """A model with INT8 weights, by channel, and INT8 features, by the range that they have.

    Args:
        data: The model in float32.
        images: Batches (B, C, H, W), whose features set the ranges.
        operators: Types of the operators to compute in INT8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch.numpy()}

    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.load_from_string(data),
            path,
            Reader(),
            op_types_to_quantize=list(operators),
            per_channel=True,
        )
        return path.read_bytes()
