"""`kedge data`: check a manifest and every image in it before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.collecting.from_manifest import manifest_examples
from flows.fingerprints import keep_fingerprints
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from models.examples import DataSummary, Example, check_roles, summarise
from models.image_check import check_images
from models.images import ImageLimits

_NAMED = 5  # pairs of one kind that are named


@dataclass(frozen=True)
class CheckedData:
    """Counts, and what is no mistake but worth knowing."""

    summary: DataSummary
    remarks: tuple[str, ...]


def check_data(place: Workplace, teller: Teller) -> CheckedData:
    """
    Read the manifest, decode every image, check roles and the columns that the settings name.

    Raises:
        UserError: with every mistake of one kind at once.
    """
    examples = manifest_examples(place)
    check_columns(place, examples)
    serve = place.settings.serve
    limits = ImageLimits(int(serve.most_body_mb * 1e6), int(serve.most_megapixels * 1e6))
    distance = place.settings.data.near_duplicate_distance
    check = check_images(examples, limits, lambda done, total: teller.progress("images", done, total), distance)
    keep_fingerprints(place.settings, check.fingerprints)
    check_roles(examples)
    remarks = [*check.conflicts, *check.near_conflicts[:_NAMED]]
    if len(check.near_conflicts) > _NAMED:
        remarks.append(f"{len(check.near_conflicts)} pairs of nearly the same image bear different labels in all")
    if check.duplicates:
        remarks.append(f"{check.duplicates} images have the same bytes as another")
    if check.near_duplicates:
        remarks.append(f"{check.near_duplicates} images are nearly the same as another of their class")
    return CheckedData(summarise(examples), tuple(remarks))


def check_columns(place: Workplace, examples: Sequence[Example]) -> None:
    """
    The settings' subgroup, source and group columns must be in the manifest.

    Raises:
        UserError: names the columns that are missing and those there are.
    """
    data = place.settings.data
    columns = {name for example in examples for name in example.metadata}
    wanted = dict.fromkeys(data.subgroups, "data.subgroups")
    wanted |= {name: setting for name, setting in ((data.source, "data.source"), (data.group, "data.group")) if name}
    missing = [f"{setting} names '{name}'" for name, setting in wanted.items() if name not in columns]
    if missing:
        known = ", ".join(sorted(columns)) or "none besides image and label"
        raise UserError(
            f"{data.manifest} lacks columns that the settings name: {'; '.join(missing)}. "
            f"Its metadata columns are: {known}. Add the column, or change kedge.toml."
        )
