"""The model card: one page about one version, after Mitchell et al. (2019), "Model Cards for Model Reporting"."""

from collections.abc import Mapping
from pathlib import Path

import jinja2

from models.artifact import Artifact
from models.scorecard import Scorecard
from models.training_page import embedded

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)
_PLOTS = ("classes", "confusion", "subgroups", "reliability", "gate")


def render_card(
    artifact: Artifact, scorecard: Scorecard, title: str = "", plots: Mapping[str, Path] | None = None
) -> str:
    """
    One HTML document that needs nothing else; it links to report.html beside it.

    title: name and version; the model's name where no version is known.
    plots: files by name, as `models.training_page.draw_plots` gives them; tables stand in for those that lack.
    """
    shown = embedded({name: path for name, path in (plots or {}).items() if name in _PLOTS})
    return _PAGES.get_template("card.html").render(
        artifact=artifact, card=scorecard, title=title or artifact.name, plots=shown
    )
