"""The whole road on a small model: calibrate, plan, fit, emit; and what the result has to compute.

:func:`emulation` builds the yardstick without any of the code under test: the float model with its weights
replaced by ``integers * scale`` and every coded tensor rounded to its grid by plain float operators, run
without graph optimisation.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from dybitq.calibration.run import CalibrationSettings as Pass
from dybitq.calibration.run import collect, model_inputs
from dybitq.data.source import DataSource, Opened, Sample
from dybitq.emit.emit import emit
from dybitq.emit.target import check_target, target_of
from dybitq.fit.auto import resolve_auto
from dybitq.fit.fit import fit
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network, load
from dybitq.graph.operators import Role, activation_inputs, role
from dybitq.graph.survey import survey
from dybitq.plan.check import check_plan
from dybitq.plan.recipe import DEFAULTS, Recipe, Rule, make_plan
from dybitq.records.fitted import Fitted, FittedEdge, FittedWeight
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, Plan
from dybitq.records.statistics import Statistics

Feeds = Mapping[str, np.ndarray]
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}
_EXTENTS = {"N": 3, "S": 5, "H": 9, "W": 8}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A model on its way from float to quantized."""

    network: Network
    layers: Mapping[str, LayerWork]
    statistics: Statistics
    plan: Plan
    fitted: Fitted
    model: bytes
    feeds: Feeds

    @property
    def ops(self) -> collections.Counter[str]:
        """Operators of the graph that onnxruntime really runs."""
        return collections.Counter(n.op_type for n in optimized(self.model).graph.node)

    @property
    def edges(self) -> list[str]:
        """Coded tensors with an encoding of their own."""
        return [edge.tensor for edge in self.plan.edges]


def session(model: bytes, *, optimize: bool = True, save: Path | None = None) -> onnxruntime.InferenceSession:
    """A session at default settings, or without any graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if save is not None:
        options.optimized_model_filepath = str(save)
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes, feeds: Feeds, *, optimize: bool = True) -> dict[str, np.ndarray]:
    """All outputs by name."""
    made = session(model, optimize=optimize)
    names = [o.name for o in made.get_outputs()]
    return dict(zip(names, made.run(names, dict(feeds)), strict=True))


def optimized(model: bytes) -> onnx.ModelProto:
    """The graph that onnxruntime makes of a model at default settings."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        session(model, save=path)
        return onnx.load(path)


def random_feeds(model: bytes, seed: int = 0, *, extents: Mapping[str, int] | None = None) -> Feeds:
    """Random inputs: normal floats, small non-negative integers."""
    rng = np.random.default_rng(seed)
    sizes = {**_EXTENTS, **(extents or {})}
    feeds = {}
    for entry in session(model, optimize=False).get_inputs():
        shape = [d if isinstance(d, int) else sizes.get(d, 4) for d in entry.shape]
        kind = _TYPES[entry.type]
        floats = np.issubdtype(kind, np.floating)
        values = rng.standard_normal(shape) if floats else rng.integers(0, 2, shape)
        feeds[entry.name] = np.asarray(values).astype(kind)
    return feeds


def source(network: Network, batches: Sequence[Feeds]) -> DataSource:
    """Whole batches as calibration data."""

    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        for number, feeds in enumerate(batches):
            yield Sample(values=feeds, name=f"batch {number}")

    inputs = model_inputs(network)
    opened = Opened(count=None, labelled=False, inputs=tuple(i.name for i in inputs), read=read, batches=True)
    return DataSource(
        opened=opened,
        inputs=inputs,
        batch_size=1,
        fixed_batch=False,
        limit=None,
        task=None,
        label_offset=0,
        where="test",
    )


def make(
    proto: onnx.ModelProto | Path,
    tmp_path: Path,
    *,
    batches: Sequence[Feeds] | None = None,
    rules: tuple[Rule, ...] = (),
    first_last: str | None = None,
    bias_correction: bool = True,
    extents: Mapping[str, int] | None = None,
    change: Mapping[str, object] | None = None,
    **settings: str,
) -> Made:
    """Take a model down the whole road.

    Args:
        proto: the float model, or its file.
        tmp_path: where to save it.
        batches: calibration data; random inputs by default. The first batch is kept in ``feeds``.
        rules, first_last, bias_correction, settings: of the recipe.
        extents: of dynamic dimensions, for random inputs.
        change: fields of the plan to replace.
    """
    path = proto if isinstance(proto, Path) else tmp_path / "float.onnx"
    if not isinstance(proto, Path):
        onnx.save(proto, path)
    network = load(path)
    data = list(batches or [])
    if not data:
        data = [random_feeds(to_bytes(network.model), seed, extents=extents) for seed in range(3)]
    layers = survey(network)
    statistics = collect(network, layers, source(network, data), Pass(workers=1))
    recipe = Recipe(
        defaults=replace(DEFAULTS, **settings),
        rules=rules,
        first_last=first_last,
        bias_correction=bias_correction,
    )
    by_name = {layer.name: layer for layer in layers}
    plan = replace(make_plan(network, layers, recipe), **(change or {}))
    check_plan(network, by_name, plan)
    check_target(plan, by_name)
    plan = resolve_auto(network, by_name, plan, statistics, target_of(plan).carries)
    fitted = fit(network, by_name, plan, statistics)
    emitted = emit(network, by_name, plan, fitted)
    model = to_bytes(emitted)
    onnx.checker.check_model(model, full_check=True)
    return Made(
        network=network,
        layers=by_name,
        statistics=statistics,
        plan=plan,
        fitted=fitted,
        model=model,
        feeds=data[0],
    )


