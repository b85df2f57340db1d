"""Which tensors get codes: grown backwards from the layers that multiply them."""

import numpy as np
import pytest

from dybitq.graph.operators import Role, activation_inputs, clamp_bounds, role
from dybitq.graph.values import nodes_by_name
from dybitq.plan.regions import find_regions
from dybitq.records.geometry.products import EmbeddingTable
from dybitq.records.geometry.windows import TransposedWindow
from dybitq.records.plan import ActivationMode

SQUARE = (4, 4, 1, 1)


def regions(model, modes=None, **options):
    """Regions with every layer static unless ``modes`` says otherwise."""
    chosen = {
        name: ActivationMode.STATIC
        for name, layer in model.layers.items()
        if not isinstance(layer.geometry, EmbeddingTable | TransposedWindow)
    }
    for name, mode in (modes or {}).items():
        if mode is None:
            chosen.pop(name, None)
        else:
            chosen[name] = mode
    return find_regions(model.network.model.graph, model.layers, chosen, **options)


def test_relu_takes_the_quantizer(surveyed):
    """The tensor behind an absorbed clamp is coded, not the one before it."""
    model = surveyed("a = Conv (x, w)\n b = Relu (a)\n y = Conv (b, w)", {"w": SQUARE})
    assert regions(model).roots == ("x", "b", "y")


@pytest.mark.parametrize("second", ["LogSoftmax", "Sigmoid"])
def test_clamp_with_a_sibling_keeps_the_raw_codes(surveyed, second):
    """Where something else reads the raw output, its codes are the root and the clamp carries them."""
    body = f"a = Conv (x, w)\n b = Relu (a)\n c = {second} (a)\n d = Add (b, c)\n y = Conv (d, w)"
    found = regions(surveyed(body, {"w": SQUARE}))
    assert "a" in found.roots and "b" not in found.roots
    assert found.carries["b"] == "a"


def test_raw_output_that_is_an_output_of_the_graph(surveyed):
    """The same holds where the raw tensor is an output."""
    model = surveyed(
        "a = Conv (x, w)\n b = Relu (a)\n y = Conv (b, w)",
        {"w": SQUARE},
        outputs="float[N, 4, 9, 8] y, float[N, 4, 9, 8] a",
    )
    found = regions(model)
    assert found.roots == ("x", "a", "y")
    assert found.carries["b"] == "a"


def test_codes_are_carried_through_moves(surveyed):
    """Moving operators pass codes on; only the ends are roots."""
    body = """
      a = Conv (x, w)
      m = MaxPool <kernel_shape = [2, 2]> (a)
      t = Transpose <perm = [0, 1, 3, 2]> (m)
      r = Relu (t)
      y = Conv (r, w)
    """
    found = regions(surveyed(body, {"w": SQUARE}))
    assert found.roots == ("x", "a", "y")
    assert {found.carries[name] for name in "amtr"} == {"a"}


def test_residual_sum(surveyed):
    """Both operands of a fused Add and its clamped result are roots."""
    body = "a = Conv (x, w)\n s = Add (a, x)\n r = Relu (s)\n y = Conv (r, w)"
    assert regions(surveyed(body, {"w": SQUARE})).roots == ("x", "a", "r", "y")


def test_sum_with_a_float_operand_stays_float(surveyed):
    """An Add that cannot get codes on both sides is left in float; its result is still coded if needed."""
    body = "a = Conv (x, w)\n f = Softmax (x)\n s = Add (a, f)\n y = Conv (s, w)"
    found = regions(surveyed(body, {"w": SQUARE}))
    assert found.roots == ("x", "a", "s", "y")
    assert "f" not in found.carries


def test_tail_without_layers_is_left_in_float(surveyed):
    """Behind the last layer nothing is coded unless the whole graph is to be."""
    model = surveyed(
        "a = Conv (x, w)\n g = GlobalAveragePool (a)\n y = Flatten (g)",
        {"w": SQUARE},
        outputs="float[N, 4] y",
    )
    assert regions(model).roots == ("x", "a")
    assert regions(model, to_output=True).roots == ("x", "a", "g")


def test_products_do_not_need_a_coded_output(surveyed):
    """Unlike convolutions, the last product writes floats."""
    model = surveyed("f = Flatten (x)\n y = MatMul (f, w)", {"w": (288, 5)}, outputs="float[N, 5] y")
    assert regions(model).roots == ("x",)


def test_matmul_and_its_bias_are_one(surveyed):
    """Codes come after the bias, not between product and bias."""
    model = surveyed(
        "a = MatMul (x, w)\n b = Add (a, v)\n r = Relu (b)\n y = MatMul (r, w)",
        {"w": (6, 6), "v": (6,)},
        inputs="float[N, 6] x",
        outputs="float[N, 6] y",
    )
    assert regions(model).roots == ("x", "r")


@pytest.mark.parametrize("mode", [ActivationMode.FLOAT, ActivationMode.DYNAMIC, None])
def test_layers_that_are_not_static_need_no_codes(surveyed, mode):
    """Neither their inputs nor their outputs are coded for their sake."""
    model = surveyed(
        "a = MatMul (x, w)\n r = Relu (a)\n y = MatMul (r, w)",
        {"w": (6, 6)},
        inputs="float[N, 6] x",
        outputs="float[N, 6] y",
    )
    assert regions(model, dict.fromkeys(model.layers, mode)).roots == ()


