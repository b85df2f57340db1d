"""ReduceMean over all spatial axes becomes GlobalAveragePool, for which the runtime has an int8 kernel."""

import onnx_ir as ir

from dybitq.graph.values import Namer, constant, int_attribute, ints_attribute, is_op, rank_of, take_over


def global_average_pool(model: ir.Model) -> tuple[str, ...]:
    """Rewrite ``[N, C, *spatial]`` means over all spatial axes; without kept axes a Flatten follows."""
    namer = Namer(model)
    for node in list(model.graph):
        if is_op(node, "ReduceMean") and _is_spatial_mean(node):
            _rewrite(model, node, namer)
    return ()


def _is_spatial_mean(node: ir.Node) -> bool:
    data = node.inputs[0]
    rank = rank_of(data)
    if data is None or rank is None or rank < 3 or data.dtype != ir.DataType.FLOAT:
        return False
    axes = ints_attribute(node, "axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant(node.inputs[1])
        axes = None if array is None else tuple(int(axis) for axis in array.reshape(-1))
    return axes is not None and sorted(axis % rank for axis in axes) == list(range(2, rank))


def _rewrite(model: ir.Model, node: ir.Node, namer: Namer) -> None:
    output = node.outputs[0]
    pool = namer.node("GlobalAveragePool", [node.inputs[0]], base=f"{node.name}_pooled", like=output)
    nodes = [pool]
    if not int_attribute(node, "keepdims", 1):
        nodes.append(namer.node("Flatten", pool.outputs, {"axis": 1}, base=f"{node.name}_flatten"))
    model.graph.insert_after(node, nodes)
    take_over(nodes[-1].outputs[0], output)
    model.graph.remove(node, safe=True)
    pool.name = node.name
