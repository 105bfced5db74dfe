"""Pull requests and discussions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server_api import REPO, open_pull, repository, url
from server_http import Request, Response, answer, route
from server_store import Pull, Refused, Repository

if TYPE_CHECKING:
    from server import HubServer


def listed(found: Repository, pull: Pull) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.title,
        "author": {"name": pull.author, "type": "user"},
        "createdAt": pull.created,
        "status": pull.status,
        "isPullRequest": pull.is_pull_request,
        "repo": {"name": found.id, "type": found.type},
    }


def comment(number: int, text: str, author: str, created: str) -> dict[str, Any]:
    facts = {"edited": False, "hidden": False, "latest": {"raw": text, "html": text}}
    return {"id": f"{number:024d}", "type": "comment", "createdAt": created, "author": {"name": author}, "data": facts}


def details(hub: HubServer, found: Repository, pull: Pull) -> dict[str, Any]:
    """A pull request with its events and the files changed on both sides."""
    texts = [(pull.author, pull.description), *pull.comments]
    events = [comment(number, text, author, pull.created) for number, (author, text) in enumerate(texts)]
    facts = listed(found, pull) | {"events": events, "diff": ""}
    if pull.is_pull_request:
        facts["changes"] = {"base": pull.base}
        if pull.merge_commit:
            facts["changes"]["mergeCommitId"] = pull.merge_commit
        facts["filesWithConflicts"] = [] if pull.status == "merged" else conflicts(found, pull)
    return facts


def changes(found: Repository, pull: Pull) -> tuple[set[str], set[str]]:
    """The files that the pull request has changed, and those changed on its target branch since then."""
    head, base = found.refs[f"refs/pr/{pull.number}"], found.refs[pull.base]
    shared = {commit.oid for commit in base.history()}
    start = next(commit for commit in head.history() if commit.oid in shared)

    def changed(files: dict[str, Any]) -> set[str]:
        return {path for path in {*files, *start.files} if files.get(path) != start.files.get(path)}

    return changed(head.files), changed(base.files)


def conflicts(found: Repository, pull: Pull) -> list[str]:
    head, base = found.refs[f"refs/pr/{pull.number}"].files, found.refs[pull.base].files
    ours, theirs = changes(found, pull)
    return sorted(path for path in ours & theirs if head.get(path) != base.get(path))


@route("GET", REPO + "/discussions")
def list_discussions(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    pulls = [listed(found, pull) for pull in reversed(found.pulls.values())]
    return answer({"count": len(pulls), "start": 0, "discussions": pulls if request.first("p") in (None, "0") else []})


@route("POST", REPO + "/discussions")
def create_discussion(hub: HubServer, request: Request) -> Response:
    found, body = repository(hub, request), request.json()
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    with hub.store.lock:
        pull = open_pull(hub, found, body["title"], body["description"], request.user, found.at("main"))
        if not body.get("pullRequest"):
            pull.is_pull_request, pull.status = False, "open"
            del found.refs[f"refs/pr/{pull.number}"]
    return answer({"num": pull.number, "url": f"{url(hub, found)}/discussions/{pull.number}"})


def discussion(found: Repository, request: Request) -> Pull:
    pull = found.pulls.get(int(request.groups["number"]))
    if pull is None:
        raise Refused(404, "Discussion not found")
    return pull


@route("GET", REPO + r"/discussions/(?P<number>\d+)")
def get_discussion(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    return answer(details(hub, found, discussion(found, request)))


@route("POST", REPO + r"/discussions/(?P<number>\d+)/merge")
def merge(hub: HubServer, request: Request) -> Response:
    """Apply the changes of the pull request to its target branch, as one commit."""
    with hub.store.lock:
        found = repository(hub, request, write=True)
        pull = discussion(found, request)
        if pull.status not in ("open", "draft") or conflicts(found, pull):
            raise Refused(409, "This pull request cannot be merged: it is not open, or has conflicts")
        head, base = found.refs[f"refs/pr/{pull.number}"].files, found.refs[pull.base].files
        ours, _ = changes(found, pull)
        added = {path: head[path] for path in ours if path in head}
        deleted = [path for path in ours if path not in head and path in base]
        assert request.user is not None
        made = hub.store.commit(found, pull.base, added, deleted, pull.title, f"(#{pull.number})", request.user)
        pull.status, pull.merge_commit = "merged", made.oid
    return answer({})


@route("POST", REPO + r"/discussions/(?P<number>\d+)/(?P<what>status|comment|title)")
def change_discussion(hub: HubServer, request: Request) -> Response:
    found = repository(hub, request)
    pull, body, what = discussion(found, request), request.json(), request.groups["what"]
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    data: dict[str, Any] = {}
    if what == "comment":
        pull.comments.append((request.user, body["comment"]))
        return answer({"newMessage": comment(len(pull.comments), body["comment"], request.user, hub.store.now())})
    if what == "status":
        pull.status = body["status"]
        data = {"status": pull.status}
    else:
        data = {"from": pull.title, "to": body["title"]}
        pull.title = body["title"]
    kind = {"status": "status-change", "title": "title-change"}[what]
    event = {"id": "0" * 24, "type": kind, "createdAt": hub.store.now(), "author": {"name": request.user}, "data": data}
    return answer({"newStatus" if what == "status" else "newTitle": event})
