"""Write a container image around one static program, as a docker-archive."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

REFERENCES = {
    "gameserver": "podfleet.test/gameserver:1",
    "pause": "podfleet.test/pause:1",
}


def write(archive: Path, reference: str, program: Path) -> None:
    """Write an image whose only file and entrypoint is this program."""
    layer = _tar({program.name: program.read_bytes()}, mode=0o755)
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        }
    ).encode()
    manifest = [
        {
            "Config": f"{_digest(config)}.json",
            "RepoTags": [reference],
            "Layers": [f"{_digest(layer)}/layer.tar"],
        }
    ]
    archive.write_bytes(
        _tar(
            {
                f"{_digest(config)}.json": config,
                f"{_digest(layer)}/layer.tar": layer,
                "manifest.json": json.dumps(manifest).encode(),
            }
        )
    )


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    """Return a tar that is the same for the same files: no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _architecture() -> str:
    import platform

    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
