"""A project in which pictures were answered, labelled and trained on; and a look into everything that it has kept."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from flows.workplace import Workplace, open_workplace
from infra.clock import now
from models.prediction import Label, Prediction, ShadowAnswer
from monitoring.prediction_log import image_key
from service.records import encode_label, encode_prediction, encode_shadow
from service.segments import IMAGE, LABEL, PREDICTION, SHADOW, Frame
from service.spool import Spool, SpoolLimits

ROOMY = SpoolLimits(3600, 10**9, 0)


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Sent:
    """A picture that somebody sent under an id; `label` is what was said of it later."""

    id: str
    data: bytes
    label: str = ""
    labelled_by: str = ""
    shadowed: bool = False
    metadata: str = "A"

    @property
    def sha256(self) -> str:
        return sha256(self.data)

    def prediction(self, at: datetime) -> Prediction:
        return Prediction(
            self.id, at, 1, "cat", 0.9, (0.9, 0.1), np.zeros(4, np.float32), (0.0,), self.sha256, 8, 8, "png",
            len(self.data), True, {"camera": self.metadata},
        )  # fmt: skip

    def frames(self, at: datetime) -> list[Frame]:
        frames = [
            Frame(IMAGE, bytes.fromhex(self.sha256) + self.data),
            Frame(PREDICTION, encode_prediction(self.prediction(at))),
        ]
        if self.shadowed:
            shadow = ShadowAnswer(self.id, at, 1, "cat", 0.9, 1.0, 2, "dog", 0.8, 1.0)
            frames.append(Frame(SHADOW, encode_shadow(shadow)))
        if self.label:
            frames.append(Frame(LABEL, encode_label(Label(self.id, self.label, at, self.labelled_by, 1))))
        return frames


def project(folder: Path, more: str = "") -> Workplace:
    """An empty project; its database is a file."""
    (folder / "kedge.toml").write_text(f'[data]\nmanifest = "manifest.csv"\n[serve]\nseal_s = 0.2\n{more}')
    return open_workplace(folder)


def spooled(place: Workplace, *sent: Sent) -> None:
    """As the service leaves it behind: sealed, and not yet shipped."""
    spool = Spool(place.settings.storage.home / "spool", ROOMY)
    for one in sent:
        spool.write(one.frames(now()))
    spool.close()


def shipped(place: Workplace, *sent: Sent, at: datetime | None = None, segment: int = 1, spool: str = "s-0") -> None:
    """Straight into the tables and the object store."""
    moment = at or now()
    for one in sent:
        place.objects.put(image_key(one.sha256), one.data)
    place.log.append_predictions(spool, segment, [(n, one.prediction(moment)) for n, one in enumerate(sent)])
    labels = [(n, Label(one.id, one.label, moment, one.labelled_by, n)) for n, one in enumerate(sent) if one.label]
    if labels:
        place.log.append_labels(spool, segment, labels)


def ids(place: Workplace) -> list[str]:
    return sorted(row.id for row in place.log.recent(place.log.count()))


def where(place: Workplace, *secrets: str | bytes) -> list[str]:
    """Every file of the home in which one of these occurs, whatever form it has; packed ones are unpacked."""
    wanted = [form for secret in secrets for form in _forms(secret)]
    home = place.settings.storage.home
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    holding = [path for path in files if any(one in content for content in _contents(path) for one in wanted)]
    return [str(path.relative_to(home)) for path in holding]


def _forms(secret: str | bytes) -> list[bytes]:
    if isinstance(secret, bytes):
        return [secret]
    forms = [secret.encode(), json.dumps(secret)[1:-1].encode()]
    if len(secret) == 64:
        forms.append(bytes.fromhex(secret))
    return forms


def _contents(path: Path) -> list[bytes]:
    data = path.read_bytes()
    contents = [path.name.encode(), data]
    if path.suffix == ".parquet":
        contents.append(json.dumps(pl.read_parquet(path, hive_partitioning=False).to_dicts(), default=str).encode())
        contents.append(contents[-1].decode("unicode_escape", errors="ignore").encode())
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    return contents
