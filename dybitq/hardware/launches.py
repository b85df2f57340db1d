"""Launches of a workload: the operators fused into each, and all extents as arrays.

A launch is one product with the elementwise and pooling operators that run on its output tiles ("riders"),
or one vector operator with those after it. Everything downstream works on arrays over launches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dybitq.records.workload import ConvWork, OpWork, Workload
from dybitq.schema.machine import Fusion

POOLING = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Launches:
    """Launches as arrays ``[L]`` (int64 unless said otherwise).

    Attributes:
        heads: operator of each launch; ``riders``: operators fused into it.
        is_gemm: bool.
        groups, m, k, n: products; 1 for a vector launch, so that no formula divides by zero.
        batch, out_h, out_w: ``m`` is their product (a plain product has ``out_h = m``).
        in_h, in_w: input extents in the same sense.
        channels: input channels of one group; ``taps``: kernel positions (``k = channels * taps``).
        kernel_h, kernel_w, stride_h, stride_w, span_h, span_w: window and its dilated extent.
        used_h, used_w: input rows and columns that at least one window touches.
        input, weight, output: tensor indices (weight is -1 for vector launches).
        extras: indices of further activations read by riders.
        out_elements: elements written by the launch (after pooling).
        vector_ops: elementary operations of the vector unit.
    """

    heads: tuple[int, ...]
    riders: tuple[tuple[int, ...], ...]
    is_gemm: np.ndarray
    groups: np.ndarray
    m: np.ndarray
    k: np.ndarray
    n: np.ndarray
    batch: np.ndarray
    out_h: np.ndarray
    out_w: np.ndarray
    in_h: np.ndarray
    in_w: np.ndarray
    channels: np.ndarray
    taps: np.ndarray
    kernel_h: np.ndarray
    kernel_w: np.ndarray
    stride_h: np.ndarray
    stride_w: np.ndarray
    span_h: np.ndarray
    span_w: np.ndarray
    used_h: np.ndarray
    used_w: np.ndarray
    input: np.ndarray
    weight: np.ndarray
    output: np.ndarray
    extras: tuple[tuple[int, ...], ...]
    out_elements: np.ndarray
    vector_ops: np.ndarray

    @property
    def macs(self) -> np.ndarray:
        """Multiply-accumulates of each launch, 0 for vector launches."""
        return self.groups * self.m * self.k * self.n * self.is_gemm


@lru_cache(maxsize=4096)
def touched(extent: int, outputs: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Count the input positions, of ``extent``, that at least one window reads; padding does not count."""
    starts = np.arange(outputs)[:, None] * stride - pad
    positions = np.unique(starts + np.arange(kernel)[None, :] * dilation)
    return max(1, int(((positions >= 0) & (positions < extent)).sum()))


def _geometry(op: OpWork) -> tuple[int, ...]:
    conv = op.conv
    if conv is None:
        m = max(op.m, 1)
        return (1, m, 1, m, 1, max(op.k, 1), 1, 1, 1, 1, 1, 1, 1, m, 1)
    return _conv_geometry(conv)


@lru_cache(maxsize=4096)
def _conv_geometry(conv: ConvWork) -> tuple[int, ...]:
    span_h = (conv.kernel_h - 1) * conv.dilation_h + 1
    span_w = (conv.kernel_w - 1) * conv.dilation_w + 1
    return (
        conv.batch,
        conv.out_h,
        conv.out_w,
        conv.in_h,
        conv.in_w,
        conv.in_c // conv.group,
        conv.kernel_h * conv.kernel_w,
        conv.kernel_h,
        conv.kernel_w,
        conv.stride_h,
        conv.stride_w,
        span_h,
        span_w,
        touched(conv.in_h, conv.out_h, conv.kernel_h, conv.stride_h, conv.dilation_h, conv.pad_top),
        touched(conv.in_w, conv.out_w, conv.kernel_w, conv.stride_w, conv.dilation_w, conv.pad_left),
    )


def _fusible(op: OpWork, fusion: Fusion, streams: int) -> bool:
    """Tell if the machine lets ``op``, which reads ``streams`` activations, ride on its producer."""
    if op.op_type in POOLING:
        return fusion.pooling
    return op.in_place and (fusion.residual if streams > 1 else fusion.elementwise)