def test_float_layer_between_static_ones(surveyed):
    """Its input has codes because a convolution wrote them, its output because one reads them."""
    model = surveyed("a = Conv (x, w)\n b = Conv (a, w)\n y = Conv (b, w)", {"w": SQUARE})
    middle = next(name for name, layer in model.layers.items() if layer.output == "b")
    assert regions(model, {middle: None}).roots == ("x", "a", "b", "y")
    last = next(name for name, layer in model.layers.items() if layer.output == "y")
    assert regions(model, {last: None}).roots == ("x", "a", "b")


def test_products_of_activations_need_both_operands(surveyed):
    """Each operand is followed back to where its codes can come from."""
    model = surveyed(
        "q = MatMul (x, w)\n t = Transpose <perm = [0, 2, 1]> (q)\n s = MatMul (q, t)\n y = Softmax (s)",
        {"w": (6, 6)},
        inputs="float[N, 5, 6] x",
        outputs="float[N, 5, 5] y",
    )
    found = regions(model)
    assert found.roots == ("x", "q")
    assert found.carries["t"] == "q"


def test_embeddings_end_where_codes_begin(surveyed):
    """The output of a look-up is float and gets a quantizer."""
    model = surveyed(
        "e = Gather (t, i)\n y = MatMul (e, w)",
        {"t": (9, 6), "w": (6, 5)},
        inputs="int64[N, 3] i",
        outputs="float[N, 3, 5] y",
    )
    assert regions(model).roots == ("e",)


def test_integer_inputs_have_no_codes(surveyed):
    """Only float inputs are quantized; what is computed from integers is coded where it becomes float."""
    model = surveyed("f = Cast <to = 1> (x)\n y = Conv (f, w)", {"w": SQUARE}, inputs="uint8[N, 4, 9, 8] x")
    assert regions(model).roots == ("f", "y")


def test_roots_are_in_topological_order(surveyed):
    """Graph inputs first, then the order of the producers."""
    body = "b = Conv (z, w)\n a = Conv (x, w)\n s = Add (a, b)\n y = Conv (s, w)"
    model = surveyed(body, {"w": SQUARE}, inputs="float[N, 4, 9, 8] x, float[N, 4, 9, 8] z")
    found = regions(model)
    assert found.roots == ("x", "z", "b", "a", "s", "y")
    assert found.layers_only == {"x", "z", "s"}


ROLES = {
    "y = Relu (x)": Role.CLAMP,
    "y = Clip (x, c, c)": Role.CLAMP,
    "y = Clip (x, v, v)": Role.FLOAT,
    "y = Reshape (x, s)": Role.CODES,
    "y = MaxPool <kernel_shape = [2, 2]> (x)": Role.CODES,
    "y, i = MaxPool <kernel_shape = [2, 2]> (x)": Role.FLOAT,
    'y = Resize <mode = "nearest"> (x, , f)': Role.CODES,
    'y = Resize <mode = "linear"> (x, , f)': Role.FLOAT,
    "y = Pad (x, p)": Role.CODES,
    "y = Pad (x, p, c)": Role.FLOAT,
    'y = Pad <mode = "edge"> (x, p)': Role.CODES,
    "y = Gather <axis = 1> (x, n)": Role.CODES,
    "y = Add (x, x)": Role.FUSED,
    "y = Concat <axis = 1> (x, x)": Role.FUSED,
    "y = Sigmoid (x)": Role.FUSED,
    "y = Tanh (x)": Role.TABLE,
    "y = HardSwish (x)": Role.TABLE,
    "y = Sin (x)": Role.FLOAT,
    "y = Softmax (x)": Role.FLOAT,
    "y = ReduceMean (x)": Role.FLOAT,
}


@pytest.mark.parametrize("body", ROLES)
def test_roles(surveyed, body):
    """What each operator can do with codes."""
    constants = {
        "c": np.float32(1),
        "s": np.array([0, -1]),
        "f": np.array([1, 1, 2, 2], np.float32),
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "n": np.array([1]),
    }
    outputs = "float y, int64 i" if body.startswith("y, i") else "float y"
    model = surveyed(body, {}, constants=constants, inputs="float[1, 4, 8, 8] x, float v", outputs=outputs)
    node = next(n for n in nodes_by_name(model.network.model).values() if n.outputs[0].name == "y")
    assert role(node, model.layers) is ROLES[body]


def test_clamp_bounds_and_activation_inputs(surveyed):
    """Bounds that are not given are infinite; constants and shapes are no activations."""
    model = surveyed(
        "a = Clip (x, , c)\n b = Relu (a)\n d = Add (b, v)\n e = Slice (d, n, n2, n)\n"
        " y = Concat <axis = 1> (e, b)",
        {"v": (1, 4, 1, 1)},
        constants={"c": np.float32(2), "n": np.array([1]), "n2": np.array([3])},
        outputs="float[N, P, Q, R] y",
    )
    clip, relu, add, cut, joined = nodes_by_name(model.network.model).values()
    assert clamp_bounds(clip) == (-np.inf, 2)
    assert clamp_bounds(relu) == (0, np.inf)
    names = [[v.name for v in activation_inputs(node)] for node in (clip, add, cut, joined)]
    assert names == [["x"], ["b"], ["d"], ["e", "b"]]
