"""`kedge data --snapshot`: is what trained a version still there, as it was; and the same images once more."""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from flows.collecting.manifest import Manifest, Row, kept_manifest, manifest_folder, manifest_of
from flows.collecting.snapshot import kept_snapshot
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import write_atomically
from infra.jobs import find_job
from infra.objects import ObjectMissing
from models.registry import title_of

_NAMED = 5


@dataclass(frozen=True)
class Verified:
    """
    What became of a snapshot's images.

    Attributes:
        of: What it made, or the job it was made for.
        whole: Its list makes the fingerprint that was noted when it was taken.
        present: Images that trained or selected and have the same bytes as then.
        missing: Those that are not there any more.
        changed: Those whose file has other bytes now.
        judge: Judge images, of which only digests are listed.
        forgotten: Images taken out of the list since.
    """

    of: str
    fingerprint: str
    whole: bool
    present: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    judge: int
    forgotten: int

    @property
    def reproducible(self) -> bool:
        """Whether the very same training images can be had again."""
        return self.whole and not self.missing and not self.changed

    def words(self) -> list[str]:
        """What a person is told, the result first."""
        images = self.present + len(self.missing) + len(self.changed)
        if self.reproducible:
            first = f"The {images} images that trained and selected {self.of} are there, each as it was then."
        else:
            first = f"{self.present} of {images} images that trained and selected {self.of} are there as they were."
        told = [first]
        told += [f"{len(self.missing)} are gone: {_some(self.missing)}."] if self.missing else []
        told += [f"{len(self.changed)} have other bytes now: {_some(self.changed)}."] if self.changed else []
        told += [f"{self.forgotten} had to be forgotten, and left its list."] if self.forgotten else []
        made = "makes" if self.whole else "does not make"
        told.append(
            f"The list {made} the fingerprint {self.fingerprint[:12]}…; {self.judge} judge images are in it by digest."
        )
        return told


def snapshot_named(place: Workplace, name: str) -> tuple[str, Manifest]:
    """
    The manifest of a version ("3" or "cards:3"), or of a job by its id; and what it is of.

    Raises:
        UserError: there is no such version or job, or nothing is kept of its images.
    """
    number = name.rpartition(":")[2]
    if number.isdecimal() and len(number) < len("1234567"):
        version = place.registry.version(int(number))
        manifest = kept_manifest(place, version)
        if manifest is None:
            raise UserError(f"{version.title} was made before lists of images were kept, or its files are gone.")
        return version.title, manifest
    found = find_job(place.engine, name)
    made = (found.outcome or {}).get("version")
    if made is not None and (manifest := kept_manifest(place, place.registry.version(int(made)))) is not None:
        return title_of(place.registry.name, int(made)), manifest
    snapshot = None if found.run_dir is None else kept_snapshot(Path(found.run_dir))
    if snapshot is None:
        raise UserError(f"Job {found.id} is {found.state} and has no snapshot on this machine.")
    return f"job {found.id}", manifest_of(place, snapshot)


def verify(place: Workplace, of: str, manifest: Manifest, teller: Teller) -> Verified:
    """Read every image that trained or selected, and compare its bytes with those of then."""
    missing, changed, present = [], [], 0
    for done, row in enumerate(manifest.rows, start=1):
        data = _bytes(place, row)
        if data is None:
            missing.append(row.image)
        elif hashlib.sha256(data).hexdigest() != row.sha256:
            changed.append(row.image)
        else:
            present += 1
        teller.progress("images", done, len(manifest.rows))
    return Verified(
        of,
        manifest.fingerprint,
        manifest.is_whole,
        present,
        tuple(missing),
        tuple(changed),
        len(manifest.judge),
        manifest.forgotten,
    )


def recreate(place: Workplace, manifest: Manifest, folder: Path) -> int:
    """
    Write the images that trained and selected into `folder`, with a manifest.csv; gives how many.

    Judge images are not among them: a model that is made from these is judged as any other.

    Raises:
        UserError: an image is gone or has changed, or the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a folder that is, or a new one.")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    listed = csv.writer(text, lineterminator="\n")
    listed.writerow(("image", "label", "split", "source"))
    for row in manifest.rows:
        data = _bytes(place, row)
        if data is None or hashlib.sha256(data).hexdigest() != row.sha256:
            raise UserError(f"{row.image} is gone or has changed since, so the snapshot cannot be had again as it was.")
        (folder / "images" / row.sha256).write_bytes(data)
        listed.writerow((f"images/{row.sha256}", row.label, row.role, row.source))
    # Last: by it a whole folder is known.
    write_atomically(folder / "manifest.csv", text.getvalue())
    return len(manifest.rows)


def _bytes(place: Workplace, row: Row) -> bytes | None:
    try:
        if row.source == "manifest":
            return (manifest_folder(place) / row.image).read_bytes()
        return place.objects.get(row.image)
    except (OSError, ObjectMissing):
        return None


def _some(names: tuple[str, ...]) -> str:
    return ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
