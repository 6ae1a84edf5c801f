"""Credentials that live for seconds, signed with the test cluster's own keys."""

import base64
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cluster.places import STATE

ISSUER = "https://kubernetes.default.svc"
_LEEWAY = 60  # seconds; go-jose, jwt/validation.go: DefaultLeeway, by which clocks may differ


def token(namespace: str, account: str, uid: str, seconds: float) -> str:
    """Return a service account's token, as the TokenRequest API makes them; those live longer.

    Args:
        namespace: The account's namespace.
        account: The account.
        uid: Its UID.
        seconds: After how long the API server refuses it, within ten seconds: it remembers that
            it took a token. By what the token itself says it has ended a minute before.
    """
    now = int(time.time()) - _LEEWAY
    claims = {
        "iss": ISSUER,
        "aud": [ISSUER],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": now,
        "nbf": now,
        "exp": now + int(seconds),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
    }
    head = _encoded(json.dumps({"alg": "RS256", "typ": "JWT", "kid": ""}).encode())
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    key = STATE / "service-account.key"
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key],
        input=signed.encode(),
        capture_output=True,
        check=True,
    ).stdout
    return f"{signed}.{_encoded(signature)}"


def certificate(name: str, folder: Path, seconds: float) -> tuple[Path, Path]:
    """Make a client certificate of that user, and its key; return where they are."""
    key, request, made = (folder / f"client.{kind}" for kind in ("key", "csr", "crt"))
    if not key.exists():
        _openssl("genrsa", "-out", key, "2048")
        key.chmod(0o600)
    _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    (folder / "index").write_text("")
    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca=it\n[it]\n"
        f"database={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
    )
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    fresh = folder / "client.new"
    _openssl(
        *("ca", "-batch", "-notext", "-config", folder / "ca.conf", "-in", request, "-out", fresh),
        *("-cert", STATE / "clients.crt", "-keyfile", STATE / "clients.key"),
        *("-startdate", "200101000000Z", "-enddate", end.strftime("%Y%m%d%H%M%SZ")),
    )
    fresh.replace(made)
    return made, key


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
