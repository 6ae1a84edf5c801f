"""``python -m tests.cluster up | down | status | build``."""

import sys

from tests.cluster import cluster as clusters
from tests.cluster import debian
from tests.cluster.build import build
from tests.cluster.images import REFERENCES
from tests.cluster.places import KUBECONFIG, LOGS, STATE, cache
from tests.cluster.support import reason_against

_HOWTO = """\
The test cluster runs. To use it:

  export KUBECONFIG={kubeconfig}
  export PATH={bin}:$PATH
  kubectl get nodes
  kubectl run hello --image={image} && kubectl logs -f hello

Its components log to {logs}.
`make test` uses it while it runs; `make cluster-down` removes it."""


def main(arguments: list[str]) -> None:
    """Do what the first argument says."""
    reason = reason_against()
    if reason:
        sys.exit(f"The test cluster cannot run here: {reason}.")
    try:
        act(arguments)
    except RuntimeError as error:
        sys.exit("\n".join([str(error), *getattr(error, "__notes__", [])]))


def act(arguments: list[str]) -> None:
    """Do what the first argument says, where it can be done."""
    match arguments:
        case ["up"]:
            up()
        case ["down"]:
            clusters.remove()
            print("The test cluster is gone.")
        case ["status"]:
            print(clusters.status())
        case ["build"]:
            debian.install()
            build()
        case _:
            sys.exit(__doc__)


def up() -> None:
    """Start the cluster and say how to use it."""
    cluster = clusters.Cluster.up(owned=False)
    folder = cache() / "bin"
    folder.mkdir(exist_ok=True)
    wrapper = folder / "kubectl"
    command, cached = cluster.programs["kubernetes"], STATE / "kubectl-cache"
    wrapper.write_text(f'#!/bin/sh\nKUBECACHEDIR={cached} exec {command} kubectl "$@"\n')
    wrapper.chmod(0o755)
    print(
        _HOWTO.format(kubeconfig=KUBECONFIG, bin=folder, image=REFERENCES["gameserver"], logs=LOGS)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
