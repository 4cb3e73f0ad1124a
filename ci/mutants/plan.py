#!/usr/bin/env python3
"""Decides what ci/mutants.sh runs, and joins what its workers found.

select LISTED EQUIVALENT LIST AREA...   LIST gets the mutants of the areas that are not equivalent
digests                                 prints the digest of each file of the core
changed LIST DIGESTS TESTED LIMIT       leaves those in files whose digests differ from the tested ones in LIST; fails if there is none
open LIST OPEN...                       leaves those that a list OPEN names in LIST; fails if there is none
programs BUILT PROGRAMS                 the test programs that Cargo has built
plan WOVEN PROGRAMS TRACES PLAN MOST    the tests that come by each mutant, at most so many
rest WOVEN CONFIG                       a configuration of cargo-mutants with the mutants without a switch; fails if there is none
report WORK OPEN...                     figures of each area; fails if a mutant survives that is in no list OPEN
"""
import collections
import glob
import json
import os
import re
import subprocess
import sys

SOURCE = "crates/running-process/src/"
AREAS = {
    "core": ["broker/protocol/", "broker/backend_sdk/mux.rs", "broker/backend_sdk/proto/", "broker/backend_sdk/server/session"],
    "proof": ["broker/backend_lifecycle/", "broker/backend_handle/"],
    # What starts exactly one daemon: locks, sockets, files, and who finds, starts and stops it.
    "start": [
        *(f"transport/{name}.rs" for name in ("instance_lock", "unix/claim", "unix/directory", "unix/lock")),
        *(f"broker/service/{name}" for name in ("daemon/", "files.rs", "find.rs", "held.rs", "history", "known.rs", "leftovers.rs")),
        *(f"broker/service/{name}" for name in ("operation.rs", "paths.rs", "service_socket.rs", "start/", "stop.rs")),
    ],
    "service": ["broker/service/"],
    "drivers": ["broker/backend_sdk/"],
}
# The beginnings of the names of the test programs that are about an area.
OWN_TESTS = {
    "core": ("core-", "server_session-", "running_process-"),
    "proof": ("proof", "adversary", "running_process-"),
    "start": ("service-", "running_process-"),
    "service": ("service-", "running_process-"),
    "drivers": ("host-", "observed-", "descriptors-"),
}


def area_of(path):
    inside = path.removeprefix(SOURCE)
    return next((area for area, starts in AREAS.items() if inside.startswith(tuple(starts))), None)


def load(path):
    with open(path) as file:
        return json.load(file)


