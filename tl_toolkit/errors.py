"""Errors that a user can correct: one paragraph, printed once, exit code 2. All others are bugs of the toolkit."""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
"""What tokens of the Hub look like."""

STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""The exceptions that end a process. All others are failures, even those that do not derive from Exception."""
ISSUES = "https://github.com/tl-toolkit/tl_toolkit/issues"
TRACEBACK = "TL_TOOLKIT_TRACEBACK"
"""The environment variable with which the command prints the traceback of every error."""

_SYSTEM = {
    errno.ENOSPC: "The disk is full{place}. Free some space and rerun.",
    errno.EDQUOT: "The disk quota is used up{place}. Free some space and rerun.",
    errno.EFBIG: "A file would exceed the limit on file sizes{place}. Raise it (ulimit -f) and rerun.",
    errno.EROFS: "The file system is read-only{place}. Choose another folder.",
    errno.ENAMETOOLONG: "The name is too long for the file system{place}. Choose a shorter one.",
    errno.ELOOP: "Symbolic links form a loop{place}. Name the file itself.",
    errno.EMFILE: "Too many files are open{place}. Raise the limit (ulimit -n) and rerun.",
    errno.ENOMEM: "The system has no memory left{place}. Close other programs, or use less data or a smaller model.",
    errno.EACCES: "No permission{place}. Choose another file or folder, or change its rights.",
    errno.EPERM: "No permission{place}. Choose another file or folder, or change its rights.",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TORN_WRITE = ("No space left on device", "PytorchStreamWriter failed writing file", "unexpected pos")
_NO_MEMORY = ("can't allocate memory", "CUDA out of memory", "CUDA error: out of memory", "Unable to allocate")
_PACKAGE = str(Path(__file__).parent) + os.sep
_LONGEST = 600  # characters of an error of a library
_OF_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/")


class UserError(Exception):
    """An input that cannot be used.

    The message is one paragraph that names the input, its value and what would be accepted. The command prints it
    without a traceback and exits with 2; library users catch it like any other exception.

    Args:
        everywhere: the error may occur in one process alone, so each process that meets it prints it. Errors in the
            arguments are the same in all processes and are printed once.
        command: a command that continues from here, printed on a line of its own below the paragraph.
    """

    def __init__(self, message: str, *, everywhere: bool = False, command: str = "") -> None:
        super().__init__(message)
        self.everywhere = everywhere
        self.command = command


def nearest(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the known name most like `name`, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def listing(names: Iterable[object], limit: int = 20) -> str:
    """Names for an error message: `'a', 'b', 'c'`, and how many more there are past `limit`."""
    shown = [repr(name) for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest


def without_tokens(text: str) -> str:
    """`text` with everything that looks like a token of the Hub, or is the one in use, blotted out."""
    own = os.environ.get("HF_TOKEN")
    return TOKEN.sub("hf_***", text.replace(own, "hf_***") if own else text)


def check_regular(path: str | Path, what: str) -> None:
    """Refuse a path that is neither a file nor a folder, such as a pipe: reading it might never end.

    Raises:
        UserError: names the path, as `what`; also for a name that no file can have.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{what} {str(path)[:100]!r} cannot be used: {reason}.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path).startswith(_OF_THE_SHELL)):
        raise UserError(f"{what} {str(path)!r} is a pipe, a socket or a device. Name a file or a folder.")


def as_user_error(error: BaseException) -> UserError | None:
    """The error in the words of a `UserError`; None for a bug of the toolkit.

    Errors of the system, of a library and of its compiled code, and of inputs that no reader can hold are the user's to
    correct, or to report to that library. A bug is an error of Python itself that was raised in the toolkit's own code.
    """
    for one in _chain(error):
        if isinstance(one, UserError):
            return one
        if (known := of_the_system(one)) is not None:
            return known
    package = _library_of(error)
    if package is None:
        return None
    said = " ".join(str(error).split())[:_LONGEST].rstrip(" .")
    return UserError(
        f"{package} failed: {type(error).__name__}{': ' if said else ''}{said}. Check the arguments and files; "
        f"{TRACEBACK}=1 shows the place. If they are right, report it with that output at {ISSUES}.",
        everywhere=True,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        yield current
        seen.append(current)
        current = current.__cause__


def of_the_system(error: BaseException) -> UserError | None:
    """An error of the disk, the memory or another limit as a `UserError`; None for any other."""
    if isinstance(error, OSError) and error.errno is not None and type(error).__module__ == "builtins":
        place = f" ({str(error.filename)[:200]!r})" if error.filename is not None else ""
        known = _SYSTEM.get(error.errno, f"{error.strerror}{{place}}.").replace("{place}", place)
        return UserError(known, everywhere=error.errno in _FULL)
    message = str(error)
    if any(sign in message for sign in _TORN_WRITE):  # torch and safetensors raise errors of their own
        return UserError("The disk is full. Free some space and rerun.", everywhere=True)
    if isinstance(error, RecursionError):
        return UserError("The input is nested too deeply to be read. Use a flatter one.")
    if isinstance(error, MemoryError) or any(sign in message for sign in _NO_MEMORY):
        return UserError(
            "Memory ran out. Lower --per_device_train_batch_size (and raise --gradient_accumulation_steps by the same "
            "factor) or --max_length (for language models --window_length or --block_size), or use a smaller model or "
            "less data.",
            everywhere=True,
        )
    if isinstance(error, UnicodeError) or "integer string conversion" in message or "int too large" in message:
        return UserError(f"A value cannot be used: {' '.join(message.split())[:_LONGEST].rstrip('.')}.")
    return None


def _library_of(error: BaseException) -> str | None:
    """The package that raised the error, by its innermost frame or by its type; None for the toolkit."""
    frame, place = error.__traceback__, ""
    while frame is not None:
        place, frame = frame.tb_frame.f_code.co_filename, frame.tb_next
    kind = type(error).__module__.partition(".")[0]
    if not place.startswith(_PACKAGE):
        for folder in ("purelib", "platlib", "stdlib"):
            if place.startswith(root := sysconfig.get_path(folder) + os.sep):
                return place.removeprefix(root).partition(os.sep)[0].removesuffix(".py")
        return "Code outside the toolkit"
    if type(error) is Exception or kind == "pyo3_runtime":  # what compiled code in Rust raises
        return "Compiled code of a library"
    return kind if kind not in ("builtins", __name__.partition(".")[0]) else None
