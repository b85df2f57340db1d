"""Published reference numbers that lie beside the zoo, and layer lists that stand for them everywhere."""

import csv
import os
from pathlib import Path

import pytest

from dybitq.records.workload import ConvWork, OpWork, TensorWork, Workload


def reference(name: str) -> Path:
    """A file or folder of the reference data, or skip the test."""
    zoo = os.environ.get("DYBITQ_ZOO")
    path = Path(zoo).parent / "sim_reference" / name if zoo else None
    if path is None or not path.exists():
        pytest.skip("needs the simulator reference data beside the folder that DYBITQ_ZOO names")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open() as lines:
        return list(csv.DictReader(lines))


class Layers:
    """Builds a workload layer by layer."""

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.tensors: list[TensorWork] = []
        self.ops: list[OpWork] = []

    def tensor(self, elements: int, bits: int = 8, *, constant: bool = False) -> int:
        """A new tensor."""
        name = f"t{len(self.tensors)}"
        self.tensors.append(TensorWork(name=name, elements=elements, bits=bits, constant=constant))
        return len(self.tensors) - 1

    def conv(
        self,
        name: str,
        channels: int,
        filters: int,
        kernel: int,
        out: int,
        *,
        w: int = 8,
        a: int = 8,
        source: int | None = None,
        stride: int = 1,
        group: int = 1,
    ) -> int:
        """A square convolution with padding; returns its output tensor."""
        size, batch = out * stride, self.batch
        if source is None:
            source = self.tensor(batch * channels * size * size, a)
        taps, pixels = kernel * kernel, batch * out * out
        weight = self.tensor(taps * channels * filters // group, w, constant=True)
        output = self.tensor(pixels * filters, a)
        geometry = ConvWork(
            batch=batch, in_h=size, in_w=size, in_c=channels, out_h=out, out_w=out, out_c=filters,
            kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride,
            pad_top=kernel // 2, pad_left=kernel // 2,
            group=group,
        )  # fmt: skip
        self.ops.append(
            OpWork(
                name=name,
                op_type="Conv",
                groups=group,
                m=pixels,
                k=taps * channels // group,
                n=filters // group,
                conv=geometry,
                inputs=(source, weight),
                output=output,
                w_bits=w,
                a_bits=a,
            )
        )
        return output

    def gemm(
        self,
        name: str,
        m: int,
        k: int,
        n: int,
        *,
        groups: int = 1,
        w: int = 8,
        a: int = 8,
        source: int | None = None,
    ) -> int:
        """Products ``groups x [m, k] x [k, n]``; returns the output tensor."""
        if source is None:
            source = self.tensor(groups * m * k, a)
        weight, output = self.tensor(groups * k * n, w, constant=True), self.tensor(groups * m * n, a)
        self.ops.append(
            OpWork(
                name=name,
                op_type="MatMul",
                groups=groups,
                m=m,
                k=k,
                n=n,
                inputs=(source, weight),
                output=output,
                w_bits=w,
                a_bits=a,
            )
        )
        return output

    def workload(self, *outputs: int) -> Workload:
        """What was built; without ``outputs`` the last tensor leaves the network."""
        return Workload(
            name="test",
            tensors=tuple(self.tensors),
            ops=tuple(self.ops),
            outputs=outputs or (self.ops[-1].output,),
        )


def resnet18(batch: int = 1, *, middle_bits: int = 8) -> Workload:
    """ResNet-18 at 224 (He et al. 2015), products only; first and last layer at 8 bits."""
    layers = Layers(batch)
    layers.conv("conv1", 3, 64, 7, 112, stride=2)
    for stage in range(4):
        width, size = 64 << stage, 56 >> stage
        for unit in range(2):
            shrink = stage > 0 and unit == 0
            channels, stride = (width // 2, 2) if shrink else (width, 1)
            name = f"layer{stage + 1}.{unit}"
            layers.conv(
                f"{name}.conv1", channels, width, 3, size, w=middle_bits, a=middle_bits, stride=stride
            )
            layers.conv(f"{name}.conv2", width, width, 3, size, w=middle_bits, a=middle_bits)
            if shrink:
                layers.conv(
                    f"{name}.shortcut", channels, width, 1, size, w=middle_bits, a=middle_bits, stride=2
                )
    layers.gemm("fc", batch, 512, 1000)
    return layers.workload(*(op.output for op in layers.ops))
