"""The result tables: their schemas, and reading and writing them so that a killed run never leaves half a file.

A table's kind is the beginning of its file's name, up to the first `-` or `.`: `counts.parquet` and
`counts-0003.parquet` both hold `counts`. One row each:

- `slices`: a (slice, label). `truth` is 0 or 1, `label` is "any" or a subtype (EPH SDH SAH IPH IVH).
- `counts`: a (slice, stage, method, seed, mask, threshold). `tp`, `fp`, `fn` count pixels on a grid of side `size`;
  of slices whose mask is not empty, and of false positives (no lesion, called positive), of which tp and fn are 0. The
  box columns are empty except at `metrics.boxes.BOX_THRESHOLDS` and at the thresholds with the best pooled Dice on
  validation and on test; `box_best` is also empty where there is no true box.
- `maps`: a (slice, stage, method, seed, mask): what is said of a map without a threshold, empty where the mask is; and
  the counts at its own Otsu threshold.
- `curves`: a (patient, stage, method, seed, mask): pixels `inside` and `outside` of the mask at each level of the map
  (see `metrics.curves`), summed over the patient's slices whose mask is not empty.
- `lesions`: an (explained slice, mask): `area` in pixels of the grid and in mm2, the `subtypes` drawn in the slice,
  `truth` of the first label (-1 where not known), and `called`: some logit is above 0.
- `volumes`: a (test case, stage, method, seed, mask) at one threshold, over its explained slices.
- `faithfulness`: a (slice, stage, method, metric); each method at its best stage, on some test slices.
- `timings`: a (stage, method, what) that was timed, with compilation apart.
- `removal`: a (slice, mask, fill, label): the logit of the slice, and with the mask filled from the "surroundings" or
  from the "other side".
- `position`: a (slice, label). `score` is the share of positives among training slices at about that height.
- `consistency`: a (stage, method, pair of trainings, by their seeds): mean `iou` of their masks over shared slices.
- `sanity`: a (slice, stage, method, depth): likeness to the original map of the one with `depth` parts of the network
  randomised, from the classifying layer down to `randomised`.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hemojax.errors import UserError, first_line
from hemojax.files import replacing

_TEXT, _COUNT, _REAL, _FLAG = pa.string(), pa.int32(), pa.float32(), pa.bool_()


def _schema(required: dict[str, pa.DataType], nullable: dict[str, pa.DataType]) -> pa.Schema:
    fields = [pa.field(name, dtype, nullable=False) for name, dtype in required.items()]
    return pa.schema(fields + [pa.field(name, dtype) for name, dtype in nullable.items()])


_LEVELS = pa.list_(_COUNT)
_SLICE = {"run": _TEXT, "case": _TEXT, "patient": _TEXT, "slice": _COUNT, "split": _TEXT}
_MAP = {"stage": _TEXT, "method": _TEXT, "seed": pa.int16(), "mask": _TEXT}

SCHEMAS: dict[str, pa.Schema] = {
    "slices": _schema({**_SLICE, "label": _TEXT, "truth": pa.int8(), "logit": _REAL, "probability": _REAL}, {}),
    "counts": _schema(
        _SLICE
        | _MAP
        | {"target": _TEXT, "threshold": _REAL}
        | {"tp": _COUNT, "fp": _COUNT, "fn": _COUNT, "size": pa.int16(), "baseline": _FLAG},
        {"box_tp": _COUNT, "box_fp": _COUNT, "box_fn": _COUNT, "box_loose": _FLAG, "box_strict": _FLAG}
        | {"box_best": _REAL},
    ),
    "faithfulness": _schema(_SLICE | {"stage": _TEXT, "method": _TEXT, "metric": _TEXT, "value": _REAL}, {}),
    "timings": _schema(
        {"run": _TEXT, "stage": _TEXT, "method": _TEXT, "what": _TEXT, "slices": _COUNT}
        | {"seconds": pa.float64(), "compile_seconds": pa.float64(), "device": _TEXT},
        {},
    ),
    "maps": _schema(
        _SLICE
        | _MAP
        | {"target": _TEXT, "size": pa.int16(), "baseline": _FLAG}
        | {"otsu": _REAL, "otsu_tp": _COUNT, "otsu_fp": _COUNT, "otsu_fn": _COUNT}
        | {"otsu_box_tp": _COUNT, "otsu_box_fp": _COUNT, "otsu_box_fn": _COUNT}
        | {"otsu_box_loose": _FLAG, "otsu_box_strict": _FLAG},
        {"otsu_box_best": _REAL, "pointing": _FLAG, "pointing_near": _FLAG}
        | {"energy": _REAL, "rank": _REAL, "auroc": _REAL, "ap": _REAL},
    ),
    "curves": _schema(
        {"run": _TEXT, "patient": _TEXT, "split": _TEXT}
        | _MAP
        | {"baseline": _FLAG, "inside": _LEVELS, "outside": _LEVELS},
        {},
    ),
    "lesions": _schema(
        _SLICE | {"mask": _TEXT, "area": _COUNT, "subtypes": _TEXT, "truth": pa.int8(), "called": _FLAG},
        {"area_mm2": _REAL},
    ),
    "volumes": _schema(
        {"run": _TEXT, "case": _TEXT, "patient": _TEXT, "split": _TEXT} | _MAP | {"threshold": _REAL},
        {"hd95": _REAL, "predicted_ml": _REAL, "true_ml": _REAL},
    ),
    "removal": _schema(
        {**_SLICE, "mask": _TEXT, "fill": _TEXT, "label": _TEXT, "logit": _REAL, "filled_logit": _REAL}, {}
    ),
    "position": _schema({**_SLICE, "label": _TEXT, "truth": pa.int8(), "score": _REAL}, {}),
    "consistency": _schema(
        {"run": _TEXT, "stage": _TEXT, "method": _TEXT, "first": _COUNT, "second": _COUNT}
        | {"slices": _COUNT, "iou": _REAL},
        {},
    ),
    "sanity": _schema(
        {**_SLICE, "stage": _TEXT, "method": _TEXT, "randomised": _TEXT, "depth": _COUNT}
        | {"spearman": _REAL, "ssim": _REAL},
        {},
    ),
}


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Writes a result table as Parquet.

    Args:
      path: `<kind>[-part].parquet`, with `kind` one of `SCHEMAS`.
      frame: its columns, in any order; integers and floats may be wider than the schema if no value is lost.

    Raises:
      UserError: A column is missing, unknown, of another type, or has gaps where none are allowed.
    """
    schema = _schema_of(path)
    columns = {str(name): pa.Array.from_pandas(frame[name]) for name in frame.columns}
    table = _conform(path, columns, schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Reads a result table: the schema's columns, in its order; nullable ones as pandas `Int32` and `boolean`.

    Raises:
      UserError: The file is missing, is not Parquet, or its columns are not the schema's.
    """
    schema = _schema_of(path)
    if not path.is_file():
        raise UserError(f"{path}: no such table; run the benchmark first")
    try:
        # Not `read_table(path)`: that would also take columns from folder names such as `seed=1`.
        table = pq.ParquetFile(path).read()
    except pa.ArrowException as error:
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from error
    table = _conform(path, dict(zip(table.column_names, table.columns, strict=True)), schema)
    nullable = {_COUNT: pd.Int32Dtype(), _FLAG: pd.BooleanDtype()}
    return pd.DataFrame(
        {
            field.name: table[field.name].to_pandas(types_mapper=nullable.get if field.nullable else None)
            for field in schema
        }
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON; NaN and infinities raise ValueError, because they are not JSON."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises UserError if it is missing or is not JSON."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the benchmark first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({first_line(error)})") from error


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with the same line ends on every system."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _schema_of(path: Path) -> pa.Schema:
    kind = path.name.split(".")[0].split("-")[0]
    if kind not in SCHEMAS:
        raise UserError(f"{path}: the name of a result table starts with one of {', '.join(SCHEMAS)}")
    return SCHEMAS[kind]


def _conform(path: Path, columns: dict[str, pa.Array | pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    """The columns in the schema's order and types, or a UserError that names the file and the column."""
    for name in schema.names:
        if name not in columns:
            raise UserError(f"{path}: column {name!r} is missing")
    for name in columns:
        if name not in schema.names:
            raise UserError(f"{path}: column {name!r} does not belong in this table")
    return pa.Table.from_arrays([_cast(path, columns[field.name], field) for field in schema], schema=schema)


def _cast(path: Path, column: pa.Array | pa.ChunkedArray, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_null(found) or _family(found) == _family(field.type)):
        raise UserError(f"{path}: column {field.name!r} holds {found}, not {field.type}")
    if column.null_count and not field.nullable:
        raise UserError(f"{path}: column {field.name!r} has {column.null_count} missing values")
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: column {field.name!r} does not fit {field.type} ({first_line(error)})") from error


def _family(dtype: pa.DataType) -> str:
    """Types that convert into one another without a change of meaning: numbers (checked for loss), text, flags."""
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return "number"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return "text"
    if pa.types.is_list(dtype):
        return f"list of {_family(dtype.value_type)}s"
    return str(dtype)
