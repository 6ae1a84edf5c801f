"""An admission webhook that answers as it is told, and the objects that have the cluster ask it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from podfleet.kube.paths import object_path
from tests.cluster.fixtures import Backend
from tests.cluster.process import run

__all__ = ["HOOK", "Webhook", "policy", "webhook"]

HOOK = "ports.example.com"
_HOST = "127.0.0.1"
_API = "admissionregistration.k8s.io/v1"


class Webhook:
    """Serves HTTPS on a loopback port: the API server of the tests runs on this machine.

    Args:
        folder: Where its key and certificate are made.
    """

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "webhook.key", folder / "webhook.crt"
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=webhook", "-addext", f"subjectAltName=IP:{_HOST}"),
            *("-keyout", key, "-out", certificate),
        )
        self.authority = base64.b64encode(certificate.read_bytes()).decode()
        self.status: dict[str, Any] | None = None
        """What it refuses with; ``None`` to accept everything."""
        self.patch: list[dict[str, Any]] | None = None
        """The JSON patch that it answers with, if it may change what it is asked about."""
        self.asked = 0
        """How many requests that were no dry runs it was asked about."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(hook._answer(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer((_HOST, 0), Handler)
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{_HOST}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, unless that is done."""
        self.stop()

    def stop(self) -> None:
        """Answer nobody any more: connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, review: dict[str, Any]) -> dict[str, Any]:
        request, status = review["request"], self.status
        self.asked += not request.get("dryRun")
        response: dict[str, Any] = {"uid": request["uid"], "allowed": status is None}
        if self.patch is not None:
            patch = base64.b64encode(json.dumps(self.patch).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch}
        if status is not None:
            response["status"] = status
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


def _of(namespace: str) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


@contextmanager
def _applied(
    backend: Backend, manifests: list[dict[str, Any]], plurals: list[str]
) -> Iterator[None]:
    try:
        backend.cluster.apply(manifests)
        yield
    finally:
        for manifest, plural in zip(manifests, plurals, strict=True):
            name = manifest["metadata"]["name"]
            backend.cluster.delete(object_path(_API, plural, None, name))


@contextmanager
def webhook(
    backend: Backend,
    folder: Path,
    resource: str = "pods",
    group: str = "",
    operations: tuple[str, ...] = ("CREATE",),
    *,
    mutating: bool = False,
) -> Iterator[Webhook]:
    """Have the API server ask a webhook about writes in the backend's namespace."""
    kind = "Mutating" if mutating else "Validating"
    with Webhook(folder) as hook:
        configuration = {
            "apiVersion": _API,
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": f"deny-{backend.namespace}"},
            "webhooks": [
                {
                    "name": HOOK,
                    "clientConfig": {"url": hook.url, "caBundle": hook.authority},
                    "rules": [
                        {
                            "apiGroups": [group],
                            "apiVersions": ["v1"],
                            "operations": list(operations),
                            "resources": [resource],
                        }
                    ],
                    "namespaceSelector": _of(backend.namespace),
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "timeoutSeconds": 2,
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }
        with _applied(backend, [configuration], [f"{kind.lower()}webhookconfigurations"]):
            yield hook


@contextmanager
def policy(backend: Backend, *, reason: str | None = None) -> Iterator[str]:
    """Have a ValidatingAdmissionPolicy refuse Pods in the backend's namespace; give its name."""
    name = f"deny-{backend.namespace}"
    validation = {"expression": "false", "message": "players cannot use hostPorts: exceeded quota:"}
    if reason:
        validation["reason"] = reason
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    manifests = [
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [validation],
            },
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": _of(backend.namespace)},
            },
        },
    ]
    plurals = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"]
    with _applied(backend, manifests, plurals):
        yield name
