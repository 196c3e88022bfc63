# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle: the folder that `calibrate` writes and the monitor node loads.

    bundle.yaml     what was promised, on what, for which policy, with which settings
    <score>.<fold>.<part>.onnx
    encoder.onnx, sampler.onnx    the policy's models whose outputs it did not publish, and weights
    arrays.npz      the scores' arrays, as <score>.<fold>.<part> or <score>.<part>; the limits of a
                    decision's values; the scales; the ends of true successes, as
                    outcome.<number of the task>.<part>.<name>

There is never a pickle. The folder is written beside its place and renamed, so it is always
complete. bundle.yaml holds every file's SHA-256; a file that is missing or changed is rejected by
name.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from failure_monitor import __version__
from failure_monitor.atomic_file import write_folder_atomically
from failure_monitor.bundle.description import (
    SCHEMA_VERSION,
    BlackBoxSection,
    BundleDescription,
    JointsSection,
    ModelSection,
    OutcomeSection,
    OutcomeTaskSection,
    PositionsSection,
    PromiseSection,
    RolloutSection,
    ScoreSection,
    checked,
)
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.monitoring.response.chosen_chunk import Medoid, SampleScore
from failure_monitor.monitoring.response.trusted_horizon import Dispersion, TrustedHorizon
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.end_parts import PARTS, EndFormat
from failure_monitor.outcome.stored_check import StoredEndsError, arrays_of, ends_from
from failure_monitor.parameters.topics import external_topic
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.printable_text import printable
from failure_monitor.schema import SchemaError, plain, read
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.external import EXTERNAL_PREFIX
from failure_monitor.scores.registry import restore_folded_score, restore_score
from failure_monitor.thresholds.conformal import Rule, Scale, needed_rollouts
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    weights_across_tasks,
    weights_of_groups,
)
from failure_monitor.thresholds.time_varying import TimeVaryingScale
from failure_monitor.thresholds.value_limits import ValueLimits

DESCRIPTION_FILE = "bundle.yaml"
ARRAYS_FILE = "arrays.npz"
MAX_SHOWN = 100
"""Characters of an unknown task that are shown."""
BUNDLE_FILE = re.compile(
    r"bundle\.yaml|arrays\.npz|.*\.onnx|(encoder|sampler)\.weights_\d+|\.DS_Store"
)
"""The name of what may lie in a bundle that is replaced."""
CENTRE_ARRAY, SPREAD_ARRAY = "scale.centre", "scale.spread"
VERSION_1 = "time_varying_"
"""What the names of these two began with in version 1, which had them if they vary over time."""
LIMITS = "value_limits."
OUTCOME = "outcome."

Restored = TypeVar("Restored")


class BundleError(FailureMonitorError):
    """A folder that is no bundle, or that is incomplete, changed or of a newer schema."""


