import os

import pytest

from infra.cores import usable_cores


@pytest.fixture
def cores(monkeypatch):
    """A machine with eight cores, whatever this one has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return 8


def second_version(folder, words):
    (folder / "cpu.max").write_text(words)
    return folder


def first_version(folder, quota, period):
    (folder / "cpu").mkdir()
    (folder / "cpu/cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu/cpu.cfs_period_us").write_text(period)
    return folder


@pytest.mark.parametrize(
    ("words", "usable"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),  # two whole ones
        ("50000 100000\n", 1),  # half a core still has to run something
        ("6400000 100000\n", 8),  # more time than cores
    ],
)
def test_a_container_uses_no_more_cores_than_it_has_time_for(tmp_path, cores, words, usable):
    assert usable_cores(second_version(tmp_path, words)) == usable


@pytest.mark.parametrize(("quota", "usable"), [("-1\n", 8), ("300000\n", 3), ("10000\n", 1)])
def test_older_control_groups_count_too(tmp_path, cores, quota, usable):
    assert usable_cores(first_version(tmp_path, quota, "100000\n")) == usable


@pytest.mark.parametrize("words", ["", "200000", "a b c\n"])
def test_a_file_that_says_nothing_limits_nothing(tmp_path, cores, words):
    assert usable_cores(second_version(tmp_path, words)) == cores


def test_without_control_groups_every_core_that_the_process_may_use_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)

    assert usable_cores(tmp_path) == 2


def test_where_a_process_cannot_be_tied_to_cores_the_machine_counts(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)

    assert usable_cores(tmp_path) == 1
