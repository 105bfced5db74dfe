"""The Hub's JSON interface: identity, repositories, their information and refs, and commits."""

from __future__ import annotations

import base64
import json
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from server_http import Request, Response, answer, route
from server_store import Commit, Entry, Pull, Refused, Repository, git_hash

if TYPE_CHECKING:
    from server import HubServer

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
REPO = r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)"


def repository(hub: HubServer, request: Request, write: bool = False) -> Repository:
    """The repository of a request, if its user may read (or write) it.

    A user without access gets the same response as for a missing repository: 401 without a token, 404 with one. The
    real Hub's 401 has no error code; the client recognises it by an `https` address, which a loopback server lacks.
    """
    found = hub.store.repositories.get((request.groups["type"], request.groups["id"]))
    readable = found is not None and (not found.private or request.user in hub.members(found.namespace))
    if found is None or not readable:
        if request.user is None:
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        raise Refused(404, "Repository not found", "RepoNotFound")
    if write:
        if request.user is None:
            raise Refused(401, "Invalid username or password.")
        if request.user not in hub.members(found.namespace):
            raise Refused(403, f"You don't have write access to {found.id}.")
        writable(request)
    return found


def writable(request: Request) -> None:
    if request.role != "write":
        raise Refused(403, "You must use a token with write access: this one may only read.")


def url(hub: HubServer, found: Repository) -> str:
    return f"{hub.endpoint}/{PREFIXES[found.type]}{found.id}"


