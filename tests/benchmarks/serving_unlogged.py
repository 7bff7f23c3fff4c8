"""
Ours, but nothing is kept of an answer: no statistics and no record. What keeping costs is the difference.

Started as the service is: `python -m tests.benchmarks.serving_unlogged RUNTIME …`.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from starlette.types import ASGIApp

from monitoring.image_stats import NAMES
from service import server


def main() -> None:
    """The supervisor; its workers make one of the applications below."""
    _put(server, "_APPLICATIONS", {runtime: f"{__spec__.name}:{runtime}" for runtime in server._APPLICATIONS})
    server.main()


def uvicorn() -> ASGIApp:
    """The application alone, forgetful."""
    _forget()
    return server.application()


def bentoml() -> ASGIApp:
    """The application in its shell, forgetful."""
    _forget()
    from service.app import application

    return application()


def _forget() -> None:
    """The product has no such switch, and needs none."""
    from service import classifier, seeing, worker

    class Forgetful(classifier.Classifier):
        def _logged(self, given: Sequence[Any]) -> list[Any]:
            return list(given)

    _put(worker, "Classifier", Forgetful)
    _put(seeing, "sample_of", lambda *_: None)
    _put(classifier, "statistics_of_all", lambda samples: np.zeros((len(samples), len(NAMES)), np.float32))


def _put(module: ModuleType, name: str, value: Any) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more, so the service cannot be made to forget"
    setattr(module, name, value)


if __name__ == "__main__":
    main()