def weight_of(fitted: FittedWeight) -> np.ndarray:
    """The float weight that a fitted one stands for."""
    shape = [1] * fitted.codes.ndim
    if fitted.axis is not None:
        shape[fitted.axis] = -1
    integers = fitted.format.table[fitted.codes].astype(np.float32)
    return (integers * fitted.scale.reshape(shape)).astype(np.float32)


def emulation(made: Made) -> bytes:
    """The float model with rounded weights and rounded activations, in plain operators."""
    proto = onnx.load_model_from_string(to_bytes(made.network.model))
    rewriter = _Rewriter(proto, made)
    for plan in made.plan.layers:
        fitted = made.fitted.weights.get(plan.layer)
        if fitted is not None:
            rewriter.weights(made.layers[plan.layer], fitted)
            if plan.activations is ActivationMode.DYNAMIC and fitted.format.fits_int8:
                rewriter.dynamic(made.layers[plan.layer])
    carries = coded(made)
    for node in made.network.model.graph:
        named = {value.name for value in (*activation_inputs(node), *node.outputs)}
        if role(node, made.layers) is Role.FUSED and named <= carries.keys():
            rewriter.operands(str(node.name), pow2=all(edge.range == "pow2" for edge in made.plan.edges))
    for name, root in carries.items():
        rewriter.round(name, made.fitted.edges[root])
    return rewriter.bytes()


def coded(made: Made) -> Mapping[str, str]:
    """Every coded tensor to the one whose encoding it carries."""
    graph = made.network.model.graph
    carries = {v.name: v.name for v in graph.inputs if v.name in made.fitted.edges}
    for node in graph:
        source = node.inputs[0].name if node.inputs and node.inputs[0] is not None else None
        moved = source in carries and role(node, made.layers) in (Role.CODES, Role.CLAMP)
        for value in node.outputs:
            if moved:
                carries[value.name] = carries[source]
            elif value.name in made.fitted.edges:
                carries[value.name] = value.name
    return carries


