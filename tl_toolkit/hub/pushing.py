"""`--push_to_hub`: publish a run at its end and, if requested, at every save."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import without_tokens
from ..records.record import RESULT_NAME
from .adapters import has_adapter, is_for_everybody
from .arguments import CardArguments, PublishArguments, PublishRequest
from .cleaning import check_private, clean_name, clean_settings
from .connection_and_retries import connect
from .contents import as_json, is_obsolete, model_contents
from .destination import HubFile
from .publishing import publish
from .transfer import Outcome, open_repository, upload

if TYPE_CHECKING:
    from ..config.arguments import RunArguments

logger = logging.getLogger(__name__)

_TIMEOUT = 60.0  # seconds until the Hub must start its response
_STAGING = ".pushing-"
_TENSORS = (".pt", ".pth")  # states of optimisers and generators, not text
_NEVER = ("training_args.bin", "README.md")  # a pickle of all arguments; peft's empty card template


class HubPushes:
    """The repository of a run, opened before training so that a HubError wastes no training time."""

    def __init__(self, args: RunArguments) -> None:
        self.args = args
        self.api = connect(_TIMEOUT, token=args.hub_token)
        for left in Path(args.output_dir).glob(f"{_STAGING}*"):  # left by a killed run
            shutil.rmtree(left, ignore_errors=True)
        destination = _request(args).destination
        self.destination = replace(destination, repo_id=open_repository(self.api, destination))

    @property
    def repo_id(self) -> str:
        """The full repository name, with the user."""
        return self.destination.repo_id

    def start(self, checkpoint: Path, step: int) -> list[Any]:
        """Publish a checkpoint in the background; return the futures that end with it.

        The files are first linked into a staging folder, because Trainer deletes old checkpoints when it saves.
        """
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.args.output_dir))
        never = shutil.ignore_patterns(*_NEVER)
        shutil.copytree(checkpoint, staging, ignore=never, copy_function=_link, dirs_exist_ok=True)
        return [self.api.run_as_future(self._push, staging, checkpoint.name, step)]

    def model(self, folder: Path, message: str) -> Outcome:
        """Publish the model saved in `folder`, without a card or a record."""
        return self._upload(_model(folder), message)

    def _upload(self, files: list[HubFile], message: str) -> Outcome:
        check_private([file for file in files if not file.path.endswith(_TENSORS)])
        # A record in the repository describes the model that this upload replaces.
        return upload(
            self.api, files, self.destination, message, obsolete=lambda path: path == RESULT_NAME or is_obsolete(path)
        )

    def _push(self, staging: Path, name: str, step: int) -> None:
        """Upload a staged checkpoint in its own thread; on failure training continues and the next save retries."""
        try:
            files = _model(staging) + _state(staging, str(getattr(self.args.hub_strategy, "value", "")), name)
            if files:
                self._upload(files, f"Training in progress, step {step}")
        except Exception as error:  # noqa: BLE001  no upload error may stop the training
            logger.warning("The checkpoint of step %d was not published. %s", step, without_tokens(str(error)))
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def publish_finished(args: RunArguments) -> None:
    """Publish the folder of a finished run if `push_to_hub` is set.

    A failure on the Hub does not fail the run: the error is printed with the command that publishes the folder.
    """
    if not args.push_to_hub or args.process_index != 0:
        return
    try:
        publish(_request(args), connect(_TIMEOUT, token=args.hub_token))
    except Exception as error:  # noqa: BLE001  the model is saved even if publishing fails
        reason = without_tokens(" ".join(str(error).split()))
        command = _request(args).command
        print(f"\nwarning: The run is finished but not published. {reason}\n    {command}", file=sys.stderr, flush=True)


def _request(args: RunArguments) -> PublishRequest:
    """The request of the `tl-toolkit publish` command that publishes this run."""
    folder = Path(args.output_dir)
    arguments = PublishArguments(
        folder=str(folder),
        repo_id=args.hub_model_id or folder.resolve().name,
        private=bool(args.hub_private_repo),
        revision=args.hub_revision,
        merge=has_adapter(folder) and not is_for_everybody(folder),
    )
    flags = ["--repo_id", str(arguments.repo_id)]
    flags += ["--private"] * arguments.private
    flags += [] if arguments.revision is None else ["--revision", arguments.revision]
    flags += ["--merge"] * arguments.merge
    return PublishRequest(arguments, CardArguments(), shlex.join(["tl-toolkit", "publish", arguments.folder, *flags]))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _model(folder: Path) -> list[HubFile]:
    """The published files of a checkpoint's model; none for an adapter, whose base model may not be on the Hub yet."""
    return model_contents(folder).files if (folder / "config.json").is_file() else []


def _state(folder: Path, strategy: str, name: str) -> list[HubFile]:
    """All files needed to resume, under a folder of the repository, for the strategies that publish them."""
    place = {"checkpoint": "last-checkpoint", "all_checkpoints": name}.get(strategy)
    files: list[HubFile] = []
    for path in sorted(path for path in folder.rglob("*") if place and path.is_file()):
        content: Path | bytes = path
        if path.name == "trainer_state.json":
            state = json.loads(path.read_bytes())
            best = state.get("best_model_checkpoint")
            content = json.dumps(state | {"best_model_checkpoint": best and Path(best).name}, indent=2).encode()
        elif path.name == "adapter_config.json":
            settings = json.loads(path.read_bytes())
            base = settings.get("base_model_name_or_path")
            content = as_json(settings | {"base_model_name_or_path": base and clean_name(base), "auto_mapping": None})
        elif path.name.endswith("_config.json"):
            content = clean_settings(path.read_bytes())
        files.append(HubFile(f"{place}/{path.relative_to(folder).as_posix()}", content))
    return files
