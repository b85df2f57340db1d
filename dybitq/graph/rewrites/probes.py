"""A network whose weights can be replaced, and whose tensors can be disturbed, from run to run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.graph.values import Namer, values_by_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Outcome of :func:`probed`.

    Attributes:
        model: serialised.
        deltas: by tensor the name of the input that is added to it; every run has to feed all of them, a
            scalar 0 where nothing is to be added.
    """

    model: bytes
    deltas: Mapping[str, str]


def probed(network: Network, weights: Sequence[str], tensors: Mapping[str, Collection[str]]) -> Probed:
    """Make ``weights`` optional inputs of the normalised network, and add one input for each tensor.

    Args:
        network: not changed.
        weights: names of initializers; a run that does not feed them uses their own values.
        tensors: names of float activations, graph inputs included, with the names of the nodes that are to
            read the disturbed tensor; none for all nodes.

    Raises:
        KeyError: a name that the graph does not have.
    """
    copy = network.model.clone()
    graph, values, namer = copy.graph, values_by_name(copy), Namer(copy)
    for name in dict.fromkeys(weights):
        graph.inputs.append(values[name])
    deltas: dict[str, str] = {}
    for name, chosen in tensors.items():
        value = values[name]
        delta = ir.val(f"{name}/delta", type=ir.TensorType(ir.DataType.FLOAT))
        readers = [usage for usage in value.uses() if not chosen or usage.node.name in chosen]
        node = namer.node("Add", [value, delta], base=f"{name}/disturbed", like=value)
        producer = value.producer()
        if producer is None:
            graph.insert_before(graph[0], node)
        else:
            graph.insert_after(producer, node)
        for usage in readers:
            usage.node.replace_input_with(usage.idx, node.outputs[0])
        if not chosen:
            graph.outputs[:] = [node.outputs[0] if out is value else out for out in graph.outputs]
        graph.inputs.append(delta)
        deltas[name] = delta.name or ""
    return Probed(model=to_bytes(copy), deltas=deltas)
