"""An ONNX graph in the plain form that other tools read.

torch's exporter writes `chunk` as a sequence, computes every shape anew for each batch, names the
batch `s77` and keeps constants in attributes: ONNX Runtime takes all that, its tools for
quantisation and TensorRT do not. Its own optimiser would mend it, but folds weights into others,
which then could be neither found by name nor replaced.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxscript import optimizer

BATCH = "batch"
# The second one knows the types that the first one has inferred.
_ROUNDS = 2
_BY_ATTRIBUTE = ("value", "value_float", "value_floats", "value_int", "value_ints")


def plain_graph(program: torch.onnx.ONNXProgram, *, weights: Collection[str]) -> onnx.ModelProto:
    """The graph of an export without sequences and without shapes that are computed.

    Args:
        program: As torch exports it without its optimiser; the batch is its only free dimension.
        weights: Names of tensors that stay as they are, under these names.
    """
    for _ in range(_ROUNDS):
        optimizer.fold_constants(
            program.model,
            # No opinion about the others: the optimiser knows what is worth it.
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
            if dim.dim_param:  # or it would become an empty name, which is none
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
    """Give each `Reshape` its shape as a constant, with -1 for what depends on the batch.

    Beside sizes above 0, -1 holds for an empty batch, too; 0 and -1 together, as the exporter
    writes them, do not.
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
    """Take out `CastLike` where the type stays."""
    types = {item.name: item.data_type for item in graph.initializer}
    types |= {name: kind.elem_type for name, kind in known.items()}
    casts: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [casts.get(name, name) for name in node.input]
        before, after = node.input[0] if node.input else "", node.output[0]
        if node.op_type == "CastLike" and types.get(before) == types.get(after) is not None:
            casts[after] = before


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constants as initializers, which every tool looks for."""
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
    """What no output needs: nodes, initializers, and what was known of their shapes."""
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
    """Names of the values that a node reads, those that its branches take from outside included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (value.name for value in attribute.g.output)
