"""The benchmarks' own book-keeping: what was measured is kept, and what is not met is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import table
from tests.benchmarks.datasets import Described, LabelledImage, data_folder, split
from tests.benchmarks.results import Measured
from tests.benchmarks.table import Figure, Row
from tests.benchmarks.training_table import OURS, rows

KEYS = ("contender", "seed")


def measurement(contender: str, seed: int, *, new: float, old: float, cpu_s: float) -> dict[str, Any]:
    return {
        "dataset": "meters",
        "task": "retrain",
        "contender": contender,
        "seed": seed,
        "new_accuracy": new,
        "new_macro_recall": new,
        "old_accuracy": old,
        "old_macro_recall": old,
        "cpu_s": cpu_s,
    }


def by_name(found: list[Row], ending: str) -> Row:
    return next(row for row in found if row.what.endswith(ending))


def test_a_benchmark_that_was_broken_off_goes_on_after_the_last_whole_line(tmp_path: Path):
    path = tmp_path / "measured.jsonl"
    Measured(path, KEYS).add({"contender": "full", "seed": 0, "cpu_s": 40.0})
    with path.open("a") as file:
        file.write('{"contender": "head", "se')

    again = Measured(path, KEYS)
    again.add({"contender": "full", "seed": 1, "cpu_s": 41.0})

    known = Measured(path, KEYS)
    assert {"contender": "full", "seed": 0} in known
    assert {"contender": "full", "seed": 1} in known
    assert {"contender": "head", "seed": 0} not in known


def test_what_is_measured_again_takes_the_place_of_the_first(tmp_path: Path):
    path = tmp_path / "measured.jsonl"
    for cpu_s in (40.0, 20.0):
        Measured(path, KEYS).add({"contender": "auto", "seed": 0, "cpu_s": cpu_s})

    assert [row["cpu_s"] for row in Measured(path, KEYS).rows()] == [20.0]


def test_goals_are_met_by_the_middle_of_the_seeds_against_the_best_rival():
    measured = [
        measurement("champion", 0, new=0.10, old=0.95, cpu_s=0),
        *[measurement(OURS, seed, new=new, old=0.94, cpu_s=13) for seed, new in enumerate((0.60, 0.85, 0.90))],
        measurement("full", 0, new=0.84, old=0.96, cpu_s=45),
        measurement("head", 0, new=0.50, old=0.90, cpu_s=8),
    ]

    found = rows(measured)

    assert by_name(found, "accuracy on new data").met is True
    assert by_name(found, "cost").met is True
    assert by_name(found, "forgotten of old data").met is True
    old = by_name(found, "accuracy on old data")
    assert old.met is False
    assert old.reason == "2.0 points less than full"
    assert by_name(found, "macro recall on new data").met is None


def test_forgetting_and_cost_are_told_where_they_are_too_much():
    measured = [
        measurement("champion", 0, new=0.10, old=0.95, cpu_s=0),
        measurement(OURS, 0, new=0.9, old=0.90, cpu_s=30),
        measurement("full", 0, new=0.8, old=0.80, cpu_s=45),
    ]

    found = rows(measured)

    assert by_name(found, "cost").met is False
    assert by_name(found, "cost").reason == "0.67 of full's"
    assert by_name(found, "forgotten of old data").reason == "5.0 points lost"


def test_without_ours_nothing_is_met():
    found = rows([measurement("full", 0, new=0.8, old=0.8, cpu_s=45)])

    assert {row.met for row in found if row.goal} == {False}


def test_a_goal_that_is_not_met_must_say_why():
    with pytest.raises(ValueError, match="needs its reason"):
        Row("head stage", "times faster", Figure((3.0,)), goal="≥ 9", met=False)


def test_tables_are_written_for_people_and_for_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    met = Row("new data", "%", Figure((80.0, 90.0, 85.0)), {"full": Figure((84.0,))}, "≥ full", met=True, form=".1f")
    missed = Row("old data", "%", None, goal="≥ full", met=False, reason="nobody measured it")

    table.write("trial", "A trial", "make bench-trial", [met, missed], ["three seeds"])

    text = (tmp_path / "trial.md").read_text()
    assert "| new data, % | 85.0 (80.0–90.0) | 84.0 | ≥ full | yes |" in text
    assert "| old data, % | — |  | ≥ full | **not met**: nobody measured it |" in text
    first, second = json.loads((tmp_path / "trial.json").read_text())["rows"]
    assert (first["ours"], first["others"], first["met"]) == (85.0, {"full": 84.0}, True)
    assert (second["ours"], second["met"], second["reason"]) == (None, False, "nobody measured it")


def test_one_look_never_trains_and_tests_and_every_class_does_both():
    images = [
        LabelledImage(f"{label}{look}-{copy}.jpg", label, f"{label}{look}", copy == 3)
        for label in ("crack", "free")
        for look in range(8)
        for copy in range(4)
    ]
    most = {"train": 100, "select": 100, "test": 100}
    described = Described("tiles", 32, False, (0.5, 0.2), most, 100, lambda _: images)

    one, other = split(images, described, seed=0), split(images, described, seed=1)

    looks = {role: {image.look for image in (*one.old[role], *one.new[role])} for role in most}
    assert not looks["train"] & looks["test"]
    assert not looks["select"] & looks["test"]
    assert all({image.label for image in one.new[role]} == {"crack", "free"} for role in most)
    assert one.new["test"] != other.new["test"]


def test_without_its_images_the_benchmark_says_where_to_name_them(tmp_path: Path):
    with pytest.raises(SystemExit, match="--data FOLDER or KEDGE_BENCH_DATA"):
        data_folder(tmp_path)
