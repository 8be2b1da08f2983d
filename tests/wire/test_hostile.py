"""Hostile bytes become a refusal or a call's head; they run nothing, import nothing and cost little."""

import json
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tidy.tree import ROOT
from tests.wire import bombs, kinds

from distq.wire.errors import BadCall
from distq.wire.inert import Inert, read_call
from distq.wire.opcodes import disarm

GROWTH_MIB_MAX = 200
SECONDS_MAX = 5.0

# A module of the standard library that no test imports, and that a peer names.
UNIMPORTED = "antigravity"

RUNNERS = {
    "REDUCE": b"c%s\n%s\nX\x05\x00\x00\x00wrong\x85R",
    "OBJ": b"(c%s\n%s\nX\x05\x00\x00\x00wrongo",
    "INST": b"(X\x05\x00\x00\x00wrongi%s\n%s\n",
    "NEWOBJ": b"c%s\n%s\nX\x05\x00\x00\x00wrong\x85\x81",
    "NEWOBJ_EX": b"c%s\n%s\nX\x05\x00\x00\x00wrong\x85}\x92",
    "BUILD": b"c%s\n%s\n}X\x06\x00\x00\x00systemNsb",
    "APPEND": b"c%s\n%s\nNa",
}
TARGETS = [
    (b"os", b"system"),
    (b"posix", b"system"),
    (b"builtins", b"eval"),
    (b"builtins", b"exec"),
    (b"builtins", b"getattr"),
    (b"subprocess", b"Popen"),
    (b"distq.wire.inert", b"pickle"),
    (b"distq.wire.inert", b"Inert.__class__.__base__"),
    (b"multiprocessing.managers", b"Token"),
    (UNIMPORTED.encode(), b"webbrowser"),
    (b"no_such_module", b"thing"),
]


@pytest.fixture(autouse=True)
def _nothing_is_imported() -> Iterator[None]:
    """Fail the test if it imports a module."""
    before = set(sys.modules)
    yield
    # Hypothesis imports parts of its own when it needs them.
    assert {name for name in set(sys.modules) - before if not name.startswith("hypothesis.")} == set()
    assert UNIMPORTED not in sys.modules


def outcome(frame: bytes) -> str:
    """Return what a frame causes: the name of the called method, or the sentence of the refusal."""
    try:
        return read_call(frame).method
    except BadCall as exc:
        sentence = str(exc)
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("digits", [b"0", b"9" * 13, b"9" * 5000])
@pytest.mark.parametrize("before", [b"", b"N" * 40])
def test_a_number_to_remember_without_an_end_of_its_line_is_refused_at_once(before: bytes, digits: bytes) -> None:
    """The reader never goes back: three such bytes took it half a second, and a few thousand took it for seconds."""
    with pytest.raises(BadCall, match=r"the pickle cannot be read\."):
        disarm(before + b"p" + digits + b".")