def store(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def rows(pattern):
    for path in sorted(glob.glob(glob.escape(pattern) + ".*")):
        with open(path) as file:
            for line in file:
                yield json.loads(line)


def name_of(mutant):
    """The name without its line and column, which other changes of the file would move."""
    return re.sub(r":\d+:\d+: ", ": ", mutant["name"].removeprefix(SOURCE), count=1)


def numbered(mutants):
    """Yields each mutant with its name, and with a number from the second of one name on."""
    seen = collections.Counter()
    for mutant in mutants:
        name = name_of(mutant)
        seen[name] += 1
        yield mutant, name if seen[name] == 1 else f"{name} ({seen[name]})"


def entries(path):
    """Returns the names in the list of equivalent mutants. The indented lines below a name are its reason."""
    names, reason = [], True
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith(" "):
                reason = True
                continue
            if not reason:
                sys.exit(f"{path}:{number - 1}: an entry without a reason")
            names.append(line.rstrip("\n"))
            reason = False
    if not reason:
        sys.exit(f"{path}: the last entry has no reason")
    return names


def joins_flags(name, area):
    """Proof and services join flags of the system only, no two of which share a bit: `|` and `^` are the same there, and `&` is tried."""
    return area in ("proof", "start", "service") and ": replace | with ^ in " in name


def select(listed, equivalent, out, *areas):
    areas = areas or AREAS
    if unknown := set(areas) - set(AREAS):
        sys.exit(f"no such area: {', '.join(unknown)}")
    named = entries(equivalent)
    left = set(named)
    if len(left) < len(named):
        sys.exit(f"{equivalent}: an entry is there twice")
    chosen, equivalents, counts = [], collections.Counter(), collections.Counter()
    for mutant, name in numbered(load(listed)):
        area = area_of(mutant["file"])
        if name in left:
            left.remove(name)
            equivalents[area] += 1
        elif joins_flags(name, area):
            equivalents[area] += 1
        elif area in areas:
            counts[area] += 1
            chosen.append({key: value for key, value in mutant.items() if key != "diff"} | {"short": name})
    if left:
        sys.exit("\n".join([f"{equivalent} has entries without a mutant:", *sorted(left)]))
    store(out, chosen)
    for area in areas:
        print(f"{area}: {counts[area]} mutants, and {equivalents[area]} equivalent ones")


def digests():
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", SOURCE]
    paths = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    # A file of tests alone has no mutants.
    core = [path for path in sorted(paths) if area_of(path) == "core" and os.path.basename(path) != "tests.rs" and os.path.exists(path)]
    hashed = subprocess.run(["git", "hash-object", *core], capture_output=True, text=True, check=True).stdout.split()
    print(*(f"{digest} {path}" for digest, path in zip(hashed, core, strict=True)), sep="\n")


def changed(listed, present, tested, limit):
    differing = {path for _, path in lines_of(present) - lines_of(tested)}
    mutants = load(listed)
    chosen = [mutant for mutant in mutants if mutant["file"] in differing]
    print(f"{len(differing)} files of the core differ from the tested ones: {len(chosen)} mutants", *sorted(differing), sep="\n  ")
    if len(chosen) > int(limit):
        every = -(-len(chosen) // int(limit))
        print(f"NOT ALL: one of {every} is tried; ci/nightly.sh tries all of them")
        chosen = chosen[::every]
    print("the other areas are left to ci/nightly.sh")
    store(listed, chosen)
    sys.exit(not chosen)


def lines_of(path):
    with open(path) as file:
        return {tuple(line.split(maxsplit=1)) for line in file.read().splitlines()}


def names_in(lists):
    names = set()
    for path in lists:
        with open(path) as file:
            names.update(line.rstrip("\n") for line in file if line.strip() and not line.startswith("#"))
    return names


def open_ones(listed, *lists):
    names = names_in(lists)
    chosen = [mutant for mutant in load(listed) if mutant["short"] in names]
    print(f"{len(chosen)} mutants are open")
    gone = names - {mutant["short"] for mutant in chosen}
    print(*(f"there is no such mutant any more: {name}" for name in sorted(gone)), sep="\n")
    store(listed, chosen)
    sys.exit(not chosen)


def programs(built, out):
    with open(built) as file, open(out, "w") as written:
        for line in file:
            message = json.loads(line)
            if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
                print(os.path.dirname(message["manifest_path"]), message["executable"], file=written)


def plan(woven, programs, traces, out, most):
    with open(programs) as file:
        program_names = [os.path.basename(line.split()[1]) for line in file]
    by, tests = collections.defaultdict(list), 0
    for program, name, passed, seconds, asked in rows(traces):
        tests += 1
        if not passed:
            print(f"not used, since it fails alone and without a mutant: {name}")
            continue
        for identity in asked:
            by[identity].append((len(asked), [program, name, seconds]))

    def in_order(mutant):
        """The tests that are likely to fail, at little cost, come first: quick ones of the module or of its area, that come by little else."""
        own = OWN_TESTS[area_of(mutant["file"])]
        modules = set(re.split(r"[/.]", mutant["file"].removeprefix(SOURCE + "broker/"))[1:]) - {"mod", "rs"}

        def cost(found):
            asked, (program, name, seconds) = found
            kinship = len(modules & set(name.split("::"))) + program_names[program].startswith(own)
            return (seconds + 0.05) * (asked + 20) * 0.2**kinship

        return [test for _, test in sorted(by[mutant["id"]], key=cost)][:int(most)]

    jobs = [[mutant["id"], in_order(mutant)] for mutant in load(woven) if mutant["state"] == "woven"]
    store(out, jobs)
    print(f"{len(jobs)} mutants with a switch, {tests} tests; no test comes by {sum(not tests for _, tests in jobs)} of them")


def rest(woven, config):
    unwoven = [mutant for mutant in load(woven) if mutant["state"] == "unwoven"]
    names = [mutant["name"] for mutant in unwoven]
    with open(config, "w") as file:
        # cargo-mutants applies no pattern to fields, so the files bound these.
        file.write(f"examine_globs = {json.dumps(sorted({mutant['file'] for mutant in unwoven}))}\n")
        file.write("examine_re = [\n" + "".join(f"  {json.dumps('^' + re.escape(name) + '$')},\n" for name in names) + "]\n")
    sys.exit(not names)


def report(work, *lists):
    found = {identity: (state, count) for identity, state, count, _ in rows(f"{work}/results")}
    alone = {}
    for state in ("caught", "missed", "timeout", "unviable"):
        path = f"{work}/mutants.out/{state}.txt"
        if os.path.exists(path):
            with open(path) as file:
                alone.update((line.rstrip("\n"), state) for line in file)
    left = names_in(lists)
    figures, survivors, killed = collections.defaultdict(collections.Counter), [], []
    for mutant in load(f"{work}/woven"):
        state, count = mutant["state"], 1
        if state == "woven":
            state, count = found.get(mutant["id"], ("not run", 0))
        elif state == "unwoven":
            state = alone.get(mutant["name"], "not run")
        name = mutant["short"]
        if state in ("missed", "not run") and name in left:
            state = "open"
        elif state == "missed" or (state == "not run" and mutant["state"] == "woven"):
            survivors.append(f"{state}: {name}" + ("" if count else " (no test comes by)") + f"  [line {mutant['name'].split(':')[1]}]")
        elif name in left and state in ("caught", "timeout"):
            killed.append(name)
        figures[area_of(mutant["file"])][state] += 1
    if killed:
        print("these do not survive any more, and can be removed from the list:", *killed, sep="\n  ")
    print(*survivors, sep="\n")
    columns = ["caught", "timeout", "open", "missed", "not run", "unviable", "absent"]
    print(f"{'area':<9}", *(f"{column:>9}" for column in ["mutants", *columns]))
    for area, counts in figures.items():
        print(f"{area:<9}", *(f"{number:>9}" for number in [sum(counts.values()), *(counts[column] for column in columns)]))
    sys.exit(bool(survivors))


COMMANDS = {
    "select": select, "digests": digests, "changed": changed, "open": open_ones,
    "programs": programs, "plan": plan, "rest": rest, "report": report,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
