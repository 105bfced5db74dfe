"""Datasets on the Hub: resolve revisions to commits, with or without a network, and explain failures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    from datasets import DatasetDict

_COMMIT = re.compile(r"[0-9a-f]{40}")
_IN_A_PLACE = re.compile(r"[@/]([0-9a-f]{40})/")
_FEW = 12  # most names in a message


def rows_commit(dataset: DatasetDict) -> str | None:
    """Return the commit that the rows come from, or None if it cannot be determined.

    `datasets` stores the rows of each commit in a cache folder that is named after the commit.
    """
    for split in dataset.values():
        for place in (*(split.info.download_checksums or {}), *(file["filename"] for file in split.cache_files)):
            if found := _IN_A_PLACE.search(Path(place).as_posix()):
                return found.group(1)
    return None


def known_commit(name: str, revision: str | None) -> str | None:
    """Return the commit of a revision according to the local Hub cache, or None if the cache does not contain it."""
    from huggingface_hub import constants

    revision = revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    file = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "refs" / revision
    return file.read_text().strip() if file.is_file() else None


def exact_copy(dataset: DatasetDict, name: str, config: str | None, revision: str | None) -> DatasetDict:
    """Return the dataset at the requested revision.

    If the Hub cannot be reached, `datasets` loads the newest copy in its cache, whatever its revision. This function
    replaces it by the cached copy of the right commit.

    Raises:
        UserError: the cache has no such copy, or the revision cannot be resolved to a commit.
    """
    found, wanted = rows_commit(dataset), known_commit(name, revision)
    if found is None or found == wanted or (wanted is None and revision is None):
        return dataset
    if wanted is None:
        raise UserError(
            f"The revision {revision!r} of the dataset {name!r} cannot be resolved to a commit: it is not in the cache "
            f"and the Hub cannot be reached. Use --dataset_revision {found} to load the commit that is in the cache."
        )
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    split = next(iter(dataset.values()))
    config = config or split.info.config_name
    try:
        short = split.info.dataset_name or name.split("/")[-1]
        return Cache(dataset_name=short, repo_id=name, config_name=config, version="0.0.0", hash=wanted).as_dataset()
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        raise UserError(
            f"The dataset {name!r} at revision {revision or 'main'!r} is commit {wanted[:12]}, which is not in the "
            f"cache, and the Hub cannot be reached. Use --dataset_revision {found} to load the commit that is in the "
            "cache."
        ) from error


def why_missing(name: str, revision: str | None) -> str:
    """Explain why a dataset was not found on the Hub: an unknown revision, no access, or missing files."""
    from datasets import config
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(endpoint=config.HF_ENDPOINT)
    try:
        refs = api.list_repo_refs(name, repo_type="dataset")
    except RepositoryNotFoundError:
        access = (
            "the current token has no access to it"
            if get_token()
            else "you are not logged in: run `hf auth login` or set HF_TOKEN"
        )
        return (
            f"The dataset {name!r} was not found: there is no such local path, and the Hub either has no such dataset, "
            f"or it is private or gated and {access}."
        )
    except Exception:  # noqa: BLE001  this only looks for a better error message
        return f"The dataset {name!r}{f' at revision {revision!r}' if revision else ''} was not found."
    branches, tags = [each.name for each in refs.branches], [each.name for each in refs.tags]
    known = [*branches, *tags]
    if revision is None or revision in known:
        return f"The dataset {name!r} is on the Hub, but some files that its README.md lists were not found."
    there = f"the branches {listing(branches[:_FEW])}" if len(branches) > 1 else f"the branch {branches[0]!r}"
    if tags:
        there += f" and the tag{'s' if len(tags) > 1 else ''} {listing(tags[:_FEW])}"
    return (
        f"The dataset {name!r} has no revision {revision!r} (--dataset_revision): it has {there}. Full commit ids "
        f"are accepted, too.{nearest(revision, known)}"
    )


def trouble(error: BaseException, name: str) -> str | None:
    """Explain why the Hub refuses a dataset that may exist, as the end of a sentence; None for other errors."""
    import httpx2
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    one: BaseException | None = error
    while one is not None:
        if isinstance(one, RepositoryNotFoundError) and not isinstance(one, GatedRepoError):
            return None  # includes status 401 without a login
        status = getattr(getattr(one, "response", None), "status_code", 0)
        # `datasets` drops the cause of some of its own errors, so their text is checked, too.
        if isinstance(one, GatedRepoError) or "is a gated dataset on the Hub" in str(one):
            return (
                f"it is gated: request access at https://huggingface.co/datasets/{name}, then run `hf auth login` or "
                "set HF_TOKEN"
            )
        if status == 401:
            return "the current token is invalid, expired or revoked: run `hf auth login` again"
        if status == 429:
            return "too many requests: try again in a few minutes"
        if status >= 500:
            return f"the Hub has a server error (status {status}): try again later"
        if isinstance(one, (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)):
            return "the connection was interrupted: try again"
        one = one.__cause__ or one.__context__
    return None


def first_rows(name: str, config: str | None, revision: str | None, rows: int) -> tuple[DatasetDict, str | None]:
    """Return the first `rows` rows of each split in file order, and the commit they come from.

    Rows are streamed: files after the last row are not downloaded, and parquet is read in pieces of about 32 MiB.
    """
    import datasets
    import pyarrow as pa
    from huggingface_hub import HfApi

    # Fix the commit before reading, so that all splits come from the same one.
    commit = HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, revision=revision).sha
    streams = datasets.load_dataset(name, config, revision=commit, streaming=True)
    splits = {}
    for split, stream in streams.items():
        tables, left = [], rows
        for table in stream.with_format("arrow").iter(batch_size=min(rows, 1000)):
            tables.append(table.slice(0, left))
            left -= len(tables[-1])
            if not left:
                break
        if tables:
            read = datasets.Dataset(pa.concat_tables(tables, promote_options="default"))
            splits[split] = read.cast(stream.features) if stream.features else read
    return datasets.DatasetDict(splits), commit
