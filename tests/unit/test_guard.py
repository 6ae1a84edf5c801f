"""No write of a fleet goes past the guard, and no name leads to another resource."""

import ast
import re
from collections.abc import Iterator
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet import ConfigurationError
from podfleet.fleet.claiming.claim import Candidate
from podfleet.fleet.claiming.registration import lease, registration_of
from podfleet.kube import KubeClient
from podfleet.kube.paths import member
from podfleet.kube.store import Change, Store
from podfleet.model.names import check_server_name

PACKAGE = Path(__file__).parents[2] / "src" / "podfleet"
TRIES = {"ask", "try_create", "try_patch"}  # reviews and dry runs
WRITES = {"create", "patch", "delete", "apply", *TRIES}
ASKING = {PACKAGE / "fleet" / name for name in ("preflight.py", "rehearsal.py")}

ALPHANUMERIC = set("abcdefghijklmnopqrstuvwxyz0123456789")

# What runs on a user's cluster on behalf of fleets. A benchmark makes Pods of its own.
MODULES = sorted(
    path
    for layer in ("fleet", "waiters", "cli", "sync", "exposure")
    for path in (PACKAGE / layer).rglob("*.py")
)


def raw_writes(source: str) -> Iterator[tuple[int, str]]:
    """Yield where a client's writes are called, or handed on: ``core.client.delete``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in WRITES:
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.endswith(("client", "transport")):
                yield node.lineno, node.attr


def test_the_writes_of_a_client_are_all_known() -> None:
    writing = re.compile(r'"(POST|PUT|PATCH|DELETE)"')
    public = {name: one for name, one in vars(KubeClient).items() if not name.startswith("_")}
    assert {name for name, one in public.items() if writing.search(getsource(one))} == WRITES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_writes_go_through_the_guard(path: Path) -> None:
    found = list(raw_writes(path.read_text()))
    if path in ASKING:
        assert {name for _, name in found} <= TRIES
    else:
        assert found == []


def test_a_write_past_the_guard_would_be_found() -> None:
    source = """
await core.client.delete(path)
work = partial(self._client.patch, path)
client.get(path)
"""
    assert sorted(raw_writes(source)) == [(2, "delete"), (3, "patch")]


def pod(name: str, version: int, label: str = "arena", uid: str = "u") -> dict[str, Any]:
    metadata = {"name": name, "uid": uid, "resourceVersion": str(version), "labels": {"f": label}}
    return {"metadata": metadata}


def own() -> Store:
    return Store(admits=lambda shown: bool(shown["metadata"]["labels"]["f"] == "arena"))


def test_a_store_admits_only_what_it_is_of() -> None:
    store, changes = own(), list[Change]()
    store.listen(changes.append)
    store.observe(pod("postgres-0", 5, "postgres"))
    assert (store.names, changes) == ((), [])


def test_what_ceases_to_be_the_fleets_is_gone_and_does_not_come_back_by_late_answers() -> None:
    store, changes = own(), list[Change]()
    store.listen(changes.append)
    store.observe(pod("a", 5))
    store.observe(pod("a", 4, "other"))  # a late answer
    assert store.get("a") == pod("a", 5)
    store.observe(pod("a", 6, "other"))
    assert store.get("a") is None
    store.observe(pod("a", 5))
    assert store.get("a") is None
    assert [change.after for change in changes] == [pod("a", 5), None]
    store.observe(pod("a", 7))  # it has its label again
    assert store.get("a") == pod("a", 7)


def test_a_namesake_of_others_takes_no_servers_place() -> None:
    store = own()
    store.observe(pod("a", 5))
    store.observe(pod("a", 6, "other", uid="v"))
    assert store.get("a") == pod("a", 5)


def test_what_a_list_lacked_comes_back_only_if_it_is_newer() -> None:
    store = own()
    store.observe(pod("a", 5))
    store.retain((), 10)
    store.observe(pod("a", 9))
    assert store.get("a") is None
    store.observe(pod("a", 11))
    assert store.get("a") == pod("a", 11)


def is_pod_name(name: object) -> bool:
    """Say it as Kubernetes' documentation does: a DNS subdomain of RFC 1123."""
    return (
        isinstance(name, str)
        and len(name) <= 253
        and all(
            part and {part[0], part[-1]} <= ALPHANUMERIC and set(part) <= ALPHANUMERIC | {"-"}
            for part in name.split(".")
        )
    )


@given(
    st.text("ab0-.")
    | st.text("a.", min_size=200)
    | st.text()
    | st.none()
    | st.integers()
    | st.binary()
)
def test_a_name_is_a_pods_or_refused(name: Any) -> None:
    if is_pod_name(name):
        assert member("/pods", check_server_name("name", name)) == f"/pods/{name}"
        return
    with pytest.raises(ConfigurationError) as caught:
        check_server_name("name", name)
    assert (caught.value.field, caught.value.value) == ("name", name)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_path_leads_out_of_its_collection(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no object's name"):
        member("/api/v1/namespaces/games/pods", name)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    ),
    st.sampled_from(["ownerReferences", "annotations", "labels"]),
)
def test_a_lease_registers_something_or_nothing(junk: Any, place: str) -> None:
    made = lease("games", "arena", "match-1", Candidate("arena-1", "uid-1", 3), 2)
    made["metadata"] |= {"uid": "lease-1", "name": "arena-1"}
    whole = registration_of(made, "match-1")
    assert whole is not None
    assert whole.candidate == Candidate("arena-1", "uid-1", 3)
    assert registration_of(made, "match-2") is None
    made["metadata"][place] = junk
    assert registration_of(made) in (None, whole)
    made["metadata"]["ownerReferences"] = [{"name": "../pods", "uid": "uid-1"}]
    assert registration_of(made) is None
