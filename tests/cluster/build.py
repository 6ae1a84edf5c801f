"""Build the cluster's programs from their Go modules, once for each version."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from attrs import field, frozen

from tests.cluster import images
from tests.cluster.places import SOURCES, cache

KUBERNETES = "v1.37.2"
_COMPONENT_BASE = "k8s.io/component-base/version"
_CLIENT_GO = "k8s.io/client-go/pkg/version"


@frozen
class Module:
    """A Go module, and the programs to build of it: name to package."""

    name: str
    programs: dict[str, str]
    ldflags: str = ""

    @property
    def sources(self) -> Path:
        return SOURCES / self.name


CONTAINERD = "github.com/containerd/containerd/v2/cmd"
MODULES = (
    Module("images", {"gameserver": "./gameserver", "pause": "./pause"}),
    Module("etcd", {"etcd": "."}),
    Module(
        "containerd",
        {name: f"{CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    ),
    Module(
        "kubernetes",
        {"kubernetes": "."},
        # What a release build sets: the API server must say which version it is.
        " ".join(
            f"-X {package}.{name}={value}"
            for package in (_COMPONENT_BASE, _CLIENT_GO)
            for name, value in {
                "gitVersion": KUBERNETES,
                "gitMajor": "1",
                "gitMinor": KUBERNETES.split(".")[1],
            }.items()
        ),
    ),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Module("istio", {"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery"}),
)
CLUSTER = ("images", "etcd", "containerd", "kubernetes", "coredns")
"""The modules that a cluster is made of: of the others are what plays Nodes, and Istio."""


@frozen
class Programs:
    """What was built: where each program is."""

    paths: dict[str, Path] = field(repr=False)

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]

    @property
    def kwok_stages(self) -> Path:
        """kwok's own stage files, by which a fake Pod becomes ready and ends."""
        return self.paths["kwok"].parent / "stages.yaml"

    @property
    def istio_crds(self) -> Path:
        """Istio's CustomResourceDefinitions."""
        return self.paths["pilot-discovery"].parent / "crds.yaml"


def build(*names: str) -> Programs:
    """Build what is not in the cache.

    Args:
        names: The modules; by default all.
    """
    paths: dict[str, Path] = {}
    with (cache() / "build.lock").open("w") as lock:  # two checkouts may build at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        for unfinished in cache().glob(".build-*"):  # of a run that was killed
            shutil.rmtree(unfinished)
        for module in MODULES:
            if not names or module.name in names:
                folder = _built(module)
                paths |= {program: folder / program for program in module.programs}
    return Programs(paths)


def _built(module: Module) -> Path:
    folder = cache() / f"{module.name}-{_key(module)}"
    if not folder.exists():
        started = time.monotonic()
        print(f"Building {module.name} ...", flush=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".build-", dir=cache()))
        try:
            _go_build(module, unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return folder


def _go_build(module: Module, target: Path) -> None:
    for program, package in module.programs.items():
        flags = ["-ldflags", f"-s -w {module.ldflags}".strip(), "-o", str(target / program)]
        _go(module, "build", *flags, package)
    if module.name == "kwok":
        _write_stages(module, target / "stages.yaml")
    if module.name == "istio":
        found = json.loads(_go(module, "mod", "download", "-json", "istio.io/api"))["Dir"]
        shutil.copy(
            Path(found, "kubernetes/customresourcedefinitions.gen.yaml"), target / "crds.yaml"
        )
    if module.name == "images":
        for name in module.programs:
            images.write(target / f"{name}.tar", images.REFERENCES[name], target / name)


def _write_stages(module: Module, target: Path) -> None:
    root = Path(_go(module, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok").strip())
    stages = [
        stage.read_text()
        for kind in ("node", "pod")
        for stage in sorted((root / "kustomize/stage" / kind / "fast").glob("*.yaml"))
        if stage.name != "kustomization.yaml"
    ]
    target.write_text("\n---\n".join(stages))


def _go(module: Module, *arguments: str) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=module.sources,
        env={**os.environ, **_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"go {arguments[0]} of {module.name} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -mod=readonly"}


def _key(module: Module) -> str:
    digest = hashlib.sha256()
    version = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
    images_format = Path(images.__file__).read_bytes() if module.name == "images" else b""
    for part in (version, repr(module).encode(), repr(_environment()).encode(), images_format):
        digest.update(part + b"\0")
    for file in sorted(module.sources.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(module.sources)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
