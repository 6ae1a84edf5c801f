"""When credentials end, and when they are to be renewed. Pure."""

from __future__ import annotations

import base64
import json
import math
import ssl
from datetime import UTC, datetime

__all__ = ["certificate_ends", "renewal_due", "token_ends"]

_MARGIN = 30.0  # seconds before the end
_SHARE = 0.25  # ... or this part of what is left of a short life


def renewal_due(now: float, expires: float) -> float:
    """Return when credentials are to be renewed.

    Args:
        now: The time, in seconds since 1970.
        expires: When they end.

    Example:
        >>> renewal_due(1000.0, 4600.0)
        4570.0
        >>> renewal_due(1000.0, 1020.0)
        1015.0
    """
    return expires - min(_MARGIN, _SHARE * max(0.0, expires - now))


def token_ends(token: str) -> float:
    """Return when a bearer token ends, if it says so (a JWT, RFC 7519): in seconds since 1970.

    Example:
        >>> token_ends("e30.eyJleHAiOjE3OTU3NDg0MDB9.c2ln")
        1795748400.0
        >>> token_ends("opaque")
        inf
    """
    parts = token.strip().split(".")
    if len(parts) != 3:
        return math.inf
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def certificate_ends(pem: bytes) -> float:
    """Return when the first certificate of a PEM text ends, in seconds since 1970."""
    try:
        text = pem.decode()
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end]))
    except (ValueError, IndexError):
        return math.inf  # OpenSSL will say what is wrong with it


def _not_after(der: bytes) -> float:
    """Read it from a certificate (RFC 5280, 4.1): ``Validity`` follows the issuer."""
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)  # tbsCertificate
    tag, _, after = _element(der, at)
    if tag == 0xA0:  # its version, which may be left out
        at = after
    for _ in range(3):  # serial number, signature, issuer
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at)
    _, _, at = _element(der, at)  # notBefore
    tag, begin, end = _element(der, at)
    written = der[begin:end].decode()
    if tag == 0x17:  # UTCTime: two digits of the year, of which 50 and above are the last century's
        written = ("19" if int(written[:2]) >= 50 else "20") + written
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's tag, and where its content begins and ends."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    return der[at], begin, begin + length
