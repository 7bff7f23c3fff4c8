"""`kedge drill`: rehearse a bad promotion before there is one."""

from flows import terminal
from flows.terminal import Json


def drill(as_json: Json = False) -> None:
    """
    Rehearse a bad promotion, and prove the way back: guards, rollback, every worker; about half a minute.

    A spoiled copy of the champion is served beside a sound one, from a folder and on a port of their own: nobody's
    answers are touched. The outcome goes into the ledger; a drill that fails ends with code 1.

    Example: kedge drill
    """
    from dataclasses import asdict

    from flows.drill.rehearsal import drill as rehearse
    from flows.drill.show import show_drill

    done = rehearse(terminal.place(), lambda words: None if as_json else terminal.out.print(words, highlight=False))
    if as_json:
        terminal.show_json(asdict(done))
    else:
        show_drill(terminal.out, done)
