"""`--push_to_hub`: a run that publishes itself, at its end and, if asked for, at every save."""

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

_TIMEOUT = 60.0  # seconds that the Hub has to begin an answer
_STAGING = ".pushing-"
_TENSORS = (".pt", ".pth")  # states of optimisers and generators, which are no text
_NEVER = ("training_args.bin", "README.md")  # a pickle of all arguments; peft's empty form of a card


class HubPushes:
    """The repository of a run, opened before it trains, so that a HubError costs no training."""

    def __init__(self, args: RunArguments) -> None:
        self.args = args
        self.api = connect(_TIMEOUT, token=args.hub_token)
        for left in Path(args.output_dir).glob(f"{_STAGING}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        destination = _request(args).destination
        self.destination = replace(destination, repo_id=open_repository(self.api, destination))

    @property
    def repo_id(self) -> str:
        """With the user's name."""
        return self.destination.repo_id

    def start(self, checkpoint: Path, step: int) -> list[Any]:
        """Publish a checkpoint beside the training; the futures that end when that is done.

        The files are linked to a folder of their own first, since Trainer deletes old checkpoints when it saves.
        """
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.args.output_dir))
        never = shutil.ignore_patterns(*_NEVER)
        shutil.copytree(checkpoint, staging, ignore=never, copy_function=_link, dirs_exist_ok=True)
        return [self.api.run_as_future(self._push, staging, checkpoint.name, step)]

    def model(self, folder: Path, message: str) -> Outcome:
        """Publish the model that was saved in `folder`, without a card or a record."""
        return self._upload(_model(folder), message)

    def _upload(self, files: list[HubFile], message: str) -> Outcome:
        check_private([file for file in files if not file.path.endswith(_TENSORS)])
        # A record in the repository says something of a model that is no longer there.
        return upload(
            self.api, files, self.destination, message, obsolete=lambda path: path == RESULT_NAME or is_obsolete(path)
        )

    def _push(self, staging: Path, name: str, step: int) -> None:
        """In a thread of its own; a Hub that fails is waited for at the next save, and the training goes on."""
        try:
            files = _model(staging) + _state(staging, str(getattr(self.args.hub_strategy, "value", "")), name)
            if files:
                self._upload(files, f"Training in progress, step {step}")
        except Exception as error:  # noqa: BLE001  whatever it is, the training is worth more
            logger.warning("The checkpoint of step %d was not published. %s", step, without_tokens(str(error)))
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def publish_finished(args: RunArguments) -> None:
    """Publish the folder of a finished run, if that was asked for.

    A Hub that fails takes nothing away from the run: what went wrong is printed, and the command that publishes it.
    """
    if not args.push_to_hub or args.process_index != 0:
        return
    try:
        publish(_request(args), connect(_TIMEOUT, token=args.hub_token))
    except Exception as error:  # noqa: BLE001  the model is there, whatever became of publishing it
        said = without_tokens(" ".join(str(error).split()))
        command = _request(args).command
        print(f"\nwarning: The run is finished, but not published. {said}\n    {command}", file=sys.stderr, flush=True)


def _request(args: RunArguments) -> PublishRequest:
    """What `publish.py` would be asked to do the same."""
    folder = Path(args.output_dir)
    asked = PublishArguments(
        folder=str(folder),
        repo_id=args.hub_model_id or folder.resolve().name,
        private=bool(args.hub_private_repo),
        revision=args.hub_revision,
        merge=has_adapter(folder) and not is_for_everybody(folder),
    )
    flags = ["--repo_id", str(asked.repo_id)]
    flags += ["--private"] * asked.private + ["--revision", str(asked.revision)] * (asked.revision is not None)
    flags += ["--merge"] * asked.merge
    return PublishRequest(asked, CardArguments(), shlex.join(["python", "recipes/publish.py", asked.folder, *flags]))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _model(folder: Path) -> list[HubFile]:
    """The model of a checkpoint as it is published; of an adapter nothing, before its base is known to be there."""
    return model_contents(folder).files if (folder / "config.json").is_file() else []


def _state(folder: Path, strategy: str, name: str) -> list[HubFile]:
    """All that a run goes on from, in a folder of the repository, for the strategies that keep it there."""
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
