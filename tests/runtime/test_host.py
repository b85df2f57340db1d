"""What the machine's integer kernels do."""

import numpy as np
import onnx
import pytest

from dybitq.runtime.host import _product_model, has_vnni, inspect_host, products_are_exact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni", True),
        ("flags\t\t: fpu avx2 avx_vnni sse", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("Features\t: fp asimd asimddp", None),
    ],
)
def test_flags(text, expected, tmp_path):
    """VNNI in either encoding; None where the processor lists no x86 flags."""
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{text}\n")
    assert has_vnni(tmp_path / "cpuinfo") is expected


def test_no_cpuinfo(tmp_path):
    """Unknown where the operating system has no such file."""
    assert has_vnni(tmp_path / "none") is None


def test_the_probe_is_a_valid_model():
    """The model that is serialised by hand passes the checker and says what it should."""
    model = onnx.load_model_from_string(_product_model(np.arange(6, dtype=np.int8).reshape(3, 2)))
    onnx.checker.check_model(model, full_check=True)
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_probe_agrees_with_the_flags():
    """A processor with VNNI adds exactly."""
    host = inspect_host()
    assert host.exact == products_are_exact()
    if host.vnni:
        assert host.exact
