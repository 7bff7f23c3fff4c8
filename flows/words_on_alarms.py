"""A person's word on what the watcher has found: taken down, and shown."""

from flows import terminal
from flows.watching import watch_place
from infra.errors import UserError
from monitoring.accept import Word, accept_as_normal, resolve


def say(new_normal: str, resolved: str, *, as_json: bool) -> None:
    """
    Accept the present as normal, or take the alarms as resolved; each argument is the reason, "" = not said.

    Raises:
        UserError: both were said, or nothing can be accepted or resolved.
    """
    if new_normal and resolved:
        raise UserError("--accept-as-normal and --resolved contradict each other: say one of them.")
    place = watch_place(terminal.place())
    speaker = terminal.person()
    word = accept_as_normal(place, new_normal, speaker) if new_normal else resolve(place, resolved, speaker)
    if as_json:
        terminal.show_json(word)
    else:
        for line in _lines(word):
            terminal.out.print(line, highlight=False)


def _lines(word: Word) -> list[str]:
    since = word.since.strftime("%Y-%m-%d %H:%M UTC")
    alarms = ", ".join(word.alarms) or "no alarm was open"
    if word.rows:
        first = f"The present is the new normal: a profile of {word.rows:,} predictions since {since}."
        return [first, f"Acted on: {alarms}. The profile of before stays at {word.profile_before}."]
    return [f"Resolved: {alarms}. What came since {since} is left out of the pool of blocks; the evidence begins anew."]
