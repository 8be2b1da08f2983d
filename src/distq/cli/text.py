"""Formats texts of peers and durations for a terminal."""


def printable(text: object) -> str:
    """Return a peer's text without the characters that could control a terminal."""
    return "".join(char if char.isprintable() else "�" for char in str(text))


def printable_lines(text: str) -> str:
    """Return a text of several lines as `printable` does, with its line ends."""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


def duration(seconds: float | None) -> str:
    """Return a duration in its largest fitting unit; "-" for None."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
