"""The gross and the labelled-harm lane on simulated streams: delays, and false alarms in a quarter."""

import numpy as np

from monitoring.evidence import begin, update_all
from monitoring.evidence_records import CHANNELS, GROSS, HARM, EvidenceSettings, EvidenceState, Observation
from tests.benchmarks.monitoring_streams import ATYPICAL_FROM, Floats, World, bits, scores

QUARTER_DAYS = 90
# The specification's figures: median (95th percentile) predictions after the change.
GROSS_DELAYS = {
    ("200 a day", 0.3): 331, ("200 a day", 0.5): 49, ("200 a day", 0.75): 17, ("200 a day", 0.95): 9,
    ("200 a day", 1.0): 9,
    ("200 per 5 minutes", 0.3): 519, ("200 per 5 minutes", 0.5): 76, ("200 per 5 minutes", 0.75): 26,
    ("200 per 5 minutes", 0.95): 13, ("200 per 5 minutes", 1.0): 13,
    ("20 a second", 0.3): 640, ("20 a second", 0.5): 90, ("20 a second", 0.75): 31, ("20 a second", 0.95): 16,
    ("20 a second", 1.0): 15,
}  # fmt: skip
TRAFFIC = {"200 a day": 18_000.0, "200 per 5 minutes": 200 * 12 * 24 * 90.0, "20 a second": 20 * 86_400 * 90.0}
# Median (90th percentile) labels after the change, at 900 and 9,000 labels a quarter.
HARM_DELAYS = {
    (900, 0.05): 990, (900, 0.10): 192, (900, 0.20): 54, (900, 0.40): 18,
    (9_000, 0.10): 308, (9_000, 0.20): 80, (9_000, 0.40): 23,
}  # fmt: skip
CHAMPION_ERRORS, CHAMPION_IMAGES = 80, 1_000
_SETTINGS = EvidenceSettings()


def gross_delays(units_per_quarter: float, share: float, runs: int, chance: np.random.Generator) -> list[int]:
    """Predictions until one channel's alarm when `share` of them are atypical from the start."""
    return [_first(_gross(units_per_quarter), CHANNELS[0], bits(share, 6_000, chance)) or 6_000 for _ in range(runs)]


def gross_false_alarms(day_sd: float, tolerance: float, runs: int, chance: np.random.Generator) -> float:
    """Share of quarters with an alarm: 200 pictures a day, one channel, days that differ, nothing wrong."""
    alarms = 0
    settings = EvidenceSettings(atypical_share=tolerance)
    for _ in range(runs):
        drawn = scores(World(day_sd=day_sd), QUARTER_DAYS, 200, chance)[:, :, 1]
        seen = (drawn.reshape(-1) > ATYPICAL_FROM).astype(np.float64)
        alarms += _first(_gross(TRAFFIC["200 a day"], settings), CHANNELS[0], seen, settings) is not None
    return alarms / runs


def harm_delays(labels_per_quarter: int, drop: float, runs: int, chance: np.random.Generator) -> list[int | None]:
    """Labels until the alarm when the champion, right in 92 of 100, has become worse by `drop`; at most 4,000."""
    wrong = CHAMPION_ERRORS / CHAMPION_IMAGES + drop
    return [_first(_harm(labels_per_quarter), "overall", bits(wrong, 4_000, chance)) for _ in range(runs)]


def harm_false_alarms(labels_per_quarter: int, runs: int, chance: np.random.Generator) -> float:
    """Share of quarters with an alarm while the champion is as good as it was."""
    wrong = CHAMPION_ERRORS / CHAMPION_IMAGES
    found = [_first(_harm(labels_per_quarter), "overall", bits(wrong, labels_per_quarter, chance)) for _ in range(runs)]
    return sum(place is not None for place in found) / runs


def harm_alarm_at(labels_per_quarter: int, errors: Floats) -> int | None:
    """The number of the label at which labelled harm alarms, from 1; None where it never does."""
    return _first(_harm(labels_per_quarter), "overall", errors)


def _gross(units: float, settings: EvidenceSettings = _SETTINGS) -> EvidenceState:
    return begin(
        model_version=1, reason="simulated", judged_errors={}, settings=settings, units_per_quarter={GROSS: units}
    )


def _harm(units: float) -> EvidenceState:
    judged = {"overall": (CHAMPION_ERRORS, CHAMPION_IMAGES)}
    return begin(
        model_version=1, reason="simulated", judged_errors=judged, settings=_SETTINGS, units_per_quarter={HARM: units}
    )


def _first(state: EvidenceState, detector: str, values: Floats, settings: EvidenceSettings = _SETTINGS) -> int | None:
    """The number of the value at which the detector alarms, from 1."""
    lane = GROSS if detector in CHANNELS else HARM
    observations = [Observation(lane, number, ((detector, value),)) for number, value in enumerate(values.tolist(), 1)]
    # In parts: most alarms come early, and what follows them says nothing more.
    for start in range(0, len(observations), 500):
        state, said = update_all(state, observations[start : start + 500], settings)
        for one in said.new_alarms:
            return one.alarmed_at
    return None
