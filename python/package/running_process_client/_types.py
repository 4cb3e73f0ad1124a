"""The words of this package's data and arguments."""

from __future__ import annotations

from typing import Literal

Policy = Literal["default", "strict", "lenient"]
Upgrade = Literal["newer replaces", "own version", "never"]
Verdict = Literal["proven", "claimed", "unchecked", "refused"]
Level = Literal["held", "named", "claimed"]
Listener = Literal["own", "inherited", "unknown"]
ImageState = Literal["unchanged", "replaced on disk", "not comparable", "unchecked"]
Stopped = Literal["not running", "ended", "killed"]
StateName = Literal[
    "absent",
    "starting",
    "backing off",
    "live",
    "busy",
    "draining",
    "stale",
    "held by an orphan",
    "impostor",
    "not inspectable",
]
