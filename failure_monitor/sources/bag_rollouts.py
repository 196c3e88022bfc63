# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Divides the content of a bag into rollouts with their outcomes, groups and tasks."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import OutcomeSource, Rollout
from failure_monitor.joint_motion import JointMotion, stacked
from failure_monitor.listed_names import list_names
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.bag_files import Bag
from failure_monitor.sources.bag_recording import BagRecording
from failure_monitor.sources.boundaries import (
    ALWAYS,
    NEVER,
    WHOLE_BAG,
    Span,
    spans_of_activity,
    spans_of_markers,
    spans_of_outcomes,
    spans_of_pauses,
)
from failure_monitor.sources.replay_models import ReplayModels
from failure_monitor.sources.source import (
    BagOptions,
    BlackBox,
    Reception,
    SourceContents,
    SourceError,
)

logger = logging.getLogger(__name__)

OUTCOME_MARK = re.compile(r"_([sf])_")
"""Marks in the name of a bag that its only rollout succeeded or failed."""

LONG_PAUSE = 5.0
"""Seconds without a decision that may be the end of a rollout, if they are also `LONG_PAUSES`
times the usual pause."""
LONG_PAUSES = 20

DISORDER = 0.5
"""Seconds by which a statement may be received after the first decision that it is of, since
messages on two topics keep no order."""

Value = TypeVar("Value")


class _Run(NamedTuple):
    """The decisions of a rollout, and the bag time until which its outcome may follow."""

    span: Span
    stamps: list[int]
    until: int


class _Outcome(NamedTuple):
    """How a rollout ended by the best that is known, what was claimed, and who says the former."""

    success: bool | None
    claim: bool | None
    by: OutcomeSource


def rollouts_of(
    bag: Bag, recording: BagRecording, options: BagOptions, models: ReplayModels
) -> SourceContents:
    """Return the rollouts of a bag.

    Raises:
        SourceError: There is none, or the end of one is unknown.
    """
    recording.pair_published()
    if not recording.completions:
        raise SourceError(_why_no_decision(bag, recording, options, models))
    runs = _runs(bag, recording, options)
    for run in runs:
        _reject_set_back_clock(bag, recording, run.span)
    _log_losses(bag, recording, runs, options)
    names = [bag.name]
    if len(runs) > 1:
        names = [f"{bag.name}/{number:03d}" for number in range(len(runs))]
    labels = _labels(recording, runs)
    contents = SourceContents(
        rollouts=tuple(
            _rollout(name, bag, recording, run, label, options, models)
            for name, run, label in zip(names, runs, labels, strict=True)
        ),
        action_names=recording.action_names,
        stated_policy=_stated_policy(bag, recording, dict(zip(names, runs, strict=True)), options),
        receptions=tuple(_reception(recording, run, runs) for run in runs),
        positions_topic=recording.positions_topic,
        joint_topics=recording.joint_topics,
        message_types=recording.message_types,
        commands_topic=options.topics.commands,
        was_told_task=bool(recording.encoded_tasks),
    )
    if models.sampler is None:
        return contents
    contract = models.sampler.contract
    return replace(
        contents,
        action_kind=contract.action_kind,
        position_names=contract.position_names,
        executed_actions=contract.executed_actions,
    )


def _rollout(
    name: str,
    bag: Bag,
    recording: BagRecording,
    run: _Run,
    label: bool | None,
    options: BagOptions,
    models: ReplayModels,
) -> Rollout:
    completions = [recording.completions[stamp] for stamp in run.stamps]
    embeddings = recording.embeddings_at(run.stamps)
    chunks = _chunks(bag, recording, run, options.black_box, models, embeddings)
    external = np.array([completion.external for completion in completions], np.float64)
    end = _end(recording, run)
    outcome = _outcome(bag, recording, run, label, alone=name == bag.name)
    task = options.task or _stated_by(recording.tasks, end, run.until) or ""
    _reject_late_task(bag, recording, run, task)
    return Rollout(
        name=name,
        stamps=1e-9 * np.array(run.stamps, dtype=np.float64),
        embeddings=embeddings,
        chunks=chunks,
        success=outcome.success,
        group=_stated_by(recording.groups, end, run.until) or "",
        source=str(bag.path),
        sha256=_sha256(run.stamps, embeddings, chunks),
        positions=_positions([completion.positions for completion in completions]),
        task=task,
        external=dict(zip(options.topics.external, external.T, strict=True)),
        interventions=_interventions(recording, run),
        joints=_joints([completion.joints for completion in completions]),
        tokens=recording.tokens.at(run.stamps) if recording.tokens else None,
        claim=outcome.claim,
        outcome_by=outcome.by,
        judged=_judged(recording, run),
    )


