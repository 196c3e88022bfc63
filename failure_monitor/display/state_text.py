# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What displays write about a monitor's state: what it reports, what halted it, or its silence.

While a halt is latched, the reason is that of the halt, and the scores are those of the present.
So
both are written: what halted and how long ago, and the state as it would be without the halt.
"""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading

NO_WORD = "NO WORD FROM THE MONITOR"
"""The title while nothing is known."""


@dataclass(frozen=True)
class StateText:
    """The state of a monitor as text.

    Attributes:
        state: decides on colour and sign.
        title: the state and whether a halt is latched, in a few words.
        permit: whether commands pass; empty if that is unknown.
        paragraphs: why; while a halt is latched what halted, and what is now.
    """

    state: AlarmState
    title: str
    permit: str
    paragraphs: tuple[str, ...]


def state_text(reading: AlarmReading) -> StateText:
    """Return the text of what a monitor reports."""
    title = reading.state.value + (" - halted" if reading.halted else "")
    permit = "commands pass" if reading.permit else "no command passes"
    return StateText(reading.state, title, permit, paragraphs(reading))


def paragraphs(reading: AlarmReading) -> tuple[str, ...]:
    """Return the reason; while a halt is latched what halted and when, and what is now."""
    if not reading.halted:
        return (reading.reason,)
    when = "" if reading.halt_age is None else f" {_ago(reading.halt_age)}"
    now = reading.now.partition(": ")[2]
    # The monitor adds it to the reason where a halt awaits it.
    reason = reading.reason.removesuffix(f"; now {now}") if now else reading.reason
    halted = f"halted{when}: {reason}"
    return (halted, f"now {reading.now}") if reading.now else (halted,)


def silence_text(monitor: str, silence: float | None) -> StateText:
    """Return the text for a monitor that is silent.

    Args:
        monitor: its name.
        silence: seconds since its last message; None if there was none.
    """
    if silence is None:
        why = f"no message on '{monitor}/alarm' so far: start the monitor, or set 'monitor'"
    else:
        why = (
            f"no message on '{monitor}/alarm' for {_duration(silence)}: the monitor has ended, "
            "hangs or is cut off, and nothing is known of the policy"
        )
    return StateText(AlarmState.STALE, NO_WORD, "", (why,))


def _ago(seconds: float) -> str:
    return f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
