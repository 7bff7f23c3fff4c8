"""A person's word on what the watcher has found: taken down, and shown."""

from flows import terminal
from flows.watching import watch_place
from infra.errors import UserError
from monitoring.watching.accept import Word, accept_as_normal, resolve


def say(new_normal: str | None, resolved: str | None, *, as_json: bool) -> None:
    """
    Accept the present as normal, or take the alarms as resolved; each argument is the reason, None = not said.

    Raises:
        UserError: both were said, or nothing can be accepted or resolved.
    """
    if new_normal is not None and resolved is not None:
        raise UserError("--accept-as-normal and --resolved contradict each other: say one of them.")
    place = watch_place(terminal.place())
    speaker = terminal.person()
    word = (
        resolve(place, resolved or "", speaker) if new_normal is None else accept_as_normal(place, new_normal, speaker)
    )
    if as_json:
        terminal.show_json(word)
    else:
        for line in _lines(word):
            terminal.out.print(line, highlight=False, markup=False)


def _lines(word: Word) -> list[str]:
    since = word.since.strftime("%Y-%m-%d %H:%M UTC")
    alarms = f"Acted on: {', '.join(word.alarms)}." if word.alarms else "No alarm was open."
    if not word.rows:
        return [alarms, f"The evidence begins anew; what came since {since} counts for no block, since it was wrong."]
    known = f"{word.labelled:,} of them labelled"
    return [
        f"The present is the new normal: a profile of {word.rows:,} predictions since {since}, {known}.",
        f"{alarms} The evidence begins anew.",
        f"The profile of before stays at {word.profile_before}.",
    ]
