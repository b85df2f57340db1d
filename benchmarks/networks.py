"""Networks of published architectures as ONNX with random int8 weights, for pricing only.

Sources: He et al. 2015 (ResNet), Simonyan & Zisserman 2014 (VGG), Howard et al. 2017 and Sandler et al. 2018
(MobileNet), Szegedy et al. 2014, 2015, 2016 (Inception), Iandola et al. 2016 (SqueezeNet), Redmon & Farhadi
2016, 2018 (YOLO); TensorFlow-Slim for where its ResNets put their strides and for MobileNet's widths.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes; activations are NCHW, sizes follow ``SAME`` padding unless a pad is given."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, int, int]] = {"input": (channels, height, width)}
        self._rng = np.random.default_rng(0)
        self._input = (1, channels, height, width)
        self._scale = numpy_helper.from_array(np.float32(0.01), "scale")

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self.nodes)}"

    def node(self, op_type: str, inputs: list[str], shape: tuple[int, int, int], **attributes: object) -> str:
        """Any operator with one output of this shape."""
        name = self._name(op_type.lower())
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name

    def _weight(self, *shape: int) -> str:
        name = f"w_{len(self.weights)}"
        codes = self._rng.integers(-127, 128, shape, dtype=np.int8)
        self.weights.append(numpy_helper.from_array(codes, f"{name}_codes"))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_codes", "scale"], [name], name=name))
        return name

    def _window(
        self, x: str, kernel: tuple[int, int], stride: int, pad: int | None
    ) -> tuple[tuple[int, int], list[int]]:
        _, *extent = self.shapes[x]
        if pad is not None:
            return tuple((e + 2 * pad - k) // stride + 1 for e, k in zip(extent, kernel)), [pad] * 4  # type: ignore[return-value]
        out = tuple(-(-e // stride) for e in extent)
        total = [max((o - 1) * stride + k - e, 0) for o, k, e in zip(out, kernel, extent)]
        return out, [total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2)]  # type: ignore[return-value]

    def conv(
        self,
        x: str,
        out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        pad: int | None = None,
        group: int = 1,
        relu: bool = True,
    ) -> str:
        """Add a convolution with a Relu after it."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        size, pads = self._window(x, kernel, stride, pad)
        weight = self._weight(out, self.shapes[x][0] // group, *kernel)
        y = self.node(
            "Conv",
            [x, weight],
            (out, *size),
            kernel_shape=kernel,
            strides=[stride] * 2,
            pads=pads,
            group=group,
        )
        return self.node("Relu", [y], (out, *size)) if relu else y

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1) -> str:
        """Depthwise convolution."""
        channels = self.shapes[x][0]
        return self.conv(x, channels, kernel, stride, group=channels)

    def pool(
        self, x: str, kind: str = "Max", kernel: int = 2, stride: int = 2, pad: int | None = None
    ) -> str:
        """MaxPool or AveragePool."""
        size, pads = self._window(x, (kernel, kernel), stride, pad)
        shape = (self.shapes[x][0], *size)
        return self.node(
            f"{kind}Pool", [x], shape, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads
        )

    def add(self, x: str, y: str, relu: bool = True) -> str:
        """Residual addition."""
        z = self.node("Add", [x, y], self.shapes[x])
        return self.node("Relu", [z], self.shapes[z]) if relu else z

    def concat(self, *parts: str) -> str:
        """Concatenation of channels."""
        shapes = [self.shapes[part] for part in parts]
        return self.node("Concat", list(parts), (sum(s[0] for s in shapes), *shapes[0][1:]), axis=1)

    def upsample(self, x: str) -> str:
        """Nearest-neighbour doubling."""
        channels, height, width = self.shapes[x]
        scales = f"scales_{len(self.nodes)}"
        self.weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), scales))
        return self.node("Resize", [x, "", scales], (channels, 2 * height, 2 * width), mode="nearest")

    def classifier(self, x: str, *widths: int) -> onnx.ModelProto:
        """Global average pooling if the map is larger than 1x1 and one layer follows; then dense layers."""
        if len(widths) == 1 and self.shapes[x][1:] != (1, 1):
            x = self.node("GlobalAveragePool", [x], (self.shapes[x][0], 1, 1))
        features = int(np.prod(self.shapes[x]))
        x = self.node("Flatten", [x], (features, 1, 1))
        for index, width in enumerate(widths):
            x = self.node("Gemm", [x, self._weight(width, features)], (width, 1, 1), transB=1)
            if index < len(widths) - 1:
                x = self.node("Relu", [x], (width, 1, 1))
            features = width
        return self.model(x)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Finish the network with these outputs."""
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        source = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(self._input))
        graph = helper.make_graph(self.nodes, "network", [source], results, [*self.weights, self._scale])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


# --------------------------------------------------------------------------- classification


def resnet18() -> onnx.ModelProto:
    """ResNet-18 at 224."""
    b = Builder(3, 224, 224)
    x = b.pool(b.conv("input", 64, 7, 2), kernel=3)
    for stage, width in enumerate((64, 128, 256, 512)):
        for unit in range(2):
            stride = 2 if stage and not unit else 1
            y = b.conv(b.conv(x, width, 3, stride), width, 3, relu=False)
            shortcut = x if b.shapes[x] == b.shapes[y] else b.conv(x, width, 1, stride, relu=False)
            x = b.add(y, shortcut)
    return b.classifier(x, 1000)


def resnet(units: tuple[int, ...], style: str, size: int = 224) -> onnx.ModelProto:
    """Bottleneck ResNet.

    ``style``: where a stage halves the map: ``caffe`` in the first 1x1 of its first unit (He et al.),
    ``slim`` in the 3x3 of the last unit of the stage before (TensorFlow-Slim).
    """
    b = Builder(3, size, size)
    x = b.pool(b.conv("input", 64, 7, 2), kernel=3)
    for stage, count in enumerate(units):
        width = 64 << stage
        for unit in range(count):
            first, last = unit == 0, unit == count - 1
            s1 = 2 if style == "caffe" and first and stage else 1
            s3 = 2 if style != "caffe" and last and stage < 3 else 1
            y = b.conv(b.conv(x, width, 1, s1), width, 3, s3)
            y = b.conv(y, 4 * width, 1, relu=False)
            if first:
                shortcut = b.conv(x, 4 * width, 1, max(s1, s3), relu=False)
            else:
                shortcut = x if s3 == 1 else b.pool(x, kernel=1, stride=2)
            x = b.add(y, shortcut)
    return b.classifier(x, 1000)


def vgg(convs: tuple[int, ...]) -> onnx.ModelProto:
    """VGG with so many convolutions per stage."""
    b, x = Builder(3, 224, 224), "input"
    for width, count in zip((64, 128, 256, 512, 512), convs):
        for _ in range(count):
            x = b.conv(x, width, 3)
        x = b.pool(x)
    return b.classifier(x, 4096, 4096, 1000)


def mobilenet_v1(width: float, size: int, classes: int = 1001) -> onnx.ModelProto:
    """MobileNet v1."""
    b = Builder(3, size, size)

    def scaled(channels: int) -> int:
        return max(int(channels * width), 8)

    x = b.conv("input", scaled(32), 3, 2)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in plan:
        x = b.conv(b.depthwise(x, 3, stride), scaled(channels))
    return b.classifier(x, classes)


def mobilenet_v2(width: float, size: int = 224, classes: int = 1001) -> onnx.ModelProto:
    """MobileNet v2."""
    b = Builder(3, size, size)

    def scaled(channels: float) -> int:
        rounded = max(8, int(channels + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels else rounded

    x = b.conv("input", scaled(32 * width), 3, 2)
    plan = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    for expand, channels, count, stride in plan:
        for unit in range(count):
            source = x
            if expand > 1:
                x = b.conv(x, b.shapes[x][0] * expand)
            x = b.conv(b.depthwise(x, 3, stride if unit == 0 else 1), scaled(channels * width), relu=False)
            if b.shapes[x] == b.shapes[source]:
                x = b.add(x, source, relu=False)
    return b.classifier(b.conv(x, max(1280, scaled(1280 * width))), classes)


def squeezenet1_1(size: int = 227) -> onnx.ModelProto:
    """SqueezeNet 1.1."""
    b = Builder(3, size, size)
    x = b.pool(b.conv("input", 64, 3, 2, pad=0), kernel=3, pad=0)
    for index, (squeeze, expand) in enumerate(
        [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    ):
        if index in (2, 4):
            x = b.pool(x, kernel=3, pad=0)
        s = b.conv(x, squeeze)
        x = b.concat(b.conv(s, expand), b.conv(s, expand, 3))
    x = b.conv(x, 1000)
    return b.model(b.node("GlobalAveragePool", [x], (1000, 1, 1)))


def inception_v1() -> onnx.ModelProto:
    """GoogLeNet."""
    b = Builder(3, 224, 224)
    x = b.pool(b.conv("input", 64, 7, 2), kernel=3)
    x = b.pool(b.conv(b.conv(x, 64), 192, 3), kernel=3)
    blocks = {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for name, (c1, r3, c3, r5, c5, pp) in blocks.items():
        if name in ("4a", "5a"):
            x = b.pool(x, kernel=3)
        pooled = b.pool(x, kernel=3, stride=1)
        x = b.concat(
            b.conv(x, c1), b.conv(b.conv(x, r3), c3, 3), b.conv(b.conv(x, r5), c5, 5), b.conv(pooled, pp)
        )
    return b.classifier(x, 1000)


def inception_v3() -> onnx.ModelProto:
    """Inception v3 at 299."""
    b = Builder(3, 299, 299)
    x = b.conv(b.conv(b.conv("input", 32, 3, 2, pad=0), 32, 3, pad=0), 64, 3)
    x = b.conv(b.conv(b.pool(x, kernel=3, pad=0), 80, 1, pad=0), 192, 3, pad=0)
    x = b.pool(x, kernel=3, pad=0)
    for width in (32, 64, 64):
        pooled = b.conv(b.pool(x, "Average", 3, 1), width)
        double = b.conv(b.conv(b.conv(x, 64), 96, 3), 96, 3)
        x = b.concat(b.conv(x, 64), b.conv(b.conv(x, 48), 64, 5), double, pooled)
    double = b.conv(b.conv(b.conv(x, 64), 96, 3), 96, 3, 2, pad=0)
    x = b.concat(b.conv(x, 384, 3, 2, pad=0), double, b.pool(x, kernel=3, pad=0))
    for mid in (128, 160, 160, 192):
        seven = b.conv(b.conv(b.conv(x, mid), mid, (1, 7)), 192, (7, 1))
        twice = b.conv(b.conv(b.conv(x, mid), mid, (7, 1)), mid, (1, 7))
        twice = b.conv(b.conv(twice, mid, (7, 1)), 192, (1, 7))
        x = b.concat(b.conv(x, 192), seven, twice, b.conv(b.pool(x, "Average", 3, 1), 192))
    three = b.conv(b.conv(x, 192), 320, 3, 2, pad=0)
    seven = b.conv(b.conv(b.conv(b.conv(x, 192), 192, (1, 7)), 192, (7, 1)), 192, 3, 2, pad=0)
    x = b.concat(three, seven, b.pool(x, kernel=3, pad=0))
    for _ in range(2):
        split, double = b.conv(x, 384), b.conv(b.conv(x, 448), 384, 3)
        parts = [b.conv(split, 384, (1, 3)), b.conv(split, 384, (3, 1))]
        parts += [b.conv(double, 384, (1, 3)), b.conv(double, 384, (3, 1))]
        x = b.concat(b.conv(x, 320), *parts, b.conv(b.pool(x, "Average", 3, 1), 192))
    return b.classifier(x, 1001)


def inception_v4() -> onnx.ModelProto:
    """Inception v4 at 299."""
    b = Builder(3, 299, 299)
    x = b.conv(b.conv(b.conv("input", 32, 3, 2, pad=0), 32, 3, pad=0), 64, 3)
    x = b.concat(b.pool(x, kernel=3, pad=0), b.conv(x, 96, 3, 2, pad=0))
    seven = b.conv(b.conv(b.conv(x, 64), 64, (7, 1)), 64, (1, 7))
    x = b.concat(b.conv(b.conv(x, 64), 96, 3, pad=0), b.conv(seven, 96, 3, pad=0))
    x = b.concat(b.conv(x, 192, 3, 2, pad=0), b.pool(x, kernel=3, pad=0))
    for _ in range(4):
        double = b.conv(b.conv(b.conv(x, 64), 96, 3), 96, 3)
        pooled = b.conv(b.pool(x, "Average", 3, 1), 96)
        x = b.concat(pooled, b.conv(x, 96), b.conv(b.conv(x, 64), 96, 3), double)
    double = b.conv(b.conv(b.conv(x, 192), 224, 3), 256, 3, 2, pad=0)
    x = b.concat(b.conv(x, 384, 3, 2, pad=0), double, b.pool(x, kernel=3, pad=0))
    for _ in range(7):
        seven = b.conv(b.conv(b.conv(x, 192), 224, (1, 7)), 256, (7, 1))
        twice = b.conv(b.conv(b.conv(x, 192), 192, (1, 7)), 224, (7, 1))
        twice = b.conv(b.conv(twice, 224, (1, 7)), 256, (7, 1))
        x = b.concat(b.conv(b.pool(x, "Average", 3, 1), 128), b.conv(x, 384), seven, twice)
    seven = b.conv(b.conv(b.conv(b.conv(x, 256), 256, (1, 7)), 320, (7, 1)), 320, 3, 2, pad=0)
    x = b.concat(b.conv(b.conv(x, 192), 192, 3, 2, pad=0), seven, b.pool(x, kernel=3, pad=0))
    for _ in range(3):
        split, double = b.conv(x, 384), b.conv(b.conv(b.conv(x, 384), 448, (1, 3)), 512, (3, 1))
        parts = [b.conv(split, 256, (1, 3)), b.conv(split, 256, (3, 1))]
        parts += [b.conv(double, 256, (1, 3)), b.conv(double, 256, (3, 1))]
        x = b.concat(b.conv(b.pool(x, "Average", 3, 1), 256), b.conv(x, 256), *parts)
    return b.classifier(x, 1001)


# --------------------------------------------------------------------------- detection


def _darknet(b: Builder, x: str, widths: tuple[int, ...], kernels: tuple[int, ...]) -> str:
    for width, kernel in zip(widths, kernels):
        x = b.conv(x, width, kernel)
    return x


def yolov3(size: int = 416, classes: int = 20) -> onnx.ModelProto:
    """YOLOv3 on Darknet-53."""
    b = Builder(3, size, size)
    x, routes, heads = b.conv("input", 32, 3), [], []
    for width, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        x = b.conv(x, width, 3, 2)
        for _ in range(count):
            x = b.add(b.conv(b.conv(x, width // 2), width, 3), x, relu=False)
        routes.append(x)
    for level, width in enumerate((512, 256, 128)):
        if level:
            x = b.concat(b.upsample(b.conv(x, width)), routes[4 - level])
        x = _darknet(b, x, (width, 2 * width, width, 2 * width, width), (1, 3, 1, 3, 1))
        heads.append(b.conv(b.conv(x, 2 * width, 3), 3 * (5 + classes), relu=False))
    return b.model(*heads)


def yolov2(size: int = 448, classes: int = 20) -> onnx.ModelProto:
    """YOLOv2 on Darknet-19."""
    b = Builder(3, size, size)
    x = b.pool(b.conv(b.pool(b.conv("input", 32, 3)), 64, 3))
    x = b.pool(_darknet(b, x, (128, 64, 128), (3, 1, 3)))
    x = b.pool(_darknet(b, x, (256, 128, 256), (3, 1, 3)))
    route = _darknet(b, x, (512, 256, 512, 256, 512), (3, 1, 3, 1, 3))
    x = _darknet(b, b.pool(route), (1024, 512, 1024, 512, 1024, 1024, 1024), (3, 1, 3, 1, 3, 3, 3))
    channels, height, width = b.shapes[y := b.conv(route, 64)]
    folded = b.node("SpaceToDepth", [y], (4 * channels, height // 2, width // 2), blocksize=2)
    x = b.conv(b.concat(folded, x), 1024, 3)
    return b.model(b.conv(x, 5 * (5 + classes), relu=False))


def tiny_yolov3(size: int = 416, classes: int = 80) -> onnx.ModelProto:
    """Tiny YOLOv3."""
    b, x, route = Builder(3, size, size), "input", ""
    for index, width in enumerate((16, 32, 64, 128, 256, 512)):
        x = b.conv(x, width, 3)
        route = x if width == 256 else route
        x = b.pool(x, stride=2 if index < 5 else 1)
    x = b.conv(b.conv(x, 1024, 3), 256)
    first = b.conv(b.conv(x, 512, 3), 3 * (5 + classes), relu=False)
    x = b.concat(b.upsample(b.conv(x, 128)), route)
    return b.model(first, b.conv(b.conv(x, 256, 3), 3 * (5 + classes), relu=False))


ZCU102: dict[str, Callable[[], onnx.ModelProto]] = {
    "resnet18": resnet18,
    "resnet50": lambda: resnet((3, 4, 6, 3), "caffe"),
    "resnet_v1_50": lambda: resnet((3, 4, 6, 3), "slim"),
    "resnet_v1_101": lambda: resnet((3, 4, 23, 3), "slim"),
    "resnet_v1_152": lambda: resnet((3, 8, 36, 3), "slim"),
    "vgg16": lambda: vgg((2, 2, 3, 3, 3)),
    "vgg19": lambda: vgg((2, 2, 4, 4, 4)),
    "mobilenet_v1_1.0": lambda: mobilenet_v1(1.0, 224),
    "mobilenet_v1_0.5": lambda: mobilenet_v1(0.5, 160),
    "mobilenet_v1_0.25": lambda: mobilenet_v1(0.25, 128),
    "mobilenet_v2_1.0": lambda: mobilenet_v2(1.0),
    "mobilenet_v2_1.4": lambda: mobilenet_v2(1.4),
}
"""The networks of AMD's ZCU102 measurements that the preset is fitted to."""

HELD_OUT: dict[str, Callable[[], onnx.ModelProto]] = {
    "inception_v1": inception_v1,
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    "squeezenet1_1": squeezenet1_1,
    "yolov2_voc": yolov2,
    "yolov3_voc": yolov3,
    "tiny_yolov3": tiny_yolov3,
}
"""Networks of the same measurements that the fit does not see."""
