#!/usr/bin/env python3
"""Runs the tests of the woven library on each mutant: run.py WOVEN BINARIES RESULT WORKERS

WOVEN has the mutants. BINARIES has a line for each test program: its folder and its path. RESULT gets a line of JSON for each mutant.
A mutant meets only the tests that come by its place, the quickest first, and is done with at the first that fails. A test that fails
is run once more without the mutant: if it fails then too, it says nothing.
"""
import json, mmap, os, signal, subprocess, sys, time

SWITCH, SIZE = "/tmp/mutant-switch", 1 << 16
# Parts of the names of tests that need all of the machine for long. What they run is run by quick tests too.
CROWDS = [
    "::walk::clients::", "::walk::daemons::", "::walk::deaths::", "::walk::faults::", "::walk::replacements::", "::walk::servers::",
    "::stampede::", "::load::", "::replace::crowd", "::war::clients_that_each", "a_thousand_rounds", "ten_thousand", "::memory::", "::full::half_of",
]


class Switch:
    def __init__(self):
        descriptor = os.open(SWITCH, os.O_RDWR | os.O_CREAT, 0o666)
        os.fchmod(descriptor, 0o666)
        os.ftruncate(descriptor, SIZE)
        self.state = mmap.mmap(descriptor, SIZE)

    def set(self, number):
        self.state[:] = bytes(SIZE)
        self.state[0:4] = number.to_bytes(4, sys.byteorder)

    def asked(self):
        return [at - 8 for at in range(8, SIZE) if self.state[at]]


def end_all():
    """Ends all processes of this namespace but this one, which is its first."""
    assert os.getpid() == 1
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        while os.waitpid(-1, 0):
            pass
    except ChildProcessError:
        pass


def run(program, names, timeout):
    """Returns whether the tests passed: yes, no, or None if they did not end."""
    folder, path = program
    environment = dict(os.environ, CARGO_MANIFEST_DIR=folder, PROPTEST_CASES="32", RUSTC_BOOTSTRAP="1", HOME="/tmp/home", RUST_BACKTRACE="0")
    child = subprocess.Popen(
        [path, "--exact", "-Zunstable-options", "--fail-fast", *names], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        code = child.wait(timeout)
    except subprocess.TimeoutExpired:
        code = None
    end_all()
    if code is None:
        return None
    return code == 0


def prepared():
    os.makedirs("/tmp/home", exist_ok=True)


def trace(programs, index, count, out):
    """Runs each test alone and without a mutant, and writes the switches that it asked and the time that it took."""
    switch = Switch()
    prepared()
    for number, program in enumerate(programs):
        listed = subprocess.run([program[1], "--list", "--format", "terse"], capture_output=True, text=True, check=True).stdout
        tests = [line[:-len(": test")] for line in listed.splitlines() if line.endswith(": test")]
        for name in tests[index::count]:
            if any(part in f"::{name}" for part in CROWDS):
                continue
            switch.set(0)
            start = time.monotonic()
            passed = run(program, [name], 60)
            print(json.dumps([number, name, passed, round(time.monotonic() - start, 3), switch.asked()]), file=out, flush=True)


def try_mutant(switch, programs, tests, identity):
    # The first ones alone, since most mutants fail them; then in groups of one program.
    groups = [[test] for test in tests[:6]]
    rest = {}
    for test in tests[6:]:
        rest.setdefault(test[0], []).append(test)
    groups += [chunk[at:at + 12] for chunk in rest.values() for at in range(0, len(chunk), 12)]
    for group in groups:
        program, names = programs[group[0][0]], [test[1] for test in group]
        limit = 15 + 8 * sum(test[2] for test in group)
        switch.set(identity)
        passed = run(program, names, limit)
        if passed:
            continue
        switch.set(0)
        if run(program, names, 2 * limit):
            return "timeout" if passed is None else "caught", names[0] if len(names) == 1 else f"one of {len(names)} from {names[0]}"
    return "missed", ""


def mutants(programs, plan, index, count, out):
    switch = Switch()
    prepared()
    with open(plan) as file:
        jobs = json.load(file)
    for identity, tests in jobs[index::count]:
        state, by = try_mutant(switch, programs, tests, identity)
        print(json.dumps([identity, state, len(tests), by]), file=out, flush=True)


def main():
    mode, binaries, index, count, result, *rest = sys.argv[1:]
    with open(binaries) as file:
        programs = [line.split() for line in file]
    with open(f"{result}.{index}", "w") as out:
        if mode == "trace":
            trace(programs, int(index), int(count), out)
        else:
            mutants(programs, rest[0], int(index), int(count), out)


main()
