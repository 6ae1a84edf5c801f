"""`ApiServer`: the Kubernetes API over HTTP, on a loopback port."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from attrs import define, field

from podfleet.local.api import protobuf
from podfleet.local.api.audit import AuditEvent
from podfleet.local.api.decoding import Decoding
from podfleet.local.api.discovery import OPEN_API_V2, discover
from podfleet.local.api.paging import Pages
from podfleet.local.api.request import (
    Target,
    credentials,
    delete_options,
    find,
    is_dry,
    is_true,
    read_body,
    selected,
    whole_number,
)
from podfleet.local.api.tables import table, wants_table
from podfleet.local.api.watching import Watch
from podfleet.local.objects import patches
from podfleet.local.objects.kinds import ISTIO, POD, Kind
from podfleet.local.objects.registry import Registry
from podfleet.local.objects.rights import Rights, User, review
from podfleet.local.objects.statuses import (
    Refusal,
    bad_request,
    invalid,
    invalid_value,
    required,
)
from podfleet.local.objects.store import Record
from podfleet.model import Manifest

__all__ = ["ApiServer", "Logs"]

Logs = Callable[[Manifest, Mapping[str, str]], AsyncIterator[bytes]]
"""Yields a container's log, as the query asks for it."""

_AUDITED = 20_000  # requests
_TOKEN_SECONDS = 3600.0