@pytest.mark.parametrize("target", TARGETS, ids=lambda pair: b".".join(pair).decode())
@pytest.mark.parametrize("way", RUNNERS)
def test_no_way_of_calling_calls(way: str, target: tuple[bytes, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    """Every opcode that makes or calls an object gets the inert class; the head is read, or the call refused."""
    attack = RUNNERS[way] % target
    for frame in (
        b"\x80\x04(X\x04\x00\x00\x00workX\x03\x00\x00\x00get" + attack + b"\x85}t.",
        b"\x80\x04(X\x04\x00\x00\x00workX\x03\x00\x00\x00getK\x01" + attack + b"\x86}t.",
        b"\x80\x04(" + attack + b"X\x03\x00\x00\x00get)}t.",
        b"\x80\x04" + attack + b".",
        b"\x80\x04(X\x04\x00\x00\x00workX\x03\x00\x00\x00get)" + attack + b"t.",
    ):
        assert outcome(frame) == "get" or outcome(frame).startswith("This is not a call")
    assert capfd.readouterr() == ("", "")


def test_the_classic_attack_is_read_as_a_head() -> None:
    """`os.system` in a reducer becomes an inert argument."""
    frame = b"\x80\x04(\x8c\x04work\x8c\x03get\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85RK\x05\x86}t."
    assert read_call(frame)[:4] == ("work", "get", (Inert, 5), {})


def test_a_hostile_put_passes_unread() -> None:
    """The master never reads an item; only programs that have the key unpickle it."""
    beginning, _, end = pickle.dumps(("work", "put", (b"MARK",), {}), 4).partition(b"C\x04MARK\x94")
    assert read_call(beginning + b"cos\nabort\n)R" + end)[:4] == ("work", "put", (Inert,), {})


@given(st.binary(max_size=200))
def test_random_bytes_cause_only_bad_call(noise: bytes) -> None:
    """Any bytes cause BadCall and no other error."""
    for frame in (noise, noise + b".", bombs.HEAD + noise + bombs.TAIL):
        outcome(frame)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@given(st.lists(st.sampled_from(OPCODES) | st.binary(max_size=3), max_size=30).map(b"".join))
def test_any_order_of_opcodes_causes_only_bad_call(program: bytes) -> None:
    """Valid opcodes in an invalid order cause BadCall and no other error."""
    for frame in (program + b".", bombs.HEAD + program + bombs.TAIL):
        outcome(frame)


@given(
    kind=st.sampled_from(sorted(set(kinds.KINDS) - {"large bytes", "large list"})),
    protocol=st.integers(0, 5),
    position=st.integers(0, 10_000),
    byte=st.integers(0, 255),
)
def test_one_altered_byte_is_survived(kind: str, protocol: int, position: int, byte: int) -> None:
    """A frame that is nearly right is read or refused."""
    value = kinds.KINDS["date"] if protocol < 2 else kinds.KINDS[kind]
    frame = bytearray(pickle.dumps(("work", "put", (value, 1), {}), protocol))
    frame[position % len(frame)] = byte
    outcome(bytes(frame))


@pytest.mark.parametrize("kind", ["dataclass", "big numbers", "dict of any keys", "bytearray", "keyword arguments"])
def test_a_frame_that_is_cut_short_is_refused(kind: str) -> None:
    """The frame is refused at every length, with and without a STOP at its end."""
    frame = pickle.dumps(("work", "put", (kinds.KINDS[kind], 1), {}), 5)
    for length in range(len(frame)):
        with pytest.raises(BadCall):
            read_call(frame[:length])
        outcome(frame[:length] + b".")


@pytest.mark.parametrize("buffer", [b"\x97", b"C\x01x\x98"])
def test_buffers_outside_of_the_frame_are_refused(buffer: bytes) -> None:
    """A frame has no buffers outside of it."""
    with pytest.raises(BadCall):
        read_call(bombs.HEAD + buffer + bombs.TAIL)


@pytest.mark.parametrize("name", [name for name in bombs.BOMBS if "million" not in name or "LONG_BINPUT" in name])
def test_a_bomb_is_read_or_refused(name: str) -> None:
    """A length above the frame's size is refused."""
    outcome_text = outcome(bombs.BOMBS[name])
    assert outcome_text == "m" or outcome_text.startswith("This is not a call")


def test_a_call_of_too_many_objects_is_refused_with_advice() -> None:
    """A call may contain a limited number of objects, which limits the memory; a put of one item has no such limit."""
    assert "put(item) alone" in outcome(bombs.BOMBS["sixty million things remembered"])
    assert read_call(pickle.dumps(("work", "put", ([[]] * 2_100_000,), {}), 4)).method == "put"


def test_bombs_cost_little_memory_and_time() -> None:
    """Every bomb is read or refused within a short time; the process's peak memory hardly grows."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.wire.bombs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    costs = json.loads(done.stdout)
    assert set(costs) == set(bombs.BOMBS)
    assert {name: cost for name, cost in costs.items() if cost[0] > SECONDS_MAX} == {}
    assert sum(growth for _, growth, _ in costs.values()) < GROWTH_MIB_MAX
    assert all(outcome_text == "'m'" or outcome_text.endswith(".") for _, _, outcome_text in costs.values())
