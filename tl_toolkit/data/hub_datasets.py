"""Datasets of the Hub: the commit that a revision means, with and without a network, and why one cannot be had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    from datasets import DatasetDict

_COMMIT = re.compile(r"[0-9a-f]{40}")
_IN_A_PLACE = re.compile(r"[@/]([0-9a-f]{40})/")
_FEW = 12  # names that a message still lists


def rows_commit(dataset: DatasetDict) -> str | None:
    """The commit that the rows come from, which stays true when its branch moves on; None if nothing tells it.

    `datasets` keeps the rows of each commit in a folder of its cache that is named after it.
    """
    for split in dataset.values():
        for place in (*(split.info.download_checksums or {}), *(file["filename"] for file in split.cache_files)):
            if found := _IN_A_PLACE.search(Path(place).as_posix()):
                return found.group(1)
    return None


def known_commit(name: str, revision: str | None) -> str | None:
    """The commit that a revision named when it was last looked up on the Hub from here; None if that never was."""
    from huggingface_hub import constants

    revision = revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    file = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "refs" / revision
    return file.read_text().strip() if file.is_file() else None


def exact_copy(dataset: DatasetDict, name: str, config: str | None, revision: str | None) -> DatasetDict:
    """The dataset at the revision that was asked for.

    Where the Hub does not answer, `datasets` takes the newest copy in its cache, of whatever revision. The cached copy
    of the right commit is taken instead.

    Raises:
        UserError: there is no such copy, or nobody knows which commit the revision is.
    """
    found, wanted = rows_commit(dataset), known_commit(name, revision)
    if found is None or found == wanted or (wanted is None and revision is None):
        return dataset
    if wanted is None:
        raise UserError(
            f"Which commit of the dataset {name!r} the revision {revision!r} is was never looked up from here, and the "
            f"Hub cannot be reached. The cache has commit {found}: give that as --dataset_revision to use it."
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
            f"cache: only commit {found[:12]} is, and the Hub cannot be reached. Give --dataset_revision {found} to "
            "use that."
        ) from error


def why_missing(name: str, revision: str | None) -> str:
    """A paragraph on a dataset that the Hub does not give: a revision that is not there, or rows that are private."""
    from datasets import config
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(endpoint=config.HF_ENDPOINT)
    try:
        refs = api.list_repo_refs(name, repo_type="dataset")
    except RepositoryNotFoundError:
        access = (
            "the token in use may not read it"
            if get_token()
            else "nobody is logged in here: `hf auth login`, or a token in HF_TOKEN, opens what it may read"
        )
        return (
            f"The dataset {name!r} was not found: it is no local path, and on the Hub there is no such dataset, or it "
            f"is private or gated and {access}."
        )
    except Exception:  # noqa: BLE001  this only looks for a better message than none
        return f"The dataset {name!r}{f' at revision {revision!r}' if revision else ''} was not found."
    branches, tags = [each.name for each in refs.branches], [each.name for each in refs.tags]
    known = [*branches, *tags]
    if revision is None or revision in known:
        return f"The dataset {name!r} was found on the Hub, but files that its README.md names were not."
    there = f"the branches {listing(branches[:_FEW])}" if len(branches) > 1 else f"the branch {branches[0]!r}"
    if tags:
        there += f" and the tag{'s' if len(tags) > 1 else ''} {listing(tags[:_FEW])}"
    return (
        f"The dataset {name!r} has no revision {revision!r} (--dataset_revision): it has {there}, and each of its "
        f"commits by its full id.{nearest(revision, known)}"
    )


def trouble(error: BaseException, name: str) -> str | None:
    """Why the Hub does not give a dataset that may well be there, as the end of a sentence; None for other reasons."""
    import httpx2
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    one: BaseException | None = error
    while one is not None:
        if isinstance(one, RepositoryNotFoundError) and not isinstance(one, GatedRepoError):
            return None  # also a 401, where nobody is logged in
        status = getattr(getattr(one, "response", None), "status_code", 0)
        # `datasets` drops the cause of what it says itself.
        if isinstance(one, GatedRepoError) or "is a gated dataset on the Hub" in str(one):
            return (
                f"it is gated: ask for access on its page, https://huggingface.co/datasets/{name}, and log in by "
                "`hf auth login` or HF_TOKEN"
            )
        if status == 401:
            return "the token in use is not accepted: it has expired, or was revoked. Log in again by `hf auth login`"
        if status == 429:
            return "too many requests were made: try again in some minutes"
        if status >= 500:
            return f"the Hub has trouble of its own (status {status}): try again later"
        if isinstance(one, (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)):
            return "the connection was cut: try again"
        one = one.__cause__ or one.__context__
    return None


def first_rows(name: str, config: str | None, revision: str | None, rows: int) -> tuple[DatasetDict, str | None]:
    """The first rows of each split, at most this many, in the order of the files; and the commit they come from.

    They are read from a stream: files behind the last row are not touched, and parquet comes in pieces of some 32 MiB.
    """
    import datasets
    import pyarrow as pa
    from huggingface_hub import HfApi

    # Fixed before reading, so that all splits are of one commit.
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
