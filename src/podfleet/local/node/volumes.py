"""A Pod's volumes, as folders of this machine.

A process has no mounts of its own without root. What a container would see at ``/etc/podinfo``
is at ``$PODFLEET_ROOT/etc/podinfo``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podfleet.local.node.environment import Find, Missing, pod_field, values
from podfleet.local.objects.kinds import CONFIG_MAP, SECRET
from podfleet.model import Manifest

__all__ = ["Unmounted", "fill", "mount", "refresh"]


class Unmounted(Exception):
    """A volume that cannot be provided, in the kubelet's words."""


def fill(pod: Manifest, folder: Path, find: Find) -> None:
    """Make a Pod's volumes, each a folder.

    Raises:
        Unmounted: What one comes from is not there, or cannot be had without root.
    """
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        at = folder / "volumes" / name
        try:
            if volume.get("hostPath"):
                at.parent.mkdir(parents=True, exist_ok=True)
                at.symlink_to(volume["hostPath"]["path"])
                continue
            at.mkdir(parents=True, exist_ok=True)
            for source in _sources(volume):
                _write(at, _files(pod, source, find))
        except Missing as error:
            raise Unmounted(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None


def refresh(pod: Manifest, folder: Path, find: Find) -> None:
    """Write again what follows the Pod's own labels and annotations."""
    for volume in pod["spec"].get("volumes") or []:
        for source in _sources(volume):
            if source.get("downwardAPI"):
                _write(folder / "volumes" / volume["name"], _files(pod, source, find))


def mount(container: Manifest, folder: Path) -> Path:
    """Return a container's root: a folder with its mounts in it."""
    root = folder / "roots" / str(container["name"])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for one in container.get("volumeMounts") or []:
        at = root / str(one["mountPath"]).lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.symlink_to(folder / "volumes" / one["name"] / (one.get("subPath") or ""))
    return root


def _sources(volume: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if volume.get("projected"):
        return list(volume["projected"].get("sources") or [])
    known = ("downwardAPI", "configMap", "secret", "emptyDir", "hostPath")
    if not any(field in volume for field in known):
        kinds = ", ".join(key for key in volume if key != "name")
        raise Unmounted(
            f'MountVolume.SetUp failed for volume "{volume["name"]}" : podfleet\'s embedded '
            f"cluster has no {kinds} volumes"
        )
    return [volume]


def _files(pod: Manifest, source: Mapping[str, Any], find: Find) -> dict[str, str]:
    if source.get("downwardAPI"):
        items = source["downwardAPI"].get("items") or []
        return {one["path"]: pod_field(pod, one["fieldRef"]["fieldPath"]) for one in items}
    for field, kind in (("configMap", CONFIG_MAP), ("secret", SECRET)):
        reference = source.get(field)
        if reference:
            named = {**reference, "name": reference.get("name") or reference.get("secretName")}
            found = values(kind, named, find)
            items = reference.get("items")
            if items is None:
                return found
            return {one["path"]: found[one["key"]] for one in items if one["key"] in found}
    return {}


def _write(at: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        # By a rename: who reads it never sees half of it.
        new = (at / name).with_name(f".{Path(name).name}.new")
        new.write_text(text)
        new.replace(at / name)
