import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hemojax import results
from hemojax.errors import UserError


def timings(**changes):
    row = {"run": "r", "stage": "stage2", "method": "gradcam", "what": "alone", "slices": 3}
    row |= {"seconds": 1.5, "compile_seconds": 2.0, "device": "cpu"}
    return pd.DataFrame([row | changes])


def counts(box_tp):
    row = {
        "run": "r",
        "case": "c",
        "patient": "0007",
        "slice": 3,
        "split": "test",
        "stage": "stage2",
        "method": "gradcam",
    }
    row |= {"seed": 0, "mask": "lesion", "target": "any", "threshold": 0.5, "tp": 1, "fp": 2, "fn": 3}
    row |= {"box_best": 0.25, "box_fp": 5, "box_fn": 6, "box_loose": True, "size": 192, "baseline": False}
    frame = pd.DataFrame([row] * len(box_tp))
    frame["box_tp"] = pd.array(box_tp, dtype="Int32")
    frame["box_strict"] = pd.array([None] * len(box_tp), dtype="boolean")
    return frame


def test_a_table_comes_back_in_the_contracts_columns_and_types(tmp_path):
    path = tmp_path / "new" / "counts-0003.parquet"
    results.write_table(path, counts([4, None]))
    back = results.read_table(path)
    assert list(back.columns) == results.SCHEMAS["counts"].names
    assert back["patient"].tolist() == ["0007", "0007"]
    assert str(back["tp"].dtype) == "int32"
    assert str(back["seed"].dtype) == "int16"
    assert str(back["threshold"].dtype) == "float32"
    assert str(back["baseline"].dtype) == "bool"
    assert str(back["box_tp"].dtype) == "Int32"
    assert str(back["box_strict"].dtype) == "boolean"
    assert str(back["box_best"].dtype) == "float32"
    assert back["box_tp"].tolist() == [4, pd.NA]
    assert back["box_strict"].isna().all()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_table_with_lists(tmp_path):
    row = {"run": "r", "patient": "0007", "split": "test", "stage": "stage2", "method": "gradcam", "seed": 0}
    frame = pd.DataFrame([row | {"mask": "lesion", "baseline": False, "inside": [1, 2], "outside": [3, 4]}])
    frame["outside"] = [np.array([3, 4])]
    results.write_table(tmp_path / "curves.parquet", frame)
    back = results.read_table(tmp_path / "curves.parquet")
    assert (back["inside"][0].tolist(), back["outside"][0].tolist()) == ([1, 2], [3, 4])
    with pytest.raises(UserError, match="'inside' holds"):
        results.write_table(tmp_path / "curves.parquet", frame.assign(inside="many"))


def test_an_empty_table_keeps_its_types(tmp_path):
    path = tmp_path / "timings.parquet"
    results.write_table(path, timings().iloc[:0])
    back = results.read_table(path)
    assert len(back) == 0
    assert back["seconds"].dtype == np.float64


@pytest.mark.parametrize(
    ("frame", "column", "why"),
    [
        (timings().drop(columns="device"), "device", "missing"),
        (timings(extra=1), "extra", "does not belong"),
        (timings(seconds="fast"), "seconds", "not double"),
        (timings(device=3), "device", "not string"),
        (timings(slices=2.5), "slices", "does not fit"),
        (timings(slices=2**40), "slices", "does not fit"),
        (timings(seconds=np.nan), "seconds", "1 missing"),
        (timings(method=None), "method", "missing values"),
    ],
)
def test_an_odd_column_is_named_and_nothing_is_written(tmp_path, frame, column, why):
    path = tmp_path / "timings.parquet"
    results.write_table(path, timings())
    before = path.read_bytes()
    with pytest.raises(UserError, match=why) as caught:
        results.write_table(path, frame)
    assert f"{path}: column {column!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_parquet_file_is_refused_on_reading(tmp_path):
    path = tmp_path / "timings.parquet"
    pq.write_table(pa.table({"run": ["r"]}), path)
    with pytest.raises(UserError, match="column 'stage' is missing"):
        results.read_table(path)
    path.write_bytes(b"PAR1 and then the disk was full")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        results.read_table(path)
    with pytest.raises(UserError, match="no such table"):
        results.read_table(tmp_path / "slices.parquet")
    with pytest.raises(UserError, match="starts with one of slices, counts, faithfulness, timings"):
        results.write_table(tmp_path / "results.parquet", timings())


def test_json_and_its_errors(tmp_path):
    path = tmp_path / "chosen.json"
    results.write_json(path, {"é": [1, 2.5, None]})
    assert results.read_json(path) == {"é": [1, 2.5, None]}
    assert json.loads(path.read_text(encoding="utf-8")) == results.read_json(path)
    with pytest.raises(ValueError, match="JSON"):
        results.write_json(path, {"dice": float("nan")})
    assert results.read_json(path) == {"é": [1, 2.5, None]}
    path.write_text("{")
    with pytest.raises(UserError, match=r"chosen\.json: not valid JSON"):
        results.read_json(path)
    with pytest.raises(UserError, match="no such file"):
        results.read_json(tmp_path / "run.json")
