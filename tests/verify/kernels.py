"""Single kernels of the runtime with chosen accumulators: the bias of a convolution with zero weights."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.emission import emit_integer
from dybitq.encodings import formats
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, TieRounding
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import (
    Convolution,
    Dequantize,
    Operation,
    Program,
    Quantize,
    Requantize,
    Weight,
)
from tests.emit.toolkit import run

POINT = Window(kernel=(1, 1), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=1)
FLAVOURS = (INTEGER_FAST, INTEGER_EXPLICIT)


def round_fraction(value: Fraction, rounding: TieRounding) -> int:
    """The definition of both rules, in exact rational arithmetic."""
    below = value.numerator // value.denominator
    rest = value - below
    if rest == Fraction(1, 2):
        return below + (1 if rounding is TieRounding.HALF_UP else below % 2)
    return below + (rest > Fraction(1, 2))


def requantized(acc: int, b: int, c: int, zero: int, rounding: TieRounding) -> int:
    """What hardware has to compute from one accumulator."""
    return min(255, max(0, round_fraction(Fraction(acc * b, 2**c), rounding) + zero))


def emit(operations: Sequence[Operation], arithmetic: str, channels: int = 1, inputs: str = "x") -> bytes:
    """A model that quantizes its inputs with scale 1, runs ``operations`` and hands out the codes ``y_q``."""
    names = list(inputs)
    values = [
        ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", channels, "H", "W"])) for name in names
    ]
    out = ir.val("y", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", "A", "B", "C"]))
    graph = ir.Graph(values, [out], nodes=[], opset_imports={"": 17}, name="kernel")
    network = Network(model=ir.Model(graph, ir_version=8), source=Path("model.onnx"), sha256="", notes=())
    ins = [Quantize(name=f"{n}/quantize", input=n, output=f"{n}_q", scale=1.0, zero_point=0) for n in names]
    end = Dequantize(name="y/dequantize", input="y_q", output="y", scale=np.ones(1, np.float32), zero_point=0)
    program = Program(operations=(*ins, *operations, end))
    return to_bytes(emit_integer(network, program, arithmetic))


def run_accumulators(
    acc: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    *,
    zero: int = 0,
    rounding: TieRounding = TieRounding.HALF_EVEN,
    arithmetic: str = INTEGER_FAST,
) -> np.ndarray:
    """Codes that the runtime makes of accumulators ``[channels]``, each with its own b and c."""
    count = len(acc)
    operation = Convolution(
        name="kernel",
        input="x_q",
        output="y_q",
        input_zero=0,
        weight=Weight(format=formats.get("int8"), codes=np.zeros((count, 1, 1, 1), np.uint8)),
        bias=acc.astype(np.int64),
        window=POINT,
        requantize=Requantize(
            multiplier=b.astype(np.int64), shift=c.astype(np.int64), zero_point=zero, rounding=rounding
        ),
    )
    model = emit([operation], arithmetic)
    (codes,) = run(model, {"x": np.zeros((1, 1, 1, 1), np.float32)}).values()
    return codes.reshape(-1).astype(np.int64)
