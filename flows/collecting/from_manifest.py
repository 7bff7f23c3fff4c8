"""What the manifest gives, and what a person took out of it."""

from pathlib import Path

from flows.workplace import Workplace, role_key
from infra.errors import UserError
from models.examples import Example, every_role_filled, read_manifest, with_roles
from models.manifest import read_rows


def manifest_examples(place: Workplace) -> tuple[Example, ...]:
    """The manifest's examples, each with its role."""
    data = place.settings.data
    examples = read_manifest(data.manifest, data.group)
    return with_roles(examples, role_key(place.engine, lambda key: every_role_filled(with_roles(examples, key))))


def excluded_images(place: Workplace) -> frozenset[Path | str]:
    """
    The images that `data.exclude` names: manifest images from the manifest's folder, production images by their key.

    Raises:
        UserError: the file is not there, or has no column image.
    """
    if not place.settings.data.exclude:
        return frozenset()
    path = exclusion_path(place)
    if not path.is_file():
        raise UserError(
            f"data.exclude names {path}, which is not there. Expected a CSV file with a column image; "
            '`kedge data --label-errors` writes one, suspects.csv, and "" excludes nothing.'
        )
    manifest = place.settings.data.manifest
    folder = manifest if manifest.is_dir() else manifest.parent
    named = [row.values["image"] for row in read_rows(path, ["image"])]
    return frozenset(named) | frozenset(folder / name for name in named)


def exclusion_path(place: Workplace) -> Path:
    """Where `data.exclude` points, from the project's folder."""
    return (place.settings.root / Path(place.settings.data.exclude).expanduser()).resolve()