@route("GET", "/api/whoami-v2")
def whoami(hub: HubServer, request: Request) -> Response:
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    user = {"type": "user", "id": "0" * 24, "name": request.user, "fullname": request.user, "email": None}
    orgs = [{"type": "org", "name": name} for name in hub.organisations if request.user in hub.members(name)]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": request.role}}
    return answer({**user, "isPro": False, "orgs": orgs, "auth": auth})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: HubServer, request: Request) -> Response:
    from server_cards import check_card

    body = request.json()
    errors, warnings = check_card(body["content"], body.get("repoType", "model"))
    report = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return answer(report, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create_repo(hub: HubServer, request: Request) -> Response:
    body = request.json()
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    writable(request)
    namespace = body.get("organization") or request.user
    repo_id, kind = f"{namespace}/{body['name']}", body.get("type") or "model"
    if request.user not in hub.members(namespace):
        raise Refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    if kind == "space" and body.get("sdk") not in ("gradio", "streamlit", "docker", "static"):
        raise Refused(400, "A Space needs an sdk: gradio, docker or static")
    with hub.store.lock:
        found = hub.store.repositories.get((kind, repo_id))
        if found is not None:
            raise Refused(409, f"You already created this {kind} repo: {repo_id}", url=url(hub, found))
        private = body.get("visibility") == "private" or bool(body.get("private"))
        found = hub.store.create(repo_id, kind, private, body.get("sdk"), request.user)
    return answer({"url": url(hub, found), "name": repo_id, "id": "0" * 24})


@route("DELETE", "/api/repos/delete")
def delete_repo(hub: HubServer, request: Request) -> Response:
    body = request.json()
    request.groups = {"type": body.get("type") or "model"}
    request.groups["id"] = f"{body.get('organization') or request.user}/{body['name']}"
    found = repository(hub, request, write=True)
    del hub.store.repositories[found.type, found.id]
    return answer({})


@route("POST", "/api/repos/move")
def move_repo(hub: HubServer, request: Request) -> Response:
    body = request.json()
    request.groups = {"type": body.get("type") or "model", "id": body["fromRepo"]}
    with hub.store.lock:
        found = repository(hub, request, write=True)
        if (found.type, body["toRepo"]) in hub.store.repositories:
            raise Refused(409, f"Repository {body['toRepo']} already exists")
        hub.store.repositories[found.type, body["toRepo"]] = hub.store.repositories.pop((found.type, found.id))
        found.id = body["toRepo"]
    return answer({})


@route("PUT", REPO + "/settings")
def settings(hub: HubServer, request: Request) -> Response:
    found, body = repository(hub, request, write=True), request.json()
    found.private = body.get("visibility", "private" if found.private else "public") == "private"
    return answer({"private": found.private})


@route("GET", r"/api/spaces/(?P<id>[^/]+/[^/]+)/runtime")
def runtime(hub: HubServer, request: Request) -> Response:
    request.groups["type"] = "space"
    return answer(info(hub, found := repository(hub, request), found.at("main"), blobs=False)["runtime"])


@route("GET HEAD POST", "/api/(agent-harnesses|telemetry/.*)")
def nothing(hub: HubServer, request: Request) -> Response:
    return answer({})


@route("GET", REPO + "/auth-check")
def auth_check(hub: HubServer, request: Request) -> Response:
    repository(hub, request)
    return answer({})


@route("GET", r"/api/(?P<type>model|dataset|space)s")
def list_repos(hub: HubServer, request: Request) -> Response:
    author, search = request.first("author"), request.first("search") or ""
    found = [
        info(hub, each, each.at("main"), blobs=False)
        for (kind, name), each in sorted(hub.store.repositories.items())
        if kind == request.groups["type"]
        and (not author or each.namespace == author)
        and search in name
        and (not each.private or request.user in hub.members(each.namespace))
    ]
    return answer(found)


def info(hub: HubServer, found: Repository, commit: Commit, blobs: bool) -> dict[str, Any]:
    """The Hub's information on a repository at a commit."""
    from server_cards import metadata

    siblings: list[dict[str, Any]] = []
    for path, entry in sorted(commit.files.items()):
        sibling: dict[str, Any] = {"rfilename": path}
        if blobs:
            sibling |= {"size": entry.size, "blobId": entry.blob_id}
            if entry.sha256:
                sibling["lfs"] = lfs(entry) | {"sha256": entry.sha256}
        siblings.append(sibling)
    readme = commit.files.get("README.md")
    card = metadata(hub.store.content(readme).decode()) if readme else None
    facts: dict[str, Any] = {
        "_id": "0" * 24,
        "id": found.id,
        "author": found.namespace,
        "sha": commit.oid,
        "createdAt": found.created,
        "lastModified": commit.date,
        "private": found.private,
        "gated": "manual" if found.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": list((card or {}).get("tags") or []),
        "siblings": siblings,
    }
    if card:
        facts["cardData"] = card
    if found.type == "model":
        facts["modelId"] = found.id
        facts |= {name: (card or {})[name] for name in ("pipeline_tag", "library_name") if name in (card or {})}
        if "config.json" in commit.files:
            config = json.loads(hub.store.content(commit.files["config.json"]))
            facts["config"] = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
    if found.type == "space":
        facts |= {"sdk": found.sdk, "runtime": {"stage": "RUNNING", "hardware": {"current": None, "requested": None}}}
    return facts


@route("GET", REPO + r"(?:/revision/(?P<revision>[^/]+))?")
def repo_info(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    commit = found.at(request.groups["revision"] or "main")
    facts = info(hub, found, commit, blobs=bool(request.first("blobs")))
    wanted = request.query.get("expand", []) + request.query.get("expand[]", [])
    if wanted:
        facts = {key: value for key, value in facts.items() if key in ("_id", "id", "modelId", *wanted)}
    return answer(facts)


def lfs(entry: Entry) -> dict[str, Any]:
    return {"oid": entry.sha256, "size": entry.size, "pointerSize": len(str(entry.size)) + 126}


def listed(commit: Commit, path: str, entry: Entry | None, expand: bool) -> dict[str, Any]:
    """An entry of a tree listing: a file, or a folder if `entry` is None."""
    facts: dict[str, Any] = (
        {"type": "file", "oid": entry.blob_id, "size": entry.size} if entry else folder(commit, path)
    )
    facts["path"] = path
    if entry and entry.sha256:
        facts["lfs"] = lfs(entry)
    if expand:
        last = commit
        inside = path + "/"
        while last.parent is not None and state(last.parent, path, inside) == state(commit, path, inside):
            last = last.parent
        facts["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return facts


def state(commit: Commit, path: str, inside: str) -> dict[str, Entry]:
    return {name: entry for name, entry in commit.files.items() if name == path or name.startswith(inside)}


def folder(commit: Commit, path: str) -> dict[str, Any]:
    content = repr(sorted((name, entry.blob_id) for name, entry in state(commit, path, path + "/").items()))
    return {"type": "directory", "oid": git_hash(content.encode()), "size": 0}


@route("GET", REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def tree(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    commit = found.at(request.groups["revision"])
    root = (request.groups["path"] or "").strip("/")
    recursive, expand = (request.first(name) in ("True", "true", "1") for name in ("recursive", "expand"))
    names: dict[str, Entry | None] = {}
    for path, entry in sorted(commit.files.items()):
        if root and not path.startswith(root + "/"):
            continue
        parts = path[len(root) :].strip("/").split("/")
        for depth in range(1, len(parts)):
            if recursive or depth == 1:
                names["/".join(filter(None, [root, *parts[:depth]]))] = None
        if recursive or len(parts) == 1:
            names[path] = entry
    if root and not names:
        raise Refused(404, f'{root} does not exist on "{request.groups["revision"]}"', "EntryNotFound")
    size = min(hub.page_size, 50) if expand else hub.page_size
    start = int(request.first("cursor") or 0)
    lines = [listed(commit, path, entry, expand) for path, entry in list(names.items())[start : start + size]]
    response = answer(lines)
    if start + size < len(names):
        rest = f"recursive={recursive}&expand={expand}&cursor={start + size}"
        response.headers["Link"] = f'<{hub.endpoint}{request.path}?{rest}>; rel="next"'
    response.headers["X-Repo-Commit"] = commit.oid
    return response


@route("POST", REPO + r"/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    commit = found.at(request.groups["revision"])
    form = request.form()
    expand = (form.get("expand") or ["false"])[0] in ("True", "true")
    lines = []
    for path in (each.strip("/") for each in form.get("paths", [])):
        if path in commit.files:
            lines.append(listed(commit, path, commit.files[path], expand))
        elif any(name.startswith(path + "/") for name in commit.files):
            lines.append(listed(commit, path, None, expand))
    return answer(lines)


@route("POST", REPO + r"/preupload/(?P<revision>[^/]+)")
def preupload(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request, write=not request.first("create_pr"))
    commit, body = found.at(request.groups["revision"]), request.json()
    ignored = [line.strip() for line in (body.get("gitIgnore") or "").splitlines() if line.strip()[:1] not in ("", "#")]
    files = []
    for each in body["files"]:
        path = each["path"]
        large = hub.store.in_lfs(commit, path, each["size"], base64.b64decode(each["sample"]))
        line = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        line["shouldIgnore"] = any(fnmatch(path, rule) or fnmatch(path.split("/")[-1], rule) for rule in ignored)
        if path in commit.files:
            line["oid"] = commit.files[path].key
        files.append(line)
    return answer({"files": files, "commitOid": commit.oid})


@route("POST", REPO + r"/commit/(?P<revision>[^/]+)")
def commit(hub: HubServer, request: Request) -> Response:
    as_pull = bool(request.first("create_pr"))
    found = repository(hub, request, write=not as_pull)
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    revision = request.groups["revision"]
    base = found.at(revision)
    ref = found.branch(revision)
    if ref is None and not as_pull:
        raise Refused(400, f"Commits are made on branches, and {revision} is none")
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    added: dict[str, Entry] = {}
    deleted: list[str] = []
    with hub.store.lock:
        if header.get("parentCommit") and header["parentCommit"] != base.oid:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = hub.store.add(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                added[value["path"]] = hub.store.lfs_entry(found, value["oid"])
            elif line["key"] in ("deletedFile", "deletedFolder"):
                deleted.append(value["path"].rstrip("/") + ("/" if line["key"] == "deletedFolder" else ""))
        title, message = header["summary"], header.get("description", "")
        result: dict[str, Any] = {"success": True, "hookOutput": ""}
        if as_pull:
            pull = open_pull(hub, found, title, message, request.user, base, revision)
            ref = f"refs/pr/{pull.number}"
            result["pullRequestUrl"] = f"{url(hub, found)}/discussions/{pull.number}"
        assert ref is not None
        made = hub.store.commit(found, ref, added, deleted, title, message, request.user)
    return answer(result | {"commitOid": made.oid, "commitUrl": f"{url(hub, found)}/commit/{made.oid}"})


def open_pull(
    hub: HubServer, found: Repository, title: str, text: str, author: str, base: Commit, branch: str = "main"
) -> Pull:
    """A new draft pull request with its ref at `base`."""
    number = len(found.pulls) + 1
    found.pulls[number] = Pull(number, title, author, text, hub.store.now(), True, base=f"refs/heads/{branch}")
    found.refs[f"refs/pr/{number}"] = base
    return found.pulls[number]


@route("GET", REPO + "/refs")
def refs(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    kinds: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for start, kind in (("refs/heads/", "branches"), ("refs/tags/", "tags"), ("refs/pr/", "pullRequests")):
        for name, each in found.refs.items():
            if name.startswith(start):
                kinds[kind].append({"name": name.removeprefix(start), "ref": name, "targetCommit": each.oid})
    return answer(kinds)


@route("GET", REPO + r"/commits/(?P<revision>[^/]+)")
def commits(hub: HubServer, request: Request) -> Response:
    history = repository(hub, request).at(request.groups["revision"]).history()
    return answer(
        [
            {"id": each.oid, "title": each.title, "message": each.message, "date": each.date}
            | {"authors": [{"user": each.author}]}
            for each in history
        ]
    )


@route("POST", REPO + r"/(?P<kind>branch|tag)/(?P<name>[^/]+)")
def create_ref(hub: HubServer, request: Request) -> Response:
    found, body, name = repository(hub, request, write=True), request.json(), request.groups["name"]
    branch = request.groups["kind"] == "branch"
    start = found.at(body.get("startingPoint") or "main") if branch else found.at(name)
    ref = f"refs/heads/{name}" if branch else f"refs/tags/{body['tag']}"
    if ref in found.refs:
        raise Refused(409, f"Reference already exists: {ref}")
    found.refs[ref] = start
    return answer({"ref": ref, "targetCommit": start.oid})


@route("DELETE", REPO + r"/(?P<kind>branch|tag)/(?P<name>[^/]+)")
def delete_ref(hub: HubServer, request: Request) -> Response:
    found, name = repository(hub, request, write=True), request.groups["name"]
    ref = f"refs/{'heads' if request.groups['kind'] == 'branch' else 'tags'}/{name}"
    if ref == "refs/heads/main":
        raise Refused(403, "The main branch cannot be deleted")
    if found.refs.pop(ref, None) is None:
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return answer({})
