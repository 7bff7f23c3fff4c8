"""Names that callers chose, short and plain enough for a table or a line."""

MOST = 60


def short(name: str, most: int = MOST) -> str:
    """
    The name without characters that cannot be printed, and with its middle left out where it is longer than `most`.

    Both ends are kept: an intersection begins with its columns and ends with its last value.
    """
    plain = "".join(each if each.isprintable() else "\ufffd" for each in name)
    if len(plain) <= most:
        return plain
    tail = (most - 1) // 3
    return f"{plain[: most - 1 - tail]}…{plain[-tail:]}"