def _stated_policy(
    bag: Bag, recording: BagRecording, runs: Mapping[str, _Run], options: BagOptions
) -> PolicyDescription | None:
    """Return what the policy of all rollouts stated about itself; None if nothing.

    Raises:
        SourceError: It was another one in another rollout, or in the middle of one; or the action
            chunks carry other actions.
    """
    topic, known, known_of = options.topics.format, None, ""
    for name, run in runs.items():
        for description in _descriptions(recording, run):
            if why_not := description.why_not_of(recording.action_names):
                raise SourceError(
                    f"{bag.path}: on {topic}, {why_not}: let the policy's tap state both, or read "
                    "the bag without the former, --format-topic ''"
                )
            stated = known or description
            difference = stated.differences_text(description)
            if difference:
                where = (
                    f"changed in the middle of {name}"
                    if name == known_of
                    else f"of {known_of} is not that of {name}"
                )
                raise SourceError(
                    f"{bag.path}: by {topic} the policy {where} ({difference}): leave the bag "
                    "out, and record the rollouts of each policy into bags of their own"
                )
            known, known_of = stated.completed_by(description), name
    return known


def _descriptions(recording: BagRecording, run: _Run) -> list[PolicyDescription]:
    """Return what was stated of the policy from a rollout's first decision to its last.

    A statement may be received late, when the recorder has found its topic after the others.
    """
    received = [recording.completions[stamp].received for stamp in run.stamps]
    first, last = min(received) + round(1e9 * DISORDER), max(received)
    stated = recording.descriptions
    before = [description for time, description in stated if time <= first][-1:]
    during = [description for time, description in stated if first < time <= last]
    after = [description for time, description in stated if last < time <= run.until][:1]
    return before + during or after


def _reception(recording: BagRecording, run: _Run, runs: Sequence[_Run]) -> Reception:
    received = np.array([recording.completions[stamp].received for stamp in run.stamps])
    return Reception(
        delays=1e-9 * (received - np.array(run.stamps)),
        unpaired=recording.unpaired,
        repeated=recording.repeated,
        left_out=_left_out(recording, runs),
    )


def _left_out(recording: BagRecording, runs: Sequence[_Run]) -> int:
    """Return the number of decisions that belong to no rollout."""
    return len(recording.completions) - sum(len(run.stamps) for run in runs)


def _reject_late_task(bag: Bag, recording: BagRecording, run: _Run, task: str) -> None:
    """Reject a rollout whose observations were embedded for another task than it is of."""
    encoded = {recording.encoded_tasks.get(stamp, task) for stamp in run.stamps}
    if encoded != {task}:
        known = list_names(sorted(f"'{name}'" if name else "none" for name in encoded))
        raise SourceError(
            f"{bag.path}: a rollout is of the task '{task}', and while its decisions were made "
            f"the bag stated {known}: state the task before the first decision, or leave the bag "
            "out"
        )


def _chunks(
    bag: Bag,
    recording: BagRecording,
    run: _Run,
    black_box: BlackBox,
    models: ReplayModels,
    embeddings: NDArray[np.float32],
) -> NDArray[np.float32]:
    if models.sampler is None:
        return recording.chunks.at(run.stamps)
    if recording.sampling is not None:
        if not recording.sampling.are_one_rollout(run.stamps):
            raise SourceError(
                f"{bag.path}: the decisions of a rollout were not recorded one after the other, "
                "so the noise of their chunks is not that of the robot: leave the bag out"
            )
        return recording.chunks.at(run.stamps)
    from failure_monitor.policy_models.replay import sample_all

    return sample_all(
        models.sampler,
        embeddings,
        samples=black_box.sample_count,
        seed=black_box.noise_seed,
    )


def _positions(measured: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float32] | None:
    known = [positions for positions in measured if positions is not None]
    return np.array(known, np.float32) if known else None


