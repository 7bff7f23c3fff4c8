"""Errors that a person can put right."""


class UserError(Exception):
    """A message that says what happened to which thing, what was expected and what to do; exit code 1."""

    exit_code = 1


class Interrupted(UserError):
    """A person stopped it (Ctrl-C), and the message says what becomes of it; exit code 130."""

    exit_code = 130