def fuse(workload: Workload, fusion: Fusion) -> list[list[int]]:
    """Group operators into launches, heads first.

    An operator rides on the last launch that writes one of its inputs, if every other activation it reads
    was written before that launch (it is streamed in beside the tiles). A launch hands on one tensor, that
    of its last operator; a group that would hand on more is cut, and the rest launched by itself.
    """
    launches: list[list[int]] = []
    written: dict[int, int] = {}
    for number, op in enumerate(workload.ops):
        home = _home(workload, fusion, op, written)
        if op.view:
            written[op.output] = max((written.get(index, -1) for index in op.inputs), default=-1)
            continue
        if home is None:
            home = len(launches)
            launches.append([])
        launches[home].append(number)
        written[op.output] = home
    readers: dict[int, set[int]] = {index: {-1} for index in workload.outputs}
    for number, op in enumerate(workload.ops):
        for index in op.inputs:
            readers.setdefault(index, set()).add(number)
    return [part for launch in launches for part in _cut(workload, launch, readers)]


def _home(workload: Workload, fusion: Fusion, op: OpWork, written: dict[int, int]) -> int | None:
    """Find the launch that ``op`` may ride on, if any."""
    streams = [index for index in set(op.inputs) if not workload.tensors[index].constant]
    places = [written.get(index, -1) for index in streams]
    home = max(places, default=-1)
    if op.view or op.macs or home < 0 or not _fusible(op, fusion, len(streams)):
        return None
    carried = max(workload.tensors[i].elements for i in streams if written.get(i, -1) == home)
    # An operator that enlarges its input (a gate spread over a feature map) does not fit the input's tiles.
    return home if workload.tensors[op.output].elements <= carried else None


def _cut(workload: Workload, launch: list[int], readers: dict[int, set[int]]) -> list[list[int]]:
    """Split a launch so that every part hands on only the tensor of its last operator."""
    parts = []
    while launch:
        end = 1
        for size in range(2, len(launch) + 1):
            members = set(launch[:size])
            leaving = [
                number for number in members if readers.get(workload.ops[number].output, set()) - members
            ]
            if all(number == launch[size - 1] for number in leaving):
                end = size
        parts.append(launch[:end])
        launch = launch[end:]
    return parts


def build(workload: Workload, fusion: Fusion) -> Launches:
    """Fuse operators and lay all extents out as arrays."""
    launches = fuse(workload, fusion)
    ops, tensors = workload.ops, workload.tensors
    heads = [ops[launch[0]] for launch in launches]
    columns = np.array([_geometry(op) for op in heads], dtype=np.int64).reshape(len(heads), 15).T
    extras = []
    for launch in launches:
        written = {ops[number].output for number in launch}
        head_inputs = ops[launch[0]].inputs[:2] if ops[launch[0]].macs else ops[launch[0]].inputs[:1]
        streamed: list[int] = []
        for number in launch:
            skip = head_inputs if number == launch[0] else ()
            streamed += [
                i for i in ops[number].inputs if i not in written and i not in skip and i not in streamed
            ]
        extras.append(tuple(streamed))

    def array(values: Sequence[int]) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    names = (
        "batch", "out_h", "out_w", "in_h", "in_w", "channels", "taps", "kernel_h", "kernel_w",
        "stride_h", "stride_w", "span_h", "span_w", "used_h", "used_w",
    )  # fmt: skip
    outputs = [ops[launch[-1]].output for launch in launches]
    return Launches(
        heads=tuple(launch[0] for launch in launches),
        riders=tuple(tuple(launch[1:]) for launch in launches),
        is_gemm=np.array([op.macs > 0 for op in heads], dtype=bool),
        groups=array([max(op.groups, 1) for op in heads]),
        m=array([max(op.m, 1) for op in heads]),
        k=array([max(op.k, 1) for op in heads]),
        n=array([max(op.n, 1) for op in heads]),
        input=array([op.inputs[0] if op.inputs else -1 for op in heads]),
        weight=array([op.inputs[1] if op.macs else -1 for op in heads]),
        output=array(outputs),
        extras=tuple(extras),
        out_elements=array([tensors[index].elements for index in outputs]),
        vector_ops=array([sum(ops[number].vector_ops for number in launch) for launch in launches]),
        **dict(zip(names, columns)),
    )
