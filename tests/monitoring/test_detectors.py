import json
import os
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from monitoring.detectors import embedding, mixes, own
from monitoring.detectors.columns import Numbers
from monitoring.detectors.detecting import detect
from monitoring.detectors.detection import holm
from monitoring.detectors.kolmogorov_smirnov import compare, distance_of
from monitoring.reference.fit import fit
from monitoring.signals import drift_report
from monitoring.watching.batch import Batch, batch_of
from tests.monitoring.birds import BIRDS, EMBEDDING, Birds

OWN_DETECTOR = """
import numpy as np
from monitoring.detectors.detection import Detection

def first_number(profile, batch):
    before, after = profile.plain.embedding[:, 0].mean(), batch.embedding[:, 0].mean()
    spread = profile.plain.embedding[:, 0].std() / len(batch) ** 0.5
    z = abs(after - before) / spread
    return [Detection("ours", "first number", z, min(1.0, z / 100), float(np.exp(-z * z / 2)))]

def broken(profile, batch):
    raise RuntimeError("no such camera")

def nonsense(profile, batch):
    return ["drift!"]
"""


def batch(rows):
    return batch_of(rows, len(BIRDS), EMBEDDING)


def traffic(seed: int, count: int, **how) -> Batch:
    birds = Birds(seed=seed)
    parts = [birds.traffic(count // 2, camera=camera, **how)[0] for camera in "AB"]
    return batch([row for pair in zip(*parts, strict=True) for row in pair])


def test_the_distance_of_two_samples_is_scipys_with_ties_and_without():
    chance = np.random.default_rng(0)
    for round_to in (1, 6):
        reference, window = (
            np.sort(chance.normal(0, 1, 300).round(round_to)),
            chance.normal(0.3, 1, 200).round(round_to),
        )

        found = distance_of(reference, np.sort(window))[0]

        assert found == pytest.approx(stats.ks_2samp(reference, window).statistic, abs=1e-12)


def test_p_values_of_one_family_are_raised_for_each_other():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_rows_that_contributed_most_are_the_ones_that_moved():
    chance = np.random.default_rng(0)
    window = chance.normal(0, 1, 100)
    window[[3, 40, 77]] = [9.0, 11.0, 10.0]
    window[50:75] += 2

    (found,) = compare([Numbers("family", "light", chance.normal(0, 1, 1_000), window)])

    assert found.places[:3] == (40, 77, 3)
    assert len(found.places) == 12


def test_a_mix_with_rare_values_is_not_called_different_by_chance():
    chance = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, *[0.002] * 100])
    draws = chance.multinomial(2_000, shares / shares.sum()), chance.multinomial(60, shares / shares.sum(), 300)
    mix = lambda counts: {str(place): int(count) for place, count in enumerate(counts) if count}  # noqa: E731 - one use

    p_values = [mixes.g_test(mix(draws[0]), mix(window))[1] for window in draws[1]]

    assert np.mean(np.array(p_values) < 0.05) < 0.09
    assert mixes.g_test({"a": 900, "b": 100}, {"a": 30, "b": 30})[1] < 1e-6
    assert mixes.g_test({"a": 5}, {"a": 9}) == (0.0, 1.0)


def test_the_distance_of_two_mixes_has_known_values():
    assert mixes.mix_distance({"a": 50, "b": 50}, {"a": 10}) == 0.5
    assert mixes.mix_distance({}, {"a": 1}) == 0.0


def test_a_vanished_camera_and_a_new_one_are_named_with_their_pictures(reference):
    rows = Birds(seed=5).traffic(80, camera="A")[0] + Birds(seed=6).traffic(20, camera="Z")[0]

    found = {one.name: one for one in detect(reference, batch(rows)).detections}["camera"]

    assert found.effect == pytest.approx(0.5)
    assert found.p_value < 1e-6
    assert set(found.places) <= set(range(80))


def test_the_kernel_sees_a_turn_that_no_single_component_shows():
    chance = np.random.default_rng(0)
    usual = chance.normal(0, 1, (600, 2))
    ring = chance.normal(0, 1, 400)
    turned = np.stack([ring, 0.95 * ring + 0.3 * chance.normal(0, 1, 400)], axis=1)

    clean = embedding.kernel_distance(usual, chance.normal(0, 1, (400, 2)))
    changed = embedding.kernel_distance(usual, turned)

    assert clean.p_value > 0.05
    assert changed.p_value < 1e-6


