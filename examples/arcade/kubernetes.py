"""Print what runs the arcade on a cluster: ``python -m arcade.kubernetes --image REF``.

For ``kubectl apply -f -``: the rights are those that the fleet itself says it needs, and no more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from arcade.fleet import make_fleet

NAME = "arcade"
PAGES = 8000  # the port of the pages
LABELS = {"app": NAME}


def manifests(image: str, namespace: str, *, private: bool = False) -> list[Mapping[str, Any]]:
    """Return all that the arcade needs, in the order in which it is to be applied.

    Args:
        image: The arcade's image: of the backend and of the game servers.
        namespace: Where all of it lives.
        private: Whether players are in the nodes' own network.
    """
    place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    rights = make_fleet(image, namespace).manifests(f"{namespace}/{NAME}")
    return [place, *rights, _deployment(image, namespace, private=private), _service(namespace)]


def _deployment(image: str, namespace: str, *, private: bool) -> Mapping[str, Any]:
    served = ["--host", "0.0.0.0", "--port", str(PAGES), "--workers", "2"]  # noqa: S104
    container = {
        "name": "backend",
        "image": image,
        "args": ["-m", "arcade", "--cluster", "--image", image, *served],
        "env": [{"name": "ARCADE_PRIVATE", "value": "yes" if private else "no"}],
        "ports": [{"name": "http", "containerPort": PAGES}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {"serviceAccountName": NAME, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace, "labels": LABELS},
        "spec": {
            "replicas": 2,  # any number: the cluster is all they share
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }


def _service(namespace: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": namespace, "labels": LABELS},
        "spec": {
            "type": "LoadBalancer",  # of the pages; players dial their match's node
            "selector": LABELS,
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def main() -> None:
    """Print them as YAML."""
    parser = argparse.ArgumentParser(prog="python -m arcade.kubernetes", description=__doc__)
    parser.add_argument("--image", required=True, help="the arcade's image, which nodes can pull")
    parser.add_argument("--namespace", default="arcade", help="where all of it lives")
    parser.add_argument(
        "--private", action="store_true", help="players are in the nodes' own network"
    )
    chosen = parser.parse_args()
    needed = manifests(chosen.image, chosen.namespace, private=chosen.private)
    plain = json.loads(json.dumps(needed))  # without YAML's own references
    yaml.safe_dump_all(plain, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
