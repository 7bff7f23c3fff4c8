"""The columns of the log's tables, and their rows as records."""

import dataclasses
import json
from typing import Any

import polars as pl

from models.prediction import Prediction

_TIME = pl.Datetime("us", "UTC")
_FLOATS = pl.List(pl.Float32)
_PLACE: dict[str, Any] = {"date": pl.String(), "spool": pl.String(), "segment": pl.Int64(), "position": pl.Int32()}
PREDICTIONS: dict[str, Any] = {
    "id": pl.String(),
    "at": _TIME,
    "model_version": pl.Int32(),
    "label": pl.String(),
    "confidence": pl.Float32(),
    "probabilities": _FLOATS,
    "embedding": _FLOATS,
    "statistics": _FLOATS,
    "image_sha256": pl.String(),
    "image_width": pl.Int32(),
    "image_height": pl.Int32(),
    "image_format": pl.String(),
    "image_bytes": pl.Int64(),
    "image_kept": pl.Boolean(),
    "metadata": pl.String(),
    "repeated": pl.Boolean(),
    "forward_ms": pl.Float32(),
    **_PLACE,
}
SHADOWS: dict[str, Any] = {
    "id": pl.String(),
    "at": _TIME,
    "champion_version": pl.Int32(),
    "champion_label": pl.String(),
    "champion_confidence": pl.Float32(),
    "champion_forward_ms": pl.Float32(),
    "version": pl.Int32(),
    "label": pl.String(),
    "confidence": pl.Float32(),
    "forward_ms": pl.Float32(),
    "metadata": pl.String(),
    **_PLACE,
}
LABELS: dict[str, Any] = {
    "id": pl.String(),
    "label": pl.String(),
    "at": _TIME,
    "labelled_by": pl.String(),
    "sequence": pl.Int64(),
    **_PLACE,
}
JOINED: dict[str, Any] = PREDICTIONS | {
    "true_label": pl.String(),
    "labelled_at": _TIME,
    "labelled_by": pl.String(),
    "sequence": pl.Int64(),
}


def predictions_in(frame: pl.DataFrame) -> tuple[Prediction, ...]:
    """Rows of the table of predictions as records, for the few that are looked at one by one."""
    names = [field.name for field in dataclasses.fields(Prediction)]
    columns: list[Any] = []
    for name in names:
        column = frame[name]
        if name == "embedding":
            columns.append([None if item is None else item.to_numpy() for item in column])
        elif name in ("probabilities", "statistics"):
            columns.append([tuple(item) for item in column.to_list()])
        elif name == "metadata":
            columns.append([json.loads(text) for text in column])
        else:
            columns.append(column.to_list())
    return tuple(Prediction(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))
