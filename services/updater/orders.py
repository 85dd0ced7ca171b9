"""From requests and policies to orders: what was not said comes from the policy, then from the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.json_format import MessageToJson

from common.errors import InvalidRequest, NotFound, Violation
from nixcc.updater.v1 import update_policy_pb2 as policy_pb
from nixcc.updater.v1 import updater_pb2 as pb
from services.updater.models import Mode, Order, Validation
from services.updater.policies import Policies
from services.updater.schedule import Schedule, window_of

DEFAULT_FLAKE = "/etc/nixos"

_INPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*(/[A-Za-z_][A-Za-z0-9_'-]*)*")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_WITHIN = (1, 86_400)


class Orders:
    """Makes orders. `flake` and `configuration` are the host's own, where nobody says which.

    Without a `configuration` the system service takes the host's name.
    """

    def __init__(self, policies: Policies, *, flake: str = DEFAULT_FLAKE, configuration: str = "") -> None:
        self.flake = flake
        self._policies = policies
        self._configuration = configuration

    def of_policy(self, name: str) -> Order:
        """As its schedule runs it."""
        spec = self._spec(name)
        return Order(
            flake=plain_folder(spec.flake),
            configuration=spec.configuration or self._configuration,
            inputs=tuple(spec.inputs),
            mode=mode_of(spec.mode) or Mode.CHECK,
            validation=_validation(spec.validation) or Validation.DRY_ACTIVATE,
            manual=spec.confirm == policy_pb.UPDATE_CONFIRMATION_MANUAL,
            confirm_within=spec.confirm_within or 300,
            probes=probes_of(spec),
            restore_lock=spec.restore_lock or not spec.HasField("restore_lock"),
            commit=spec.commit or not spec.HasField("commit"),
            policy=name,
            requested_by=f"UpdatePolicy/{name}",
        )

    def of_run(self, request: pb.RunUpdateRequest) -> Order:
        """What was asked by hand. InvalidRequest, NotFound."""
        base = self._base(request.policy)
        within = request.confirm_within or base.confirm_within
        if not _WITHIN[0] <= within <= _WITHIN[1]:
            raise _refused("confirm_within", f"must be from {_WITHIN[0]} to {_WITHIN[1]} seconds")
        manual = request.confirm == policy_pb.UPDATE_CONFIRMATION_MANUAL if request.confirm else base.manual
        mode = mode_of(request.mode)
        return Order(
            flake=_flake(request.flake) or base.flake,
            configuration=_configuration(request.configuration) or base.configuration,
            inputs=_inputs(request.inputs) or base.inputs,
            mode=mode or (base.mode if request.policy else Mode.SWITCH),
            validation=_validation(request.validation) or base.validation,
            manual=manual,
            confirm_within=within,
            probes=base.probes,
            restore_lock=base.restore_lock,
            commit=base.commit and not request.no_commit,
            policy=request.policy,
            requested_by=request.requested_by[:255],
        )

    def of_check(self, request: pb.CheckUpdateRequest) -> Order:
        """What was asked to be looked at."""
        base = self._base("")
        return Order(
            flake=_flake(request.flake) or base.flake,
            configuration=_configuration(request.configuration) or base.configuration,
            inputs=_inputs(request.inputs),
            mode=Mode.CHECK,
        )

    def of_validation(self, request: pb.ValidateUpdateRequest) -> Order:
        """What was asked to be validated."""
        base = self._base(request.policy)
        return Order(
            flake=_flake(request.flake) or base.flake,
            configuration=_configuration(request.configuration) or base.configuration,
            inputs=_inputs(request.inputs) or base.inputs,
            mode=Mode.BUILD,
            probes=base.probes,
            confirm_within=base.confirm_within,
            policy=request.policy,
        )

    def _base(self, policy: str) -> Order:
        if policy:
            return self.of_policy(policy)
        return Order(self.flake, self._configuration)

    def _spec(self, name: str) -> policy_pb.UpdatePolicy:
        row = self._policies.get(name)
        if row is None:
            raise NotFound(
                f"there is no UpdatePolicy {name!r} on this host",
                next_step="ncc get updatepolicies lists them",
            )
        return row.spec


def schedule_of(spec: policy_pb.UpdatePolicy, host_zone: str = "") -> Schedule:
    """ValueError where it is none."""
    window = None
    if spec.HasField("window"):
        window = window_of(spec.window.begin, spec.window.duration, list(spec.window.days))
    return Schedule.parse(spec.schedule, spec.time_zone or host_zone, window)


def mode_of(value: int) -> Mode | None:
    """None: not said. InvalidRequest: unknown."""
    if value == policy_pb.UPDATE_MODE_UNSPECIFIED:
        return None
    for name, number in policy_pb.UpdateMode.items():
        if number == value:
            return Mode(name.removeprefix("UPDATE_MODE_"))
    raise _refused("mode", f"{value} is unknown")


def probes_of(spec: policy_pb.UpdatePolicy) -> tuple[str, ...]:
    """The policy's probes as JSON."""
    return tuple(MessageToJson(probe, indent=None) for probe in spec.probes)


def plain_folder(path: str) -> str:
    """Without a slash at its end."""
    return path.rstrip("/") or "/"


def _validation(value: int) -> Validation | None:
    if value == policy_pb.UPDATE_VALIDATION_UNSPECIFIED:
        return None
    for name, number in policy_pb.UpdateValidation.items():
        if number == value:
            return Validation(name.removeprefix("UPDATE_VALIDATION_"))
    raise _refused("validation", f"{value} is unknown")


def _flake(path: str) -> str:
    if path and not re.fullmatch(r"/[^#?\x00-\x1f\x7f]*", path):
        raise _refused("flake", "must be a folder's absolute path, such as /etc/nixos")
    return plain_folder(path) if path else ""


def _configuration(name: str) -> str:
    if name and not _NAME.fullmatch(name):
        raise _refused(
            "configuration", "must be a name under nixosConfigurations: letters, digits, `_`, `.`, `-`"
        )
    return name


def _inputs(names: Iterable[str]) -> tuple[str, ...]:
    found = tuple(names)
    for name in found:
        if not _INPUT.fullmatch(name):
            raise _refused("inputs", f"{name[:60]!r} is no input's name")
    return found


def _refused(field: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {text}", [Violation(field, text)])
