"""Publish the folder of a run as a repository on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .adapters import adapter_contents, base_of, has_adapter
from .arguments import PublishRequest
from .card import card_files, hints
from .cleaning import check_private
from .connection_and_retries import connect, retrying
from .contents import CARD, Contents, check_model_folder, is_obsolete, model_contents
from .failures import HubError
from .loadable import check_loads
from .readme import own_readme
from .transfer import Outcome, full_name, upload

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class Publication(NamedTuple):
    """The steps that publish one type of folder, such as a model or a report.

    Attributes:
        check: raises UserError for a folder of another type; called before the Hub is contacted.
        contents: returns the files; the arguments are the request, the repository, and the Hub (None for a listing).
        is_obsolete: whether a file in the repository belongs only to the previous publication.
        check_loads: for a dry run, raises UserError for contents that nobody could load.
    """

    check: Callable[[Path], object]
    contents: Callable[[Any, str, HfApi | None], Contents]
    is_obsolete: Callable[[str], bool]
    check_loads: Callable[[Any], object] = lambda request: None


def publish(request: PublishRequest, api: HfApi | None = None, say: Callable[[str], None] = print) -> Outcome | None:
    """Publish the requested model; with `dry_run` only load it, show its card and files, and return None.

    Args:
        api: the Hub client; by default for HF_ENDPOINT, with the token of HF_TOKEN or of `hf auth login`.
        say: called with each line of output.

    Raises:
        UserError: the folder has nothing to publish, or contains private data.
        HubError: the Hub refuses the upload; the repository is unchanged.
    """
    return publish_as(Publication(check_model_folder, _gather, is_obsolete, _check_loads), request, api, say)


def publish_as(
    kind: Publication, request: PublishRequest, api: HfApi | None, say: Callable[[str], None]
) -> Outcome | None:
    """Publish a folder with the steps of `kind`; see `publish`."""
    arguments, destination = request.publish, request.destination
    if arguments.dry_run:
        contents = kind.contents(request, destination.repo_id, None)
        check_private(contents.files)
        kind.check_loads(request)
        card = next((file.read().decode("utf-8", "replace") for file in contents.files if file.path == CARD), "")
        for line in [card, *hints(contents.files), *_listing(contents, request)]:
            say(line)
        return None
    kind.check(request.folder)
    api = connect(arguments.timeout) if api is None else api
    destination = replace(destination, repo_id=full_name(api, destination, request.command))
    contents = kind.contents(request, destination.repo_id, api)
    check_private(contents.files)
    total = _bytes(sum(file.size for file in contents.files))
    for line in [f"{len(contents.files)} files, {total}, for {destination.repo_id}", *hints(contents.files)]:
        say(line)
    name = (contents.record or {}).get("name") or request.folder.resolve().name
    message = arguments.commit_message or f"Publish {name}"
    outcome = upload(api, contents.files, destination, message, obsolete=kind.is_obsolete, command=request.command)
    for line in _report(outcome):
        say(line)
    return outcome


def _listing(contents: Contents, request: PublishRequest) -> list[str]:
    """The output of a dry run: every file with its size, the files left out, and the planned commit."""
    destination = request.destination
    width = max(len(file.path) for file in contents.files)
    lines = [f"{file.path:{width}}  {_bytes(file.size):>9}  {file.note}".rstrip() for file in contents.files]
    if contents.left:
        lines += ["", "Not published:", *(f"{name:{width}}  {why}" for name, why in contents.left.items())]
    total = _bytes(sum(file.size for file in contents.files))
    how = "proposed as a pull request to" if destination.create_pr else "committed to"
    kind = "a private" if destination.private else "the"
    return [
        *lines,
        "",
        f"{len(contents.files)} files, {total}, would be {how} {destination.branch} of {kind} {destination.repo_type} "
        f"{destination.repo_id}, except those that it already has. Nothing was sent.",
    ]


def _report(outcome: Outcome) -> list[str]:
    """A summary of the upload in a few lines."""
    if outcome.commit is None:
        count = len(outcome.unchanged)
        return [f"Nothing has changed: all {count} files are already published. No commit was made.", outcome.url]
    lines = [f"{len(outcome.sent)} files are new or changed, {len(outcome.unchanged)} were already published."]
    if outcome.removed:
        lines.append(f"Removed because they belong to the previous model: {', '.join(outcome.removed)}.")
    return [*lines, f"Commit {outcome.commit[:12]}", outcome.url]


def _gather(request: PublishRequest, repo_id: str, api: HfApi | None) -> Contents:
    """The files of the model or adapter in a folder, with its card; an adapter needs its base model on the Hub."""
    arguments, folder = request.publish, request.folder
    adapter = has_adapter(folder) and not arguments.merge
    if adapter:
        base, revision = base_of(folder, request.card.base_model)
        contents = adapter_contents(folder, base, revision, arguments.include)
        if api is not None:
            _check_base(api, base, request)
    else:
        contents = model_contents(folder, arguments.include)
    own = own_readme(folder)
    contents.files.extend([own] if own else card_files(folder, repo_id, request.card, adapter=adapter, api=api))
    contents.files.sort(key=lambda file: file.path)
    return contents


def _check_loads(request: PublishRequest) -> None:
    if not has_adapter(request.folder) or request.publish.merge:
        check_loads(request.folder)


def _check_base(api: HfApi, base: str, request: PublishRequest) -> None:
    what = f"Looking for the base model {base!r} failed"
    if not retrying(lambda: api.repo_exists(base), what, request.command):
        raise HubError(
            f"The adapter in {str(request.folder)!r} belongs to {base!r}, which is not on the Hub or is hidden from "
            "this token. Publish that model first and name it with --base_model user/name, or publish both as one "
            "model with --merge."
        )


def _bytes(size: float) -> str:
    """A size in readable units: 812 B, 6.2 kB, 90.9 MB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
