"""Worker processes: for samples whose making holds the interpreter's lock, so that threads cannot share it out.

They are spawned, never forked: a fork under our threads would copy their locks. Batches come back through memory that
has no name, so a killed worker leaves nothing behind; and a worker ends when its parent does, however that ends.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import connection, reduction
from typing import Any

from minidl.device import set_num_threads
from minidl.errors import ArgumentError, MinidlError
from minidl.utils.data.fetch import END, WARN_AFTER_S, named
from minidl.utils.data.packing import Packed, inlined, unpacked
from minidl.utils.data.worker_info import become_worker

Maker = Callable[[Any], Callable[[Any], Any]]  # from a data set to what fetches from it: one pass over the data

_WORTH_MAPPING = 1 << 16  # fewer bytes are sooner sent through the pipe than mapped


class WorkerProcess:
    """One process that fetches batches, one at a time, for one thread.

    Args:
        number, count: which of how many workers it is.
        seed: the loader's.
        dataset: is sent to the process once.
        timeout: seconds for one batch; 0 for no limit.

    Raises:
        ArgumentError: if the data set cannot be sent.
    """

    def __init__(self, number: int, count: int, seed: int, dataset: Any, timeout: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.number, self.timeout = number, timeout
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, dataset, count, seed, number), name=f"minidl-loader-{number}", daemon=True
        )
        self._busy, self._interrupted = threading.Lock(), False
        self._pass: Maker | None = None
        try:
            with _sendable("the data set"):
                self.process.start()
        finally:
            theirs.close()

    def fetch(self, make: Maker, indices: Any, epoch: int) -> Any:
        """The batch of `indices`, by what `make` made of the data set; it is made once for a pass.

        Raises:
            MinidlError: if the process died, or gave nothing within `timeout`; it is ended then.
            Exception: what the data set raised, of the same kind, with the worker's traceback as a note.
        """
        what = f"{'a batch' if indices is None else named(indices)} of epoch {epoch}"
        with self._busy:
            with _sendable("collate_fn or the indices"), self._dying(what):
                self.connection.send((make if make is not self._pass else None, indices))
            try:
                with self._dying(what):
                    if self._pass is None:
                        self.connection.recv()  # it says when it has started, which no timeout counts
                    self._pass = make
                    self._await(what)
                    kind, *content = self.connection.recv()
                    memory = self._memory(content[1]) if kind == "batch" and content[1] else None
            except BaseException:
                self.process.kill()  # its answer may still come, and would be taken for that to another question
                raise
        if kind == "end":
            return END
        return unpacked(content[0], memory) if kind == "batch" else _raised(self, kind, *content)

    def _await(self, what: str) -> None:
        """Wait until the process answers or dies; warn after some seconds, and raise after `timeout`."""
        ends: list[Any] = [self.connection, self.process.sentinel]
        patience = min(WARN_AFTER_S, self.timeout or WARN_AFTER_S)
        if connection.wait(ends, patience):
            return
        if patience < self.timeout or not self.timeout:
            warnings.warn(
                f"DataLoader: {self} has been fetching {what} for {patience:g} s; it hangs, or is slow", stacklevel=2
            )
            if connection.wait(ends, self.timeout - patience if self.timeout else None):
                return
        raise MinidlError(
            f"DataLoader: {self} gave nothing within {self.timeout} s while fetching {what}; it hangs, or is slow, "
            "and was ended"
        )

    @contextlib.contextmanager
    def _dying(self, what: str) -> Iterator[None]:
        """The sentence for a pipe that ends, in the middle of a message or before one."""
        try:
            yield
        except (EOFError, OSError, RuntimeError):
            self.process.join(1)
            if self.process.is_alive():
                raise
            raise MinidlError(f"DataLoader: {self} died while fetching {what}: {self._cause()}") from None

    def _memory(self, size: int) -> mmap.mmap:
        descriptor = reduction.recv_handle(self.connection)
        try:
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def interrupt(self) -> None:
        """End what is being fetched; an idle process is left to its thread, which ends it."""
        self._interrupted = True
        if self._busy.locked():
            self.process.kill()

    def end(self) -> None:
        """Let the process go, and wait for it."""
        self.connection.close()  # it goes when it reads that
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _cause(self) -> str:
        code = self.process.exitcode
        if self._interrupted:
            return "the pass was left"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"it was killed by {signal.Signals(-code).name}"
        if code == 1 and self._pass is None:
            return "it could not start (a script must do its work under if __name__ == '__main__':)"
        return f"it ended with exit code {code}"

    def __str__(self) -> str:
        return f"worker process {self.number} (pid {self.process.pid})"


@contextlib.contextmanager
def _sendable(what: str) -> Iterator[None]:
    """An ArgumentError that says what to do if `what` cannot be pickled."""
    try:
        yield
    except (OSError, EOFError, MinidlError):
        raise
    except Exception as error:
        raise ArgumentError(
            f"DataLoader: {what} cannot be sent to a worker process ({error}); define classes and functions at the top "
            "of a module, or use threads: leave out multiprocessing_context"
        ) from error


def _raised(worker: WorkerProcess, kind: str, error: Any, text: str, notes: list[str], trace: str) -> Any:
    """Raise what the data set raised: an error of the same kind where it can be made of its text alone."""
    try:
        made = error(text) if isinstance(error, type) and issubclass(error, Exception) else None
    except Exception:
        made = None
    made = made or MinidlError(f"DataLoader: {worker} raised {kind}: {text}")
    for note in [*notes, f"in {worker}:\n{trace}"]:
        made.add_note(note)
    raise made


# -- in the worker process ---------------------------------------------------------------------------------------------


def serve(pipe: Any, dataset: Any, count: int, seed: int, number: int) -> None:
    """Fetch what is asked for until the pipe is closed."""
    become_worker(count, seed, lambda: dataset, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair, which closes the pipe
    set_num_threads(1)  # the processes share the cores already
    threading.Thread(target=_end_with_parent, daemon=True).start()
    fetch: Any = None
    pipe.send("ready")
    while True:
        try:
            make, indices = pipe.recv()
        except EOFError:
            return
        try:
            fetch = make(dataset) if make is not None else fetch
            _send(pipe, fetch(indices))
        except BrokenPipeError:
            return
        except BaseException as error:
            _send_error(pipe, error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


def _send(pipe: Any, batch: Any) -> None:
    if batch is END:
        pipe.send(("end",))
        return
    packed = Packed()
    structure = packed.add(batch)
    if packed.size < _WORTH_MAPPING or not hasattr(os, "memfd_create"):
        pipe.send(("batch", inlined(batch), 0))
        return
    descriptor = os.memfd_create("minidl batch")
    try:
        os.ftruncate(descriptor, packed.size)
        packed.write(mmap.mmap(descriptor, packed.size))
        pipe.send(("batch", structure, packed.size))
        reduction.send_handle(pipe, descriptor, os.getppid())
    finally:
        os.close(descriptor)


def _send_error(pipe: Any, error: BaseException) -> None:
    described = str(error), list(getattr(error, "__notes__", ())), "".join(traceback.format_exception(error))
    try:
        pipe.send((type(error).__name__, type(error), *described))
    except Exception:  # a class made inside a function cannot be sent
        pipe.send((type(error).__name__, None, *described))
