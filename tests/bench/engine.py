#!/usr/bin/env python3
"""What the engine costs, each row beside its peer in the same run. Figures are ratios; absolute times are this machine's.

    tests/bench/run            builds the release binary, installs the peers into target/bench, prints the table

Rows whose peer is not there are named as not measured. Every time is the median of the runs given in the row.
"""
import json, os, pathlib, resource, shutil, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIGRATE = ROOT / "target/release/migrate"
BENCH = ROOT / "target/bench"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="migrate-bench-", dir=BENCH))
ENV = {**os.environ, "NO_COLOR": "1"}


def timed(argv, runs=3, cwd=WORK, fresh=None, env=None):
    """Median wall time, peak memory of the largest child so far (MiB)."""
    times = []
    for _ in range(runs):
        if fresh:
            fresh()
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=cwd, env=env or ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times.append(time.perf_counter() - start)
        if done.returncode != 0:
            sys.exit(f"{argv}: exit {done.returncode}\n{done.stderr.decode()[-2000:]}")
    return statistics.median(times)


def memory(argv, cwd=WORK):
    """Peak resident MiB of one run."""
    code = (
        "import resource,subprocess,sys;"
        "subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024)"
    )
    return float(subprocess.check_output([sys.executable, "-c", code, *map(str, argv)], cwd=cwd, env=ENV))


def python(venv):
    path = BENCH / venv / "bin/python"
    return path if path.exists() else None


def runbook(name, steps, extra=""):
    path = WORK / name
    path.write_text(f"migrate: 1\nwave: {path.stem}\n{extra}stages:\n  prepare:\n" + "".join(steps))
    return path


def silent(n):
    return [f'    - {{ id: s{i}, uses: notify, when: "false", with: {{ to: [team], message: nothing }} }}\n' for i in range(n)]


def telling(n):
    return [f"    - {{ id: s{i}, uses: notify, with: {{ to: [team], message: nothing }} }}\n" for i in range(n)]


def ours(path, verb="run", *more):
    return [MIGRATE, "--quiet", verb, path, *more]


def no_state():
    shutil.rmtree(WORK / ".migrate", ignore_errors=True)


FLOOR = """
import os, sys
fd = os.open("floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
line = b"x" * 199 + b"\\n"
for _ in range(2 * int(sys.argv[1])):
    os.write(fd, line); os.fdatasync(fd)
"""
DBOS = """
import sys
from dbos import DBOS, DBOSConfig
DBOS(config={"name": "bench", "system_database_url": "sqlite:///dbos.sqlite"})
@DBOS.step()
def nothing(): return None
@DBOS.workflow()
def flow(n):
    for _ in range(n): nothing()
DBOS.launch()
import time; start = time.perf_counter(); flow(int(sys.argv[1])); print(time.perf_counter() - start)
DBOS.destroy()
"""
rows = []


def row(what, mine, peer, theirs, aim, holds):
    verdict = "not measured" if holds is None else ("holds" if holds else "MISSED")
    rows.append((what, mine, peer, theirs, aim, verdict))
    print(f"{what:<46} {mine:>10} {peer:<26} {theirs:>10}  {aim:<22} {verdict}", flush=True)


def durable_steps():
    """`skipped`: a condition is evaluated, two durable records, nothing done. `notify`: an effect with its intent, four records."""
    floor = WORK / "floor.py"
    floor.write_text(FLOOR)
    others = None
    for n, runs in ((1000, 5), (10000, 3)):
        base = timed([sys.executable, floor, str(n)], runs) - timed([sys.executable, floor, "0"])
        for name, steps, aim in (("skipped", silent(n), 1.5), ("notify", telling(n), None)):
            path = runbook(f"{name}{n}.yaml", steps)
            plan = timed(ours(path, "plan", "--json"), runs)
            mine = timed(ours(path), runs, fresh=no_state) - plan
            ratio = mine / base
            row(f"{n:,} {name} steps, less planning", f"{mine/n*1e3:.3f} ms", "two fdatasync, per step", f"{base/n*1e3:.3f} ms",
                f"ratio {ratio:.2f}" + (f", aim <= {aim}" if aim else ""), ratio <= aim if aim else None)
            if n == 1000:
                others = others or peers(n)
                for peer, each, aim in others:
                    times = each / (mine / n) if each else None
                    row(f"a {name} step", f"{mine/n*1e3:.3f} ms", peer, f"{each*1e3:.3f} ms" if each else "", f"{times:.1f} x, aim >= {aim}" if times else "not installed",
                        None if not times or name == "notify" else times >= aim)


