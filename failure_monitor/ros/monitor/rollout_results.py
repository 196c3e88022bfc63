# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of the rollouts of a monitor: the outcome check, labels, judges, promise and log.

The check has a thread of its own, and so has the disk. What they find is looked at once in a
heartbeat, after the permit: nothing waits for them.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.judges.judge import CalibratedJudge, JudgeVerdict, JudgeWord
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.verdict import OutcomeVerdict, OutcomeWord, not_judged
from failure_monitor.printable_text import printable
from failure_monitor.promise.finished_rollout import FinishedRollout
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.rollout_log_writer import RolloutLogWriter
from failure_monitor.ros.monitor.running_rollout import as_outcome
from failure_monitor.ros.monitor.watched_promise import CountedRollout, WatchedPromise
from failure_monitor.ros.monitor.work_thread import WorkThread

KEPT = 100
"""Number of the last rollouts that a label or a judge may still be about."""

MAX_LABELS = 100
"""Number of times that a rollout's label may change: more is a fault of who publishes."""

KEPT_ENDS = 4
"""Number of the last ends of rollouts to which a plain number may still belong by its time."""

NOT_CALIBRATED = "not calibrated"

MAX_REASON = 1000
"""Characters of a reason."""

MAX_SHOWN = 100
"""Characters that are shown of the name of a rollout that is unknown."""

LONG_CHECK = 1.0
"""Seconds after which a check is said to take long."""

LOG_PERIOD = 1.0
"""Seconds from one writing of the log to the next, however often labels change."""

LABELS_AT_ONCE = 10
"""Number of labels of a rollout that do not wait for the next writing: an operator's word is kept
as soon as the disk takes it, and a process that is killed a moment later has not lost it."""

FAILED, NO_OUTCOME, INTERVENTION = "failed", "has no outcome", "a human acted in it"
NOTHING_YET = not_judged("no rollout has ended yet")
NO_CHECK = (
    "the bundle has no outcome check: calibrate it again, on at least as many true successes as "
    "its alpha asks for"
)
LEVELS = {
    OutcomeWord.CONFIRMED: DiagnosticStatus.OK,
    OutcomeWord.DOUBTFUL: DiagnosticStatus.WARN,
    OutcomeWord.NOT_JUDGED: DiagnosticStatus.STALE,
}


@dataclass(frozen=True)
class EndedRollout:
    """A rollout that has ended.

    Attributes:
        record: what is known of it.
        finished: its largest values; None without a scored decision.
        why_left_out: why it says nothing of the promise, whatever its outcome; empty if it does.
    """

    record: RolloutRecord
    finished: FinishedRollout | None
    why_left_out: str = ""


@dataclass(eq=False)
class _Known:
    """A rollout, and what is still to be known of it."""

    record: RolloutRecord
    verdict: OutcomeVerdict = NOTHING_YET
    ended: EndedRollout | None = None
    checks: int = 0
    """Number of the check that counts."""
    checked_since: float | None = None
    """Since when that is under way."""
    labels: int = 0
    judges: dict[str, JudgeVerdict] = field(default_factory=dict)
    """What the numbers of calibrated judges mean."""
    is_logged: bool = True


@dataclass(eq=False)
class _Ended:
    """When a rollout had ended and the next had not begun, in seconds of the monotonic clock."""

    rollout: str
    since: float
    until: float = math.inf


@dataclass(frozen=True)
class _Job:
    """A check: of which rollout, and which of it."""

    check: OutcomeCheck
    rollout: str
    number: int
    task: str
    end: RolloutEnd

    def done(self) -> tuple[str, int, OutcomeVerdict]:
        """Check; called on the thread."""
        try:
            verdict = self.check.check(self.end, self.task)
        except Exception as error:
            # Whatever the check raises is no word on the end, and never silent.
            verdict = not_judged(f"the check failed: {type(error).__name__}: {error}")
        return self.rollout, self.number, verdict


