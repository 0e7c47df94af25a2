"""The crew: threads that share out the blocks of a kernel among themselves, without Python.

Python's lock is held by one thread at a time. A thread that gives it up to run a kernel and wants it back for the next
block may sleep until the other lets go, and waking takes 200 us on a virtual machine: longer than many kernels run. So
a worker stays inside one compiled function, `serve`, and reads one word of memory again and again until it is called;
then it draws blocks like everybody else, and reads again. Only when nothing has come for a while does it go back to
Python, to sleep there.

Both sides meet on a board, words of memory that do not move:

| words | hold |
|---|---|
| JOB to JOB + 5 | the job: address of the code, address of its arguments, begin, end, length of a block, members |
| FAILED | whether a block failed |
| WORKER + 16 w | how it stands with worker w: IDLE, CALLED, WORKING, or ASKED to come back to Python |
| the one after it | how many jobs it has left in Python (`threads.py`) |
| DRAWN + 16 m | how many blocks of member m's share have been drawn; the caller is member 0, worker w is w + 1 |

Each member has a share of neighbouring blocks, draws those first, and then what is left of the others' shares. So from
one call to the next a thread meets the same part of an array, which is still in the cache of its core.

The caller writes the job and then CALLED for each worker; the worker changes CALLED to WORKING, and in the end to IDLE.
When no block is left the caller changes CALLED back to IDLE for those that have not come, and waits for the others.

Whoever waits makes way every few microseconds. Linux likes to start a thread on the core of the one that woke it; a
worker that then watched there without a break kept its caller from that core for 1.7 ms, beside a core that was idle
(one row of an MLP 0.24 ms in the mean, not 0.14; one image of a small CNN 0.70, not 0.50). To bind a worker to the
other cores when it is woken gained no more, and holds it back when its caller moves.
"""

from __future__ import annotations

import numpy as np

from minidl.device.atomic import call_piece, draw, exchange, get, make_way, pause, put
from minidl.device.compile import routine
from minidl.device.device import Array
from minidl.device.inline import inline
from minidl.device.vectors import aligned_empty

WORD = 8  # bytes
APART = (
    16 * WORD
)  # from one word that somebody watches to the next: two cache lines, for processors fetch them in pairs
MOST_WORKERS = 255
JOB, FAILED, WORKER = 0, 6 * WORD, APART
DRAWN = WORKER + MOST_WORKERS * APART
IDLE, CALLED, WORKING, ASKED = 0, 1, 2, 3
ROUNDS = 500  # of reading, some 8 us, before whoever waits makes way


def is_ready() -> bool:
    """Whether the functions below have been compiled or loaded."""
    return bool(watch.address and serve.address and share.address)


def get_ready() -> int:
    """Compile or load them; the address of `share`."""
    for function in (serve, watch, share):
        function.ready()
    return share.address


def new_board() -> Array:
    """A board on which every worker is idle."""
    board = aligned_empty((DRAWN + (1 + MOST_WORKERS) * APART) // WORD, np.dtype(np.int64))
    board[:] = IDLE
    return board


def place_of(worker: int) -> int:
    """Where on the board, in words, it says how it stands with a worker."""
    return (WORKER + worker * APART) // WORD


@inline
def _draw_blocks(board: int, number: int) -> None:
    """Draw blocks of the job on the board and do them until none is left, those of the own share first."""
    piece, args = get(board + JOB), get(board + JOB + WORD)
    begin, end, block = get(board + JOB + 2 * WORD), get(board + JOB + 3 * WORD), get(board + JOB + 4 * WORD)
    members = get(board + JOB + 5 * WORD)
    blocks = -(-(end - begin) // block)
    for turn in range(members):
        member = (number + turn) % members
        first, last = blocks * member // members, blocks * (member + 1) // members
        k = first + draw(board + DRAWN + member * APART)
        while k < last:
            at = begin + k * block
            if call_piece(piece, args, number, at, min(at + block, end)):
                put(board + FAILED, 1)
            k = last if get(board + FAILED) else first + draw(board + DRAWN + member * APART)


@routine("intp, intp, intp, intp, intp")
def share(board: int, piece: int, args: int, begin: int, end: int, block: int, helpers: int) -> int:
    """Do all blocks, with so many workers' help; 1 if one failed.

    The board belongs to one caller at a time (`threads.py` sees to it). Without help it is not touched.
    """
    if helpers == 0:
        for at in range(begin, end, block):
            if call_piece(piece, args, 0, at, min(at + block, end)):
                return 1
        return 0
    put(board + JOB, piece)
    put(board + JOB + WORD, args)
    put(board + JOB + 2 * WORD, begin)
    put(board + JOB + 3 * WORD, end)
    put(board + JOB + 4 * WORD, block)
    put(board + JOB + 5 * WORD, helpers + 1)
    put(board + FAILED, 0)
    for member in range(helpers + 1):
        put(board + DRAWN + member * APART, 0)
    for worker in range(helpers):
        put(board + WORKER + worker * APART, CALLED)
    _draw_blocks(board, 0)
    for worker in range(helpers):
        state = board + WORKER + worker * APART
        if not exchange(state, CALLED, IDLE):
            rounds = 0
            while get(state) != IDLE:
                rounds += 1
                pause()
                if rounds % ROUNDS == 0:
                    make_way()
    failed: int = get(board + FAILED)
    return failed


@routine("intp")
def serve(board: int, worker: int, rounds: int) -> int:
    """Work whenever called; return ASKED as soon as that is written, or IDLE when nothing came in so many rounds."""
    state = board + WORKER + worker * APART
    idle = 0
    while idle <= rounds:
        found = get(state)
        if found == CALLED and exchange(state, CALLED, WORKING):
            _draw_blocks(board, worker + 1)
            put(state, IDLE)
            idle = 0
        elif found == ASKED and exchange(state, ASKED, IDLE):
            return ASKED
        else:
            idle += 1
            pause()
            if idle % ROUNDS == 0:
                make_way()
    return IDLE


@routine("intp")
def watch(address: int, old: int, rounds: int) -> int:
    """Wait until another number than `old` stands there, at most so many rounds; the number."""
    found = get(address)
    while found == old and rounds > 0:
        rounds -= 1
        pause()
        found = get(address)
    return int(found)