def _joints(motions: Sequence[JointMotion | None]) -> JointMotion | None:
    """Return what the joints did in a rollout; None if no joint states were read."""
    known = [motion for motion in motions if motion is not None]
    if not known:
        return None
    joints = stacked(known)
    # Before the first decision there was none of this rollout.
    joints.means[0] = np.nan
    if joints.commands is not None:
        joints.commands[0] = np.nan
    return joints.given()


def _interventions(recording: BagRecording, run: _Run) -> NDArray[np.bool_] | None:
    """Return whether a human acted between each decision and the next; None if unknown.

    Before the first decision, from where the rollout is known to begin, counts as after it.
    """
    if recording.interventions is None:
        return None
    lasting = recording.human_acts_for
    if lasting is None:
        spans = spans_of_markers(recording.interventions)
    else:
        spans = spans_of_activity(recording.interventions, lasting)
    bounds = [recording.completions[stamp].received for stamp in run.stamps]
    # A later stamp may have been received sooner.
    bounds = [*np.maximum.accumulate(np.array(bounds, dtype=object)), run.span.end]
    if run.span.begin != ALWAYS:
        bounds[0] = min(bounds[0], run.span.begin)
    return np.array(
        [
            any(span.begin < after and span.end >= before for span in spans)
            for before, after in pairwise(bounds)
        ],
        dtype=bool,
    )


