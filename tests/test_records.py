"""Recorded runs: what comes back is what was saved, and nothing else passes for it."""

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcbook import records


def example(**changes):
    results = {"table": [{"method": "secant", "ratio": 1.7318, "error": 4.2e-4}], "curve": [0.1, 1e-300, 3]}
    details = {"seeds": [0, 1], "data": {"toy": records.digest_of(b"abc")}, "wall_clock": 1.25}
    return records.new("test", {"width": 500, "rate": 0.1}, results, **details) | changes


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    record = example()
    path = records.save(tmp_path / "new" / "run.json", record)
    assert records.load(path) == record
    assert records.verify(path) == record["digest"] == records.digest(record)


numbers = st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    numbers | st.text() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_any_json_content_survives_the_round_trip(tmp_path_factory, results):
    record = records.new("test", {}, results, environment={})
    path = records.save(tmp_path_factory.mktemp("records") / "run.json", record)
    assert records.load(path) == record


def test_the_layout_may_change_but_no_digit(tmp_path):
    path = records.save(tmp_path / "run.json", example())
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text), indent=7))
    records.verify(path)
    path.write_text(text.replace("1.7318", "1.7317"))
    for read in (records.load, records.verify):
        with pytest.raises(ValueError, match=r"run\.json: .* edited"):
            read(path)


def test_the_layout_is_compact_and_has_lines_to_compare():
    rows = [{"cell": {"rate": 0.1, "seed": k}, "results": {"curve": [k / 7] * 20, "notes": []}} for k in range(2)]
    lines = records.text({"cells": rows, "empty": {}}).splitlines()
    assert sum(json.dumps([k / 7] * 20) in line for k in range(2) for line in lines) == 2, "a curve takes one line"
    assert '{"rate": 0.1, "seed": 1}' in "".join(lines), "what is short takes one line"
    assert max(line.count("[0") for line in lines) == 1 and '"empty": {}' in "".join(lines)


@given(values)
def test_the_layout_changes_nothing(value):
    assert json.loads(records.text(value)) == value


def test_same_looks_at_all_but_when_where_and_how_fast():
    record = example()
    results = record["results"]
    for alike in (
        {"created": "2001-01-01", "wall_clock": 9.0, "environment": {}, "digest": ""},
        {"results": results | {"timing": [1.0]}},
    ):
        assert records.same(record, record | alike)
    for other in (
        {"seeds": [0]},
        {"kind": "other"},
        {"data": {}},
        {"configuration": {"width": 501, "rate": 0.1}},
        {"results": results | {"curve": [0.1, 1e-300, 4]}},
    ):
        assert not records.same(record, record | other)


def test_too_large_a_record_is_refused_and_its_largest_cells_named(tmp_path):
    sizes = [10, 60_000, 20, 30_000]
    rows = [{"cell": {"k": k}, "results": [0.123456789] * size} for k, size in enumerate(sizes)]
    with pytest.raises(ValueError, match=r"large\.json: would have 1,1\d\d,\d{3} bytes, at most 1,000,000") as caught:
        records.save(tmp_path / "large.json", records.new("test", {}, {"cells": rows}))
    assert re.search(r'the cell \{"k": 1\} has 780,\d{3}; the cell \{"k": 3\} has', str(caught.value))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="curve has"):
        records.save(tmp_path / "large.json", records.new("test", {}, {"curve": [0.123456789] * 90_000, "b": 1}))


@pytest.mark.parametrize("path", sorted(records.FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_the_records_of_the_book_are_whole_and_small(path):
    assert records.load(path)["kind"] and path.stat().st_size <= records.LIMIT


@pytest.mark.parametrize("keep", [0, 0.3, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path, keep):
    path = records.save(tmp_path / "cut.json", example())
    text = path.read_text().rstrip()
    path.write_text(text[: int(keep * len(text))])
    with pytest.raises(ValueError, match=r"cut\.json: not a whole JSON file"):
        records.load(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r | {"schema": 2}, "schema = 2: must be 1"),
        (lambda r: {k: v for k, v in r.items() if k != "seeds"}, "lacks seeds"),
        (lambda r: r | {"notes": ""}, "holds notes, which no record has"),
        (lambda r: r | {"results": []}, "results is a list"),
        (lambda r: r | {"wall_clock": True}, "wall_clock is a bool"),
        (lambda r: [r], "holds a list, not a record"),
    ],
)
def test_another_layout_is_refused_by_name(tmp_path, change, complaint):
    record = change(example())
    if isinstance(record, dict):
        record["digest"] = records.digest(record)
        with pytest.raises(ValueError, match=rf"odd\.json: {complaint}"):
            records.save(tmp_path / "odd.json", record)
    (tmp_path / "odd.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"odd\.json: {complaint}"):
        records.load(tmp_path / "odd.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.ones(2), {1, 2}])
def test_content_that_json_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="record 'test' holds what JSON cannot"):
        records.new("test", {}, {"value": value})


def test_a_nan_in_the_file_is_refused(tmp_path):
    path = records.save(tmp_path / "run.json", example())
    path.write_text(path.read_text().replace("1.7318", "NaN"))
    with pytest.raises(ValueError, match=r"run\.json: holds NaN"):
        records.load(path)


def test_a_failed_write_leaves_the_old_record_and_no_litter(tmp_path, monkeypatch):
    path = records.save(tmp_path / "run.json", example())

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        records.save(path, example(seeds=[7]))
    assert records.load(path)["seeds"] == [0, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        records.load(tmp_path / "none.json")


def test_data_digests_read_bytes_and_arrays_alike():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4, dtype=np.uint8)
    assert records.digest_of(a, b) == records.digest_of(a.tobytes() + b.tobytes())
    assert records.digest_of(a) != records.digest_of(a[::-1].copy())


def test_a_folder_that_no_commit_describes_has_none(tmp_path):
    assert records.commit(tmp_path) is None


def test_the_environment_says_what_ran_and_where():
    here = records.describe(packages=("numpy", "no-such-package"), threads=2)
    assert here["versions"] == {"numpy": np.__version__, "no-such-package": None}
    assert here["commit"] is None or len(here["commit"].rstrip("+")) == 40
    assert here["threads"] == 2 and here["cores"] >= 1 and here["device"] == "cpu"
