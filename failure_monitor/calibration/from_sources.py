# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration from sources to a bundle: what `failure-monitor calibrate` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.atomic_file import reject_unwritable_folder
from failure_monitor.bundle import additions
from failure_monitor.bundle import folder as bundle_files
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate as calibrate_rollouts
from failure_monitor.calibration.checks import check_choosers, check_outcome_alpha
from failure_monitor.calibration.chosen_rollouts import choose, choose_failures
from failure_monitor.calibration.fitting.fit import require_training
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import OUTCOME_ALPHA, CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.errors import UsageError, one_of
from failure_monitor.joint_motion import (
    MAX_UNKNOWN_SHARE,
    seldom_stated,
    share_without_command,
)
from failure_monitor.listed_names import list_names
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import FIPER_SCORES, score_named
from failure_monitor.sources.exclusions import Exclusions, read_exclusions
from failure_monitor.sources.reading_options import (
    Progress,
    ReadingOptions,
    StatedActions,
    names_of,
    no_progress,
    paths_of,
)
from failure_monitor.sources.replay_models import unchanged_files
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import PROMISE_KINDS, RULES, THRESHOLD_KINDS, Rule


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration made, and of what.

    Attributes:
        bundle: the bundle.
        rollouts: the rollouts that set the thresholds.
        rollout_set: all rollouts that were read to calibrate on.
        remarks: what was left out or assumed, a sentence each.
    """

    bundle: Bundle
    rollouts: tuple[Rollout, ...]
    rollout_set: RolloutSet
    remarks: tuple[str, ...]


@missing_packages_named()
def calibrate(
    sources: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    alpha: float = 0.1,
    rule: str = "mean",
    scores: str | Sequence[str] = (),
    window: int = 3,
    threshold: str = "constant",
    promise: str = "per-task",
    folds: int | None = None,
    fit: str | Path | Sequence[str | Path] = (),
    failures: str | Path | Sequence[str | Path] = (),
    exclude: str | Path | None = None,
    outcome_alpha: float | None = None,
    choose_by: str | Sequence[str] = (),
    seed: int = 0,
    action_kind: str | None = None,
    position_names: str | Sequence[str] = (),
    executed_actions: int | None = None,
    control_period: float | None = None,
    reading: ReadingOptions | None = None,
    report: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> Calibration:
    """Calibrate a rule on successful rollouts, as `failure-monitor calibrate` does.

    Args:
        sources: bags, archives, FIPER folders, folders of these, or patterns of their names.
        output: the folder to write the bundle to; None writes nothing.
        alpha: the chance that a successful rollout ever raises an alarm.
        rule: how scores combine: 'all', 'any', 'mean', or 'fiper' for all of FIPER's two scores.
        scores: the names of the rule's scores; none means the default ones that the policy allows.
        window: the number of decisions over which a score is averaged.
        threshold: 'constant', or 'time-varying' with the decision's number in its rollout.
        promise: 'per-task', or 'across-tasks' for rollouts of any task, also one never seen.
        folds: parts for cross-fitting by rollout; None means 10, or one for each of fewer
            rollouts.
        fit: sources of other successful rollouts to fit the scores on.
        failures: sources of failed rollouts, from which the score 'probe' learns.
        exclude: a list of what to leave out, as `failure-monitor audit --drop` writes it.
        outcome_alpha: the chance that the outcome check doubts a true success; 0 for no check;
            None for 0.1, or no check where the rollouts are too few for that.
        choose_by: the names of scores that may choose among sampled chunks.
        seed: of the folds and of the training.
        action_kind: what an action means: 'position', 'velocity' or 'delta'; None for what the
            sources state.
        position_names: the actions that span positions; none for what the sources state, or all.
        executed_actions: actions of a chunk that are executed before the next decision; None for
            what the sources state.
        control_period: seconds from one executed action to the next, by which the stamps tell how
            many were executed; None for what the sources state.
        reading: how the sources are read.
        report: receives remarks and steps, a sentence each.
        progress: shows how far reading is.

    Raises:
        FailureMonitorError: an argument has no meaning, a source cannot be read, the rollouts do
            not support the settings, or the bundle cannot be written. The sentence states the
            remedy.
    """
    reading = reading or ReadingOptions()
    threshold_kind = one_of(threshold, THRESHOLD_KINDS, "threshold")
    promise_kind = one_of(promise, PROMISE_KINDS, "promise")
    rule_of_scores, named = _check_rule(rule, names_of(scores))
    require_training((*named, *names_of(choose_by)))
    fit_paths, failure_paths = paths_of(fit), paths_of(failures)
    if failure_paths and rule == "fiper":
        raise UsageError(
            "the rule 'fiper' learns nothing from failures: choose the rule "
            f"{', '.join(RULES)}, or give no --failures"
        )
    _reject_numbers(alpha, outcome_alpha, seed, folds, window)
    check_choosers(names_of(choose_by))
    if output is not None:
        reject_unwritable_folder(Path(output))
        bundle_files.reject_other_content(Path(output))
    actions = StatedActions(
        action_kind, names_of(position_names), executed_actions, control_period
    )
    actions.check()
    reading.check()
    exclusions = Exclusions() if exclude is None else read_exclusions(Path(exclude))
    groups = [
        exclusions.remaining_sources(paths_of(sources)),
        exclusions.remaining_sources(fit_paths),
        failure_paths,
    ]
    with unchanged_files(reading.black_box) as (encoder, sampler):
        read = reading.for_scores(named).read_groups(groups, actions, progress=progress)
    if encoder is not None or sampler is not None:
        _reject_rollouts_without_bag(read)
    rollout_set = read[0]
    chosen = _Chosen.of(read, exclusions)
    score_names, probed, why = _choose_scores(named, chosen, rollout_set)
    remarks = (*chosen.remarks, *_merely_claimed(chosen.rollouts), *why)
    for remark in remarks:
        report(remark)
    settings = CalibrationSettings(
        scores=score_names,
        probed_scores=probed,
        rule=rule_of_scores,
        alpha=alpha,
        window=window,
        threshold=threshold_kind,
        promise=promise_kind,
        folds=folds,
        seed=seed,
        choosers=names_of(choose_by),
        outcome_alpha=OUTCOME_ALPHA if outcome_alpha is None else outcome_alpha,
    )
    if outcome_alpha:
        check_outcome_alpha(chosen.rollouts, settings)
    bundle = calibrate_rollouts(
        chosen.rollouts,
        rollout_set.policy,
        settings,
        fit_rollouts=chosen.to_fit_on,
        failures=chosen.failures,
        delays={
            rollout: reception.delays for rollout, reception in rollout_set.receptions.items()
        },
        executor=reading.workers,
        report=report,
    )
    bundle = _with_additions(additions.with_rule_choice(bundle, why), rollout_set, reading)
    bundle = additions.with_models(
        bundle,
        encoder,
        sampler,
        cameras=reading.black_box.cameras,
        observation_rate=reading.black_box.rate or 0.0,
        matching_tolerance=reading.black_box.matching_tolerance,
        noise_seed=reading.black_box.noise_seed,
    )
    bundle = additions.with_message_types(bundle, rollout_set.message_types)
    for seldom in (*_why_never_permitted(bundle), *_why_seldom(bundle, chosen.rollouts)):
        remarks = (*remarks, seldom)
        report(seldom)
    if output is not None:
        bundle_files.save(bundle, Path(output))
    return Calibration(bundle, tuple(chosen.rollouts), rollout_set, remarks)


def _with_additions(bundle: Bundle, rollout_set: RolloutSet, reading: ReadingOptions) -> Bundle:
    """Return the bundle with the topics of its scores, and what the policy stated."""
    bundle = additions.with_external_topics(bundle, reading.topics.external)
    bundle = additions.with_stated_policy(bundle, rollout_set.stated_policy)
    bundle = additions.with_positions_topic(bundle, rollout_set.positions_topic)
    return additions.with_joints(bundle, rollout_set.joint_topics, rollout_set.commands_topic)


def _reject_numbers(
    alpha: float, outcome_alpha: float | None, seed: int, folds: int | None, window: int
) -> None:
    """Reject settings that no calibration has."""
    if not 0 < alpha < 1:
        raise UsageError(f"an alpha of {alpha:g} is no chance: give a number between 0 and 1")
    if outcome_alpha is not None and not 0 <= outcome_alpha < 1:
        raise UsageError(
            f"an outcome alpha of {outcome_alpha:g} is no chance: give a number below 1, or 0 for "
            "no outcome check"
        )
    if seed < 0:
        raise UsageError(f"the seed is {seed}: give a number from 0 on")
    if folds is not None and folds < 2:
        raise UsageError(f"{folds} folds hold no rollout apart: give a number from 2 on")
    if window < 1:
        raise UsageError(f"a window of {window} decisions holds no score: give a number from 1 on")


def _merely_claimed(rollouts: Sequence[Rollout]) -> Iterator[str]:
    """Yield which rollouts are only claimed to be successes: the outcome check believes them."""
    names = [rollout.name for rollout in rollouts if rollout.outcome_by == "claim"]
    if names:
        yield (
            f"{len(names)} of {len(rollouts)} rollouts are successes as claimed, not as known "
            f"({list_names(names)}): false claims among them teach that such ends are true; state "
            "what is known (`failure-monitor label`, --labels)"
        )


def _why_never_permitted(bundle: Bundle) -> Iterator[str]:
    """Yield that behind a gate the rule would wait for commands, and these for the rule."""
    need = [bool(score.command_names) for score in bundle.scores]
    if any(need) if bundle.rule == "all" else all(need):
        yield (
            "the rule is undefined while no commands are sent, and behind a gate none are before "
            "it is defined: add a score without commands (--scores), leave --commands-topic out, "
            "or run it without a gate"
        )


def _why_seldom(bundle: Bundle, rollouts: Sequence[Rollout]) -> Iterator[str]:
    """Yield which joints or commands beside the robot would be missed too often, if some would."""
    motions = [rollout.joints for rollout in rollouts if rollout.joints is not None]
    if bundle.command_names:
        without = share_without_command(motions, bundle.command_names)
        if without > MAX_UNKNOWN_SHARE:
            yield (
                f"before {without:.0%} of the decisions no command was sent since the last one, "
                "so that scores of joints are undefined there: name the topic on which the robot "
                "is commanded most often (--commands-topic), or leave it out"
            )
    names = seldom_stated(motions, bundle.joint_quantities) if bundle.joint_quantities else ()
    if not names:
        return
    yield (
        f"of {list_names(names)} no value came between many decisions and those before, which "
        "beside the robot is STALE: have the joints stated more often than the policy decides, "
        "leave their topic out of --more-joint-states-topics, or choose --scores without joints"
    )


@dataclass(frozen=True)
class _Chosen:
    """The rollouts that are used, and remarks on the others."""

    rollouts: list[Rollout]
    to_fit_on: list[Rollout]
    failures: list[Rollout]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, read: Sequence[RolloutSet], exclusions: Exclusions) -> _Chosen:
        calibration, to_fit_on, given_failures = read
        chosen, remarks = choose(exclusions.remaining_rollouts(calibration.rollouts))
        fit_rollouts, fit_remarks = choose(exclusions.remaining_rollouts(to_fit_on.rollouts))
        failed, failure_remarks = choose_failures(given_failures.rollouts)
        return cls(
            chosen,
            fit_rollouts,
            failed,
            (
                *remarks,
                *(f"to fit on: {remark}" for remark in fit_remarks),
                *(f"failures: {remark}" for remark in failure_remarks),
            ),
        )


def _choose_scores(
    named: tuple[str, ...], chosen: _Chosen, rollout_set: RolloutSet
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Return the rule's scores, those that were chosen among them, and why these."""
    remarks: list[str] = []
    default: tuple[str, ...] = ()
    if not set(named) - {Probe.name} and chosen.rollouts:
        choice = choose_rule(chosen.to_fit_on or chosen.rollouts, rollout_set.policy)
        default, remarks = choice.scores, [*choice.reasons]
    names = named or default
    if chosen.failures and Probe.name not in names:
        names = (*names, Probe.name)
        remarks.append(
            f"the score {Probe.name}, which learns from {len(chosen.failures)} failures, joins "
            "the rule"
        )
    return names, default, remarks


def _reject_rollouts_without_bag(read: Sequence[RolloutSet]) -> None:
    """Reject decisions that the models which go into the bundle did not make."""
    strange = [
        rollout.name
        for each in read
        for rollout in each.rollouts
        if rollout.sha256 not in each.receptions
    ]
    if strange:
        raise UsageError(
            f"{len(strange)} of the rollouts come from no bag ({list_names(strange)}), and "
            "'--encoder' and '--sampler' are run on bags alone, so it is unknown what made these: "
            "give the bags, or leave the models out"
        )


def _check_rule(rule: str, scores: tuple[str, ...]) -> tuple[Rule, tuple[str, ...]]:
    """Return how scores combine, and their names; none where the default is left to the policy."""
    if rule == "fiper":
        if scores and set(scores) != set(FIPER_SCORES):
            raise UsageError(
                f"the rule 'fiper' is all of {', '.join(FIPER_SCORES)}; for the scores "
                f"{', '.join(scores)} choose the rule {', '.join(RULES)}"
            )
        return "all", FIPER_SCORES
    if rule not in RULES:
        raise UsageError(f"there is no rule '{rule}': choose fiper, {', '.join(RULES)}")
    for name in scores:
        score_named(name)
    return rule, scores
