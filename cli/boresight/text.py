"""Numbers and times as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Bytes with a binary unit: ``312 B``, ``1.4 KiB``, ``257 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
        value /= 1024
    raise AssertionError


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 stage``, ``2 stages``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(digest: str | None, length: int = 12) -> str:
    """The first digits of a key or of ``sha256:...``; ``-`` for None."""
    return digest.removeprefix("sha256:")[:length] if digest else "-"


def clean(text: str) -> str:
    """``text`` without control characters (messages of stages are data: no escape sequence reaches a terminal)."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def parse_duration(text: str) -> float | None:
    """Seconds of ``90``, ``90s``, ``10m``, ``1h30m``; None for what is no time."""
    import re

    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