def peers(n):
    """Seconds per step of each peer, or none where it is not there."""
    dbos = ansible = None
    if (py := python("dbos")):
        script = WORK / "dbos_bench.py"
        script.write_text(DBOS)
        out = subprocess.run([py, script, str(n)], cwd=WORK, capture_output=True, text=True, env=ENV)
        if out.returncode == 0:
            dbos = float(out.stdout.strip().splitlines()[-1]) / n
        else:
            print(f"DBOS failed: {out.stderr.strip()[-300:]}")
    if (py := python("ansible")):
        tasks = 100
        book, empty = WORK / "book.yaml", WORK / "empty.yaml"
        head = "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:"
        book.write_text(f"{head}\n" + "    - debug: { msg: nothing }\n" * tasks)
        empty.write_text(f"{head} []\n")
        play = py.parent / "ansible-playbook"
        ansible = (timed([play, "-i", "localhost,", book], 3) - timed([play, "-i", "localhost,", empty], 3)) / tasks
    return [("DBOS on SQLite, per step", dbos, 10), ("ansible debug, per task", ansible, 100)]


def one_step():
    make = shutil.which("make")
    path = runbook("one.yaml", telling(1))
    mine = timed(ours(path), 15, fresh=no_state)
    if not make:
        return row("one step, start to end", f"{mine*1e3:.1f} ms", "GNU make", "", "not installed", None)
    (WORK / "Makefile").write_text("all:\n\t@true\n")
    theirs = timed([make, "-s", "all"], 15)
    row("one step, start to end", f"{mine*1e3:.1f} ms", "GNU make", f"{theirs*1e3:.1f} ms", f"ratio {mine/theirs:.2f}, aim <= 3", mine / theirs <= 3)


def planning():
    steps = [
        f"    - id: step-{i:05}\n      uses: notify\n      timeout: 10m\n      retry: {{ attempts: 3, backoff: 5s }}\n"
        f"      with:\n        to: [team-a, service-desk]\n        message: \"number {i} of a long night, {{{{ wave }}}}\"\n"
        for i in range(10000)
    ]
    path = runbook("long.yaml", steps)
    size = path.stat().st_size / 1e6
    mine = timed(ours(path, "validate"), 5)
    py = python("yaml")
    if not py:
        return row("validate and plan 10,000 steps", f"{mine*1e3:.0f} ms", "PyYAML CSafeLoader", "", "not installed", None)
    code = "import sys,time,yaml;t=open(sys.argv[1]).read();s=time.perf_counter();yaml.load(t,Loader=yaml.CSafeLoader);print(time.perf_counter()-s)"
    theirs = statistics.median(float(subprocess.check_output([py, "-c", code, path])) for _ in range(3))
    row(f"parse, validate, plan 10,000 steps ({size:.1f} MB)", f"{mine*1e3:.0f} ms", "PyYAML C, parse alone", f"{theirs*1e3:.0f} ms", f"{theirs/mine:.1f} x, aim >= 8", theirs / mine >= 8)


def journal():
    state = WORK / "long-journal"
    subprocess.run([ROOT / "target/release/examples/long_journal", state, "100000"], check=True, stdout=subprocess.DEVNULL)
    argv = [MIGRATE, "--quiet", "--state-dir", state, "journal", "verify", "long"]
    mine, peak = timed(argv, 5), memory(argv)
    size = next(state.glob("runs/*/journal.jsonl")).stat().st_size / 1e6
    row(f"verify 100,000 records ({size:.0f} MB)", f"{mine*1e3:.0f} ms", "limit", "250 ms", f"peak {peak:.0f} MiB, aim 64", mine <= 0.25 and peak <= 64)


def lanes():
    lanes, wait = 200, 10
    names = "".join(f"  w{i}: {{ strategy: near-zero-downtime, criticality: low, owner: team }}\n" for i in range(lanes))
    step = f"    - {{ id: wait, each: workload, uses: replication.wait, with: {{ command: [echo, \"0\"], max_lag: 0s, hold_for: {wait}s }} }}\n"
    many = runbook("lanes.yaml", [step], f"parallel: {lanes}\nworkloads:\n{names}")
    one = runbook("lane.yaml", [step], "workloads:\n  w0: { strategy: near-zero-downtime, criticality: low, owner: team }\n")
    alone, together = timed(ours(one), 2, fresh=no_state), timed(ours(many), 2, fresh=no_state)
    row(f"{lanes} lanes that wait {wait} s", f"{together:.2f} s", "one lane alone", f"{alone:.2f} s", f"ratio {together/alone:.3f}, aim <= 1.05", together / alone <= 1.05)


try:
    print(f"{'what':<46} {'migrate':>10} {'peer':<26} {'peer':>10}  {'ratio':<22}")
    durable_steps()
    one_step()
    planning()
    journal()
    lanes()
    (BENCH / "engine.json").write_text(json.dumps(rows, indent=1))
finally:
    shutil.rmtree(WORK, ignore_errors=True)
sys.exit(any(verdict == "MISSED" for *_, verdict in rows))