@define
class ApiServer:
    """Answers requests.

    Args:
        kinds: What it serves.
        registry: What it reads and writes.
        rights: Whom it lets.
        logs: Where logs come from.
    """

    kinds: Sequence[Kind]
    registry: Registry
    rights: Rights
    logs: Logs
    audit: deque[AuditEvent] = field(factory=lambda: deque(maxlen=_AUDITED))
    _pages: Pages = field(factory=Pages)
    _runner: web.ServerRunner | None = None
    _streams: set[asyncio.Task[None]] = field(factory=set)

    async def start(self, host: str) -> str:
        """Serve; return the URL."""
        server = web.Server(self._answer, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, 0)
        await site.start()
        # kubectl sends no token over plain HTTP, but keeps to the path of the URL.
        return f"http://{host}:{self._runner.addresses[0][1]}/{self.rights.admin_token}"

    async def stop(self) -> None:
        """Cut every connection, and serve no more."""
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    def compact(self) -> None:
        """Forget the past: for watches, and for lists that were read in part."""
        self.registry.store.compact()
        self._pages.clear()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, token = credentials(request)
        user, code = "", 0
        try:
            known = self.rights.user(token)
            user = known.name
            response = await self._route(request, path, known)
            code = response.status
        except Refusal as refusal:
            code = refusal.code
            response = web.json_response(refusal.status, status=code)
        finally:
            asked = f"{path}?{request.query_string}".removesuffix("?")
            self.audit.append(AuditEvent(user, request.method, asked, code))
        return response

    async def _route(self, request: web.BaseRequest, path: str, user: User) -> web.StreamResponse:
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if path == "/openapi/v2" and "protobuf" in request.headers.get("Accept", ""):
            return web.Response(body=OPEN_API_V2, content_type=protobuf.TYPE)
        found = discover(self.kinds, path) if request.method == "GET" else None
        if found is not None:
            return web.json_response(found)
        target = find(self.kinds, path)
        if target is None:
            return web.Response(status=404, text="404 page not found\n")
        return await self._serve(request, target, user)

    async def _serve(
        self, request: web.BaseRequest, target: Target, user: User
    ) -> web.StreamResponse:
        method, query = request.method, request.query
        if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method")
        self.rights.check(user, target.action(method, query))
        if method == "GET":
            return await self._read(request, target)
        body = await read_body(request)
        if method == "DELETE":
            return self._delete(target, query, body)
        decoding = Decoding(query)
        if method == "PATCH":
            response = self._patch(request, target, body, decoding)
        else:
            answer = self._post if method == "POST" else self._put
            response = answer(target, query, decoding.body(target, body), user)
        decoding.warn(response)
        return response

    async def _read(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        query = request.query
        if target.subresource == "log":
            pod = self.registry.get(POD, target.namespace, target.name)
            return await self._stream(request, self.logs(pod, query), "text/plain")
        as_table = wants_table(request.headers.get("Accept", ""))
        if not target.name and is_true(query.get("watch")):
            events = self._watch(target, query, as_table=as_table)
            return await self._stream(request, events, "application/json")
        if target.name:
            found = self.registry.get(target.kind, target.namespace, target.name)
            if as_table:
                return web.json_response(self._table(target.kind, query, [found]))
            return web.json_response(found)
        return self._list(target, query, as_table=as_table)

    def _list(
        self, target: Target, query: Mapping[str, str], *, as_table: bool
    ) -> web.StreamResponse:
        store, match = self.registry.store, selected(target.kind, query)
        if query.get("continue"):
            version, records = self._pages.rest(query["continue"])
        else:
            version, namespace = str(store.version), target.namespace or None
            records = [one for one in store.records(target.kind, namespace) if match(one.manifest)]
        metadata: dict[str, Any] = {"resourceVersion": version}
        limit = whole_number(query, "limit", 0)
        if limit and len(records) > limit:
            records, rest = records[:limit], records[limit:]
            metadata["continue"] = self._pages.keep(version, rest)
            if not (query.get("labelSelector") or query.get("fieldSelector")):
                metadata["remainingItemCount"] = len(rest)
        if as_table:
            shown = [one.manifest for one in records]
            return web.json_response(self._table(target.kind, query, shown, metadata))
        head = json.dumps(
            {
                "kind": f"{target.kind.name}List",
                "apiVersion": target.kind.api_version,
                "metadata": metadata,
            }
        )
        items = b",".join(record.encoded for record in records)
        body = b'%s,"items":[%s]}' % (head[:-1].encode(), items)
        return web.Response(body=body, content_type="application/json")

    def _table(
        self,
        kind: Kind,
        query: Mapping[str, str],
        shown: Sequence[Manifest],
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        whole = query.get("includeObject") == "Object"  # kubectl sorts by its fields
        return table(kind, shown, self.registry.clock.now(), metadata, whole=whole)

    def _watch(
        self, target: Target, query: Mapping[str, str], *, as_table: bool
    ) -> AsyncIterator[bytes]:
        since = query.get("resourceVersion") or "0"
        if not since.isdecimal():
            raise bad_request(f"invalid resource version: {since!r}")
        initial = is_true(query.get("sendInitialEvents"))
        match = selected(target.kind, query)

        def encode(record: Record) -> bytes:
            if not as_table:
                return record.encoded
            return json.dumps(self._table(target.kind, query, [record.manifest])).encode()

        watch = Watch(
            store=self.registry.store,
            kind=target.kind,
            namespace=target.namespace or None,
            match=match,
            since=0 if initial else int(since),
            bookmarks=is_true(query.get("allowWatchBookmarks")),
            initial=initial,
            seconds=whole_number(query, "timeoutSeconds", 0) or math.inf,
            encode=encode,
        )
        return watch.events()

    def _post(
        self, target: Target, query: Mapping[str, str], body: dict[str, Any], user: User
    ) -> web.StreamResponse:
        if target.subresource == "token":
            return self._token(target, body)
        if not target.kind.stored:
            return web.json_response(review(self.rights, user, body), status=201)
        made = self.registry.create(
            target.kind, target.namespace, body, dry_run=is_dry(query, body)
        )
        return web.json_response(made, status=201)

    def _put(
        self, target: Target, query: Mapping[str, str], body: dict[str, Any], _: User
    ) -> web.StreamResponse:
        key = target.namespace, target.name
        if target.kind.made_by_put and self.registry.store.get(target.kind, key) is None:
            # A version that it had once is no hindrance.
            metadata = {**(body.get("metadata") or {}), "resourceVersion": ""}
            wanted = {**body, "metadata": metadata}
            dry = is_dry(query, body)
            made = self.registry.create(target.kind, target.namespace, wanted, dry_run=dry)
            return web.json_response(made, status=201)
        if target.kind.needs_version and not (body.get("metadata") or {}).get("resourceVersion"):
            self.registry.get(target.kind, target.namespace, target.name)
            error = invalid_value("metadata.resourceVersion", "", "must be specified for an update")
            raise invalid(target.kind, target.name, [error])
        return web.json_response(self._update(target, query, lambda _: body))

    def _token(self, target: Target, body: dict[str, Any]) -> web.StreamResponse:
        self.registry.get(target.kind, target.namespace, target.name)
        seconds = float((body.get("spec") or {}).get("expirationSeconds") or _TOKEN_SECONDS)
        token = self.rights.token(target.namespace, target.name, seconds)
        until = self.registry.clock.stamp(self.registry.clock.now() + seconds)
        status = {"token": token, "expirationTimestamp": until}
        return web.json_response({**body, "status": status}, status=201)

    def _update(
        self, target: Target, query: Mapping[str, str], change: Callable[[Manifest], Any]
    ) -> Manifest:
        return self.registry.update(
            target.kind,
            target.namespace,
            target.name,
            change,
            subresource=target.subresource,
            dry_run=is_dry(query, {}),
        )

    def _patch(
        self, request: web.BaseRequest, target: Target, body: Any, decoding: Decoding
    ) -> web.StreamResponse:
        query = request.query
        if request.content_type.startswith("application/apply-patch"):
            return self._apply(target, query, decoding.body(target, body))
        change = {
            "application/json-patch+json": patches.json_patch,
            "application/merge-patch+json": patches.merge,
            "application/strategic-merge-patch+json": patches.strategic,
        }.get(request.content_type)
        if change is None or (change is patches.strategic and target.kind in ISTIO):
            words = f"the body of the request was in an unknown format: {request.content_type}"
            raise Refusal(415, "UnsupportedMediaType", words)
        if change is not patches.json_patch and not isinstance(body, dict):
            raise bad_request("error decoding patch: it must be an object")

        def patched(shown: Manifest) -> Manifest:
            try:
                after = change(shown, body)
            except (AttributeError, KeyError, TypeError) as error:  # of a list, an item of its own
                raise bad_request(f"error decoding patch: {error}") from None
            return decoding.patched(target.kind, after)

        return web.json_response(self._update(target, query, patched))

    def _apply(self, target: Target, query: Mapping[str, str], body: Any) -> web.StreamResponse:
        manager = query.get("fieldManager")
        if not manager:
            error = required("fieldManager", "is required for apply patch")
            raise invalid(Kind("meta.k8s.io", "v1", "PatchOptions", ""), "", [error])
        try:
            shown = self.registry.get(target.kind, target.namespace, target.name)
        except Refusal as refusal:
            if refusal.code != 404:
                raise
            made = self.registry.create(
                target.kind, target.namespace, body, dry_run=is_dry(query, body)
            )
            self.registry.remember_applied(made["metadata"]["uid"], manager, body)
            return web.json_response(made, status=201)
        before = self.registry.remember_applied(shown["metadata"]["uid"], manager, body)
        written = self._update(target, query, lambda now: patches.apply(now, before, body))
        return web.json_response(written)

    def _delete(self, target: Target, query: Mapping[str, str], body: Any) -> web.StreamResponse:
        options = delete_options(query, body)
        dry = is_dry(query, options)
        if target.name:
            return self._delete_one(target, options, dry=dry)
        match = selected(target.kind, query)
        found = [
            one
            for one in self.registry.store.all(target.kind, target.namespace or None)
            if match(one)
        ]
        for one in found:
            metadata = one["metadata"]
            self.registry.delete(
                target.kind, metadata.get("namespace", ""), metadata["name"], options, dry_run=dry
            )
        metadata = {"resourceVersion": str(self.registry.store.version)}
        about = {"kind": f"{target.kind.name}List", "apiVersion": target.kind.api_version}
        return web.json_response({**about, "metadata": metadata, "items": found})

    def _delete_one(self, target: Target, options: Any, *, dry: bool) -> web.StreamResponse:
        kind = target.kind
        deleted, gone = self.registry.delete(
            kind, target.namespace, target.name, options, dry_run=dry
        )
        if not gone or kind.plural in ("pods", "services", "serviceaccounts", "resourcequotas"):
            return web.json_response(deleted)
        details = {
            "name": target.name,
            **({"group": kind.group} if kind.group else {}),
            "kind": kind.plural,
            "uid": deleted["metadata"]["uid"],
        }
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return web.json_response({**status, "details": details})

    async def _stream(
        self, request: web.BaseRequest, lines: AsyncIterator[bytes], content_type: str
    ) -> web.StreamResponse:
        """Send what comes, until it ends, the client goes, or the cluster stops."""
        response = web.StreamResponse(headers={"Content-Type": content_type})

        async def send() -> None:
            try:
                await response.prepare(request)
                async for line in lines:
                    await response.write(line)
            except ConnectionError:
                pass

        stream = asyncio.get_running_loop().create_task(send())
        self._streams.add(stream)
        try:
            await stream
        except asyncio.CancelledError:
            stream.cancel()
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._streams.discard(stream)
        return response
