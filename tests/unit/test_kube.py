"""What the transport decides without I/O: errors, versions, lines, paths."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podfleet import errors
from podfleet.kube.events import glance, without_managed_fields
from podfleet.kube.lines import LineSplitter
from podfleet.kube.pages import Page
from podfleet.kube.status import error_from_answer
from podfleet.kube.store import Change, Store


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind"),
    [
        (400, "BadRequest", "no", errors.Invalid),
        (401, "Unauthorized", "Unauthorized", errors.Unauthorized),
        (
            403,
            "Forbidden",
            'pods is forbidden: User "u" cannot create resource "pods" in API group ""',
            errors.Forbidden,
        ),
        (
            403,
            "Forbidden",
            'pods "a" is forbidden: exceeded quota: two, requested: pods=1, used: pods=2',
            errors.QuotaExceeded,
        ),
        (
            403,
            "Forbidden",
            'pods "a" is forbidden: violates PodSecurity "restricted:latest": hostPort',
            errors.AdmissionRefused,
        ),
        (404, "NotFound", "gone", errors.NotFound),
        (409, "AlreadyExists", "there", errors.AlreadyExists),
        (409, "Conflict", "changed", errors.Conflict),
        (410, "Expired", "old", errors.Gone),
        (418, "Teapot", "?", errors.ApiError),
        (422, "Invalid", "wrong", errors.Invalid),
        (429, "TooManyRequests", "slow", errors.Throttled),
        (500, "InternalError", "oh", errors.ServerError),
        (504, "Timeout", "oh", errors.ServerError),
    ],
)
def test_each_answer_is_its_error(
    status: int, reason: str, message: str, kind: type[errors.ApiError]
) -> None:
    body = json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()
    error = error_from_answer("POST /pods", status, body, {"Retry-After": "2"})
    assert type(error) is kind
    assert (error.status, error.reason, error.retry_after) == (status, reason, 2.0)
    assert str(error).startswith(f"POST /pods: {message}")


@given(st.integers(400, 599), st.binary(max_size=300))
def test_any_body_gives_an_error_never_a_crash(status: int, body: bytes) -> None:
    assert error_from_answer("GET /", status, body, {}).status == status


@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.data()
)
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: Any) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = LineSplitter()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:end])
    assert found == [line for line in lines if line.strip()]


def pod(name: str, version: int, uid: str | None = None, session: str = "") -> dict[str, Any]:
    labels = {"session": session} if session else {}
    metadata = {"name": name, "uid": uid or name, "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": labels}}


def test_newer_wins_whoever_brings_it() -> None:
    store = Store()
    store.observe(pod("a", 5))
    store.observe(pod("a", 4))
    assert store.get("a") == pod("a", 5)


def test_a_late_answer_does_not_bring_back_what_was_deleted() -> None:
    store = Store()
    store.observe(pod("a", 5))
    store.forget(pod("a", 6))
    store.observe(pod("a", 5))
    assert store.get("a") is None


def test_what_was_not_found_is_being_deleted_until_a_watch_shows_how_it_went() -> None:
    store = Store()
    store.observe(pod("a", 5))
    store.miss("a", "another")
    store.miss("b", "u")
    assert store.get("a") == pod("a", 5)
    store.miss("a", pod("a", 5)["metadata"]["uid"])
    missed = store.get("a")
    assert missed is not None
    assert missed["metadata"].pop("deletionTimestamp")
    assert missed == pod("a", 5)
    store.observe(pod("a", 6))
    assert store.get("a") == pod("a", 6)


def test_a_namesake_that_came_later_is_not_forgotten_with_the_first() -> None:
    store = Store()
    store.observe(pod("a", 7, uid="second"))
    store.forget(pod("a", 6, uid="first"))
    assert store.get("a") == pod("a", 7, uid="second")


def test_a_list_drops_what_it_lacks_but_not_what_is_newer_than_it() -> None:
    store = Store()
    store.observe(pod("old", 3))
    store.observe(pod("just-created", 11))
    store.observe(pod("kept", 4))
    store.retain({"kept"}, at=10)
    assert {item["metadata"]["name"] for item in store} == {"just-created", "kept"}


def test_the_index_follows_every_change() -> None:
    store = Store(index_by=lambda item: filter(None, [item["metadata"]["labels"].get("session")]))
    store.observe(pod("a", 1))
    assert store.find("s") == []
    store.observe(pod("a", 2, session="s"))
    assert store.find("s") == [pod("a", 2, session="s")]
    store.forget(pod("a", 3))
    assert store.find("s") == []


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 30), st.booleans(), st.integers(0, 2)),
        max_size=30,
    )
)
def test_listeners_see_the_same_story_as_the_store(
    story: list[tuple[str, int, bool, int]],
) -> None:
    store = Store()
    told: dict[str, Any] = {}

    def listen(change: Change) -> None:
        assert told.get(change.name) == change.before
        told[change.name] = change.after

    store.listen(listen)
    for name, version, gone, uid in story:
        item = pod(name, version, uid=f"{name}{uid}")
        (store.forget if gone else store.observe)(item)
        assert {k: v for k, v in told.items() if v} == {i["metadata"]["name"]: i for i in store}


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=4), st.booleans())
def test_a_page_is_read_object_by_object(items: list[Any], indented: bool) -> None:
    shown = {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": items}
    text = json.dumps(shown, indent=2) if indented else json.dumps(shown, separators=(",", ":"))
    page = Page(text)
    assert page.metadata == {"resourceVersion": "7"}
    assert list(page) == items


def test_a_page_without_objects_is_empty() -> None:
    assert list(Page('{"metadata":{},"items":null}')) == []


def test_what_is_not_at_hand_is_the_same_when_it_is_unpacked() -> None:
    store = Store(index_by=lambda item: [item["metadata"]["uid"]])
    # Some stay at hand, some are packed, and some are squeezed.
    pods = [pod(f"pod-{number}", number + 1, uid=f"uid-{number}") for number in range(3000)]
    for one in pods:
        store.observe({**one, "metadata": {**one["metadata"], "managedFields": [{"a": 1}]}})
    store.pack()
    assert list(store) == pods
    assert store.get("pod-0") == pods[0]
    assert store.find("uid-2000") == [pods[2000]]
    assert store.find("uid-2999") == [pods[2999]]
    before: list[Any] = []
    store.listen(lambda change: before.append(change.before))
    for number in (0, 2000, 2999):
        store.forget(pods[number])
    assert before == [pods[0], pods[2000], pods[2999]]
    store.observe(pod("pod-1", 9000, uid="uid-1"))
    store.pack()
    assert store.get("pod-1") == pod("pod-1", 9000, uid="uid-1")


_TEXTS = st.text() | st.sampled_from(
    ['","managedFields":[', ',"managedFields":[{}]},"spec":{', ']},"spec":{', '\\"', "]}"]
)


@given(
    st.dictionaries(_TEXTS, _TEXTS, max_size=4),
    st.lists(st.dictionaries(_TEXTS.map(lambda key: f"f:{key}"), _TEXTS, max_size=3), max_size=3),
    st.booleans(),
)
def test_only_the_managed_fields_are_left_out(
    notes: dict[str, str], managed: list[Any], escaped: bool
) -> None:
    kept = {"name": "a", "annotations": notes}
    spec = {"containers": [notes]}
    shown = {"metadata": {**kept, "managedFields": managed}, "spec": spec}
    text = json.dumps(shown, separators=(",", ":"), ensure_ascii=escaped).encode()
    assert json.loads(without_managed_fields(text)) == {"metadata": kept, "spec": spec}
    spread = json.dumps(shown).encode()  # not as the API server writes it
    assert json.loads(without_managed_fields(spread)) == shown


@pytest.mark.parametrize(("version", "known"), [(6, True), (7, True), (8, False)])
def test_an_event_of_what_is_known_is_told_at_a_glance(version: int, known: bool) -> None:
    store = Store()
    store.observe(pod("arena-1", 7))
    names = {"name": "arena-1", "namespace": "games", "uid": "arena-1"}
    shown = {"kind": "Pod", "apiVersion": "v1", "metadata": {**names, "resourceVersion": "X"}}
    event = json.dumps({"type": "MODIFIED", "object": shown}, separators=(",", ":"))
    seen = glance(event.replace("X", str(version)).encode())
    assert seen is not None
    assert store.knows(seen.name, seen.uid, int(seen.version)) is known
    assert not store.knows(seen.name, "another", int(seen.version))
    assert glance(event.replace("MODIFIED", "DELETED").encode()) is None
