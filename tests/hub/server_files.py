"""Files by revision, and the storage for uploads and downloads of large files."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from server_api import PREFIXES, repository
from server_http import Request, Response, answer, route
from server_store import Entry, Refused

if TYPE_CHECKING:
    from server import HubServer

RESOLVE = r"/(?:(?P<prefix>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)"


def signature(hub: HubServer, text: str) -> str:
    return hmac.new(hub.secret, text.encode(), hashlib.sha256).hexdigest()


def signed(hub: HubServer, path: str) -> str:
    """A signed address at the storage, a separate host that needs no token."""
    return f"{hub.storage}{path}?signature={signature(hub, path)}"


def check_signature(hub: HubServer, request: Request) -> None:
    if request.host != "storage" or request.first("signature") != signature(hub, request.path):
        raise Refused(403, "The signature of this address does not match")


def typed(request: Request) -> None:
    request.groups["type"] = {"datasets": "dataset", "spaces": "space", None: "model"}[request.groups["prefix"]]


def entry_headers(commit_oid: str, entry: Entry) -> dict[str, str]:
    return {"X-Repo-Commit": commit_oid, "ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes"}


@route("GET HEAD", RESOLVE + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub: HubServer, request: Request) -> Response:
    """A file; requests for large files are redirected to the storage, others to a path with the commit."""
    typed(request)
    found = repository(hub, request)
    if found.gated and request.user not in hub.members(found.namespace):
        raise Refused(403 if request.user else 401, f"Access to {found.id} is restricted.", "GatedRepo")
    commit = found.at(request.groups["revision"])
    path = request.groups["path"]
    entry = commit.files.get(path)
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.oid})
    headers = entry_headers(commit.oid, entry)
    if entry.sha256:
        name = quote(path.split("/")[-1])
        headers |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.sha256}"'}
        return Response(302, b"", headers | {"Location": signed(hub, f"/download/{entry.sha256}/{name}")})
    place = f"/api/resolve-cache/{found.type}s/{found.id}/{commit.oid}/{quote(path, safe='')}"
    return Response(307, b"", headers | {"Location": place})


@route("GET HEAD", r"/api/resolve-cache/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/(?P<oid>[^/]+)/(?P<path>.+)")
def resolve_cache(hub: HubServer, request: Request) -> Response:
    commit = repository(hub, request).at(request.groups["oid"])
    entry = commit.files[request.groups["path"]]
    return ranged(request, hub.store.content(entry), entry_headers(commit.oid, entry))


@route("GET HEAD", r"/download/(?P<sha>[0-9a-f]{64})/[^/]+")
def download(hub: HubServer, request: Request) -> Response:
    check_signature(hub, request)
    sha = request.groups["sha"]
    return ranged(request, hub.store.contents[sha], {"ETag": f'"{sha}"', "Accept-Ranges": "bytes"})


def ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """The content, or the requested `Range` of it."""
    headers["Content-Type"] = "application/octet-stream"
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not wanted or wanted.groups() == ("", ""):
        return Response(200, content, headers)
    first, last = wanted.groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    stop = min(int(last) + 1 if first and last else len(content), len(content))
    if start >= len(content):
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Response(416, b"", headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Response(206, content[start:stop], headers)


@route("POST", RESOLVE + r"\.git/info/lfs/objects/batch")
def lfs_batch(hub: HubServer, request: Request) -> Response:
    """The upload addresses of large files; files that the repository already has need no upload."""
    typed(request)
    found = repository(hub, request)
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    body, objects = request.json(), []
    for each in body["objects"]:
        line = {"oid": each["oid"], "size": each["size"], "authenticated": True}
        if each["oid"] not in found.lfs:
            place = f"/upload/{found.type}/{found.id}/{each['oid']}"
            verify = {"href": f"{hub.endpoint}/{PREFIXES[found.type]}{found.id}.git/info/lfs/verify", "header": {}}
            upload: dict[str, object] = {"href": signed(hub, place)}
            multipart = hub.part_size is not None and each["size"] > hub.part_size and "multipart" in body["transfers"]
            if multipart:
                assert hub.part_size is not None
                count = -(-each["size"] // hub.part_size)
                parts = {f"{number:05d}": signed(hub, f"{place}/{number}") for number in range(1, count + 1)}
                upload = {
                    "href": signed(hub, f"{place}/complete"),
                    "header": parts | {"chunk_size": str(hub.part_size)},
                }
            line["actions"] = {"upload": upload, "verify": verify}
        objects.append(line)
    response = answer({"transfer": "basic", "objects": objects})
    response.headers["Content-Type"] = "application/vnd.git-lfs+json"
    return response


UPLOAD = r"/upload/(?P<type>model|dataset|space)/(?P<id>[^/]+/[^/]+)/(?P<sha>[0-9a-f]{64})"


def keep(hub: HubServer, request: Request, content: bytes) -> None:
    """Store a large file if its hash matches its name."""
    sha = request.groups["sha"]
    if hashlib.sha256(content).hexdigest() != sha:
        raise Refused(400, "The content does not have the SHA-256 of its name")
    with hub.store.lock:
        hub.store.contents[sha] = content
        hub.store.repositories[request.groups["type"], request.groups["id"]].lfs.add(sha)


@route("PUT", UPLOAD)
def upload(hub: HubServer, request: Request) -> Response:
    check_signature(hub, request)
    keep(hub, request, request.body)
    return Response(200, b"", {"ETag": f'"{request.groups["sha"]}"'})


@route("PUT", UPLOAD + r"/(?P<number>\d+)")
def upload_part(hub: HubServer, request: Request) -> Response:
    check_signature(hub, request)
    hub.store.parts[request.groups["sha"], int(request.groups["number"])] = request.body
    return Response(200, b"", {"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@route("POST", UPLOAD + "/complete")
def complete(hub: HubServer, request: Request) -> Response:
    check_signature(hub, request)
    sha, content = request.groups["sha"], b""
    for part in sorted(request.json()["parts"], key=lambda part: part["partNumber"]):
        piece = hub.store.parts.pop((sha, part["partNumber"]), b"")
        if part["etag"].strip('"') != hashlib.md5(piece).hexdigest():
            raise Refused(400, f"Part {part['partNumber']} is missing")
        content += piece
    keep(hub, request, content)
    return answer({})


@route("POST", RESOLVE + r"\.git/info/lfs/verify")
def verify(hub: HubServer, request: Request) -> Response:
    typed(request)
    found, body = repository(hub, request), request.json()
    if body["oid"] not in found.lfs or len(hub.store.contents[body["oid"]]) != body["size"]:
        raise Refused(404, "The uploaded file is not there, or has another size")
    return answer({})
