"""The checks of keys: their roles, their strength, their files, and whether old ones are still in use."""

from __future__ import annotations

from typing import Final

from distq.cli.doctor.facts import LocalFacts, MasterFacts, SecretFile
from distq.cli.doctor.model import OK, PROBLEM, WARNING, Check, Found, listed
from distq.core.plurals import counted
from distq.protocol.authority import OPERATOR
from distq.protocol.permissions import ADMIN, READ, SUBMIT, WORK
from distq.protocol.security_report import KeyReport
from distq.settings.authkey import KEY_LENGTH_MIN

KEY_CHARS_GOOD: Final = 32
"""Characters of a random key below which the doctor warns; `distq key new` makes 43."""
KEY_DISTINCT_MIN: Final = 10
"""Minimum number of different characters in a key; a random one of 32 has fewer only by an unlikely accident."""
GROUP_BITS: Final = 0o070
OTHER_BITS: Final = 0o007


def _key_strength(facts: LocalFacts) -> Found:
    length = f"The key in use has {counted(facts.key_chars, 'character')}"
    if facts.key_is_published:
        return Found(PROBLEM, "The key in use is an example of a documentation, which attackers try first.")
    if facts.key_chars < KEY_LENGTH_MIN:
        return Found(PROBLEM, f"{length}: it can be guessed from one recorded handshake.")
    if facts.key_chars < KEY_CHARS_GOOD or facts.key_distinct < KEY_DISTINCT_MIN:
        return Found(WARNING, f"{length}, {facts.key_distinct} of them different; `distq key new` makes stronger ones.")
    return Found(OK, f"{length}.")


def _secret_files(facts: LocalFacts) -> Found:
    if not facts.secret_files:
        return Found(OK, "Does not apply: no setting here names a file with a secret.")
    return _judged(facts.secret_files, f"Only their user and group can read {_files(facts.secret_files)}.")


def _env_file(facts: LocalFacts) -> Found:
    return env_file_found(facts.env_file)


def env_file_found(file: SecretFile | None) -> Found:
    """Judge the permissions of a `.env`."""
    if file is None or not file.setting:
        return Found(OK, "Does not apply: there is no secret in a .env here.")
    if file.mode & GROUP_BITS and not file.mode & OTHER_BITS:
        return Found(WARNING, f"Users of its group can read {file.path} (mode {file.mode:o}), which has a secret.")
    return _judged((file,), f"Only its user can read {file.path}.")


def _judged(files: tuple[SecretFile, ...], good: str) -> Found:
    open_ones = [file for file in files if file.mode & OTHER_BITS]
    if not open_ones:
        return Found(OK, good)
    names = listed(f"{file.path} (mode {file.mode:o}, {file.setting})" for file in open_ones)
    return Found(PROBLEM, f"Every user of this machine can read or change {names}.")


def _files(files: tuple[SecretFile, ...]) -> str:
    return listed(file.path for file in files)


def _key_roles(facts: MasterFacts) -> Found:
    keys = facts.report.keys or ()
    own = [key for key in keys if key.name != OPERATOR.name]
    shared = [key for key in keys if key.name == OPERATOR.name]
    if not own:
        return Found(WARNING, "All programs share one key, DISTQ_AUTHKEY, which allows everything.")
    workers, clients = sum(key.workers for key in shared), sum(key.clients for key in shared)
    if workers or clients:
        users = f"{counted(workers, 'connection')} of workers and {clients} of clients"
        return Found(WARNING, f"{users} use DISTQ_AUTHKEY, which allows everything.")
    admins = [key.name for key in own if ADMIN in key.roles and (key.workers or key.clients)]
    if admins:
        return Found(WARNING, f"Workers or clients use keys with the role admin: {listed(admins)}.")
    return Found(OK, f"Programs use keys with roles: {listed(sorted({key.name for key in own}))}.")


