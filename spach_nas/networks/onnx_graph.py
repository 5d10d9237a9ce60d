"""A traced network as an ONNX model that other tools can read.

torch's exporter writes `chunk` as a sequence, computes every shape at run time and keeps constants
in nodes. ONNX Runtime accepts all this, but its tools for quantisation and TensorRT do not. The
exporter's own optimiser would solve it, but it folds weights into others, which could then be
neither found by name nor replaced.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import onnx_ir as ir

# The first with GELU as one operator, and the last that all of ONNX Runtime's tools support.
OPSET = 20
INPUT, OUTPUT, BATCH = "image", "logits", "batch"


def onnx_bytes(program: torch.export.ExportedProgram, *, opset: int) -> tuple[bytes, int]:
    """The model, without sequences and computed shapes, and the opset that it has.

    torch may raise anything if it cannot convert the program.

    Args:
        program: Takes one tensor, and returns one. At most its first dimension is dynamic.
        opset: The opset to write. torch may not reach it.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common
    from onnxscript import optimizer

    with quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: BATCH},),  # the name alone: whether it is dynamic is settled
            opset_version=opset,
            optimize=False,
            verbose=False,
        )
        assert exported is not None
        model = exported.model
        # As inputs, weights have no known values, so none is folded into another.
        common.AddInitializersToInputsPass()(model)
        optimizer.optimize_ir(model)
        common.RemoveInitializersFromInputsPass()(model)
        common.ShapeInferencePass()(model)
        for node in model.graph:
            if node.op_type == "Reshape" and node.outputs[0].shape is not None:
                _write_shape(model.graph, node)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.RemoveUnusedNodesPass()(model)
        common.ClearMetadataAndDocStringPass()(model)  # they name files of this machine
        data: bytes = ir.to_proto(model).SerializeToString()
    return data, model.opset_imports[""]


def _write_shape(graph: "ir.Graph", node: "ir.Node") -> None:
    """Give a `Reshape` its shape as a constant, with -1 for the size that depends on the batch.

    -1 together with sizes above 0 also works for an empty batch; 0 and -1 together, as written by
    the exporter, do not.
    """
    import onnx_ir as ir

    sizes = [size if isinstance(size, int) else -1 for size in node.outputs[0].shape or ()]
    if 0 in sizes or sizes.count(-1) > 1:
        return
    name = f"{node.outputs[0].name}_shape"
    tensor = ir.tensor(np.array(sizes, dtype=np.int64), name=name)
    shape = ir.Value(
        name=name,
        const_value=tensor,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape([len(sizes)]),
    )
    graph.register_initializer(shape)
    node.replace_input_with(1, shape)
    node.attributes.clear()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log lines of a library, when users can do nothing about them."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
