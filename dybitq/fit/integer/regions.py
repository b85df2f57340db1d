"""AveragePool that leaves its padding out: one average for every region, put together again."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.factors import requantize
from dybitq.fit.integer.layers import whole_numbers
from dybitq.graph.steps.records import Step
from dybitq.graph.steps.regions import Segment
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Convolution, Move, Operation


def region_means(assembly: Assembly, step: Step) -> list[Operation]:
    """Every region is cut out and averaged without padding; then rows and columns are joined.

    The regions' sizes differ by more than powers of two, so that their reciprocals are dyadic numbers with
    any options.
    """
    output = assembly.codes(step.outputs[0])
    assembly.relative[step.outputs[0]] = 0.0
    operations: list[Operation] = []
    single = all(len(segments) == 1 for segments in step.segments)
    names: dict[tuple[int, ...], str] = {}
    for place in product(*(range(len(segments)) for segments in step.segments)):
        parts = tuple(segments[index] for segments, index in zip(step.segments, place, strict=True))
        label = "_".join(map(str, place))
        names[place] = output if single else f"{output}_{label}"
        operations += _region(assembly, step, parts, names[place], label)
    for axis in reversed(range(len(step.segments))):
        names, joins = _joined(step, output, names, axis)
        operations += joins
    return operations


def _joined(
    step: Step, output: str, names: Mapping[tuple[int, ...], str], axis: int
) -> tuple[dict[tuple[int, ...], str], list[Operation]]:
    """Join along one spatial axis what agrees in its place along the axes before it."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for place, name in names.items():
        groups.setdefault(place[:axis], []).append(name)
    whole = all(len(segments) == 1 for segments in step.segments[:axis])
    found: dict[tuple[int, ...], str] = {}
    joins: list[Operation] = []
    for place, members in groups.items():
        if len(members) == 1:
            found[place] = members[0]
            continue
        label = "_".join(map(str, place))
        found[place] = output if whole else f"{output}_{label}_joined"
        joins.append(
            Move(
                name=f"{step.name}/join_{label}",
                op_type="Concat",
                operands=tuple(members),
                outputs=(found[place],),
                attributes={"axis": axis + 2},
            )
        )
    return found, joins


def _region(
    assembly: Assembly, step: Step, parts: tuple[Segment, ...], name: str, label: str
) -> list[Operation]:
    source, target_edge = assembly.input_edge(step), assembly.output_edge(step)
    kernel = tuple(part.taps for part in parts)
    factor = source.scale / (target_edge.scale * prod(kernel))
    options = replace(assembly.options, scales="free")
    target, relative = requantize(f"AveragePool {step.name}", factor, target_edge, options)
    assembly.relative[step.outputs[0]] = max(assembly.relative[step.outputs[0]], relative)
    ends = [np.array(values, np.int64) for values in ([p.first for p in parts], [p.end for p in parts])]
    axes = np.arange(2, 2 + len(parts), dtype=np.int64)
    return [
        Move(
            name=f"{step.name}/cut_{label}",
            op_type="Slice",
            operands=(assembly.codes(step.inputs[0]), *ends, axes),
            outputs=(f"{name}_cut",),
        ),
        Convolution(
            name=f"{step.name}/{label}",
            input=f"{name}_cut",
            output=name,
            input_zero=source.zero_point,
            weight=whole_numbers(np.ones((step.channels, 1, *kernel), np.int64)),
            bias=None,
            window=Window(
                kernel=kernel,
                strides=tuple(part.stride for part in parts),
                dilations=tuple(part.dilation for part in parts),
                pads=(0,) * 2 * len(parts),
                group=step.channels,
            ),
            requantize=target,
        ),
    ]
