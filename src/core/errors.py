"""Report what the user can repair: one line on the terminal, exit code 2, no traceback."""

import errno
import gc
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

MORE_MEMORY = "end other programs, or use a machine with more"  # if no setting is known to need less

# What to do about errors of the operating system whose own words do not say it.
_REMEDIES = {
    errno.ENOENT: "missing: run dvc repro, which makes what a stage needs",
    errno.ENOSPC: "the disk is full: free some space and start again",
    errno.EDQUOT: "your disk quota is used up: free some space and start again",
}


class UserError(Exception):
    """Error that the user can repair. Its text is one line: what is wrong, and what to do."""


def out_of_memory(error: BaseException) -> bool:
    """Tell if an error means that memory ran out. torch raises a plain `RuntimeError` for the memory of a CPU."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in message for words in ("out of memory", "not enough memory", "can't allocate memory"))
    )


def known_cause(error: BaseException, less_memory: str = MORE_MEMORY) -> str | None:
    """Return cause and remedy if memory ran out or an operator is not deterministic; None for any other error."""
    if "does not have a deterministic implementation" in str(error):
        return f"{str(error).split()[0]} is not deterministic on this device: set train.deterministic to false"
    return f"out of memory: {less_memory}" if out_of_memory(error) else None


def command(main: Callable[[], None], less_memory: str = MORE_MEMORY) -> NoReturn:
    """Run `main` as a command line, and end the process: with exit code 0, or as `exit_on_user_error` does.

    The exit code is 130 after Ctrl-C and SIGTERM, and 141 if the reader of the output has ended. Characters that the
    output cannot encode, as in names that are not UTF-8, are written as `\\udce9`.
    """
    gc.set_threshold(20_000)  # looking for garbage is a seventh of importing MLflow, and finds none
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # so far it ended a stage: `process.end_with_dvc`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with exit_on_user_error(less_memory):
        if not Path("src/core/errors.py").is_file():
            root = Path(__file__).resolve().parents[2]
            raise UserError(f"commands run from the repository's root: cd {root}")
        main()
        sys.stdout.flush()
    sys.exit(0)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Clean up after SIGTERM, by which schedulers end jobs, as after Ctrl-C; another SIGTERM does not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def exit_on_user_error(less_memory: str = MORE_MEMORY) -> Iterator[None]:
    """End the process if the block raises a `UserError`: with one line on stderr and exit code 2.

    Errors of the operating system about a file, and a full disk, are reported in the same way, and so is an operator
    that is not deterministic. Where memory runs out, the line ends with `less_memory`: how to need less. Every other
    exception is a bug and keeps its traceback.
    """
    try:
        yield
    except UserError as error:
        _leave(str(error), 2)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        if error.errno == errno.ENOMEM:
            _leave(f"out of memory: {less_memory}", 2)
        # Copying and renaming name two files; what cannot be written is the second.
        name = error.filename if error.filename2 is None else error.filename2
        reason = _REMEDIES.get(error.errno or 0)
        if reason is None and name is None:
            raise
        _leave(f"{name or 'writing'}: {reason or error.strerror}", 2)
    except (MemoryError, RuntimeError) as error:
        if (line := known_cause(error, less_memory)) is None:
            raise
        _leave(line, 2)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _output_is_closed() -> bool:
    """Tell if the reader of our output (head, less) has seen enough and ended."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _leave(message: str, code: int) -> NoReturn:
    # Names that others gave may hold characters that control the terminal.
    words = " ".join(message.split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words)
    sys.stderr.write(f"error: {line}\n")  # in one piece, since several processes may report at the same moment
    sys.stderr.flush()
    sys.exit(code)
