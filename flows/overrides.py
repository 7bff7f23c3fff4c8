"""What a command's own options change in the settings, for this one run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.settings import Settings


@dataclass(frozen=True)
class Overrides:
    """
    Words of the command line; None leaves the setting as it is.

    Attributes:
        data: A manifest, or a folder with one folder per class; from the current folder.
        weights: As model.weights; a path starts from the current folder.
        image_size: Pixels a side; 0 = chosen by network and images.
    """

    data: Path | None = None
    strategy: str | None = None
    budget_minutes: float | None = None
    weights: str | None = None
    image_size: int | None = None
    augmentation: str | None = None

    def applied(self, settings: Settings) -> Settings:
        """The settings as this run uses them; the file stays as it is."""
        data: dict[str, Any] = {"manifest": None if self.data is None else self.data.expanduser().resolve()}
        model: dict[str, Any] = {"weights": self._weights(), "image_size": self.image_size}
        train = {name: getattr(self, name) for name in ("strategy", "budget_minutes", "augmentation")}
        return replace(
            settings,
            data=replace(settings.data, **_given(data)),
            model=replace(settings.model, **_given(model)),
            train=replace(settings.train, **_given(train)),
        )

    def _weights(self) -> str | None:
        if self.weights is None or self.weights in ("auto", "timm", "none"):
            return self.weights
        return str(Path(self.weights).expanduser().resolve())


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
