"""Who is who: bearer tokens of this run, and the kubeconfigs that carry them."""

import json
import secrets
from pathlib import Path

from attrs import field, frozen

from tests.cluster.places import API_PORT, HOST

SERVER = f"https://{HOST}:{API_PORT}"


@frozen
class Credentials:
    """Makes tokens and kubeconfigs in one folder.

    Args:
        folder: Where they are written.
    """

    folder: Path
    _users: dict[str, tuple[str, str]] = field(factory=dict, repr=False)

    @property
    def certificate(self) -> Path:
        """The API server's own certificate, which it makes when it starts."""
        return self.folder / "apiserver.crt"

    @property
    def tokens(self) -> Path:
        """The file that the API server reads."""
        return self.folder / "tokens.csv"

    def add(self, user: str, group: str = "") -> None:
        """Make a token for a user; before the API server starts."""
        self._users[user] = (secrets.token_hex(16), group)
        lines = [f'{token},{name},{name},"{of}"' for name, (token, of) in self._users.items()]
        self.tokens.write_text("\n".join(lines) + "\n")
        self.tokens.chmod(0o600)

    def kubeconfig(self, user: str, path: Path | None = None) -> Path:
        """Write a kubeconfig for a user; after the API server has its certificate."""
        path = path or self.folder / f"{user.replace(':', '-')}.kubeconfig"
        write_kubeconfig(path, self._users[user][0], self.certificate)
        return path


def write_kubeconfig(
    path: Path, token: str, certificate: Path, server: str = SERVER, namespace: str = "default"
) -> None:
    """Write a kubeconfig (JSON, which is YAML) with one context."""
    name = "podfleet-test"
    cluster = {"server": server, "certificate-authority": str(certificate)}
    if server.startswith("http:"):
        del cluster["certificate-authority"]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
        ],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
