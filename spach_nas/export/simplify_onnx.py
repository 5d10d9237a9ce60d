"""Simplifies an ONNX graph to a form that other tools can read.

torch's exporter writes `chunk` as a sequence, computes every shape at run time, names the batch
`s77` and keeps constants in attributes. ONNX Runtime accepts all this, but its tools for
quantisation and TensorRT do not. The exporter's own optimiser would solve it, but it folds weights
into others, which could then be neither found by name nor replaced.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxscript import optimizer

BATCH = "batch"
# The second round uses the types that the first one has inferred.
_ROUNDS = 2
_BY_ATTRIBUTE = ("value", "value_float", "value_floats", "value_int", "value_ints")


def plain_graph(program: torch.onnx.ONNXProgram, *, weights: Collection[str]) -> onnx.ModelProto:
    """The graph of an export without sequences and without computed shapes.

    Args:
        program: The export without torch's optimiser; the batch is its only dynamic dimension.
        weights: Names of tensors that must remain unchanged under these names.
    """
    for _ in range(_ROUNDS):
        optimizer.fold_constants(
            program.model,
            # None for the others lets the optimiser decide.
            should_fold=lambda node: (
                False if any(value and value.name in weights for value in node.inputs) else None
            ),
        )
    model: onnx.ModelProto = program.model_proto
    graph = model.graph
    _name_batch(graph)
    _lift_constants(graph)
    known = _known(model)
    _write_shapes(graph, known)
    _drop_casts(graph, known)
    _drop_unused(graph)
    for node in graph.node:
        del node.metadata_props[:]
    return model


def _name_batch(graph: onnx.GraphProto) -> None:
    found = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert found, "the batch is free"
    name = re.compile(rf"\b{re.escape(found)}\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:  # a fixed dimension has no name and must not get an empty one
                dim.dim_param = name.sub(BATCH, dim.dim_param)


def _known(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Type and shape of each value, as far as they can be inferred."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: value.type.tensor_type
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _write_shapes(graph: onnx.GraphProto, known: Mapping[str, onnx.TypeProto.Tensor]) -> None:
    """Give each `Reshape` its shape as a constant, with -1 for the size that depends on the batch.

    -1 together with sizes above 0 also works for an empty batch; 0 and -1 together, as written by
    the exporter, do not.
    """
    for node in graph.node:
        if node.op_type != "Reshape" or node.output[0] not in known:
            continue
        dims = known[node.output[0]].shape.dim
        shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
        if 0 not in shape and shape.count(-1) <= 1:
            name = f"{node.output[0]}_shape"
            graph.initializer.append(
                onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(shape)], shape)
            )
            node.input[1] = name
            del node.attribute[:]


def _drop_casts(graph: onnx.GraphProto, known: Mapping[str, onnx.TypeProto.Tensor]) -> None:
    """Remove each `CastLike` that does not change the type."""
    types = {item.name: item.data_type for item in graph.initializer}
    types |= {name: kind.elem_type for name, kind in known.items()}
    casts: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [casts.get(name, name) for name in node.input]
        before, after = node.input[0] if node.input else "", node.output[0]
        if node.op_type == "CastLike" and types.get(before) == types.get(after) is not None:
            casts[after] = before


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Turn constants into initializers, where every tool looks for them."""
    for place in reversed(range(len(graph.node))):  # `remove` would compare whole nodes
        node = graph.node[place]
        if node.op_type == "Constant" and node.attribute[0].name in _BY_ATTRIBUTE:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(_as_tensor(node.attribute[0]))
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            del graph.node[place]


def _as_tensor(attribute: onnx.AttributeProto) -> onnx.TensorProto:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return value
    whole = attribute.name.startswith("value_int")
    return numpy_helper.from_array(np.array(value, np.int64 if whole else np.float32))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove everything that no output needs: nodes, initializers, and the shapes of values."""
    used = {value.name for value in graph.output}
    for place in reversed(range(len(graph.node))):
        if used.isdisjoint(graph.node[place].output):
            del graph.node[place]
        else:
            used.update(_read(graph.node[place]))
    for group in (graph.initializer, graph.value_info):
        for place in reversed(range(len(group))):
            if group[place].name not in used:
                del group[place]


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the values that a node reads, including those used inside its branches."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (value.name for value in attribute.g.output)
