"""`kedge explain`: from an answer back to everything that made it so, each step with its proof."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from flows.history.explained import Answer, Explanation, Gone, LabelSaid, VersionExplained
from flows.history.training_data import training_of
from flows.workplace import Workplace
from infra import forgettings
from infra.clock import now, time_of_id
from infra.errors import UserError
from infra.forgettings import DONE, OPEN, Forgetting
from models.prediction import Prediction
from models.registry import ModelVersion, title_of
from monitoring.decisions.records import Reign, Timeline, Trial, proof_of
from monitoring.decisions.rows import CANARY, DecisionRows, Row, gather
from monitoring.decisions.story import stories
from monitoring.decisions.timeline import timeline, version_of

_CLOCKS_APART = timedelta(minutes=1)
_LEAST_DIGITS = 12  # of a pseudonym: fewer could be anything


def explain_prediction(place: Workplace, identifier: str) -> Explanation:
    """
    One prediction, by its id; or, once it was forgotten, by its pseudonym.

    Raises:
        UserError: nothing is known under this id; the message says why that may be.
    """
    gone = _forgetting(place, identifier)
    prediction = None if gone else place.log.predictions_by_id([identifier]).get(identifier)
    if gone is not None:
        words = "which version answered, and what: that was forgotten together with the prediction"
        return Explanation(None, None, _gone(place, gone), None, (words,))
    if prediction is None:
        raise UserError(_why_unknown(place, identifier))
    found = gather(place.engine, place.settings.project.name)
    line = timeline(found)
    answer = _answer(place, prediction, line)
    label = _label(place, prediction)
    known = found.version(prediction.model_version) is not None
    version = _version(place, found, line, prediction.model_version) if known else None
    missing = [*line.problems, *([] if known else [f"the registry has no {answer.model}"])]
    return Explanation(answer, label, None, version, tuple(missing))


def explain_version(place: Workplace, number: int) -> Explanation:
    """
    One version: how it came to be, and when it was champion.

    Raises:
        UserError: there is no such version.
    """
    place.registry.version(number)
    found = gather(place.engine, place.settings.project.name)
    line = timeline(found)
    return Explanation(None, None, None, _version(place, found, line, number), line.problems)


def role_at(line: Timeline, version: int, at: datetime) -> tuple[str, str]:
    """What the version was when it answered at that moment: in a word, and as a sentence."""
    reigns = [one for one in line.reigns if one.version == version and one.since <= at]
    present = next((one for one in reigns if one.until is None or at < one.until), None)
    if present is not None:
        return "champion", f"it was champion, {_since(present)}"
    canary = next((one for one in _canaries(line, version) if one.since <= at), None)
    if canary is not None and (canary.until is None or at < canary.until):
        return "canary", f"it was a canary for {100 * canary.share:g} % of the predictions, {_since(canary)}"
    if reigns and reigns[-1].until is not None:
        late_s = (at - reigns[-1].until).total_seconds()
        return "earlier champion", (
            f"it had been champion until {late_s:.1f} s before; the worker that answered had not changed yet"
        )
    early = next((one for one in line.reigns if one.version == version and at < one.since <= at + _CLOCKS_APART), None)
    if early is not None:
        early_s = (early.since - at).total_seconds()
        return "champion", f"it became champion {early_s:.1f} s later, by the clock of another machine"
    return "unknown", "no row says why it answered at that moment"


def _version(place: Workplace, found: DecisionRows, line: Timeline, number: int) -> VersionExplained:
    version = place.registry.version(number)
    making = next((job for job in found.jobs if _made(found, job, version)), None)
    gated = [row for row in found.noted("decisions", ["gate"]) if row.facts.get("version") == number]
    training, missing = training_of(place, version, making, gated[0] if gated else None)
    # The file's hash tells the version from one of the same number under another name of the project.
    registered = [
        row for row in found.noted("models", ["registered"])
        if (row.facts.get("version"), row.facts.get("onnx_sha256")) == (number, version.onnx_sha256)
    ]  # fmt: skip
    if not registered:
        missing = (*missing, f"the ledger has no row of {version.title} being registered")
    return VersionExplained(
        title=version.title,
        version=number,
        state=version.state,
        made_at=version.created_at,
        parent_version=version.parent_version,
        reason=version.reason,
        onnx_sha256=version.onnx_sha256,
        training=training,
        stories=tuple(reversed([story for story in stories(found) if story.version == number])),
        reigns=tuple(one for one in line.reigns if one.version == number),
        proofs=tuple(map(proof_of, registered)),
        missing=missing,
    )


def _made(found: DecisionRows, job: Row, version: ModelVersion) -> bool:
    """Whether the job made the version; a later one may have found that it fits again."""
    return version_of(found, job) == version.version and job["created_at"] <= version.created_at


def _answer(place: Workplace, prediction: Prediction, line: Timeline) -> Answer:
    role, words = role_at(line, prediction.model_version, prediction.at)
    return Answer(
        id=prediction.id,
        at=prediction.at,
        model=title_of(place.settings.project.name, prediction.model_version),
        version=prediction.model_version,
        role=role,
        role_words=words,
        label=prediction.label,
        confidence=prediction.confidence,
        image_kept=prediction.image_kept,
        repeated=prediction.repeated,
    )


def _label(place: Workplace, prediction: Prediction) -> LabelSaid | None:
    said = place.log.last_labels([prediction.id]).get(prediction.id)
    if said is None:
        return None
    return LabelSaid(said.label, said.at, said.labelled_by, said.label == prediction.label)


def _canaries(line: Timeline, version: int) -> Iterator[Trial]:
    """The newest first."""
    trials = [trial for reign in line.reigns for trial in reign.trials]
    return (one for one in reversed(trials) if one.alias == CANARY and one.version == version)


def _since(one: Reign | Trial) -> str:
    return f"since {one.since:%Y-%m-%d %H:%M:%S} UTC, by {one.actor} ({one.reason})"


def _forgetting(place: Workplace, identifier: str) -> Forgetting | None:
    """The request that the id is in while it is open, or that the pseudonym, or its beginning, names."""
    asked = forgettings.all_forgettings(place.engine)
    opened = [one for one in asked if one.state == OPEN and one.prediction_id == identifier]
    text = identifier.rstrip("…").lower()
    alike = [one for one in asked if len(text) >= _LEAST_DIGITS and one.pseudonym.startswith(text)]
    return next(iter([*opened, *(alike if len(alike) == 1 else ())]), None)


def _gone(place: Workplace, one: Forgetting) -> Gone:
    rows = place.ledger.mentioning(forgettings.STREAM, "pseudonym", one.pseudonym)
    asked_by = next((row.actor for row in rows if row.kind == "asked to forget"), "unknown")
    outcome = one.steps.get("outcome", {}) if one.state == DONE else {}
    return Gone(one.pseudonym, one.created_at, asked_by, one.finished_at, outcome, tuple(map(proof_of, rows)))


def _why_unknown(place: Workplace, identifier: str) -> str:
    words = [f"No prediction in the log has the id '{identifier}'."]
    at, days = time_of_id(identifier), place.settings.retention.predictions_days
    if at is not None and days and (now() - at).days >= days:
        words.append(f"It is from {at:%Y-%m-%d}, and [retention] keeps predictions for {days:g} days.")
    else:
        seconds = place.settings.serve.seal_s
        words.append(f"Answers reach the log about {seconds:g} s after they were given, while `kedge up` runs.")
    finished = sum(one.state == DONE for one in forgettings.all_forgettings(place.engine))
    if finished:
        several = "One prediction was" if finished == 1 else f"{finished} predictions were"
        words.append(
            f"{several} forgotten, and nobody can tell from an id whether it was one of them; "
            "the pseudonym that `kedge forget` told then says it: kedge explain --id PSEUDONYM."
        )
    return " ".join([*words, "Expected an id as the answer to a prediction had it."])