def test_the_kernels_p_value_is_even_without_a_change():
    chance = np.random.default_rng(1)
    p_values = [
        embedding.kernel_distance(chance.normal(0, 1, (200, 8)), chance.normal(0, 1, (60, 8))).p_value
        for _ in range(300)
    ]

    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09
    assert 0.4 < np.mean(p_values) < 0.6


def test_components_are_compared_with_rows_that_they_were_not_fitted_on():
    """Fitted on 150 rows of 60 numbers, components fit these rows alone: any new row would look different."""
    chance = np.random.default_rng(0)
    plain = numbers(chance.normal(0, 1, (300, 60)))
    profile = fit(plain, plain.labels, version=1, classes=("a", "b"), rounds=1, judged_errors={})

    p_values = [
        one.p_value
        for _ in range(30)
        for one in embedding.detect(profile, numbers(chance.normal(0, 1, (200, 60))))
        if one.name != "kernel distance"
    ]

    assert np.mean(np.array(p_values) <= 0.05) < 0.1
    assert profile.unseen.sum() == 150


def test_a_second_embedding_is_a_second_family(reference):
    frozen = embedding.detector("frozen encoder", lambda profile, window: (profile.plain.embedding, window.embedding))

    found = frozen(reference, traffic(8, 100, strange=True))

    assert {one.family for one in found} == {"frozen encoder"}
    assert min(one.p_value for one in found) < 1e-6


def test_a_detector_of_ones_own_is_loaded_from_a_file_and_a_broken_one_is_named(reference, tmp_path, monkeypatch):
    (tmp_path / "my_detectors.py").write_text(OWN_DETECTOR)
    monkeypatch.syspath_prepend(tmp_path)
    own = [f"my_detectors:{name}" for name in ("first_number", "broken", "nonsense", "missing")]

    report = drift_report(reference, traffic(8, 60, strange=True), [*own, "no.such.module:f", "unnamed"])

    assert "first number" in {signal.name for signal in report.signals}
    said = " ".join(report.notes)
    assert "The detector my_detectors:broken is left out: RuntimeError: no such camera" in said
    assert "my_detectors:nonsense is left out: TypeError: it gave str, not a Detection" in said
    assert "no.such.module:f is left out: ModuleNotFoundError: No module named 'no'." in {
        note.removeprefix("The detector ") for note in report.notes
    }
    for name in ("my_detectors:missing", "no.such.module:f", "unnamed"):
        assert f"The detector {name} is left out" in said
    assert report.whole.changed


def test_the_detector_that_the_documentation_shows_works_as_it_stands_there(reference, tmp_path):
    shown = own.__doc__.partition("`light.py`:")[2].partition("and in kedge.toml")[0]
    (tmp_path / "light.py").write_text(textwrap.dedent(shown))
    dark = traffic(8, 100)
    dark.statistics[40:60, 0] = 0.1

    clean, found = (drift_report(reference, one, [f"{tmp_path}/light.py:too_dark"]) for one in (traffic(8, 100), dark))

    assert len(textwrap.dedent(shown).strip().splitlines()) <= 10
    assert [*clean.notes, *found.notes] == []
    p_values = [next(one.p_value for one in report.signals if one.family == "light") for report in (clean, found)]
    assert p_values[0] > 0.01
    assert p_values[1] < 1e-6
    assert set(found.detections[-1].places) <= set(range(40, 60))
    assert (found.whole.p_value, clean.whole.changed) == (pytest.approx(0, abs=0.01), False)
    json.dumps([vars(signal) for signal in found.signals], allow_nan=False)


FAILING = {
    "leaves": ("import sys\ndef f(profile, batch): sys.exit(3)", "SystemExit: 3 (failing.py, line 2)"),
    "no python": ("def f(:", "SyntaxError"),
    "gives nothing": ("def f(profile, batch): pass", "TypeError: it gave NoneType, expected a list of Detection"),
    "gives words": ("def f(profile, batch): return 'drift'", "TypeError: it gave str, expected a list"),
    "no number": ("def f(p, b): return [D('a', 'hue', 0.1, 0.1, float('nan'))]", "hue: effect 0.1 and p-value nan"),
    "no chance": ("def f(p, b): return [D('a', 'hue', 0.1, 0.1, 3)]", "hue: effect 0.1 and p-value 3 should be"),
    "no p-value": ("def f(p, b): return [D('a', 'hue', 0.1, 0.1, None)]", "TypeError: float() argument"),
    "breaks midway": ("def f(p, b):\n yield D('a', 'hue', 0, 0, 1)\n raise KeyError('sky')", "KeyError: 'sky'"),
    "never ends": ("def f(p, b):\n while True: yield D('a', 'hue', 0, 0, 1)", "more than 100 detections"),
    "writes": ("def f(p, b):\n b.statistics[:] = 0\n return []", "ValueError: assignment destination is read-only"),
}


