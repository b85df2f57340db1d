"""Makes the demo network and its data: ``dybitq/demo/digits.npz`` and ``dybitq/demo/digits.onnx``.

Needs scikit-learn (which carries the data), torch and onnx; made with scikit-learn 1.9.1, torch
2.13.0 on a CPU and onnx 1.23.2. Run from the root of the repository:

    python tools/make_demo.py

The samples are in the order in which 13 persons wrote them, so the last third was written by persons
whose digits were not used in training. BatchNormalization is left in the exported graph for dybitq to fold.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn

FOLDER = Path(__file__).parent.parent / "dybitq" / "demo"
SEED = 7
CALIBRATION, TRAINING = 256, 1200
EPOCHS, BATCH = 80, 64
WIDE, TOP = 48, 64


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Convolution at stride 1 that keeps the extent, and its BatchNorm."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Digits(nn.Module):
    """A stem, a depthwise-separable pair, a residual block, a pointwise layer and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 24, 3)
        self.depthwise = conv(24, 24, 3, groups=24)
        self.pointwise = conv(24, WIDE, 1)
        self.block1 = conv(WIDE, WIDE, 3)
        self.block2 = conv(WIDE, WIDE, 3)
        self.top = conv(WIDE, TOP, 1)
        self.classifier = nn.Linear(TOP, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores ``[batch, 10]`` of images ``[batch, 1, 8, 8]``."""
        x = torch.relu(self.stem(image))
        x = torch.relu(self.depthwise(x))
        x = torch.relu(self.pointwise(x))
        x = torch.relu(x + self.block2(torch.relu(self.block1(x))))
        x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.top(x))
        return self.classifier(x.mean(dim=(2, 3)))


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every image moved by -1, 0 or 1 pixel along both axes; zeros come in."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2), generator=generator)
    return torch.stack(
        [p[:, dy : dy + 8, dx : dx + 8] for p, (dy, dx) in zip(padded, moves.tolist(), strict=True)]
    )


def train(images: np.ndarray, labels: np.ndarray) -> Digits:
    """Train on uint8 ``[samples, 8, 8, 1]`` images with values 0..16."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.from_numpy(images.astype(np.float32) / 16).permute(0, 3, 1, 2)
    targets = torch.from_numpy(labels.astype(np.int64))
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs), generator=generator)
        for chosen in order.split(BATCH):
            optimizer.zero_grad()
            outputs = model(shifted(inputs[chosen], generator))
            nn.functional.cross_entropy(outputs, targets[chosen], label_smoothing=0.05).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def export(model: Digits) -> onnx.ModelProto:
    """Convert the network to ONNX, opset 17, dynamic batch, BatchNormalization in place."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(op_type: str, inputs: list[str], name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def weight(name: str, tensor: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        return name

    def conv_bn(name: str, x: str) -> str:
        layer, norm = getattr(model, name)
        kernel = list(layer.kernel_size)
        pads = [k // 2 for k in kernel] * 2
        inputs = [x, weight(f"{name}.weight", layer.weight)]
        x = add("Conv", inputs, name, kernel_shape=kernel, pads=pads, group=layer.groups)
        parts = {"scale": norm.weight, "shift": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
        inputs = [x] + [weight(f"{name}.bn.{part}", tensor) for part, tensor in parts.items()]
        return add("BatchNormalization", inputs, f"{name}.bn", epsilon=norm.eps)

    x = "image"
    for name in ("stem", "depthwise", "pointwise"):
        x = add("Relu", [conv_bn(name, x)], f"{name}.relu")
    branch = add("Relu", [conv_bn("block1", x)], "block1.relu")
    x = add("Add", [conv_bn("block2", branch), x], "residual")
    x = add("Relu", [x], "residual.relu")
    x = add("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = add("Relu", [conv_bn("top", x)], "top.relu")
    x = add("Flatten", [add("GlobalAveragePool", [x], "average")], "flatten", axis=1)
    parts = [
        weight("classifier.weight", model.classifier.weight),
        weight("classifier.bias", model.classifier.bias),
    ]
    add("Gemm", [x, *parts], "scores", transB=1)

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [scores], weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="dybitq make_demo")


def main() -> None:
    """Write the two files and print the accuracy on the unseen writers."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[..., None], digits.target.astype(np.uint8)
    arrays = {}
    bounds = {"calib": (0, CALIBRATION), "train": (CALIBRATION, TRAINING), "val": (TRAINING, len(images))}
    for name, (begin, end) in bounds.items():
        arrays[f"x_{name}"], arrays[f"y_{name}"] = images[begin:end], labels[begin:end]
    np.savez_compressed(FOLDER / "digits.npz", **arrays)

    model = train(images[:TRAINING], labels[:TRAINING])
    exported = export(model)
    onnx.checker.check_model(exported, full_check=True)
    (FOLDER / "digits.onnx").write_bytes(exported.SerializeToString(deterministic=True))

    unseen = torch.from_numpy(images[TRAINING:].astype(np.float32) / 16).permute(0, 3, 1, 2)
    correct = model(unseen).argmax(1).numpy() == labels[TRAINING:]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, top-1 {100 * correct.mean():.2f}")


if __name__ == "__main__":
    main()
