"""
Detectors of a project's own: found, run, and what they say looked over.

In a file beside kedge.toml, here `light.py`:

    import numpy as np
    from scipy.stats import binomtest
    from monitoring.detectors.detection import Detection, highest_places
    from monitoring.image_stats import NAMES

    def too_dark(profile, batch):
        before, light = (side.statistics[:, NAMES.index("brightness")] for side in (profile.plain, batch))
        dark = light < np.nanquantile(before, 0.05)
        p_value = binomtest(int(dark.sum()), len(batch), 0.05, alternative="greater").pvalue
        yield Detection("light", "dark pictures", dark.sum(), dark.mean(), p_value, highest_places(-light))

and in kedge.toml: `monitor.detectors = ["light.py:too_dark"]`. It is asked once for every window of five predictions
or more, of which a value that is missing is NaN. `monitoring.reference.profile.ReferenceProfile` and
`monitoring.watching.batch.Batch` say what it is given; of `batch.embedding` only what `profile.projection.apply` makes
of it is sure to be there.
"""

import functools
import importlib
import importlib.util
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from monitoring.detectors.detection import MOST_PLACES, Detection, Detector
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

_MOST_DETECTIONS = 100
_MOST_LETTERS = 80


def ask(address: str, profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """
    What the detector at an address says, as plain numbers that a row can hold.

    address: "path/to/file.py:function", taken up again when the file changes, or "package.module:function" of what
        is installed.

    Raises:
        Exception: whatever the detector's code raises, or a description of what is wrong with its answer.
    """
    # It is handed arrays that cannot be written to: what it changed would be decided on afterwards.
    found: object = _loaded(address)(replace(profile, batch=_read_only(profile.batch)), _read_only(batch))
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise TypeError(f"it gave {type(found).__name__}, expected a list of Detection")
    return list(_checked(found, len(batch)))


def _loaded(address: str) -> Detector:
    where, _, function = address.rpartition(":")
    if not where or not function:
        raise ValueError('expected "file.py:function" or "package.module:function"')
    if where.endswith(".py"):
        path = Path(where)
        module = _module_at(path, path.stat().st_mtime_ns)
    else:
        module = importlib.import_module(where)
    found: Detector = getattr(module, function)
    return found


@functools.lru_cache(maxsize=32)
def _module_at(path: Path, _changed_ns: int) -> ModuleType:
    """By its path: a folder on `sys.path` would let its other files hide installed packages."""
    name = f"kedge_detectors_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "the name ends in .py"
    assert spec.loader is not None, "a source file has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _read_only(batch: Batch) -> Batch:
    return replace(
        batch,
        statistics=_sealed(batch.statistics),
        probabilities=_sealed(batch.probabilities),
        embedding=_sealed(batch.embedding),
    )


def _sealed(numbers: Floats) -> Floats:
    sealed = numbers.view()
    sealed.flags.writeable = False
    return sealed


def _checked(found: Iterable[Any], rows: int) -> Iterator[Detection]:
    for count, one in enumerate(found, 1):
        if not isinstance(one, Detection):
            raise TypeError(f"it gave {type(one).__name__}, not a Detection")
        if count > _MOST_DETECTIONS:
            raise ValueError(f"it gave more than {_MOST_DETECTIONS} detections")
        statistic, effect, p_value = (float(value) for value in (one.statistic, one.effect, one.p_value))
        if not (0 <= p_value <= 1 and 0 <= effect <= 1 and math.isfinite(statistic)):
            raise ValueError(
                f"{one.name}: effect {effect:g} and p-value {p_value:g} should be within 0..1, and its statistic "
                f"{statistic:g} should be a number"
            )
        yield Detection(
            family=str(one.family)[:_MOST_LETTERS],
            name=str(one.name)[:_MOST_LETTERS],
            statistic=statistic,
            effect=effect,
            p_value=p_value,
            places=tuple(int(place) for place in one.places if 0 <= place < rows)[:MOST_PLACES],
            reference=_mean(one.reference),
            window=_mean(one.window),
        )


def _mean(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