class RolloutResults:
    """The last rollouts of a configuration, and what is known of their ends."""

    def __init__(
        self,
        check: OutcomeCheck | None,
        promise: WatchedPromise | None,
        log: RolloutLogWriter | None,
        *,
        without_outcome: bool,
        judges: Mapping[str, CalibratedJudge | None] | None = None,
        judge_problems: Sequence[str] = (),
    ) -> None:
        """Wait for rollouts.

        Args:
            check: compares ends; None if the bundle has none.
            promise: counts rollouts; None if nothing does.
            log: keeps records; None if nothing does.
            without_outcome: whether a rollout without an alarm and an outcome is a success.
            judges: the outside judges whose numbers are kept, by name; None for one that is not
                calibrated.
            judge_problems: why other judges are missing.
        """
        self.has_changed = True
        """Whether `message` may be another one than it was."""
        self._check = check
        self._promise = promise
        self._log = log
        self._without_outcome = without_outcome
        self._judges = dict(judges or {})
        self._judge_problems = "; ".join(judge_problems)[:MAX_REASON]
        self._early: dict[str, float] = {}
        """Judges' numbers of the rollout that has ended, and whose last decisions are scored."""
        self._ended: deque[_Ended] = deque(maxlen=KEPT_ENDS)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._shown: _Known | None = None
        self._running = self._last_ended = ""
        self._label_problem = ""
        self._logged_at = -LOG_PERIOD
        self._verdicts: deque[tuple[str, int, OutcomeVerdict]] = deque()
        self._thread = WorkThread("outcome check")

    @property
    def last_ended(self) -> str:
        """The name of the rollout that ended last; empty before the first."""
        return self._last_ended

    def start_rollout(self, rollout: str, now: float) -> None:
        """Receive that a rollout starts.

        Args:
            rollout: its name.
            now: the time, in seconds of the monotonic clock.
        """
        if self._ended:
            self._ended[-1].until = now
        self._running, self._early = rollout, {}

    def stop_rollout(self, now: float) -> None:
        """Receive that the rollout that runs has ended; `end_rollout` follows.

        Args:
            now: the time, in seconds of the monotonic clock.
        """
        self._ended.append(_Ended(self._running, now))

    def ended_at(self, when: float) -> str:
        """Return the rollout that had ended at a time, and after which none had started yet."""
        for ended in self._ended:
            if ended.since <= when < ended.until:
                return ended.rollout
        return ""

    def check(self, record: RolloutRecord, task: str, end: RolloutEnd | str) -> None:
        """Check an end that is claimed to be a success; never waits.

        Args:
            record: of the rollout.
            task: its task.
            end: its end; or why there is nothing to check.
        """
        known = self._at(record)
        known.checks += 1
        if isinstance(end, str) or self._check is None:
            why = end if isinstance(end, str) else NO_CHECK
            self._set_verdict(known, not_judged(why))
        else:
            known.checked_since = time.monotonic()
            job = _Job(self._check, record.rollout, known.checks, task, end)
            self._thread.submit(lambda: self._verdicts.append(job.done()))

    def end_rollout(self, ended: EndedRollout) -> None:
        """Keep a rollout that has ended; once more, if it was claimed to be a success later."""
        known = self._at(ended.record)
        known.ended = ended
        self._last_ended = ended.record.rollout
        self._count(known)
        for name, value in self._early.items():
            self._judge(known, name, value)
        self._early = {}
        self._change(known)

    def label(self, success: bool, rollout: str = "") -> str:
        """Receive an operator's word; return why it is of no rollout, empty if it is of one.

        Args:
            success: the word.
            rollout: the name of the rollout; empty for the one that ended last.
        """
        self._label_problem = self._apply_label(success, rollout or self._last_ended)[:MAX_REASON]
        self.has_changed = True
        return self._label_problem

    def record_judge(self, rollout: str, name: str, value: float) -> str:
        """Receive a judge's number; return why it does not count, empty if it does.

        The first of each rollout counts.

        Args:
            rollout: the name of the rollout, as `~/outcome` states it.
            name: of the judge.
            value: its number.
        """
        if name not in self._judges:
            return f"no judge is called '{name}'"
        if not math.isfinite(value):
            return f"it says {value}, expected a finite number"
        known = self._known.get(rollout)
        if known is not None and known.ended is not None:
            if name in known.record.judges:
                return f"rollout '{rollout}' has its number already"
            self._judge(known, name, value)
        elif self._ended and self._ended[-1].rollout == rollout == self._running:
            self._early.setdefault(name, value)
        else:
            return self._why_unknown(rollout)
        return ""

    def update(self, now: float) -> None:
        """Look at what was found since; called at every heartbeat."""
        self._collect()
        for known in self._known.values():
            since = known.checked_since
            if since is not None and now - since > LONG_CHECK:
                # What it finds still counts.
                self._set_verdict(known, not_judged(f"the check takes more than {LONG_CHECK:g} s"))
        if now - self._logged_at >= LOG_PERIOD and self._write(is_last=False):
            self._logged_at = now

    def _collect(self) -> None:
        while self._verdicts:
            name, number, verdict = self._verdicts.popleft()
            known = self._known.get(name)
            # Of an end that was claimed before, it is none of what was said since.
            if known is not None and number == known.checks:
                self._set_verdict(known, verdict)

    def message(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return what is known of the rollout that was checked or ended last.

        Args:
            name: the node's name.
            hardware_id: the robot's or the policy's.
        """
        self.has_changed = False
        known = self._shown
        verdict = NOTHING_YET if known is None else known.verdict
        values = {"outcome": verdict.word.value, "log": "none"}
        if self._log is not None:
            values["log"] = self._log.problem or str(self._log.path)
        if self._judge_problems:
            values["judges_problem"] = self._judge_problems
        if self._label_problem:
            values["label_problem"] = self._label_problem
        if self._check is not None:
            values["alpha"] = f"{self._check.alpha:g}"
        level, message = LEVELS[verdict.word], f"{verdict.word.value}: {verdict.reason}"
        if known is not None:
            values |= _values(known.record, verdict)
            values["ended"] = "false" if known.ended is None else "true"
            values |= self._judge_values(known)
            for judge, said in known.judges.items():
                if said.word is not JudgeWord.ACCEPTED:
                    message += f"; the judge {judge} says {said.word.value}: {said.reason}"
                    level = max(level, DiagnosticStatus.WARN)
        return DiagnosticStatus(
            level=level,
            name=f"{name}: outcome",
            message=message,
            hardware_id=hardware_id,
            values=key_values(values),
        )

    def _judge_values(self, known: _Known) -> dict[str, str]:
        values = {}
        for name, judge in self._judges.items():
            value = known.record.judges.get(name)
            values[f"judge.{name}"] = "none" if value is None else f"{value:.6g}"
            if name in known.judges:
                said = known.judges[name]
                values[f"judge.{name}.word"] = said.word.value
                values[f"judge.{name}.reason"] = said.reason
            elif value is not None and judge is None:
                values[f"judge.{name}.word"] = NOT_CALIBRATED
        return values

    def close(self) -> None:
        """Keep what is known, and end the thread of the check; waits for a moment."""
        self._thread.close()
        self._collect()
        self._write(is_last=True)

    # What is known of a rollout

    def _at(self, record: RolloutRecord) -> _Known:
        """Return what is known of a rollout, whose record is newer than what was known."""
        known = self._known.setdefault(record.rollout, _Known(record))
        was = known.record
        known.record = replace(
            record,
            check=was.check,
            check_reason=was.check_reason,
            judges=was.judges,
            judge_words=was.judge_words,
            label=was.label,
        )
        if len(self._known) > KEPT:
            self._write_one(self._known.popitem(last=False)[1])
        self._shown = known
        return known

    def _set_verdict(self, known: _Known, verdict: OutcomeVerdict) -> None:
        known.checked_since = None
        known.verdict = replace(verdict, reason=verdict.reason[:MAX_REASON])
        known.record = replace(
            known.record, check=verdict.word.value, check_reason=known.verdict.reason
        )
        self._change(known)

    def _judge(self, known: _Known, name: str, value: float) -> None:
        """Keep the number of a judge, and what it means."""
        record = known.record
        words = dict(record.judge_words)
        judge = self._judges[name]
        if judge is not None:
            known.judges[name] = judge.verdict(value)
            words[name] = known.judges[name].word.value
        known.record = replace(record, judges={**record.judges, name: value}, judge_words=words)
        self._change(known)

    def _change(self, known: _Known) -> None:
        known.is_logged = False
        self.has_changed = True

    def _apply_label(self, success: bool, rollout: str) -> str:
        known = self._known.get(rollout)
        if known is None or known.ended is None:
            return self._why_unknown(rollout)
        word = as_outcome(success)
        if known.record.label == word:
            return ""
        if known.labels >= MAX_LABELS:
            return (
                f"the label of rollout '{rollout}' has changed {MAX_LABELS} times: look at who "
                "publishes it, and write the right one into a file of labels"
            )
        known.labels += 1
        known.record = replace(known.record, label=word)
        self._count(known)
        self._change(known)
        if known.labels <= LABELS_AT_ONCE:
            self._write_one(known)
        return ""

    def _why_unknown(self, rollout: str) -> str:
        if not self._last_ended:
            return "no rollout has ended yet"
        if rollout in self._known or rollout == self._running:
            return f"rollout '{rollout}' has not ended yet"
        return (
            f"rollout '{printable(rollout, MAX_SHOWN)}' is none of the last {len(self._known)} of "
            f"this monitor, the newest of which is '{self._last_ended}'"
        )

    def _count(self, known: _Known) -> None:
        """Count a rollout for the promise, by the best that is known of its outcome."""
        if self._promise is None or known.ended is None:
            return
        finished = known.ended.finished
        reason = known.ended.why_left_out
        if not reason and known.record.intervention:
            reason = INTERVENTION
        if not reason and known.record.outcome == "failure":
            reason = FAILED
        if not reason and known.record.outcome is None:
            quiet = finished is not None and finished.level <= 1.0
            reason = "" if quiet and self._without_outcome else NO_OUTCOME
        if finished is None and not reason:
            reason = "has no decision"
        self._promise.end_rollout(CountedRollout(finished, reason, known.record.rollout))

    def _write(self, *, is_last: bool) -> bool:
        """Write what is new of rollouts that have ended; what is being checked can wait.

        Returns:
            Whether anything was written.
        """
        ready = [each for each in self._known.values() if is_last or each.checked_since is None]
        written = [self._write_one(known) for known in ready]
        return any(written)

    def _write_one(self, known: _Known) -> bool:
        if known.ended is None or known.is_logged:
            return False
        known.is_logged = True
        if self._log is not None:
            self._log.write(known.record)
        return True


def _values(record: RolloutRecord, verdict: OutcomeVerdict) -> dict[str, str]:
    compared = {}
    if verdict.level is not None:
        compared = {
            "level": f"{verdict.level:.4g}",
            "compared_with": str(verdict.rollouts),
            "compared_below": str(verdict.rollouts_below),
        }
    return {
        "rollout": record.rollout,
        "task": record.task,
        "claim": record.claim or "none",
        "label": record.label or "none",
        "known_outcome": record.outcome or "unknown",
        **compared,
        **{f"{part}.ratio": f"{ratio:.4g}" for part, ratio in verdict.scores.items()},
    }
