"""SCALE-Sim topology files (convolution and M,N,K forms) as workloads, by that tool's own rules.

Source: ``topology_utils`` of SCALE-Sim 3.0.0. Output sizes are ``ceil((in - filter + stride) / stride)``
without padding, a convolution layer whose name contains ``DP`` is expanded into one single-channel layer
per channel, and there is no batch. Where that tool crashes (a row without its trailing comma, an empty
line under the header) or silently drops a layer (a file without header), dybitq reads the layer.
"""

import re
from pathlib import Path

from dybitq.errors import ModelError
from dybitq.records.workload import ConvWork, OpWork, TensorWork, Workload

_CONV_FIELDS = (
    "IFMAP height",
    "IFMAP width",
    "filter height",
    "filter width",
    "channels",
    "filters",
    "stride",
)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Numbered rows with their trailing empty fields removed; remarks and empty lines left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not a text file; expected a SCALE-Sim topology") from error
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = [field.strip() for field in line.split(",")]
        while fields and not fields[-1]:
            fields.pop()
        if fields and not fields[0].startswith("#"):
            rows.append((number, fields))
    return rows


def _is_header(fields: list[str]) -> bool:
    return not any(re.fullmatch(r"[+-]?\d+", field) for field in fields[1:])


def _integers(path: Path, number: int, fields: list[str], names: tuple[str, ...]) -> list[int]:
    if len(fields) < len(names) + 1:
        raise ModelError(
            f"{path}, line {number}: expected a layer name and {len(names)} numbers ({', '.join(names)}), "
            f"found {len(fields) - 1} fields after the name"
        )
    values = []
    for name, text in zip(names, fields[1:], strict=False):
        if not re.fullmatch(r"\+?\d+", text) or int(text) == 0:
            raise ModelError(f"{path}, line {number}: {name} must be a positive integer, found {text!r}")
        values.append(int(text))
    return values


def _sparsity_note(path: Path, number: int, fields: list[str]) -> str | None:
    ratios = [field for field in fields if re.fullmatch(r"\d+\s*:\s*\d+", field)]
    for ratio in ratios:
        part, whole = (int(number_text) for number_text in ratio.split(":"))
        if part != whole:
            return f"line {number}: {part}:{whole} sparsity is priced as dense"
    return None


class _Builder:
    """Collects tensors and operators of a chain-free layer list."""

    def __init__(self) -> None:
        self.tensors: list[TensorWork] = []
        self.ops: list[OpWork] = []

    def add(
        self, name: str, op_type: str, mkn: tuple[int, int, int], inputs: int, conv: ConvWork | None
    ) -> None:
        m, k, n = mkn
        first = len(self.tensors)
        self.tensors += [
            TensorWork(name=f"{name}.input", elements=inputs, bits=8),
            TensorWork(name=f"{name}.weight", elements=k * n, bits=8, constant=True),
            TensorWork(name=f"{name}.output", elements=m * n, bits=8),
        ]
        op = OpWork(
            name=name,
            op_type=op_type,
            groups=1,
            m=m,
            k=k,
            n=n,
            conv=conv,
            inputs=(first, first + 1),
            output=first + 2,
        )
        self.ops.append(op)


def _add_conv(builder: _Builder, path: Path, number: int, fields: list[str]) -> None:
    ih, iw, fh, fw, channels, filters, stride = _integers(path, number, fields, _CONV_FIELDS)
    stride_w = int(fields[8]) if len(fields) > 8 and re.fullmatch(r"[1-9]\d*", fields[8]) else stride
    if fh > ih or fw > iw:
        raise ModelError(
            f"{path}, line {number}: layer {fields[0]!r} has a {fh}x{fw} filter on a {ih}x{iw} input; "
            "the filter may not be larger (pad the input sizes in the file)"
        )
    oh, ow = -(-(ih - fh + stride) // stride), -(-(iw - fw + stride_w) // stride_w)
    expand = "DP" in fields[0]
    names = [f"{fields[0]}Channel_{index}" for index in range(channels)] if expand else [fields[0]]
    for name in names:
        depth = 1 if expand else channels
        conv = ConvWork(
            batch=1,
            in_h=ih,
            in_w=iw,
            in_c=depth,
            out_h=oh,
            out_w=ow,
            out_c=filters,
            kernel_h=fh,
            kernel_w=fw,
            stride_h=stride,
            stride_w=stride_w,
        )
        builder.add(name, "Conv", (oh * ow, fh * fw * depth, filters), ih * iw * depth, conv)


def read_topology(path: Path) -> Workload:
    """Read a topology file of either form; the number of fields tells them apart.

    Raises:
        ModelError: the file cannot be read, has no layer, or a row is malformed (file and line are named).
    """
    rows = _rows(path)
    if rows and _is_header(rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise ModelError(f"{path}: no layers; expected rows of NAME,H,W,FH,FW,C,F,STRIDE or NAME,M,N,K")
    builder = _Builder()
    notes = []
    for number, fields in rows:
        note = _sparsity_note(path, number, fields)
        if note:
            notes.append(note)
        if sum(bool(re.fullmatch(r"\+?\d+", field)) for field in fields[1:8]) <= 5 and len(fields) < 8:
            m, n, k = _integers(path, number, fields, ("M", "N", "K"))
            builder.add(fields[0], "MatMul", (m, k, n), m * k, None)
        else:
            _add_conv(builder, path, number, fields)
    return Workload(
        name=path.stem,
        tensors=tuple(builder.tensors),
        ops=tuple(builder.ops),
        outputs=tuple(op.output for op in builder.ops),
        notes=tuple(notes),
        convention="scalesim",
    )
