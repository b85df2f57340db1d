"""A model and its float32 reference: their common inputs, and the tensors that correspond."""

from collections.abc import Sequence
from dataclasses import dataclass

from dybitq.errors import ConfigError
from dybitq.graph import keys
from dybitq.graph.export import float_tensors, with_outputs
from dybitq.graph.load import Network, load
from dybitq.graph.passes.notes import quantizing_operators
from dybitq.graph.read import read
from dybitq.graph.stored.coded import Counterpart, counterparts
from dybitq.records.layers import TensorInfo
from dybitq.records.models import ModelSource
from dybitq.runtime.session import Session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A model and its reference, ready to run.

    Attributes:
        outputs: pairs of their own outputs, model and reference.
        edges: activations that are codes in the model and floats in the reference; None if not wanted.
        rescaled: activations left out of ``edges``, as their channels have other factors in the reference.
    """

    model: Session
    reference: Session | None
    outputs: tuple[tuple[str, str], ...]
    edges: tuple[Counterpart, ...] | None
    rescaled: tuple[str, ...] = ()


def open_pair(
    model: ModelSource, reference: ModelSource | None, *, per_layer: bool, threads: int | None
) -> Pair:
    """Open both models; with ``per_layer`` they also return the quantized activations.

    Raises:
        ModelError: a file is no model, or onnxruntime cannot run it.
        ConfigError: the two do not have the same number of outputs.
    """
    if not per_layer or reference is None:
        tested = Session(model, threads)
        wanted = Session(reference, threads) if reference is not None else None
        return Pair(model=tested, reference=wanted, outputs=_pair_outputs(tested, wanted), edges=None)
    plain = Session(model, threads), Session(reference, threads)
    outputs = _pair_outputs(*plain)
    original = load(reference)
    if quantizing_operators(original.model):
        raise ConfigError(
            f"{reference}: this model is quantized itself; --per-layer compares with the float32 network: "
            "name that with --reference"
        )
    stored, sha256 = read(model)
    names = frozenset(float_tensors(original.model))
    rescaled = stored.metadata_props.get(keys.RESCALED, "").split("\n")
    matches = counterparts(stored, names)
    edges = [edge for edge in matches if edge.tensor not in rescaled]
    network = Network(model=stored, source=model, sha256=sha256, notes=())
    tested = Session(
        with_outputs(network, [name for e in edges for name in e.outputs]), threads, name=str(model)
    )
    wanted = Session(with_outputs(original, [e.tensor for e in edges]), threads, name=str(reference))
    given = {info.name for info in (*tested.outputs, *tested.inputs)}
    return Pair(
        model=tested,
        reference=wanted,
        outputs=outputs,
        edges=tuple(e for e in edges if set(e.outputs) <= given),
        rescaled=(
            *(edge.tensor for edge in matches if edge.tensor in rescaled),
            *(name for name in rescaled if name and name not in names),  # made by smoothing
        ),
    )


def _pair_outputs(model: Session, reference: Session | None) -> tuple[tuple[str, str], ...]:
    """Pair the outputs of the two by name, or in order where the names differ.

    Raises:
        ConfigError: they do not have the same number of outputs.
    """
    names = [o.name for o in model.outputs]
    if reference is None:
        return tuple((name, name) for name in names)
    others = [o.name for o in reference.outputs]
    if set(names) == set(others):
        return tuple((name, name) for name in names)
    if len(names) != len(others):
        raise ConfigError(
            f"{model.name} has the outputs {', '.join(names)}, {reference.name} has {', '.join(others)}; "
            "they are not the same network"
        )
    return tuple(zip(names, others))


def common_inputs(pair: Pair) -> tuple[TensorInfo, ...]:
    """Return inputs that suit both: an extent is fixed where either of them fixes it.

    Raises:
        ConfigError: names, types or fixed extents differ.
    """
    if pair.reference is None:
        return pair.model.inputs
    others = {i.name: i for i in pair.reference.inputs}
    if set(others) != {i.name for i in pair.model.inputs}:
        raise ConfigError(
            f"{pair.model.name} takes {_names(pair.model.inputs)}, {pair.reference.name} takes "
            f"{_names(pair.reference.inputs)}; they are not the same network"
        )
    return tuple(_common(info, others[info.name], pair) for info in pair.model.inputs)


def _common(a: TensorInfo, b: TensorInfo, pair: Pair) -> TensorInfo:
    agree = len(a.shape) == len(b.shape) and a.dtype == b.dtype
    agree = agree and all(m is None or n is None or m == n for m, n in zip(a.shape, b.shape))
    if not agree:
        raise ConfigError(
            f"input {a.name!r} is {a.dtype} {_extents(a)} in {pair.model.name} and {b.dtype} {_extents(b)} "
            "in the reference; they are not the same network"
        )
    shape = tuple(n if m is None else m for m, n in zip(a.shape, b.shape))
    return TensorInfo(name=a.name, shape=shape, dtype=a.dtype)


def _names(inputs: Sequence[TensorInfo]) -> str:
    return ", ".join(i.name for i in inputs) or "no inputs"


def _extents(info: TensorInfo) -> str:
    return "[" + ", ".join("any" if e is None else str(e) for e in info.shape) + "]"
