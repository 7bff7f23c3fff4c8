"""The model card: one page about one version, after Mitchell et al. (2019), "Model Cards for Model Reporting"."""

from pathlib import Path

import jinja2

from models.artifact import Artifact
from models.scorecard import Scorecard

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


def render_card(artifact: Artifact, scorecard: Scorecard) -> str:
    """One HTML document that needs nothing else."""
    return _PAGES.get_template("card.html").render(artifact=artifact, scorecard=scorecard)
