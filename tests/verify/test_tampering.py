"""Files that are edited after they were written: every change is found and ends in exit code 3."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.verify.networks import NETWORKS
from tests.verify.test_command_line import dybitq_run

NET = NETWORKS["mean before a classifier"]


@pytest.fixture(params=["fast", "explicit"])
def written(request, tmp_path, monkeypatch) -> onnx.ModelProto:
    """An integer-only file with packed weights, in either flavour."""
    monkeypatch.chdir(tmp_path)
    onnx.save(NET.proto(), "net.onnx")
    np.savez("net.npz", **NET.data(1, 8))
    assert dybitq_run("calibrate", "net.onnx", "--data", "net.npz", "-o", "net.stats").exit_code == 0
    options = ["--integer-only", "--flavour", request.param, "--weights", "dybit4", "--first-last", "same"]
    made = dybitq_run("quantize", "net.onnx", "--statistics", "net.stats", "-o", "q.onnx", *options)
    assert made.exit_code == 0, made.output
    return onnx.load("q.onnx")


def verified(proto: onnx.ModelProto) -> tuple[int, str]:
    """Exit code and everything said about an edited file."""
    onnx.save(proto, "edited.onnx")
    made = dybitq_run("verify", "edited.onnx", "--data", "net.npz")
    Path("edited.onnx").unlink()
    assert "unexpected" not in made.output, made.output
    return made.exit_code, made.output


def test_every_number_is_covered(written):
    """A weight, bias, multiplier, scale, table or zero point moved by one bit is found, and named."""
    assert verified(written)[0] == 0
    for index, initializer in enumerate(written.graph.initializer):
        edited = onnx.ModelProto()
        edited.CopyFrom(written)
        array = numpy_helper.to_array(initializer).copy()
        if array.dtype.name in ("uint4", "int4", "uint2", "int2") or array.size == 0:
            continue
        array.reshape(-1).view(np.uint8)[0] ^= 1
        edited.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, initializer.name))
        code, said = verified(edited)
        assert code in (1, 3), (initializer.name, said)
        if code == 3 and "NOT proven" not in said:
            assert f"initializer '{initializer.name}' is not what dybitq wrote" in said
            assert "but the file is not what dybitq wrote" in said


def test_every_attribute_is_covered(written):
    """A changed attribute of a node, or of a node inside a function, is found."""
    for owner in (written.graph, *written.functions):
        for node in owner.node:
            for attribute in node.attribute:
                if not attribute.ints:
                    continue
                kept = list(attribute.ints)
                attribute.ints[0] += 1
                code, said = verified(written)
                assert code in (1, 3), (node.name, attribute.name, said)
                del attribute.ints[:]
                attribute.ints.extend(kept)
    assert verified(written)[0] == 0


def test_edited_files_are_not_exported(written):
    """Hardware is built from what dybitq wrote, or from nothing."""
    initializer = next(i for i in written.graph.initializer if i.data_type == onnx.TensorProto.INT32)
    array = numpy_helper.to_array(initializer).copy()
    array.reshape(-1)[0] += 1
    initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    onnx.save(written, "edited.onnx")
    made = dybitq_run("export", "edited.onnx", "-o", "chip")
    assert made.exit_code == 1
    assert f"changed since it was written: initializer {initializer.name!r}" in made.stderr
    assert not Path("chip").exists()


def test_nodes_cannot_be_swapped(written):
    """Another constant of the same type and shape in place of one is found."""
    shapes = {i.name: (i.data_type, tuple(i.dims)) for i in written.graph.initializer}
    tried = 0
    for node in written.graph.node:
        for k, name in enumerate(node.input):
            others = [
                n for n, shape in shapes.items() if name in shapes and n != name and shape == shapes[name]
            ]
            if others:
                tried += 1
                node.input[k] = others[0]
                assert verified(written)[0] in (1, 3), (node.name, name, others[0])
                node.input[k] = name
    assert tried > 0


def test_damaged_seals_and_files_without_one(written):
    """A checksum that cannot be read counts as a change; a file without one is examined as it is."""
    entry = next(e for e in written.metadata_props if e.key == "dybitq.seal")
    for text in ("", "{}", '{"graph": 1, "tensors": 2}', "[]"):
        entry.value = text
        code, said = verified(written)
        assert code == 3 and "the metadata 'dybitq.seal' cannot be read" in said
    written.metadata_props.remove(entry)
    assert verified(written)[0] == 0
