"""Topology files: both forms, the tool's quirks, and what is refused."""

import pytest

from dybitq.errors import ModelError
from dybitq.hardware.topology import read_topology

HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
)


def read(tmp_path, text):
    """A topology with this text."""
    path = tmp_path / "net.csv"
    path.write_text(text)
    return read_topology(path)


def test_convolution_form(tmp_path):
    """Sizes follow ceil((in - filter + stride) / stride) without padding."""
    work = read(tmp_path, HEADER + "a,56,57,3,3,64,128,2,\n")
    op = work.ops[0]
    assert (op.m, op.k, op.n) == (28 * 28, 576, 128)
    assert work.convention == "scalesim"


def test_product_form_is_m_n_k(tmp_path):
    """Columns are M, N, K in this order, whatever the header calls them."""
    op = read(tmp_path, "Layer,M,N,K,\nx,10,20,30,\n").ops[0]
    assert (op.m, op.n, op.k) == (10, 20, 30)


@pytest.mark.parametrize(
    "row", ["a,8,8,3,3,4,5,1", "a,8,8,3,3,4,5,1,", " a , 8 ,8,3,3,4,5,1,#dw", "a,8,8,3,3,4,5,1, \n\n"]
)
def test_rows_with_and_without_trailing_comma(tmp_path, row):
    """Trailing commas, spaces, remarks and empty lines make no difference."""
    op = read(tmp_path, HEADER + "\n" + row + "\n").ops[0]
    assert (op.name, op.m, op.k, op.n) == ("a", 36, 36, 5)


def test_product_row_with_sparsity_column(tmp_path):
    """A dense ratio is accepted silently, a sparse one with a note."""
    assert read(tmp_path, "L,M,N,K,S,\nx,10,20,30,1:1,\n").notes == ()
    work = read(tmp_path, "L,M,N,K,S,\nx,10,20,30,2:4,\n")
    assert work.notes == ("line 2: 2:4 sparsity is priced as dense",)


def test_depthwise_layers_are_expanded(tmp_path):
    """A name with DP becomes one single-channel layer per channel, named as the tool names them."""
    work = read(tmp_path, HEADER + "convDP1,8,8,3,3,3,1,1,\nb,8,8,1,1,3,2,1,\n")
    assert [op.name for op in work.ops] == ["convDP1Channel_0", "convDP1Channel_1", "convDP1Channel_2", "b"]
    assert [op.k for op in work.ops] == [9, 9, 9, 3]


def test_second_stride_column(tmp_path):
    """A ninth whole number is the stride along the width."""
    assert read(tmp_path, HEADER + "a,8,8,2,2,1,1,2,1,\n").ops[0].m == 4 * 7


def test_file_without_header(tmp_path):
    """A first row of numbers is a layer, not a header."""
    assert len(read(tmp_path, "a,1,2,3,\nb,4,5,6,\n").ops) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no layers"),
        (HEADER, "no layers"),
        (HEADER + "a,8,8,9,3,4,5,1,\n", r"line 2: layer 'a' has a 9x3 filter on a 8x8 input"),
        (HEADER + "a,8,8,3,3,0,5,1,\n", "line 2: channels must be a positive integer, found '0'"),
        (HEADER + "a,8,8,3,x,4,5,1,\n", "line 2: filter width must be a positive integer, found 'x'"),
        ("L,M,N,K,\nx,10,-1,30,\n", "line 2: N must be a positive integer, found '-1'"),
        ("L,M,N,K,\nx,10,20,\n", "line 2: expected a layer name and 3 numbers"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path, text, message):
    """Malformed files are refused with file, line and field."""
    with pytest.raises(ModelError, match=message):
        read(tmp_path, text)


def test_not_a_text_file(tmp_path):
    """Binary content is refused."""
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ModelError, match="not a text file"):
        read_topology(tmp_path / "x.csv")
