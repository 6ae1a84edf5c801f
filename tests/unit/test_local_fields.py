"""The embedded cluster knows the fields of what it serves, as the client's models do."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from kubernetes.client import models
from pydantic import BaseModel

import podfleet.local.objects.fields as fields
from podfleet.local.objects.kinds import ISTIO, KINDS, POD, Kind
from podfleet.local.objects.statuses import Refusal

FILE = Path(fields.__file__).with_name("fields.json")
MODELS = {"Event": "CoreV1Event"}

# Strings to the client, but the API server reads numbers too (resource.Quantity).
QUANTITIES = {
    ("ResourceRequirements", "limits"),
    ("ResourceRequirements", "requests"),
    ("VolumeResourceRequirements", "limits"),
    ("VolumeResourceRequirements", "requests"),
    ("ResourceQuotaSpec", "hard"),
    ("ResourceQuotaStatus", "hard"),
    ("ResourceQuotaStatus", "used"),
    ("NodeStatus", "allocatable"),
    ("NodeStatus", "capacity"),
    ("PodSpec", "overhead"),
    ("EmptyDirVolumeSource", "sizeLimit"),
    ("ResourceFieldSelector", "divisor"),
    ("ContainerStatus", "allocatedResources"),
}


def derived() -> dict[str, dict[str, Any]]:
    """Return the fields of all kinds, as the installed client's models have them."""
    found: dict[str, dict[str, Any]] = {}

    def read(model: type[BaseModel]) -> str:
        name = model.__name__.removeprefix("V1").removeprefix("CoreV1").removeprefix("V2")
        if name not in found:
            found[name] = {}
            for key, field in model.model_fields.items():
                alias = field.serialization_alias or key
                kind = shape(field.annotation)
                if (name, alias) in QUANTITIES:
                    kind = {"*": "quantity"} if isinstance(kind, dict) else "quantity"
                found[name][alias] = kind
        return name

    def shape(annotation: Any) -> Any:
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return shape(inner[0])
        if origin in (Union, types.UnionType):
            several = {json.dumps(shape(one)): shape(one) for one in inner if one is not type(None)}
            if len(several) == 1:
                return next(iter(several.values()))
            return "int-or-string" if set(several) == {'"int"', '"string"'} else "any"
        if origin is list:
            return [shape(inner[0])]
        if origin is dict:
            return {"*": shape(inner[1])}
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return read(annotation)
        names = {str: "string", bytes: "string", datetime: "string", int: "int", bool: "bool"}
        return {**names, float: "number"}.get(annotation, "any")

    for kind in KINDS:
        read(getattr(models, MODELS.get(kind.name, f"V1{kind.name}")))
    return dict(sorted(found.items()))


def test_the_fields_are_those_of_the_clients_models() -> None:
    """To write them anew: ``python -m tests.unit.test_local_fields``."""
    assert json.loads(FILE.read_text()) == derived()


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "arena-1"},
        "spec": {"containers": [{"name": "server", "image": "a"}], **spec},
    }


def test_a_field_that_nobody_knows_is_dropped_and_told() -> None:
    wrong = pod(container="x", hostNetwork=False)
    wrong["spec"]["containers"][0]["imagePullPolice"] = "Always"
    read = fields.read(POD, wrong)
    assert set(read.unknown) == {
        'unknown field "spec.container"',
        'unknown field "spec.containers[0].imagePullPolice"',
    }
    assert read.manifest == pod(hostNetwork=False)


def test_a_null_is_a_field_that_is_not_there() -> None:
    wrong = pod(volumes=None, nodeSelector={"disk": None}, tolerations=[None])
    wrong["metadata"] |= {"labels": None, "annotations": {"a": None}}
    made = fields.read(POD, wrong).manifest
    assert made["metadata"] == {"name": "arena-1", "annotations": {"a": ""}}
    assert made["spec"] == pod(nodeSelector={"disk": ""}, tolerations=[{}])["spec"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"containers": "x"}, "string into Go struct field PodSpec.spec.containers of type []"),
        ({"containers": {}}, "object into Go struct field PodSpec.spec.containers of type []"),
        ({"containers": ["x"]}, "string into Go struct field PodSpec.spec.containers of type "),
        ({"hostNetwork": "x"}, "string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        ({"nodeSelector": {"a": 1}}, "number into Go struct field PodSpec.spec.nodeSelector of "),
        ({"nodeSelector": []}, "array into Go struct field PodSpec.spec.nodeSelector of type map"),
        ({"activeDeadlineSeconds": "5"}, "string into Go struct field PodSpec.spec.activeDeadlin"),
        ({"activeDeadlineSeconds": 1.0}, "number 1.0 into Go struct field PodSpec.spec.activeDe"),
        ({"activeDeadlineSeconds": 1.5}, "number 1.5 into Go struct field PodSpec.spec.activeDea"),
        ({"activeDeadlineSeconds": True}, "bool into Go struct field PodSpec.spec.activeDeadline"),
        ({"containers": [{"name": "a", "ports": {"a": 1}}]}, "Container.spec.containers.ports "),
    ],
)
def test_a_value_of_another_type_is_refused_in_kubernetes_words(spec: Any, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        fields.read(POD, pod(**spec))
    message = refused.value.status["message"]
    start = 'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal '
    assert message.startswith(start)
    assert words in message
    assert refused.value.code == 400


def odd_places(kind: Kind) -> Iterator[dict[str, Any]]:
    about = {"apiVersion": kind.api_version, "kind": kind.name}
    for value in (None, 5, "x", [], [None], {}, {"a": None}, True, 1.5):
        yield {**about, "metadata": value}
        yield {**about, "metadata": {"name": "a"}, "spec": value}
        for inner in ("containers", "ports", "template", "selector", "labels", "rules"):
            yield {**about, "metadata": {"name": "a", inner: value}, "spec": {inner: value}}


@pytest.mark.parametrize("kind", [*KINDS, *ISTIO], ids=lambda kind: kind.name)
def test_what_was_read_has_the_types_of_its_fields(kind: Kind) -> None:
    for wanted in odd_places(kind):
        try:
            made = fields.read(kind, wanted).manifest
        except Refusal as refusal:
            assert refusal.code == 400  # noqa: PT017
        else:
            assert isinstance(made.get("metadata", {}), dict)
            assert isinstance(made.get("spec", {}), dict) or kind in ISTIO


if __name__ == "__main__":
    FILE.write_text(json.dumps(derived(), separators=(",", ":")) + "\n")
