"""What triage found, told as sentences."""

from monitoring.evidence_records import BLOCKS, GROSS, HARM, DetectorEvidence
from monitoring.identification import NONE, UNKNOWN
from monitoring.triage_records import Situation

# Of a long list, so many are named.
NAMED = 5


def said(situation: Situation, alarm: DetectorEvidence) -> str:
    """What an alarm of any lane found, with the numbers that made it one."""
    where = "" if alarm.detector == "overall" else f" for {alarm.detector}"
    if alarm.lane == HARM:
        return (
            f"Labelled harm{where}: so many wrong answers came close together that {alarm.null:.1%}, which would be "
            f"fine, cannot explain them ({alarm.mean:.1%} of all {alarm.units:,} labelled so far)."
        )
    if alarm.lane == BLOCKS:
        since = situation.changed_since.get(alarm.detector)
        begun = "" if since is None else f", probably since {since:%Y-%m-%d %H:%M} UTC"
        return (
            f"Slow change in {alarm.detector}{begun}: so many blocks close together lay unusually far from the "
            f"reference that chance does not explain them ({alarm.units:,} blocks ranked)."
        )
    return (
        f"Gross change in {alarm.detector}: so many atypical predictions came close together that {alarm.null:.0%}, "
        f"which would be fine, cannot explain them ({alarm.mean:.0%} of all {alarm.units:,} so far)."
    )


def kind_of_shift(situation: Situation) -> list[str]:
    """What kind of change it is, where one was asked for and found."""
    shift = situation.shift
    if shift is None or shift.kind == NONE:
        return []
    if shift.kind == UNKNOWN:
        return [f"What kind of change this is cannot be told. {' '.join(shift.words)}"]
    return list(shift.words)


def seen_beside(situation: Situation) -> list[str]:
    """What stands beside the verdict, whatever it is, and never makes one."""
    beside, found = [], situation.evidence
    if situation.look.fault and not any(found.alarms(lane) for lane in (HARM, GROSS, BLOCKS)):
        beside.append(f"Seen beside it: {situation.look.fault}.")
    if situation.arrivals is not None:
        beside += situation.arrivals.notes
    if situation.origin_distance is not None and situation.origin_distance.is_beyond:
        beside.append(situation.origin_distance.words)
    return beside


def estimated(situation: Situation) -> str:
    """The harm that no label shows and estimates do."""
    much = "" if situation.estimated_loss is None else f", in the newest by {situation.estimated_loss:.1%}"
    return (
        f"Estimated harm: in the newest {situation.estimated_loss_windows} windows the estimated accuracy lies below "
        f"what is tolerated{much}. Concept drift is not excluded."
    )


def new_sources(situation: Situation) -> list[str]:
    """Which values of the source column the reference does not know."""
    new = situation.look.new_sources or {}
    return [
        f"{situation.source} = {value} is new: {count} of the newest {situation.look.predictions} predictions."
        for value, count in new.items()
    ]


def region(situation: Situation) -> str:
    """Which pictures those are, where it can be said."""
    new = [f"{situation.source} = {value}" for value in situation.look.new_sources or {}][:NAMED]
    alarmed = [alarm.detector for alarm in situation.evidence.alarms(GROSS)]
    if new:
        return f", of {', '.join(new)}"
    return f", of pictures atypical in {', '.join(alarmed)}" if alarmed else ""


def capital(text: str) -> str:
    """The words as the beginning of a sentence."""
    return text[:1].upper() + text[1:]
