"""The images that trainings have used or still need, found in the snapshots that their run directories keep."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flows.workplace import Workplace
from infra.jobs import OPEN, Job, jobs
from monitoring.log.image_keeping import Pins
from monitoring.prediction_log import image_key

PARTS = ("train", "select", "judge_old", "judge_recent")
_ALL = 1_000_000


@dataclass(frozen=True)
class Run:
    """
    One training's run directory on this machine.

    Attributes:
        job: None where no job names the directory any more.
        parts: Part of the snapshot to the SHA-256 of its production images; None where there is no snapshot (yet).
    """

    folder: Path
    job: Job | None
    parts: dict[str, frozenset[str]] | None

    @property
    def images(self) -> frozenset[str]:
        return frozenset().union(*(self.parts or {}).values())

    @property
    def version(self) -> int | None:
        """What came of it; None where nothing was registered."""
        number = ((self.job.outcome if self.job else None) or {}).get("version")
        return None if number is None else int(number)


def runs(place: Workplace) -> Iterator[Run]:
    """Every run directory of this home, those of unfinished jobs too."""
    by_folder = {job.run_dir: job for job in jobs(place.engine, last=_ALL) if job.run_dir}
    home = place.settings.storage.home / "runs"
    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        if folder.is_dir():
            yield Run(folder, by_folder.get(str(folder)), snapshot_images(folder))


def pins(place: Workplace) -> Pins:
    """
    What must not be evicted, and what deserves to stay.

    The champion's own snapshot says what it needs. Where that lies on another machine, every image that had been
    labelled when the champion was trained counts; while a training is choosing its images, every labelled one does.
    """
    champion = place.registry.champion()
    found = Pins()
    of_champion = False
    for run in runs(place):
        is_open = run.job is not None and run.job.state in OPEN
        mine = champion is not None and run.version == champion.version and run.parts is not None
        of_champion = of_champion or mine
        needed = run.images if is_open or mine else frozenset()
        found = replace(found, needed=found.needed | needed, used=found.used | run.images)
    if champion is not None and not of_champion:
        found = replace(found, labelled_until=champion.fresh_since)
    return replace(found, all_labelled=_somebody_chooses(place))


def other_machines(place: Workplace) -> frozenset[str]:
    """Where else trainings have run: their run directories and caches lie there."""
    claims = ((job.evidence or {}).get("claimed_by", {}) for job in jobs(place.engine, last=_ALL))
    return frozenset(str(claim["host"]) for claim in claims if claim.get("host")) - {os.uname().nodename}


def snapshot_images(folder: Path) -> dict[str, frozenset[str]] | None:
    """The production images of `snapshot.json`, by part; None where there is none, or none that can be read."""
    try:
        document = json.loads((folder / "snapshot.json").read_text())
        return {part: frozenset(filter(None, map(production_sha256, document[part]))) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def production_sha256(entry: dict[str, object]) -> str | None:
    """The image of a snapshot's entry, where it came from production: manifest images are named by their file."""
    image = entry["image"]
    if not isinstance(image, str):
        return None
    sha256 = image.rpartition("/")[2]
    return sha256 if image == image_key(sha256) else None


def _somebody_chooses(place: Workplace) -> bool:
    """Whether a training runs whose snapshot is not here: it may be reading labelled images in this moment."""
    return any(
        job.state == "running" and (job.run_dir is None or snapshot_images(Path(job.run_dir)) is None)
        for job in jobs(place.engine, last=_ALL)
    )
