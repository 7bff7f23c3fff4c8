"""Run directories: the image, its line in every list, and everything that was decoded or drawn from it."""

import csv
import io
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from flows.forgetting.pictures import without_pictures
from flows.pinned import PARTS, Run, production_sha256, runs
from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import write_atomically

_DERIVED = ("pixels.npy", "pixels.json", "pixels.draft", "select_logits.npy")
_DRAWN = ("select_mistakes.png", "judge_mistakes.png")


class StillInUse(UserError):
    """A training works with the image in this moment; what is left to do has to wait for its end."""


def holders(place: Workplace, images: Collection[str]) -> list[Run]:
    """The runs of this home that have or had one of these images."""
    return [run for run in runs(place) if run.images & set(images) or any(_copies(run.folder, images))]


def check_not_running(place: Workplace, images: Collection[str]) -> None:
    """
    Raises:
        StillInUse: a running training has one of the images, or may be about to copy it.
    """
    for run in runs(place):
        if run.job is None or run.job.state != "running":
            continue
        if run.parts is None or run.images & set(images):
            raise StillInUse(
                f"Training job {run.job.id} is running and may hold the picture, so its copies are left until it is "
                "over. The rows are deleted; the request stays open, and `kedge tidy`, the schedule or the same "
                "command goes on with it."
            )


def forget_in_run(run: Run, images: Collection[str]) -> int:
    """
    Remove the images from a run directory and say how many files went or changed; the snapshot, by which it is
    found, comes last.

    A run that was broken off loses everything: it could not go on with other images, and starts anew instead.
    """
    if run.job is not None and run.job.state == "queued":
        shutil.rmtree(run.folder, ignore_errors=True)
        return 1
    gone = [*_copies(run.folder, images), *(run.folder / name for name in _DERIVED), run.folder / "features"]
    shown = run.folder / "report" / "index.html"
    if shown.is_file() and any(image in shown.read_text() for image in images):
        gone += [run.folder / "report" / name for name in _DRAWN]
        write_atomically(shown, without_pictures(shown.read_text(), images))
    changed = sum(map(_remove, gone))
    return changed + _rewrite_examples(run.folder, images) + _rewrite_snapshot(run.folder, images)


def place_in_select(folder: Path, image: str) -> tuple[int, int] | None:
    """The image's place among the *select* images of a snapshot, from 0, and how many there are."""
    entries = json.loads((folder / "snapshot.json").read_text())["select"]
    found = [place for place, entry in enumerate(entries) if production_sha256(entry) == image]
    return (found[0], len(entries)) if found else None


def _copies(folder: Path, images: Collection[str]) -> list[Path]:
    return [path for image in images if (path := folder / "images" / image).exists()]


def _remove(path: Path) -> bool:
    if path.is_dir():
        shutil.rmtree(path)
        return True
    present = path.exists()
    path.unlink(missing_ok=True)
    return present


def _rewrite_examples(folder: Path, images: Collection[str]) -> bool:
    path = folder / "examples.csv"
    if not path.is_file():
        return False
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    names = {f"images/{image}" for image in images}
    left = [row for row in rows if not row or row[0] not in names]
    if len(left) == len(rows):
        return False
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(left)
    write_atomically(path, text.getvalue())
    return True


def _rewrite_snapshot(folder: Path, images: Collection[str]) -> bool:
    path = folder / "snapshot.json"
    if not path.is_file():
        return False
    document = json.loads(path.read_text())
    before = sum(len(document[part]) for part in PARTS)
    for part in PARTS:
        document[part] = [entry for entry in document[part] if production_sha256(entry) not in images]
    if before == sum(len(document[part]) for part in PARTS):
        return False
    write_atomically(path, json.dumps(document))
    return True
