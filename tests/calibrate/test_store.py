"""Statistics files: what goes in comes out, the same bytes each time, and damage is seen."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from dybitq.calibration import store
from dybitq.calibration.merge import empty
from dybitq.errors import StatisticsError
from dybitq.records.statistics import MomentKind
from tests.calibrate.test_merge import HASH, assert_same, statistics


@pytest.mark.parametrize("kind", [*list(MomentKind)[:3], None])
def test_round_trip(tmp_path, kind):
    """Everything but second moments exactly; those to float32."""
    before = statistics(3, kind)
    store.save(before, tmp_path / "s.stats")
    after = store.load(tmp_path / "s.stats")
    assert_same(before, after)
    for key in before.moments:
        np.testing.assert_array_equal(before.moments[key].first, after.moments[key].first)
        assert after.moments.kind(key) is kind
    assert len(after.moments) == len(before.moments)


def test_empty_statistics(tmp_path):
    """The identity can be stored too."""
    store.save(empty(HASH), tmp_path / "s.stats")
    assert_same(store.load(tmp_path / "s.stats"), empty(HASH))


def test_large_moments_are_stored_as_float32(tmp_path):
    """Stored sums are the nearest float32, half of the square each."""
    before = statistics(3)
    before.moments["t|rows|-1"].second[:] *= 1 / 3
    store.save(before, tmp_path / "s.stats")
    after = store.load(tmp_path / "s.stats").moments["t|rows|-1"].second
    expected = before.moments["t|rows|-1"].second.astype(np.float32)
    np.testing.assert_array_equal(after, expected.astype(np.float64))
    with zipfile.ZipFile(tmp_path / "s.stats") as archive:
        assert archive.getinfo("moments/0/second.npy").file_size < 2 * 150 * 151 // 2 * 4 + 200


def test_same_bytes(tmp_path):
    """Neither the time nor the name gets into the file."""
    for name in ("a.stats", "b.stats"):
        store.save(statistics(3), tmp_path / name)
    assert (tmp_path / "a.stats").read_bytes() == (tmp_path / "b.stats").read_bytes()


def test_other_models_are_refused(tmp_path):
    """The message says what to do."""
    store.save(statistics(3), tmp_path / "s.stats")
    with pytest.raises(StatisticsError, match=r"statistics of another model .* run dybitq calibrate"):
        store.check_model(store.load(tmp_path / "s.stats"), "00" * 32)


def test_every_truncation_is_seen(tmp_path):
    """A file that was cut anywhere is refused."""
    store.save(statistics(3), tmp_path / "s.stats")
    whole = (tmp_path / "s.stats").read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "s.stats").write_bytes(whole[:length])
        with pytest.raises(StatisticsError, match="is not a statistics file, or is damaged"):
            store.load(tmp_path / "s.stats")


def test_flipped_bits_are_seen(tmp_path):
    """Damage anywhere in the data of a member is found when it is read."""
    store.save(statistics(3), tmp_path / "s.stats")
    whole = bytearray((tmp_path / "s.stats").read_bytes())
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        offsets = [i.header_offset + 30 + len(i.filename) + i.compress_size // 2 for i in archive.infolist()]
    for offset in offsets:
        broken = bytearray(whole)
        broken[offset] ^= 16
        (tmp_path / "s.stats").write_bytes(broken)
        with pytest.raises(StatisticsError, match="damaged"):
            list(store.load(tmp_path / "s.stats").moments.values())


def rewritten(path, change) -> None:
    """The file with another header."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["statistics.json"])
    change(header)
    members["statistics.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_newer_versions_are_refused(tmp_path):
    """A later format is named, not guessed at."""
    store.save(statistics(3), tmp_path / "s.stats")
    rewritten(tmp_path / "s.stats", lambda header: header.update(version=99))
    with pytest.raises(StatisticsError, match="format version 99; this dybitq reads version 4"):
        store.load(tmp_path / "s.stats")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(format="other"),
        lambda h: h.pop("channels"),
        lambda h: h["tensors"][0].pop("minimum"),
        lambda h: h["tensors"][0].update(bins=3),
        lambda h: h["moments"][0].update(kind="huge"),
        lambda h: h["moments"][0].update(k=151),
        lambda h: h["channels"][0].update(channels=5),
    ],
)
def test_inconsistent_headers_are_refused(tmp_path, change):
    """A header that does not fit the arrays is damage, too."""
    store.save(statistics(3), tmp_path / "s.stats")
    rewritten(tmp_path / "s.stats", change)
    with pytest.raises(StatisticsError, match="damaged"):
        list(store.load(tmp_path / "s.stats").moments.values())


def test_other_files_are_refused(tmp_path):
    """A zip of something else, text, and a file that is not there."""
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "t").write_text("text")
    for name in ("z", "t"):
        with pytest.raises(StatisticsError, match="expected one that dybitq calibrate wrote"):
            store.load(tmp_path / name)
    with pytest.raises(StatisticsError, match="No such file"):
        store.load(tmp_path / "none")


@pytest.mark.parametrize(
    "change", [{"minimum": 9.0, "maximum": -9.0}, {"maximum": float("nan")}, {"samples": -5}]
)
def test_impossible_values_are_damage(tmp_path, change):
    """A file with sound checksums whose numbers cannot be statistics is refused, with its name."""
    before = statistics(3)
    name = next(iter(before.tensors))
    tensors = {**before.tensors, name: replace(before.tensors[name], **change)}
    store.save(replace(before, tensors=tensors), tmp_path / "s.stats")
    with pytest.raises(StatisticsError, match="damaged"):
        store.load(tmp_path / "s.stats")
