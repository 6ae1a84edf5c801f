"""Who may do what: tokens, and the rules of roles (RBAC). Pure, but for the tokens' secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from podfleet.local.clock import Clock
from podfleet.local.objects.kinds import KINDS, SERVICE_ACCOUNT
from podfleet.local.objects.statuses import Refusal, unauthorized
from podfleet.local.objects.store import Store
from podfleet.model import Manifest
from podfleet.model.manifest import uid_of

__all__ = ["Action", "Rights", "User", "review"]

_BY_PLURAL = {kind.plural: kind for kind in KINDS}


@frozen
class User:
    """Whoever sent a request.

    Args:
        name: ``system:serviceaccount:games:backend``.
        groups: What it belongs to.
    """

    name: str
    groups: tuple[str, ...]


_ADMIN = User("podfleet-admin", ("system:masters", "system:authenticated"))


@frozen
class Action:
    """What somebody wants to do.

    Args:
        verb: ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete``.
        group: The resource's API group.
        resource: The resource, with its subresource: ``pods/log``.
        namespace: Where; ``""`` for what is in no namespace, or in all of them.
        name: Which; ``""`` for none in particular.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def refusal(self, user: User) -> Refusal:
        """Return the refusal for want of a right, in the words of RBAC."""
        plural, _, _ = self.resource.partition("/")
        qualified = f"{plural}.{self.group}" if self.group else plural
        subject = f'{qualified} "{self.name}"' if self.name else qualified
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        words = (
            f'{subject} is forbidden: User "{user.name}" cannot {self.verb} resource '
            f'"{self.resource}" in API group "{self.group}" {where}'
        )
        details = {
            **({"name": self.name} if self.name else {}),
            **({"group": self.group} if self.group else {}),
            "kind": plural,
        }
        return Refusal(403, "Forbidden", words, details)


@frozen
class Rights:
    """Knows everybody by a token, and what roles allow them.

    Args:
        store: The cluster's objects.
        clock: For tokens that expire.
        admin_token: Whoever has it may do anything.
    """

    store: Store
    clock: Clock
    admin_token: str = field(factory=lambda: secrets.token_urlsafe(32), repr=False)
    _secret: bytes = field(factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self, namespace: str, account: str, seconds: float) -> str:
        """Return a token of a service account; it holds for so many seconds."""
        found = self.store.get(SERVICE_ACCOUNT, (namespace, account))
        assert found is not None
        claims = [namespace, account, uid_of(found), self.clock.now() + seconds]
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
        return f"{body}.{self._sign(body)}"

    def user(self, authorization: str) -> User:
        """Return who sent a request, by its header.

        Raises:
            Refusal: Nobody that is known.
        """
        token = authorization.removeprefix("Bearer ")
        if hmac.compare_digest(token.encode(), self.admin_token.encode()):
            return _ADMIN
        body, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            raise unauthorized()
        namespace, account, uid, until = json.loads(base64.urlsafe_b64decode(body))
        found = self.store.get(SERVICE_ACCOUNT, (namespace, account))
        if found is None or uid_of(found) != uid or until < self.clock.now():
            raise unauthorized()
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return User(
            f"system:serviceaccount:{namespace}:{account}", (*groups, "system:authenticated")
        )

    def may(self, user: User, action: Action) -> bool:
        """Return whether somebody may do something."""
        if "system:masters" in user.groups or action.resource.startswith("selfsubject"):
            return True
        return any(_allows(rule, action) for rule in self._rules(user, action.namespace))

    def check(self, user: User, action: Action) -> None:
        """Let an action pass.

        Raises:
            Refusal: There is no right to it.
        """
        if not self.may(user, action):
            raise action.refusal(user)

    def _rules(self, user: User, namespace: str) -> Iterator[Manifest]:
        bindings = self.store.all(_BY_PLURAL["clusterrolebindings"])
        if namespace:
            bindings += self.store.all(_BY_PLURAL["rolebindings"], namespace)
        for binding in bindings:
            if any(_is(subject, user) for subject in binding.get("subjects") or []):
                yield from self._role(binding).get("rules") or []

    def _role(self, binding: Manifest) -> Manifest:
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            kind, namespace = _BY_PLURAL["clusterroles"], ""
        else:
            kind, namespace = _BY_PLURAL["roles"], binding["metadata"].get("namespace", "")
        return self.store.get(kind, (namespace, reference["name"])) or {}

    def _sign(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), hashlib.sha256).hexdigest()


def _is(subject: Manifest, user: User) -> bool:
    if subject["kind"] == "ServiceAccount":
        account = f"{subject.get('namespace', '')}:{subject['name']}"
        return user.name == f"system:serviceaccount:{account}"
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    return bool(subject["name"] == user.name)


def _allows(rule: Manifest, action: Action) -> bool:
    def has(field: str, value: str) -> bool:
        listed: list[Any] = rule.get(field) or []
        return value in listed or "*" in listed

    names = rule.get("resourceNames") or []
    return (
        has("verbs", action.verb)
        and has("apiGroups", action.group)
        and has("resources", action.resource)
        and (not names or action.name in names)
    )


def review(rights: Rights, user: User, asked: dict[str, Any]) -> dict[str, Any]:
    """Answer a SelfSubjectAccessReview."""
    about = (asked.get("spec") or {}).get("resourceAttributes") or {}
    resource = about.get("resource", "")
    if about.get("subresource"):
        resource += f"/{about['subresource']}"
    action = Action(
        about.get("verb", ""),
        about.get("group", ""),
        resource,
        about.get("namespace", ""),
        about.get("name", ""),
    )
    return {**asked, "status": {"allowed": rights.may(user, action)}}
