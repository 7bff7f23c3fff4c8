"""The reference profile: what held-out images looked like to the champion when it was trained."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.objects import ObjectMissing, ObjectStore
from monitoring.image_stats import EARLIEST, NAMES
from monitoring.watching.batch import Batch, Floats

CATEGORY, NUMBER, IDENTIFIER = "category", "number", "identifier"


@dataclass(frozen=True)
class Column:
    """
    One metadata column as the reference has it.

    Attributes:
        kind: "category", "number", or "identifier" (nearly every image has its own value: never compared).
        values: Of a category: value and number of images.
        low, high: Of a number: its range.
    """

    kind: str
    values: Mapping[str, int]
    low: float = 0.0
    high: float = 0.0

    def is_new(self, value: str) -> bool:
        """Whether the reference never saw this value; a missing value is not a new one."""
        if value == "" or self.kind == IDENTIFIER:
            return False
        if self.kind == CATEGORY:
            return value not in self.values
        try:
            return not self.low <= float(value) <= self.high
        except ValueError:
            return True


@dataclass(frozen=True)
class Projection:
    """
    The embedding in at most 32 principal components, each scaled to deviation 1.

    Attributes:
        mean: shape (D,).
        components: shape (k, D).
        scale: shape (k,).
    """

    mean: Floats
    components: Floats
    scale: Floats

    def apply(self, embedding: Floats) -> Floats:
        """Shape (N, k)."""
        projected: Floats = (embedding - self.mean) @ self.components.T / self.scale
        return projected

    def distance(self, embedding: Floats) -> Floats:
        """Shape (N,): from the reference's centre, per component, so that 1 is usual."""
        size = max(1, len(self.scale))
        distance: Floats = np.sqrt((self.apply(embedding) ** 2).sum(axis=1) / size)
        return distance


