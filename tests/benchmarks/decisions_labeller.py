"""People of a simulated quarter, who answer what a waiting candidate asks for beside what chance draws."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitoring.labels import Wanted

_DAY = np.timedelta64(86_400_000_000, "us")


@dataclass(frozen=True)
class TenADay:
    """
    They answer ten pictures a day beside the others, those first that are wanted most, one to three days late.

    Attributes:
        per_day: So many.
        seed: Of the draw among what is asked; the moment of the look goes with it.
    """

    per_day: int = 10
    seed: int = 0

    def __call__(self, asked: Wanted, since: np.datetime64, now: np.datetime64) -> Mapping[int, np.datetime64]:
        chance = np.random.default_rng([self.seed, int(now.astype("datetime64[us]").astype(np.int64))])
        able = int((asked.weights > 0).sum())
        count = min(able, int(np.ceil(asked.most)), round(self.per_day * float((now - since) / _DAY)))
        chosen = chance.choice(len(asked.weights), count, replace=False, p=asked.weights / asked.weights.sum())
        late = np.array(chance.uniform(1, 3, count) * 86_400e6, dtype="timedelta64[us]")
        return dict(zip(chosen.tolist(), now + late, strict=True))
