"""Real camera images: digits of gas, water and power meters; then LCD displays, which show other glyphs altogether."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.intervals import wilson
from tests.meters import PROJECT, WHOLE, looks, place, split_of

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_DATA, _WEIGHTS = _SHARED / "meter_digits", _SHARED / "weights" / "mobilenetv2_100.keras_in1k.safetensors"
_LCD = {"lcd", "lcd2"}

_SETTINGS = (
    PROJECT.format(weights=_WEIGHTS)
    + """threads = 1
budget_minutes = 6
[monitor]
every_s = 10
feedback_is_random = true
"""
)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not _DATA.exists(), reason="the meter images lie beside the project only where it is developed")
def test_lcd_displays_arrive_and_are_learnt_without_forgetting_the_meters(
    tmp_path: Path, make_project: Callable[[str], Any]
):
    rows = _whole_digits(tmp_path)
    meters = [row for row in rows if row["device"] not in _LCD]
    kept, traffic = _split(meters, 0.75)
    # Of what is sent, the sessions that are measured before and after are never labelled, and so never trained on.
    measured, labelled = _split(traffic, 0.90)
    lcd_first, lcd_later = _split([row for row in rows if row["device"] in _LCD], 0.70)
    _write_manifest(tmp_path / "manifest.csv", kept)
    project = make_project(_SETTINGS)

    trained = project.kedge("train")
    assert trained.returncode == 0, trained.stderr[-3000:]
    with project.up():
        before = _send(project, measured[:600])
        during = _send(project, _mixed(lcd_first, labelled))
        project.feedback([{"id": row["id"], "label": row["label"]} for row in during])
        project.wait(lambda: project.kedge_json("status")["champion"]["version"] == 2, 900, "the promotion")
        project.wait(lambda: _answers_with(project, 2, measured[0]), 30, "the swap")
        after = _send(project, [*lcd_later, *measured[:600]])

    figures = {
        "meters before": _interval(before),
        "LCD during": _interval([row for row in during if row["device"] in _LCD]),
        "LCD after": _interval([row for row in after if row["device"] in _LCD]),
        "meters after": _interval([row for row in after if row["device"] not in _LCD]),
    }
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    # How much a new display hurts depends on what the first model has learnt; that it hurts, intervals tell.
    assert figures["LCD during"][2] < figures["meters before"][1]
    assert figures["LCD after"][1] > figures["LCD during"][2]
    assert figures["meters after"][0] > figures["meters before"][0] - 0.03


def _whole_digits(folder: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(_DATA / "images.zip") as archive:
        archive.extractall(folder / "images")
    with (_DATA / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tenth"] in WHOLE]
    for row in rows:
        row["image"] = f"images/{row['image']}"
        # Frames that follow each other show the same digit of the same meter: they must share one role.
        row["session"] = f"{row['device']} {row['captured_on']} {row['label']}"
    lcd = [row for row in rows if row["device"] in _LCD]
    # Of the displays there are too few for that; they are grouped by what looks alike.
    for row, look in zip(lcd, looks([folder / row["image"] for row in lcd]), strict=True):
        row["session"] = f"lcd look {look}"
    return rows


def _split(rows: list[dict[str, str]], share: float) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """By session, so that near-copies of what trains are never sent."""
    first = [row for row in rows if place(row["session"]) < share]
    return first, sorted((row for row in rows if row not in first), key=lambda row: place(row["image"]))


def _mixed(first: list[dict[str, str]], second: list[dict[str, str]]) -> list[dict[str, str]]:
    """LCD displays among the meters, three windows in all; a third of it LCD."""
    return sorted([*first, *second[: 600 - len(first)]], key=lambda row: place(row["image"]))


def _write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        columns = ["image", "label", "split", "medium", "device", "session"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "split": split_of(row["session"])} for row in rows)


def _send(project: Any, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    sent = []
    for row in rows:
        metadata = {name: row[name] for name in ("medium", "device", "session")}
        answer = project.predict((project.folder / row["image"]).read_bytes(), **metadata)
        sent.append({**row, "id": answer["id"], "answer": answer["label"], "model": answer["model"]})
    return sent


def _answers_with(project: Any, version: int, row: dict[str, str]) -> bool:
    return bool(_send(project, [row])[0]["model"].endswith(f":{version}"))


def _interval(rows: list[dict[str, str]]) -> tuple[float, float, float, int]:
    right = sum(row["answer"] == row["label"] for row in rows)
    low, high = wilson(right, len(rows))
    return round(right / len(rows), 3), round(low, 3), round(high, 3), len(rows)