@pytest.mark.parametrize("failing", FAILING)
def test_whatever_is_wrong_with_a_detector_it_is_named_and_the_others_speak(reference, tmp_path, failing):
    code, words = FAILING[failing]
    (tmp_path / "failing.py").write_text(f"from monitoring.detectors.detection import Detection as D\n\n{code}")
    address = f"{tmp_path}/failing.py:f"
    window = traffic(8, 60)
    before = window.statistics.copy()

    report = drift_report(reference, window, [address])

    (note,) = report.notes
    assert note.startswith(f"The detector {address} is left out: ")
    assert words.replace("line 2", "line 4") in note
    assert len(note) < 500 + len(str(tmp_path))
    assert [vars(one) for one in report.signals] == [vars(one) for one in drift_report(reference, window).signals]
    np.testing.assert_array_equal(window.statistics, before)


def test_a_detector_that_was_mended_is_taken_up_at_the_next_window(reference, tmp_path):
    path = tmp_path / "mended.py"
    answers = []
    for answer in ("{1: 2}", "[]"):
        path.write_text(f"def f(profile, batch): return {answer}")
        os.utime(path, ns=(0, len(answers)))
        answers.append(drift_report(reference, traffic(8, 60), [f"{path}:f"]).notes)

    assert "it gave int, not a Detection" in answers[0][0]
    assert answers[1] == ()


def test_numbers_of_any_type_become_such_that_a_row_can_hold(reference, tmp_path):
    code = """
        import numpy as np
        from monitoring.detectors.detection import Detection

        def f(profile, batch):
            half = np.float32(0.5)
            return (Detection("a" * 200, "b", half, half, half, np.array([3, -1, 99, 0]), half, np.nan) for _ in "x")
    """
    (tmp_path / "numbers.py").write_text(textwrap.dedent(code))

    report = drift_report(reference, traffic(8, 60), [f"{tmp_path}/numbers.py:f"])

    found = report.detections[-1]
    assert (found.places, found.window, len(found.family)) == ((3, 0), None, 80)
    json.dumps(vars(found), allow_nan=False)


NASTY = {
    "no probability is a number": lambda b: replace(b, probabilities=np.full_like(b.probabilities, np.nan)),
    "another number of classes": lambda b: replace(b, probabilities=b.probabilities[:, :2]),
    "no embedding": lambda b: replace(b, embedding=np.full_like(b.embedding, np.nan)),
    "constant statistics": lambda b: replace(b, statistics=np.ones_like(b.statistics)),
    "no statistics": lambda b: replace(b, statistics=np.full_like(b.statistics, np.nan)),
    "single precision": lambda b: replace(b, statistics=b.statistics.astype(np.float32)),
    "one class": lambda b: replace(b, labels=(BIRDS[0],) * len(b)),
    "unknown classes": lambda b: replace(b, labels=tuple(f"bird {row}" for row in range(len(b)))),
    "no metadata": lambda b: replace(b, metadata=({},) * len(b)),
    "every value once": lambda b: replace(b, metadata=tuple({"camera": str(row)} for row in range(len(b)))),
    "a column from the middle on": lambda b: replace(
        b, metadata=tuple({"camera": "A"} if row > len(b) // 2 else {} for row in range(len(b)))
    ),
}


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("count", [0, 2, 6, 40])
def test_bad_input_has_a_report_that_json_can_hold(reference, nasty, count):
    window = NASTY[nasty](traffic(7, count))

    report = drift_report(reference, window)

    json.dumps([vars(signal) for signal in report.signals], allow_nan=False)
    assert all(0 <= signal.effect <= 1 for signal in report.signals)
    assert report.whole.p_value is None or 0 <= report.whole.p_value <= 1


def numbers(values: np.ndarray) -> Batch:
    count = len(values)
    return Batch(np.full((count, 9), 0.5), np.full((count, 2), 0.5), values, ("a",) * count, ({},) * count)
