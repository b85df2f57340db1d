"""The comparison of pages with what commands print passes what depends on the processor, and nothing else."""

import pytest
from listings import agree, updated
from run_docs import refreshed

PRINTED = """\
small.onnx: 31,273 B, 1/6.2 of the float file
my.stats: 871,066 B
small.onnx against digits.onnx: 597 samples in 0.2 s
top-1 97.82 %, reference 98.16 %, drop 0.34 +- 0.24
output scores: SQNR 21.5 dB, largest difference 0.627
quantized activation   SQNR dB  largest difference
depthwise.relu            17.2               1.303
pool                      13.2                2.39

file         weights    bytes  top-1 %          drop  SQNR dB  cycles     uJ
digits.onnx  float32  194,242    98.16
int8.onnx    int8      53,045    98.16  0.00 +- 0.00     38.3   6,429  12.43

layer      operator  weight     stored as  MACs  bytes
depthwise  Conv      24x1x3x3   3 dybit3   13,824    185   0.9%
2.81 MMAC in 4049 array cycles, 4406 in all: 15.7 us; 18.4 KiB of DRAM traffic
dybitq.model_sha256: ce7fe54a
dybitq.statistics_sha256: ea763270
  "seconds": 0.214,
  "sqnr_db": 21.45314532109289,
# optimal: objective 0.0384329, bound 0.0384329, gap 0
block1: int4/int8 lowers the objective by 0.03139 for latency -0.3416""".splitlines()


def changed(old: str, new: str) -> list[str]:
    """The listing with one piece of text exchanged."""
    text = "\n".join(PRINTED)
    assert text.count(old) == 1
    return text.replace(old, new).splitlines()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("31,273 B", "31,274 B"),
        ("1/6.2", "1/6.4"),
        ("871,066 B", "872,066 B"),
        ("597 samples", "598 samples"),
        ("98.16 %, drop", "97.66 %, drop"),
        ("drop 0.34", "drop 0.84"),
        ("SQNR 21.5 dB", "SQNR 21.8 dB"),
        ("17.2 ", "17.5 "),
        ("38.3 ", "37.9 "),
        ("53,045", "53,046"),
        ("    98.16\n", "    98.66\n"),
        ("6,429", "6,430"),
        ("12.43", "12.46"),
        ("3 dybit3", "4 dybit4"),
        ("24x1x3x3", "24x1x5x5"),
        ("  185 ", "  217 "),
        ("0.9%", "1.1%"),
        ("4406", "4405"),
        ("15.7 us", "15.9 us"),
        ("18.4 KiB", "18.6 KiB"),
        ("ce7fe54a", "ce7fe54b"),
        ("21.45314532109289", "21.2"),
        ("objective 0.0384329", "objective 0.0385329"),
        ("latency -0.3416", "latency 0.3416"),
        ("block1", "block2"),
        ("depthwise.relu            17.2               1.303\n", ""),
    ],
)
def test_what_is_the_same_everywhere_has_to_agree(old, new):
    """A wrong byte, cycle, count, share, name, drop or dB is found."""
    assert not agree(changed(old, new), PRINTED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.2 s", "31.7 s"),
        ("0.214", "31.7"),
        ("871,066 B", "871,091 B"),
        ("drop 0.34", "drop 0.17"),
        ("21.5 dB", "21.4 dB"),
        ("17.2 ", "17.1 "),
        ("1.303", "2.7"),
        ("difference 0.627", "difference 1.1"),
        ("0.00 +- 0.00", "0.17 +- 0.17"),
        ("ea763270", "ffffffff"),
        ("21.45314532109289", "21.45"),
        ("objective 0.0384329", "objective 0.038433"),
        ("    98.16\n", "  98.16\n"),
    ],
)
def test_what_depends_on_the_processor_may_differ(old, new):
    """Seconds, last digits, largest differences, and a sample or two that change sides."""
    assert agree(changed(old, new), PRINTED)


def test_dots_stand_for_any_lines():
    """Lines between ``...`` are found in order, and the ends count."""
    first, second, last = PRINTED[0], PRINTED[3], PRINTED[-1]
    assert agree([first, "...", second, "...", last], PRINTED)
    assert agree(["...", second, "..."], PRINTED)
    assert agree(["..."], []) and agree(PRINTED, PRINTED)
    assert not agree(["...", second], PRINTED)
    assert not agree([second, "..."], PRINTED)
    assert not agree(["...", last, second, "..."], PRINTED)
    assert not agree([], PRINTED)


def test_updating():
    """What agrees stays; otherwise the same lines are shown with the numbers of today."""
    assert updated(changed("0.2 s", "9 s"), PRINTED) == changed("0.2 s", "9 s")
    assert updated(changed("31,273", "1"), PRINTED) == PRINTED
    stale = ["...", PRINTED[3].replace("97.82", "91.2"), "...", PRINTED[-1].replace("3139", "4"), ""]
    assert updated(stale, PRINTED) == ["...", PRINTED[3], "...", PRINTED[-1]]
    with pytest.raises(ValueError, match="cannot place these lines"):
        updated(["...", "another layer"], PRINTED)


def test_refreshing_a_page(tmp_path, monkeypatch):
    """Stale numbers of a page are exchanged, around dots too; everything else stays as it is."""
    monkeypatch.chdir(tmp_path)
    page = "```console\n$ printf 'a: 12 B\\nb: 3 B\\n'\n{}\n$ printf 'in 0.5 s\\n'\nin 7 s\n\n$ cd .\n```\n"
    for stale, now in (
        ("a: 11 B\nb: 3 B", "a: 12 B\nb: 3 B"),
        ("a: 11 B\n...", "a: 12 B\n..."),
        ("...\nb: 3 B", "...\nb: 3 B"),
    ):
        assert refreshed(page.format(stale)) == page.format(now)
