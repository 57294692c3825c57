"""Volumes of a run's pods: the kinds that a tenant may mount."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import StringConstraints, model_validator

from .base import Contract, ShortText, operational, rules
from .kubernetes import FileKey, LocalObject, ObjectName, Quantity

MountPath = Annotated[str, StringConstraints(pattern=r"^/[^:\x00]*$", min_length=1, max_length=512)]
VolumeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]


class VolumeMount(Contract):
    """Where a volume appears."""

    name: VolumeName = operational()
    """The volume."""
    mount_path: MountPath = operational()
    """Absolute path in the container."""
    sub_path: ShortText | None = operational(None)
    """Part of the volume."""
    read_only: bool | None = operational(None)
    """Whether it may not be written."""


class KeyToPath(Contract):
    """A key as a file."""

    key: FileKey = operational()
    """The key."""
    path: ShortText = operational()
    """Relative path."""
    mode: int | None = operational(None, ge=0, le=511)
    """Permission bits."""


class ConfigMapVolume(Contract):
    """A ConfigMap as files."""

    name: ObjectName = operational()
    """The ConfigMap."""
    items: tuple[KeyToPath, ...] = operational((), max_length=64)
    """Which keys. Absent: all."""
    default_mode: int | None = operational(None, ge=0, le=511)
    """Permission bits."""
    optional: bool | None = operational(None)
    """Whether it may be missing."""


class SecretVolume(Contract):
    """A Secret as files."""

    secret_name: ObjectName = operational()
    """The Secret."""
    items: tuple[KeyToPath, ...] = operational((), max_length=64)
    """Which keys. Absent: all."""
    default_mode: int | None = operational(None, ge=0, le=511)
    """Permission bits."""
    optional: bool | None = operational(None)
    """Whether it may be missing."""


class EmptyDirMedium(StrEnum):
    """What an empty directory lies on."""

    MEMORY = "Memory"


class EmptyDirVolume(Contract):
    """An empty directory of the pod."""

    medium: EmptyDirMedium | None = operational(None)
    """Memory, or absent: the node's disk."""
    size_limit: Quantity | None = operational(None)
    """Upper bound."""


class ClaimVolume(Contract):
    """A PersistentVolumeClaim."""

    claim_name: ObjectName = operational()
    """The claim."""
    read_only: bool | None = operational(None)
    """Whether it may not be written."""


class CsiVolume(Contract):
    """An inline volume of a CSI driver."""

    driver: ObjectName = operational()
    """The driver."""
    fs_type: ShortText | None = operational(None)
    """File system."""
    read_only: bool | None = operational(None)
    """Whether it may not be written."""
    volume_attributes: dict[ShortText, ShortText] = operational(default_factory=dict, max_length=32)
    """The driver's own attributes."""
    node_publish_secret_ref: LocalObject | None = operational(None)
    """The driver's Secret."""


class Volume(Contract):
    """A volume of one of five kinds."""

    model_config = rules(
        (
            "[has(self.configMap), has(self.secret), has(self.emptyDir), has(self.persistentVolumeClaim),"
            " has(self.csi)].exists_one(x, x)",
            "expected exactly one of configMap, secret, emptyDir, persistentVolumeClaim, csi",
        ),
    )

    name: VolumeName = operational()
    """Its name."""
    config_map: ConfigMapVolume | None = operational(None)
    """A ConfigMap."""
    secret: SecretVolume | None = operational(None)
    """A Secret."""
    empty_dir: EmptyDirVolume | None = operational(None)
    """An empty directory."""
    persistent_volume_claim: ClaimVolume | None = operational(None)
    """A claim."""
    csi: CsiVolume | None = operational(None)
    """An inline CSI volume."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Volume:
        kinds: tuple[Any, ...] = (
            self.config_map,
            self.secret,
            self.empty_dir,
            self.persistent_volume_claim,
            self.csi,
        )
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("expected exactly one of configMap, secret, emptyDir, persistentVolumeClaim, csi")
        return self