def _sha256(
    stamps: Sequence[int], embeddings: NDArray[np.float32], chunks: NDArray[np.float32]
) -> str:
    """Return the SHA-256 of the stamps, embeddings and executed chunks, as hexadecimal.

    It does not depend on how the bag is stored, compressed, split or labelled.
    """
    digest = hashlib.sha256(np.array(stamps, "<i8").tobytes())
    digest.update(embeddings.astype("<f4", copy=False).tobytes())
    digest.update(chunks[:, 0].astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _runs(bag: Bag, recording: BagRecording, options: BagOptions) -> list[_Run]:
    spans = _spans(bag, recording, options)
    begins = [span.begin for span in spans]
    untils = [*(begin - 1 for begin in begins[1:]), NEVER]
    runs = [_Run(span, [], until) for span, until in zip(spans, untils, strict=True)]
    for stamp in sorted(recording.completions):
        received = recording.completions[stamp].received
        place = bisect_right(begins, received) - 1
        if place >= 0 and received <= spans[place].end:
            runs[place].stamps.append(stamp)
    filled = [run for run in runs if run.stamps]
    if not filled:
        raise SourceError(
            f"{bag.path}: none of its {len(recording.completions)} decisions was received while "
            f"{options.topics.active} was true: start recording before the rollout, or leave "
            "the bag out"
        )
    if len(filled) < len(runs):
        logger.warning(
            "%s: left out %d of %d rollouts without a decision of the policy",
            bag.path,
            len(runs) - len(filled),
            len(runs),
        )
    return filled


def _reject_set_back_clock(bag: Bag, recording: BagRecording, span: Span) -> None:
    for topic, received in recording.stamps.items():
        set_back = received.set_back(span.begin, span.end)
        if set_back is not None:
            raise SourceError(
                f"{bag.path}, {topic}, message {set_back.message}: the stamps go back by "
                f"{set_back.seconds:.2f} s in the middle of a rollout, while bag time goes on, so "
                "the clock of their publisher was set back, which beside the robot is an alarm: "
                "leave the bag out; if it holds several rollouts, say with '--boundaries' where "
                "one ends"
            )


def _spans(bag: Bag, recording: BagRecording, options: BagOptions) -> list[Span]:
    kind = options.boundaries
    if kind == "markers" or (kind == "auto" and recording.markers):
        return _marked_spans(bag, recording, options)
    if kind == "outcomes":
        return _spans_until_outcomes(bag, recording, options)
    if kind == "pauses":
        _reject_set_back_clock(bag, recording, WHOLE_BAG)
    completions = sorted((stamp, c.received) for stamp, c in recording.completions.items())
    stamps, received = ([pair[place] for pair in completions] for place in (0, 1))
    if kind == "pauses":
        return sorted(spans_of_pauses(stamps, received, round(1e9 * (options.pause or 0.0))))
    if kind == "auto":
        _reject_several_outcomes(bag, recording, options)
        _warn_of_long_pause(bag, stamps)
    return [WHOLE_BAG]


def _marked_spans(bag: Bag, recording: BagRecording, options: BagOptions) -> list[Span]:
    spans = spans_of_markers(recording.markers)
    if not spans:
        raise SourceError(
            f"{bag.path}: {options.topics.active} is never true, so no rollout ran: start "
            "recording before the rollout, or leave the bag out"
        )
    is_outcome_missing = not any(time >= spans[-1].begin for time, _ in recording.outcomes)
    if not spans[-1].ended and is_outcome_missing:
        logger.warning(
            "%s: recording stopped before %s marked the end of the %srollout, so the rollout may "
            "be incomplete",
            bag.path,
            options.topics.active,
            "last " if len(spans) > 1 else "",
        )
    return spans


def _spans_until_outcomes(bag: Bag, recording: BagRecording, options: BagOptions) -> list[Span]:
    spans = _outcome_spans(recording)
    if not any(span.ended for span in spans):
        raise SourceError(
            f"{bag.path}: {options.topics.success} has no outcome after a decision, so no rollout "
            "ended: record until the outcome is known, or leave the bag out"
        )
    if not spans[-1].ended:
        logger.warning(
            "%s: left out the decisions after the last outcome on %s: their rollout did not end",
            bag.path,
            options.topics.success,
        )
    return [span for span in spans if span.ended]


def _outcome_spans(recording: BagRecording) -> list[Span]:
    received = sorted(completion.received for completion in recording.completions.values())
    return spans_of_outcomes(sorted(time for time, _ in recording.outcomes), received)


def _reject_several_outcomes(bag: Bag, recording: BagRecording, options: BagOptions) -> None:
    ended = sum(span.ended for span in _outcome_spans(recording))
    if ended > 1:
        raise SourceError(
            f"{bag.path} has {ended} outcomes on {options.topics.success} with decisions between "
            "them: use '--boundaries outcomes' if each ends a rollout, or '--boundaries bag' if "
            "the bag is one rollout"
        )


def _warn_of_long_pause(bag: Bag, stamps: Sequence[int]) -> None:
    pauses = 1e-9 * np.diff(np.array(stamps))
    if len(pauses) and pauses.max() > max(LONG_PAUSE, LONG_PAUSES * float(np.median(pauses))):
        logger.warning(
            "%s: read as one rollout although it pauses for %.1f s; if there are several "
            "rollouts, use '--boundaries pauses'",
            bag.path,
            pauses.max(),
        )


def _outcome(
    bag: Bag, recording: BagRecording, run: _Run, label: bool | None, *, alone: bool
) -> _Outcome:
    """Return how a rollout ended: by an operator's word, else by what was claimed."""
    claims = [
        success for time, success in recording.outcomes if run.span.begin <= time <= run.until
    ]
    claim = claims[-1] if claims else None
    known = _Outcome(claim, claim, "" if claim is None else "claim")
    if label is not None:
        known = _Outcome(label, claim, "operator")
    mark = OUTCOME_MARK.search(bag.name) if alone else None
    if mark is None:
        return known
    named = mark[1] == "s"
    if known.success not in (None, named):
        raise SourceError(
            f"{bag.path}: by its name the rollout {_ended(named)}, by its topic it "
            f"{_ended(bool(known.success))}: rename it, or leave it out"
        )
    return _Outcome(named, claim, "labels")


def _labels(recording: BagRecording, runs: Sequence[_Run]) -> list[bool | None]:
    """Return what an operator said last of each rollout.

    A word belongs to the rollout that ended last before it. One that comes while the first
    rollout runs is of a rollout before the bag; where nothing marks the beginning of that, the
    bag is of one rollout, and so is the word.
    """
    ends = [_end(recording, run) for run in runs]
    labels: list[bool | None] = [None] * len(runs)
    for time, label in recording.labels:
        place = bisect_right(ends, time) - 1
        if place >= 0:
            labels[place] = label
        elif len(runs) == 1 and runs[0].span.begin == ALWAYS:
            labels[0] = label
    return labels


def _judged(recording: BagRecording, run: _Run) -> float | None:
    """Return an outside judge's number of a rollout, as a monitor takes it: the first after it."""
    end = _end(recording, run)
    numbers = (value for time, value in recording.judged if end < time <= run.until)
    return next(filter(math.isfinite, numbers), None)


def _end(recording: BagRecording, run: _Run) -> int:
    """Return the end of a rollout: its marker, else its outcome, else its last decision."""
    if run.span.ended and run.span.end < run.until:
        return run.span.end
    decisions = [recording.completions[stamp].received for stamp in run.stamps]
    outcomes = [time for time, _ in recording.outcomes if run.span.begin <= time <= run.until]
    return max([*decisions, *outcomes])


def _ended(success: bool) -> str:
    return "succeeded" if success else "failed"


def _stated_by(statements: Sequence[tuple[int, Value]], time: int, until: int) -> Value | None:
    """Return the last value until `time`, else the first one after it and not after `until`."""
    before = [value for when, value in statements if when <= time]
    after = [value for when, value in statements if time < when <= until]
    return before[-1] if before else (after[0] if after else None)


def _why_no_decision(
    bag: Bag, recording: BagRecording, options: BagOptions, models: ReplayModels
) -> str:
    topics = options.topics
    if models.encoder is not None:
        problems = "; ".join(recording.why_no_observation())
        problems = problems or _why_no_frame(recording, topics.action_chunks)
        return f"{bag.path} has no observation that makes a decision: {problems}"
    needed = {topics.action_chunks: (recording.chunks, "")}
    if recording.has_embeddings:
        without = "read it without embeddings (--embedding-topic ''), "
        needed = {topics.embedding: (recording.embeddings, without), **needed}
    for topic, (messages, instead) in needed.items():
        if not messages:
            return (
                f"{bag.path} has no message on {topic}: check that the policy published there "
                f"while the bag was recorded, {instead}or leave the bag out"
            )
    return (
        f"{bag.path}: no message on {topics.embedding} has the header stamp of one on "
        f"{topics.action_chunks}: publish both with the stamp of the observation"
    )


def _why_no_frame(recording: BagRecording, action_chunks: str) -> str:
    chunks = recording.stamps[action_chunks].stamps
    for topic, frames in recording.stamps.items():
        if topic == action_chunks or not frames.stamps or not chunks:
            continue
        apart = 1e-9 * abs(float(np.median(frames.stamps)) - float(np.median(chunks)))
        if apart > max(1.0, 1e-9 * float(np.ptp(frames.stamps))):
            return (
                f"the frames on {topic} have stamps {apart:.0f} s from those on {action_chunks}, "
                "so they are stamped by another clock: stamp action chunks with the stamp of the "
                "frame that the policy saw"
            )
    return (
        f"no frame has the stamp of one of the {len(chunks)} messages on {action_chunks}: stamp "
        "action chunks with the stamp of the frame that the policy saw"
    )


def _log_losses(
    bag: Bag, recording: BagRecording, runs: Sequence[_Run], options: BagOptions
) -> None:
    left_out = _left_out(recording, runs)
    if left_out:
        logger.info(
            "%s: left out %d of %d decisions, which were received while no rollout was active",
            bag.path,
            left_out,
            len(recording.completions),
        )
    if bag.is_cut_at_start:
        logger.warning(
            "%s: starts later than its rollout, which is therefore incomplete: evaluate it, but "
            "calibrate on complete rollouts",
            bag.path,
        )
    for problem in recording.joint_problems():
        logger.warning("%s: %s", bag.path, problem)
    if recording.unpaired or recording.repeated:
        logger.warning(
            "%s: left out %d messages without a partner of the same stamp and %d with the stamp "
            "of an earlier one on %s and %s: the recorder lost messages, or the policy stamps "
            "them wrongly",
            bag.path,
            recording.unpaired,
            recording.repeated,
            options.topics.embedding,
            options.topics.action_chunks,
        )
    for topic in (options.topics.embedding, options.topics.action_chunks):
        if topic not in recording.stamps:
            continue
        received = recording.stamps[topic]
        disordered = sum(received.out_of_order(run.span.begin, run.span.end) for run in runs)
        if disordered:
            logger.warning(
                "%s: %d messages on %s came later than one of a later stamp, and are sorted: "
                "beside the robot such decisions are passed over; publish them in order",
                bag.path,
                disordered,
                topic,
            )
    for problem in recording.problems():
        logger.warning("%s: %s", bag.path, problem)