@dataclass(frozen=True)
class ReferenceProfile:
    """
    Held-out images, scored by the champion.

    Attributes:
        version: Of the champion.
        classes: In the order of the probabilities.
        images: Different images behind the rows; the rest are the same images distorted afresh.
        batch: One row per scoring.
        truth: Label of each row.
        median, scale: Of each image statistic; shape (S,).
        projection: Of the embedding.
        distances: shape (N,), of each row's embedding to the centre.
        limits: Channel name to the score above which one prediction is atypical: 1 in 100 rows is.
        columns: Metadata columns.
        judged_errors: Detector name ("overall", "class=7", "camera=A") to errors and images on the judge set.
        unseen: shape (images,): images that the projection was not fitted on, the only ones whose components may be
            compared with a window's; None in a profile made before that was kept apart.
    """

    version: int
    classes: tuple[str, ...]
    images: int
    batch: Batch
    truth: tuple[str, ...]
    median: Floats
    scale: Floats
    projection: Projection
    distances: Floats
    limits: Mapping[str, float]
    columns: Mapping[str, Column]
    judged_errors: Mapping[str, tuple[int, int]]
    unseen: NDArray[np.bool_] | None = None

    @cached_property
    def plain(self) -> Batch:
        """
        Each image once, as it is: what a window is drawn beside.

        Limits need the distorted copies, for rare values; a picture of the distribution would show their softening.
        """
        return self.batch.first(self.images)

    @property
    def embedding_size(self) -> int:
        return len(self.projection.mean)

    def to_bytes(self) -> bytes:
        """As a NumPy archive without pickled objects."""
        facts = {
            "version": self.version,
            "classes": self.classes,
            "images": self.images,
            "labels": self.batch.labels,
            "metadata": [dict(row) for row in self.batch.metadata],
            "truth": self.truth,
            "limits": dict(self.limits),
            "columns": {name: vars(column) for name, column in self.columns.items()},
            "judged_errors": {name: list(pair) for name, pair in self.judged_errors.items()},
            "statistics": NAMES,
            "unseen": None if self.unseen is None else self.unseen.tolist(),
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
            statistics=self.batch.statistics,
            probabilities=self.batch.probabilities,
            embedding=self.batch.embedding.astype(np.float32),
            median=self.median,
            scale=self.scale,
            mean=self.projection.mean,
            components=self.projection.components,
            component_scale=self.projection.scale,
            distances=self.distances,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ReferenceProfile":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            facts: dict[str, Any] = json.loads(arrays["facts"].tobytes())
            named = facts.get("statistics", NAMES[:EARLIEST])
            batch = Batch(
                statistics=_in_order(arrays["statistics"], named),
                probabilities=arrays["probabilities"],
                embedding=arrays["embedding"].astype(np.float64),
                labels=tuple(facts["labels"]),
                metadata=tuple(facts["metadata"]),
            )
            return cls(
                version=facts["version"],
                classes=tuple(facts["classes"]),
                images=facts["images"],
                batch=batch,
                truth=tuple(facts["truth"]),
                median=_in_order(arrays["median"], named),
                scale=_in_order(arrays["scale"], named),
                projection=Projection(arrays["mean"], arrays["components"], arrays["component_scale"]),
                distances=arrays["distances"],
                limits=facts["limits"],
                columns={name: Column(**column) for name, column in facts["columns"].items()},
                judged_errors={name: (pair[0], pair[1]) for name, pair in facts["judged_errors"].items()},
                unseen=None if facts.get("unseen") is None else np.array(facts["unseen"], dtype=np.bool_),
            )


def save_profile(
    engine: sa.Engine,
    objects: ObjectStore,
    name: str,
    profile: ReferenceProfile,
    origin: ReferenceProfile | None = None,
) -> str:
    """
    Keep the profile beside the version's artifact; gives its object key. A second profile replaces the first.

    origin: the images of the first training as this version sees them, which may be the profile itself; None leaves
    the origin as it was.
    """
    key = profile_key(name, profile.version)
    objects.put(key, profile.to_bytes())
    values: dict[str, Any] = {"object_key": key, "images": profile.images, "created_at": now()}
    if origin is not None:
        values["origin_key"] = key if origin is profile else origin_key(name, profile.version)
        if origin is not profile:
            objects.put(values["origin_key"], origin.to_bytes())
    table = schema.profiles
    mine = (table.c.name == name) & (table.c.version == profile.version)
    with writing(engine) as connection:
        if not connection.execute(table.update().where(mine).values(values)).rowcount:
            connection.execute(table.insert().values(name=name, version=profile.version, **values))
    return key


def profile_key(name: str, version: int) -> str:
    """Where the profile of a version's training lies; a normal that a person accepted later lies elsewhere."""
    return f"models/{name}/{version}/reference.npz"


def origin_key(name: str, version: int) -> str:
    """Where the origin as a version sees it lies, unless that is the profile itself."""
    return f"models/{name}/{version}/origin.npz"


def load_profile(engine: sa.Engine, objects: ObjectStore, name: str, version: int) -> ReferenceProfile | None:
    """The profile of a version; None where none was kept, or where the object store has lost it."""
    table = schema.profiles
    query = sa.select(table.c.object_key).where(table.c.name == name, table.c.version == version)
    with reading(engine) as connection:
        key = connection.execute(query).scalar()
    if key is None:
        return None
    try:
        return ReferenceProfile.from_bytes(objects.get(key))
    except ObjectMissing:
        return None


def robust_centre(values: NDArray[np.float64], least_scale: Floats) -> tuple[Floats, Floats]:
    """
    Median and scale of each column; the scale is never below `least_scale`, which constant columns need.

    A column without any value has a median of NaN, from which nothing is far.
    """
    median, scale = np.full(values.shape[1], np.nan), np.array(least_scale, dtype=np.float64)
    known = np.isfinite(values).any(axis=0)
    median[known] = np.nanmedian(values[:, known], axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(values[:, known] - median[known]), axis=0)
    scale[known] = np.maximum(spread, scale[known])
    return median, scale


def largest_deviation(statistics: Floats, median: Floats, scale: Floats) -> Floats:
    """
    Shape (N,): how far from the median the farthest statistic of each picture lies, in scales; NaN without any.

    A picture is atypical when one statistic is, so one that is missing hides nothing else.
    """
    deviations = np.abs(statistics - median) / scale
    known = np.isfinite(deviations)
    farthest: Floats = np.where(known.any(axis=1), np.where(known, deviations, -1.0).max(axis=1, initial=-1.0), np.nan)
    return farthest


def _in_order(columns: Floats, named: Sequence[str]) -> Floats:
    """Columns (…, S) in today's order of the image statistics; NaN for those that the profile was made without."""
    found = np.full((*columns.shape[:-1], len(NAMES)), np.nan)
    for place, name in enumerate(named):
        if name in NAMES:
            found[..., NAMES.index(name)] = columns[..., place]
    return found