def _key_rights(facts: MasterFacts) -> Found:
    key = facts.report.key
    assert key is not None
    roles = "+".join(key.roles)
    if ADMIN in key.roles:
        return Found(WARNING, f"This command uses the key {key.name!r}, which may do everything.")
    if set(key.roles) - {READ}:
        return Found(WARNING, f"This command uses the key {key.name!r} with the roles {roles}.")
    return Found(OK, f"This command uses the key {key.name!r} with the role {roles}.")


def _key_queues(facts: MasterFacts) -> Found:
    limited = [key for key in facts.report.keys or () if _is_of_program(key)]
    if not limited:
        return Found(OK, "Does not apply: there is no key with the role submit or work.")
    free = sorted({key.name for key in limited if not key.queues})
    if free:
        return Found(WARNING, f"These keys may use all queues: {listed(free)}.")
    return Found(OK, f"Each of {counted(len(limited), 'key')} of workers and clients names its queues.")


def _is_of_program(key: KeyReport) -> bool:
    return ADMIN not in key.roles and not {SUBMIT, WORK}.isdisjoint(key.roles)


def _old_keys(facts: MasterFacts) -> Found:
    old = [key for key in facts.report.keys or () if key.is_old]
    if not old:
        return Found(OK, "There is no old key.")
    used = sorted({key.name for key in old if key.workers or key.clients})
    if used:
        return Found(WARNING, f"Open connections still use the old keys of {listed(used)}.")
    return Found(WARNING, f"No connection uses the old keys of {listed(sorted({key.name for key in old}))}.")


LOCAL_CHECKS: Final = (
    Check(
        "key-strength",
        "Use random keys, as `distq key new` makes them.",
        "The length of a key is all that protects it against an attacker who has recorded a handshake.",
        "Make a key with `distq key new`, and put it in front of the present one: DISTQ_AUTHKEY=new,old. Remove the "
        "old one when no program uses it.",
        _key_strength,
    ),
    Check(
        "secret-files",
        "Keep files of keys and of certificates' keys readable for their user, and on Kubernetes for their group.",
        "Another user of the machine who reads a key can do what the key allows.",
        "`chmod 600 FILE`, or `chmod 640 FILE` where a group has to read it.",
        _secret_files,
    ),
    Check(
        "env-file",
        "Keep `.env` readable for its user alone if it has a key.",
        "Another user of the machine who reads a key can do what the key allows.",
        "`chmod 600 .env`, or name a file instead: DISTQ_AUTHKEY_FILE.",
        _env_file,
    ),
)

CHECKS: Final = (
    Check(
        "key-roles",
        "Give each program a key with its role, in files, and keep DISTQ_AUTHKEY for operators.",
        "A program in wrong hands can do whatever its key allows, such as delete the tasks of all others.",
        "Settings: DISTQ_KEYS_PATH at the master, and for each program its own DISTQ_AUTHKEY_FILE. Compose: "
        "KEYS_FOLDER in .env. Chart: keys.existingSecret and keys.workerSecret.",
        _key_roles,
        ("report.keys",),
    ),
    Check(
        "key-rights",
        "Run `distq doctor` with a key of the role read.",
        "It reads only; a key that is used on more machines than needed is lost more easily.",
        "Add a line `doctor read KEY` to DISTQ_KEYS_PATH, and use this key here.",
        _key_rights,
        ("report.key",),
    ),
    Check(
        "key-queues",
        "Limit workers' and clients' keys to their queues.",
        "A key without queues reads the arguments, or submits the tasks, of every team.",
        "Add the queues as the fourth word of the key's line in DISTQ_KEYS_PATH: web submit KEY mail,reports.*",
        _key_queues,
        ("report.keys",),
    ),
    Check(
        "old-keys",
        "Remove old keys when no program uses them.",
        "A key that was replaced because it was lost works until its line is gone.",
        "Give the programs the new key; distq_key_connections with age=old shows who is left. Then remove the old key "
        "from DISTQ_AUTHKEY or DISTQ_KEYS_PATH.",
        _old_keys,
        ("report.keys",),
    ),
)
