"""What cannot be removed, in words for the person who asked."""

from collections.abc import Collection, Sequence

from flows.collecting.from_manifest import exclusion_path
from flows.workplace import Workplace
from monitoring.prediction_log import image_key

_ALWAYS = (
    (
        "Backups of the database and of the object store, and older versions of its objects where the bucket keeps "
        "such, have it until they expire."
    ),
    (
        "What was exported or looked at before (label files, copied pages, answers in the caller's own logs) is out of "
        "reach."
    ),
    "Counts have it as one among many: Prometheus, the summaries of windows and audits, the watcher's evidence.",
    "The manifest's own files are yours: if the same picture lies there, remove it there.",
)


def always() -> list[str]:
    """What no request can reach, wherever Kedge runs."""
    return list(_ALWAYS)


def of_trainings(trained: Collection[int], judged: Collection[int], name: str) -> list[str]:
    """Versions that learned from the image or were judged by it."""
    told = []
    if trained:
        told.append(
            f"The weights of {_listed(name, trained)} learned from the picture, which cannot be taken out of them; "
            "a retrain from now on does not see it, but starts from the champion's weights. Only `kedge train` starts "
            "without them."
        )
    if judged:
        told.append(f"The scores of {_listed(name, judged)} count the picture as one of many judge images.")
    return told


def of_images(kept: Sequence[int]) -> list[str]:
    """Images that stay because others showed them too; the number of those others, for each."""
    return [
        f"A picture was kept: {others} other prediction{'s show' if others > 1 else ' shows'} the same one."
        for others in kept
    ]


def of_machines(others: Collection[str]) -> list[str]:
    """Machines whose disks cannot be seen from here."""
    if not others:
        return []
    where = ", ".join(sorted(others))
    words = f"Run directories and caches on {where} cannot be seen from here; delete runs/, features/, "
    return [f"{words}fingerprints-1.json and label-errors/ in the storage.home there."]


def of_exclusions(place: Workplace, images: Collection[str]) -> list[str]:
    """The list of excluded images, which is a person's own file."""
    if not place.settings.data.exclude:
        return []
    path = exclusion_path(place)
    listed = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not any(image_key(image) in listed for image in images):
        return []
    return [f"{path}, which data.exclude names, has the picture's key in a row; delete that row."]


def of_exports(*, exported: bool) -> list[str]:
    """Files and tools for labelling, which are other people's."""
    if not exported:
        return []
    words = "It was exported to be labelled (`kedge labels export`): delete it in the labelling tool, and in the file "
    return [f"{words}and the folder of pictures that were exported."]


def _listed(name: str, versions: Collection[int]) -> str:
    return ", ".join(f"{name}:{version}" for version in sorted(versions))