class _Rewriter:
    """Changes to a float model: nodes put before or behind others, found by name."""

    def __init__(self, proto: onnx.ModelProto, made: Made) -> None:
        self.proto = proto
        self.nodes = {node.name: node for node in proto.graph.node}
        self.behind: dict[str, list[onnx.NodeProto]] = {}
        self.inputs = {value.name for value in proto.graph.input}
        self.outputs = {value.name for value in proto.graph.output}

    def constant(self, name: str, array: np.ndarray) -> str:
        self.proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, layer: LayerWork, fitted: FittedWeight) -> None:
        """Give a layer its rounded weights and its bias."""
        node = self.nodes[layer.name]
        node.input[layer.geometry.weight_input] = self.constant(f"{layer.name}__w", weight_of(fitted))
        if fitted.bias is None:
            return
        bias = fitted.bias if layer.geometry.takes_bias else layer.geometry.along_output(fitted.bias)
        name = self.constant(f"{layer.name}__b", bias)
        if layer.op_type in ("Conv", "ConvTranspose", "Gemm"):
            del node.input[2:]
            node.input.append(name)
        elif layer.bias_node is not None:
            add = self.nodes[layer.bias_node]
            add.input[1 if add.input[0] == layer.output else 0] = name
        else:
            node.output[0] = f"{layer.output}__raw_product"
            added = helper.make_node("Add", [node.output[0], name], [layer.output])
            self.behind.setdefault(node.output[0], []).append(added)

    def dynamic(self, layer: LayerWork) -> None:
        """Code the input of a layer with the range of the run."""
        node = self.nodes[layer.name]
        names = [f"{layer.name}__{part}" for part in "qsz"]
        self.behind.setdefault(layer.input, []).extend(
            [
                helper.make_node("DynamicQuantizeLinear", [layer.input], names),
                helper.make_node("DequantizeLinear", names, [f"{layer.name}__x"]),
            ]
        )
        node.input[0] = f"{layer.name}__x"

    def operands(self, name: str, *, pow2: bool) -> None:
        """Round the constant operands of a node to 8 bits, each over its own range with zero."""
        node = self.nodes[name]
        stored = {entry.name: numpy_helper.to_array(entry) for entry in self.proto.graph.initializer}
        for index, used in enumerate(node.input):
            array = stored.get(used)
            if array is None or array.dtype != np.float32:
                continue
            low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
            step = (high - low) / 255 or 1.0
            if pow2:
                step = 2.0 ** np.ceil(np.log2(step))
            zero = round(-low / step)
            codes = np.clip(np.rint(array / np.float32(step)) + zero, 0, 255)
            rounded = ((codes - zero) * step).astype(np.float32)
            node.input[index] = self.constant(f"{name}__operand{index}", rounded)

    def round(self, name: str, edge: FittedEdge) -> None:
        """Round one tensor to its grid, for all its readers and as an output."""
        numbers = {
            key: self.constant(f"{name}__{key}", np.float32(value))
            for key, value in {
                "scale": edge.scale,
                "zero": edge.zero_point,
                "low": edge.low,
                "high": edge.high,
            }.items()
        }
        raw, result = f"{name}__raw", name
        if name in self.inputs:
            raw, result = name, f"{name}__rounded"
            self._rename_readers(self.proto.graph, name, result)
        else:
            for node in self.proto.graph.node:
                node.output[:] = [raw if output == name else output for output in node.output]
            for chain in self.behind.values():
                for node in chain:
                    node.output[:] = [raw if output == name else output for output in node.output]
        steps = [f"{name}__{i}" for i in range(5)]
        chain = [
            helper.make_node("Div", [raw, numbers["scale"]], [steps[0]]),
            helper.make_node("Round", [steps[0]], [steps[1]]),
            helper.make_node("Add", [steps[1], numbers["zero"]], [steps[2]]),
            helper.make_node("Clip", [steps[2], numbers["low"], numbers["high"]], [steps[3]]),
            helper.make_node("Sub", [steps[3], numbers["zero"]], [steps[4]]),
            helper.make_node("Mul", [steps[4], numbers["scale"]], [result]),
        ]
        self.behind[raw] = (
            [*chain, *self.behind.pop(name, [])]
            if raw != name
            else [
                *chain,
                *self.behind.get(name, []),
            ]
        )

    def _rename_readers(self, graph: onnx.GraphProto, old: str, new: str) -> None:
        for node in graph.node:
            node.input[:] = [new if used == old else used for used in node.input]
        for chain in self.behind.values():
            for node in chain:
                node.input[:] = [new if used == old else used for used in node.input]

    def bytes(self) -> bytes:
        """The model with everything in its place."""
        ordered: list[onnx.NodeProto] = []

        def follow(name: str) -> None:
            for node in self.behind.pop(name, []):
                ordered.append(node)
                for output in node.output:
                    follow(output)

        for name in sorted(self.inputs):
            follow(name)
        for node in self.proto.graph.node:
            ordered.append(node)
            for output in node.output:
                follow(output)
        assert not self.behind, self.behind
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(ordered)
        return self.proto.SerializeToString()


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise of ``found`` in dB."""
    noise = float(np.sum((wanted.astype(np.float64) - found) ** 2))
    return (
        float("inf") if noise == 0 else 10 * np.log10(float(np.sum(wanted.astype(np.float64) ** 2)) / noise)
    )


def largest_difference(made: Made, share: float = 1.0) -> float:
    """Largest difference between the emitted model and its emulation over all outputs.

    In steps of the output's encoding; in 1/255 of its largest magnitude where it has none. With a smaller
    ``share``, of that share of each output's values.
    """
    wanted, found = run(emulation(made), made.feeds, optimize=False), run(made.model, made.feeds)
    carries, worst = coded(made), 0.0
    for name, value in wanted.items():
        assert value.shape == found[name].shape
        assert value.dtype == found[name].dtype
        if value.dtype != np.float32:
            np.testing.assert_array_equal(value, found[name])
            continue
        step = float(np.abs(value).max()) / 255
        if name in carries:
            step = made.fitted.edges[carries[name]].scale
        difference = float(np.quantile(np.abs(value - found[name]), share))
        worst = max(worst, difference / max(step, 1e-30))
    return worst


def against_float(made: Made) -> float:
    """Least SQNR of a float output against the float model, dB."""
    wanted, found = run(to_bytes(made.network.model), made.feeds, optimize=False), run(made.model, made.feeds)
    return min(sqnr_db(v, found[n]) for n, v in wanted.items() if v.dtype == np.float32)
