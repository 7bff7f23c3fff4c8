"""The order of the tests: what takes minutes comes first, so that nothing is waited for alone at the end."""

import pytest

_FIRST = (
    "tests/stories/",
    "tests/flows/jobs/test_retraining.py",
    "tests/models/test_resume.py",
    "tests/flows/test_forecast.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, path in enumerate(_FIRST) if item.nodeid.startswith(path)), len(_FIRST))