class UnknownTaskError(FailureMonitorError):
    """A task for which a bundle has no threshold."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A calibrated rule over fitted scores, ready to watch a policy.

    Attributes:
        description: the content of bundle.yaml; `save` sets its `files`.
        scores: the fitted scores, in the description's order, each with the models of F folds.
        scale: the scale of these scores, (F, K), or (L, F, K) where it varies over time.
        limits: beyond which decisions are invalid.
        choosers: further scores, which only choose among sampled chunks.
        encoder: the observation encoder, if the policy published no embeddings.
        sampler: the policy sampler, if the policy published no action chunks.
        outcome_check: compares ends of rollouts with those of calibration; None if it was turned
            off, and in bundles of older versions.
    """

    description: BundleDescription
    scores: tuple[FoldedScore, ...]
    scale: Scale
    limits: ValueLimits
    choosers: tuple[Score, ...] = ()
    encoder: OnnxFile | None = None
    sampler: OnnxFile | None = None
    outcome_check: OutcomeCheck | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be handed to another process, as what runs a network cannot."""
        return {
            **vars(self),
            "scores": [(score.name, score.state()) for score in self.scores],
            "choosers": [(score.name, score.state()) for score in self.choosers],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the bundle that was handed over."""
        scores = tuple(restore_folded_score(*each) for each in state["scores"])
        choosers = tuple(restore_score(*each) for each in state["choosers"])
        vars(self).update({**state, "scores": scores, "choosers": choosers})

    @property
    def policy(self) -> PolicyFormat:
        """The format of the policy's decisions."""
        return policy_format(self.description)

    @property
    def rule(self) -> Rule:
        """How the scores are combined."""
        return self.description.rule

    @property
    def alpha(self) -> float:
        """The false-alarm rate that was asked for."""
        return self.description.alpha

    @property
    def promised_rate(self) -> float:
        """The promised false-alarm rate: alpha, or more from fewer tasks than alpha needs."""
        return self.description.promised_rate

    @property
    def calibration(self) -> tuple[RolloutSection, ...]:
        """The rollouts from which the thresholds were calibrated."""
        return self.description.calibration

    @property
    def fit(self) -> tuple[RolloutSection, ...]:
        """The rollouts on which scores were fitted, without the calibration rollouts."""
        return (*self.description.fit, *self.description.failures)

    def promise(self, task: str = "") -> PromiseSection:
        """Return the promise for a task, which need not be named if the bundle has only one.

        A bundle that was calibrated on rollouts without a task is for any task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        promises = {promise.task: promise for promise in self.description.promises}
        if task in promises:
            return promises[task]
        if len(promises) == 1 and (not task or "" in promises):
            return self.description.promises[0]
        known = ", ".join(promises)
        if not task:
            raise UnknownTaskError(
                f"the bundle has a threshold for each of the tasks {known}, and no task is named: "
                "name one of these ('task' of the monitor node, --task for bags)"
            )
        raise UnknownTaskError(
            f"the bundle has no threshold for the task '{printable(task, MAX_SHOWN)}', only for "
            f"{known}: name one of these, or calibrate with successful rollouts of the task"
        )

    def threshold(self, task: str = "") -> PairedThreshold:
        """Return the calibrated rule for a task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        promise = self.promise(task)
        if self.description.schema_version == 1:
            limit, fold = np.array([promise.limit]), np.zeros(1, dtype=np.int64)
            return PairedThreshold(self.rule, self.scale, limit, fold, np.ones(1), needed=1.0)
        own = self._compared_with(promise)
        weights, needed = np.ones(len(own)), float(promise.rank)
        if promise.tasks is not None:
            weights, needed = weights_across_tasks([each.task for each in own], self.alpha)
        elif future := self.description.future:
            groups = [each.group for each in own]
            weights, needed = weights_of_groups(groups, future, self.alpha)
        return PairedThreshold(
            self.rule,
            self.scale,
            limits=np.array([section.limit for section in own], dtype=np.float64),
            folds=np.array([section.fold for section in own], dtype=np.int64),
            weights=weights,
            needed=needed,
        )

    def _compared_with(self, promise: PromiseSection) -> tuple[RolloutSection, ...]:
        """Return the calibration rollouts of a promise."""
        return tuple(
            section
            for section in self.calibration
            if promise.tasks is not None or section.task == promise.task
        )

    def monitor(self, task: str = "") -> FailureMonitor:
        """Return a monitor at the start of a rollout of a task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        return FailureMonitor(
            self.policy,
            self.scores,
            window=self.description.window,
            threshold=self.threshold(task),
            limits=self.limits,
            caution=shortfall(self.promise(task), self.alpha),
        )

    def trusted_horizon(self, task: str = "") -> TrustedHorizon | None:
        """Return the trusted horizon for a task; None if the policy's samples never differ.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        steering, task = self.description.steering, self.promise(task).task
        if steering is None:
            return None
        positions = ReachedPositions.of(self.policy)
        dispersion = Dispersion(positions, np.array(steering.usual), steering.leading)
        return TrustedHorizon(dispersion, steering.limits[task])

    @property
    def external_topics(self) -> dict[str, str]:
        """The topic of every external score, by the score's name without prefix.

        It is the topic in the recordings of calibration; otherwise `external_scores/<name>`.
        """
        names = [
            score.name.removeprefix(EXTERNAL_PREFIX)
            for score in self.scores
            if score.name.startswith(EXTERNAL_PREFIX)
        ]
        known = self.description.external_topics
        return {name: known.get(name, external_topic(name)) for name in names}

    @property
    def needs_positions(self) -> bool:
        """Whether a score of the rule needs the measured positions of the robot."""
        return any(score.needs_positions for score in self.scores)

    @property
    def joint_quantities(self) -> tuple[str, ...]:
        """The quantities of joints that the rule's scores need, as `JointMotion` names them."""
        return tuple(
            dict.fromkeys(name for score in self.scores for name in score.joint_quantities)
        )

    @property
    def command_names(self) -> tuple[str, ...]:
        """The values of commands as sent that the rule's scores need, as `JointMotion` names."""
        return tuple(dict.fromkeys(name for score in self.scores for name in score.command_names))

    @property
    def needs_tokens(self) -> bool:
        """Whether a score needs tokens of the policy's network."""
        return any(score.needs_tokens for score in self.scores)

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """The number and size of the tokens that a score needs; None if unknown or none does."""
        shapes = (getattr(score.models[0], "token_shape", None) for score in self.scores)
        return next((shape for shape in shapes if shape is not None), None)

    @property
    def sample_scores(self) -> dict[str, SampleScore]:
        """The scores that can choose among the sampled chunks of a decision, by name."""
        # Samples are compared with one another, for which the models of one fold are enough.
        own = (model for score in self.scores for model in score.models[:1])
        able = [score for score in (*own, *self.choosers) if isinstance(score, SampleScore)]
        medoid = Medoid(ReachedPositions.of(self.policy))
        return {Medoid.name: medoid, **{score.name: score for score in able}}

    def levels(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the combined normalised score at every decision, (T,); above 1 is an alarm.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        return self.compare(rollout)[0]

    def compare(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Return `levels`, and how many calibration rollouts lie below every decision, (T,).

        The latter is None for bundles that do not keep how their rollouts came out, and where not
        all of them weigh the same.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        try:
            monitor = self.monitor(rollout.task)
        except UnknownTaskError as error:
            raise UnknownTaskError(f"{rollout.name}: {error}") from None
        levels, below = monitor.compare_rollout(rollout)
        if self.description.schema_version == 1:
            return levels, self._below(rollout, levels)
        return levels, below if self.description.weighs_alike else None

    def _below(self, rollout: Rollout, levels: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Return how many calibration rollouts of a bundle of version 1 lie below levels."""
        known = [section.max_level for section in self.calibration_of(rollout)]
        largest = np.sort([level for level in known if level is not None])
        return np.searchsorted(largest, levels) if len(largest) == len(known) else None

    def calibration_of(self, rollout: Rollout) -> tuple[RolloutSection, ...]:
        """Return the rollouts from which the threshold for this rollout's task was calibrated.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        return self._compared_with(self.promise(rollout.task))


def with_rule_choice(bundle: Bundle, reasons: Sequence[str]) -> Bundle:
    """Return the bundle with why calibration chose its scores.

    Args:
        bundle: the calibrated bundle.
        reasons: a sentence each; none if the user named the scores.
    """
    return replace(bundle, description=replace(bundle.description, rule_choice=tuple(reasons)))


def shortfall(promise: PromiseSection, alpha: float) -> str:
    """Return why a promise across tasks is less than alpha; empty if it is not."""
    if promise.tasks is None or promise.smallest_alpha <= alpha + 1e-9:
        return ""
    return (
        f"calibrated across {promise.tasks} tasks, which promise false alarms in at most "
        f"{promise.smallest_alpha:.2f} of the successful rollouts of a task: "
        f"{needed_rollouts(alpha)} tasks promise {alpha:g}"
    )


def with_outcome_check(bundle: Bundle, check: OutcomeCheck, rule: Rule) -> Bundle:
    """Return the bundle with a check of how rollouts end.

    Args:
        bundle: the calibrated bundle.
        check: the outcome check.
        rule: how it combines the parts of an end.
    """
    section = OutcomeSection(
        alpha=check.alpha,
        rule=rule,
        parts=check.parts,
        left_out=check.left_out,
        joints=check.format.joints,
        tasks=(
            *(
                OutcomeTaskSection(task=task, rollouts=len(ends.threshold.limits))
                for task, ends in check.tasks.items()
            ),
            *(
                OutcomeTaskSection(task=task, unknown=reason)
                for task, reason in check.unknown.items()
            ),
        ),
    )
    description = replace(bundle.description, outcome=section)
    return replace(bundle, description=description, outcome_check=check)


def with_external_topics(bundle: Bundle, topics: Mapping[str, str]) -> Bundle:
    """Return the bundle with the topics of its external scores.

    Args:
        bundle: the calibrated bundle.
        topics: the topics by the scores' names without prefix; other scores' are left out.
    """
    names = {score.name for score in bundle.scores}
    own = {name: topic for name, topic in topics.items() if EXTERNAL_PREFIX + name in names}
    description = replace(bundle.description, external_topics=own)
    return replace(bundle, description=description)


def with_message_types(bundle: Bundle, types: Mapping[str, str]) -> Bundle:
    """Return the bundle with the types of the topics of its scores, cameras and commands.

    Args:
        bundle: the bundle, with these topics.
        types: the types of recorded topics; others' are left out.
    """
    black_box = bundle.description.black_box
    own = {*bundle.external_topics.values(), *(black_box.cameras.values() if black_box else ())}
    if bundle.description.joints is not None:
        own.add(bundle.description.joints.commands_topic)
    kept = {topic: kind for topic, kind in types.items() if topic in own}
    return replace(bundle, description=replace(bundle.description, message_types=kept))


def with_stated_policy(bundle: Bundle, stated: PolicyDescription | None) -> Bundle:
    """Return the bundle with what the policy of its rollouts stated about itself.

    Args:
        bundle: the calibrated bundle.
        stated: the statement; None if there was none.
    """
    return replace(bundle, description=replace(bundle.description, stated_policy=stated))


def with_positions_topic(bundle: Bundle, topic: PositionsTopic | None) -> Bundle:
    """Return the bundle with the topic of measured positions, if one of its scores needs them.

    Args:
        bundle: the calibrated bundle.
        topic: the topic of measured positions in its rollouts; None if unknown.
    """
    if topic is None or not bundle.needs_positions:
        return bundle
    section = PositionsSection(**vars(topic))
    description = replace(bundle.description, positions_topic=section)
    return replace(bundle, description=description)


def with_joints(bundle: Bundle, topics: Sequence[str], commands_topic: str = "") -> Bundle:
    """Return the bundle with what its scores need of joints, if they need any.

    Args:
        bundle: the calibrated bundle.
        topics: the topics of joint states in its rollouts; none if they are unknown.
        commands_topic: that of the commands as sent; empty if it is unknown, or none were read.
    """
    if not bundle.joint_quantities:
        return bundle
    section = JointsSection(
        quantities=bundle.joint_quantities,
        topics=tuple(topics),
        commands=bundle.command_names,
        commands_topic=commands_topic if bundle.command_names else "",
    )
    return replace(bundle, description=replace(bundle.description, joints=section))


def with_models(
    bundle: Bundle,
    encoder: OnnxFile | None,
    sampler: OnnxFile | None,
    *,
    cameras: Mapping[str, str],
    observation_rate: float,
    matching_tolerance: float,
    noise_seed: int,
) -> Bundle:
    """Return the bundle with the models that computed the decisions of its rollouts.

    Args:
        bundle: the calibrated bundle.
        encoder: the model of the embeddings; None if the policy published them.
        sampler: the model of the action chunks; None if the policy published them.
        cameras: the topics of the encoder's cameras, by the cameras' names.
        observation_rate: the number of decisions per second; 0 for a decision at every image of
            the first camera.
        matching_tolerance: seconds by which the stamps of an observation may differ.
        noise_seed: the seed of the sampler's noise.
    """
    if encoder is None and sampler is None:
        return bundle
    section = BlackBoxSection(
        encoder=_model_section("encoder", encoder),
        sampler=_model_section("sampler", sampler),
        cameras=dict(cameras),
        observation_rate=observation_rate,
        matching_tolerance=matching_tolerance,
        noise_seed=noise_seed,
    )
    description = replace(bundle.description, black_box=section)
    return replace(bundle, description=description, encoder=encoder, sampler=sampler)


def _model_section(name: str, model: OnnxFile | None) -> ModelSection | None:
    if model is None:
        return None
    weights = {file: f"{name}.weights_{at}" for at, file in enumerate(sorted(model.weights))}
    return ModelSection(file=f"{name}.onnx", weights=weights)


def save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle, or replace one as a whole.

    Raises:
        BundleError: the folder holds something else, or what the bundle states is not possible.
        UnwritableError: the folder cannot be written.
    """
    reject_other_content(folder)
    try:
        files = _files(bundle)
    except SchemaError as error:
        raise BundleError(f"the bundle cannot be described: {error}: report this") from None
    write_folder_atomically(folder, files)


def reject_other_content(folder: Path) -> None:
    """Reject a folder that a bundle would replace, with what is no part of one.

    Raises:
        BundleError: names what the folder holds.
    """
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held and not (folder / DESCRIPTION_FILE).is_file():
        raise BundleError(f"{folder} exists and is no bundle: name another folder")
    others = [name for name in held if not BUNDLE_FILE.fullmatch(name)]
    if others:
        raise BundleError(
            f"{folder} would be replaced, and holds {list_names(others)}, no part of a bundle: "
            "move that away, or name another folder"
        )


def _files(bundle: Bundle) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    held: tuple[FoldedScore | Score, ...] = (*bundle.scores, *bundle.choosers)
    for score in held:
        state = score.state()
        files |= {f"{score.name}.{part}.onnx": model for part, model in state.models.items()}
        arrays |= {f"{score.name}.{part}": array for part, array in state.arrays.items()}
    for section, model in _models(bundle):
        files[section.file] = model.model
        files |= {file: model.weights[name] for name, file in section.weights.items()}
    centre, spread = _scale_arrays(bundle.description)
    arrays |= {centre: bundle.scale.centre, spread: bundle.scale.spread}
    arrays |= {LIMITS + name: array for name, array in bundle.limits.arrays().items()}
    arrays |= _outcome_arrays(bundle)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files[ARRAYS_FILE] = buffer.getvalue()
    hashes = {name: _sha256(content) for name, content in sorted(files.items())}
    description = checked(replace(bundle.description, files=hashes))
    text = yaml.safe_dump(plain(description), sort_keys=False, allow_unicode=True)
    return {DESCRIPTION_FILE: text.encode(), **files}


def _models(bundle: Bundle) -> Iterator[tuple[ModelSection, OnnxFile]]:
    black_box = bundle.description.black_box
    if black_box is not None:
        models = ((black_box.encoder, bundle.encoder), (black_box.sampler, bundle.sampler))
        for section, model in models:
            if section is not None and model is not None:
                yield section, model


def load(folder: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: a file is missing, changed, malformed or of a newer schema.
        OnnxFileError: a model is no ONNX model, or keeps weights in a file that the bundle lacks.
    """
    folder = Path(folder)
    description = _read_description(folder)
    files = {
        name: _read_checked(folder, name, sha256) for name, sha256 in description.files.items()
    }
    arrays = _read_arrays(folder, files)
    scores = tuple(
        _restored(restore_folded_score, section, files, arrays) for section in description.scores
    )
    choosers = tuple(
        _restored(restore_score, section, files, arrays) for section in description.choosers
    )
    folds = max((score.folds for score in scores), default=1)
    _check_folds(folder, description, [score.folds for score in scores])
    scale = _read_scale(folder, description, arrays, folds)
    black_box = description.black_box
    encoder, sampler = (
        None if section is None else _read_model(folder, section, files)
        for section in ((black_box.encoder, black_box.sampler) if black_box else (None, None))
    )
    limits = _read_limits(folder, description, arrays)
    check = _read_outcome_check(folder, description, arrays)
    return Bundle(description, scores, scale, limits, choosers, encoder, sampler, check)


def load_description(folder: str | Path) -> BundleDescription:
    """Read and check what a bundle states of itself, and none of its other files.

    Raises:
        BundleError: it is missing, malformed or of a newer schema.
    """
    return _read_description(Path(folder))


def policy_format(description: BundleDescription) -> PolicyFormat:
    """Return the format of the decisions of a bundle's policy."""
    return PolicyFormat(**vars(description.policy))


def content_hash(folder: Path) -> str:
    """Return the SHA-256 of bundle.yaml, which identifies the bundle with all its files."""
    return _sha256(_read(folder, DESCRIPTION_FILE))


def _read_description(folder: Path) -> BundleDescription:
    path = folder / DESCRIPTION_FILE
    try:
        content = yaml.safe_load(_read(folder, DESCRIPTION_FILE))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no YAML ({error}): calibrate again") from None
    if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
        raise BundleError(
            f"{path} has no schema_version, so this is no bundle: name a folder that "
            "`failure-monitor calibrate` wrote"
        )
    if content["schema_version"] > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {content['schema_version']}, written by failure_monitor "
            f"{content.get('tool_version', '?')}; this is {__version__}, which reads up to "
            f"{SCHEMA_VERSION}: update failure_monitor on this machine, or calibrate with it"
        )
    try:
        return read(BundleDescription, content)
    except SchemaError as error:
        raise BundleError(f"{path}, {error}: calibrate again") from None


def _read_checked(folder: Path, name: str, sha256: str) -> bytes:
    content = _read(folder, name)
    if _sha256(content) != sha256:
        raise BundleError(
            f"{folder / name} is not the file that was calibrated (its SHA-256 differs from the "
            f"one in {DESCRIPTION_FILE}): copy the bundle again, or calibrate again"
        )
    return content


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            # To open a pipe waits for its other end.
            raise BundleError(f"{path} is no file, as one of a bundle is: copy the bundle again")
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"the bundle {folder} lacks {name}: name a folder that `failure-monitor calibrate` "
            "wrote, whole"
        ) from None
    except OSError as error:
        raise BundleError(f"cannot read the bundle's file {path}: {error}") from None


def _read_arrays(folder: Path, files: dict[str, bytes]) -> dict[str, NDArray[np.generic]]:
    if ARRAYS_FILE not in files:
        return {}
    try:
        with np.load(io.BytesIO(files[ARRAYS_FILE]), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:
        raise BundleError(
            f"{folder / ARRAYS_FILE} holds no arrays ({error}): calibrate again"
        ) from None


def _scale_arrays(description: BundleDescription) -> tuple[str, str]:
    """Return the names of the arrays of centres and spreads."""
    before = VERSION_1 if description.schema_version == 1 else ""
    return before + CENTRE_ARRAY, before + SPREAD_ARRAY


def _check_folds(folder: Path, description: BundleDescription, folds: Sequence[int]) -> None:
    """Reject scores of different numbers of models, and rollouts of a fold that has none."""
    last = max((rollout.fold or 0 for rollout in description.calibration), default=0)
    if len(set(folds)) > 1 or last >= folds[0]:
        raise BundleError(
            f"{folder} has {', '.join(map(str, folds))} models of its scores, and rollouts of "
            f"{last + 1} folds, expected as many models of each score as folds: calibrate again"
        )


def _read_scale(
    folder: Path,
    description: BundleDescription,
    arrays: dict[str, NDArray[np.generic]],
    folds: int,
) -> Scale:
    sections, is_constant = description.scores, description.threshold == "constant"
    kind, dimensions = (Scale, 2) if is_constant else (TimeVaryingScale, 3)
    if description.schema_version == 1 and is_constant:
        of_one = Scale(
            centre=np.array([section.centre for section in sections], dtype=np.float64),
            spread=np.array([section.spread for section in sections], dtype=np.float64),
        )
        return Scale.of_folds([of_one])
    try:
        centre, spread = (arrays[name].astype(np.float64) for name in _scale_arrays(description))
    except KeyError as error:
        raise BundleError(
            f"{folder / ARRAYS_FILE} lacks {error}, which the threshold needs: calibrate again"
        ) from None
    if description.schema_version == 1:
        centre, spread = (each.reshape(len(each), 1, -1) for each in (centre, spread))
    if not (
        centre.size
        and centre.ndim == dimensions
        and centre.shape == spread.shape
        and centre.shape[-2:] == (folds, len(sections))
        and np.isfinite(centre).all()
        and np.isfinite(spread).all()
        and (spread > 0).all()
    ):
        raise BundleError(
            f"{folder / ARRAYS_FILE} has a scale of shapes {centre.shape} and {spread.shape}, "
            f"expected finite numbers, and positive spreads, of {folds} folds and {len(sections)} "
            "scores: calibrate again"
        )
    return kind(centre, spread)


def _read_limits(
    folder: Path, description: BundleDescription, arrays: dict[str, NDArray[np.generic]]
) -> ValueLimits:
    policy = policy_format(description)
    stored = {
        name.removeprefix(LIMITS): array.astype(np.float64)
        for name, array in arrays.items()
        if name.startswith(LIMITS)
    }
    # Bundles of older versions have none.
    unknown = ValueLimits.unknown(policy)
    limits = replace(unknown, **stored) if stored else unknown
    sizes = [len(limits.embedding), len(limits.actions)]
    positive = all((array > 0).all() and np.isfinite(array).all() for array in stored.values())
    if sizes != [policy.embedding_size, len(policy.action_names)] or not positive:
        raise BundleError(
            f"{folder / ARRAYS_FILE} has limits of values that do not fit the policy: calibrate "
            "again"
        )
    return limits


def _outcome_arrays(bundle: Bundle) -> dict[str, NDArray[np.generic]]:
    section, check = bundle.description.outcome, bundle.outcome_check
    if section is None or check is None:
        return {}
    return {
        f"{OUTCOME}{number}.{name}": array
        for number, task in enumerate(section.tasks)
        if task.task in check.tasks
        for name, array in arrays_of(check.tasks[task.task]).items()
    }


def _read_outcome_check(
    folder: Path, description: BundleDescription, arrays: dict[str, NDArray[np.generic]]
) -> OutcomeCheck | None:
    section = description.outcome
    if section is None:
        return None
    strange = [part for part in section.parts if part not in PARTS]
    if strange:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} compares {list_names(strange)} of the ends of rollouts, "
            f"and known are {list_names(PARTS)}: update failure_monitor, or calibrate again"
        )
    promised = sorted(promise.task for promise in description.promises)
    if sorted(task.task for task in section.tasks) != promised:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} knows the ends of other tasks than it has promises for "
            f"({list_names(promised)}): calibrate again"
        )
    format_ = EndFormat(policy_format(description), section.joints)
    try:
        tasks = {
            task.task: ends_from(
                _under(f"{OUTCOME}{number}.", arrays), section.parts, section.rule, format_
            )
            for number, task in enumerate(section.tasks)
            if not task.unknown
        }
    except (StoredEndsError, ValueError) as error:
        raise BundleError(f"{folder / ARRAYS_FILE}: {error}: calibrate again") from None
    return OutcomeCheck(
        format_,
        section.alpha,
        tasks,
        section.parts,
        {task.task: task.unknown for task in section.tasks if task.unknown},
        section.left_out,
    )


def _under(prefix: str, arrays: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _restored(
    restore: Callable[[str, ScoreState], Restored],
    section: ScoreSection,
    files: dict[str, bytes],
    arrays: dict[str, NDArray[np.generic]],
) -> Restored:
    prefix = f"{section.name}."
    state = ScoreState(
        parameters=dict(section.parameters),
        arrays={
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        },
        models={
            name.removeprefix(prefix).removesuffix(".onnx"): content
            for name, content in files.items()
            if name.startswith(prefix) and name.endswith(".onnx")
        },
    )
    try:
        return restore(section.name, state)
    except KeyError as error:
        raise BundleError(
            f"the bundle lacks {error} of the score {section.name}: calibrate again"
        ) from None


def _read_model(folder: Path, section: ModelSection, files: dict[str, bytes]) -> OnnxFile:
    try:
        weights = {name: files[file] for name, file in section.weights.items()}
        return OnnxFile(str(folder / section.file), files[section.file], weights)
    except KeyError as error:
        raise BundleError(
            f"{folder / DESCRIPTION_FILE} lists no SHA-256 of the model's file {error}: calibrate "
            "again"
        ) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
