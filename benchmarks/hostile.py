"""A folder of 100 good files and 300 hostile or broken ones: what the good come to, what the bad cost."""

from __future__ import annotations

import argparse
import os
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from common import write_result
from helpers.hostile_files import KINDS, Bait, clip, write_any_size_identity, write_hostile
from helpers.hostile_run import (
    run_watched,
    sentences,
    tree,
    write_good,
    wrong_with_good,
    wrong_with_hostile,
    wrong_with_run,
)

GOOD, COPIES = 100, 3
MOST_MIB = 700  # a run over the good files alone takes some 220


came: list[str] = []


class Visitors(BaseHTTPRequestHandler):
    """Notes who comes."""

    def do_GET(self) -> None:
        came.append(self.path)
        self.send_error(404)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit-s", type=float, default=300, help="a run that takes longer is killed and has failed")
    limit_s = parser.parse_args().limit_s
    server = HTTPServer(("127.0.0.1", 0), Visitors)
    Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_any_size_identity(folder / "identity.onnx")
        bait = Bait(folder / "bait.ts", f"http://127.0.0.1:{server.server_port}/x.ts")
        bait.clip.write_bytes(clip(".ts"))
        os.utime(bait.clip, (0, 0))
        allowed = write_good(folder / "good", GOOD)
        alone = run_watched(model, folder / "good", folder / "alone", limit_s)
        source, out = folder / "in", folder / "out"
        write_good(source, GOOD)
        placed = write_hostile(source, COPIES, bait)
        before = tree(folder)
        ran = run_watched(model, source, out, limit_s)
        wrong = [
            *([] if alone.code == 0 and not alone.stderr else [f"the good files alone: {alone}"]),
            *wrong_with_run(ran, out),
            *wrong_with_hostile(placed, source, out),
            *wrong_with_good(allowed, source, out, folder / "alone"),
            *([] if ran.peak_mib <= MOST_MIB else [f"peak memory {ran.peak_mib:.0f} MiB"]),
            *(f"{path} was fetched" for path in came),
        ]
        if {path: state for path, state in tree(folder).items() if path.split("/")[0] != "out"} != before:
            wrong.append("something outside OUT was changed")
        if bait.clip.stat().st_atime:
            wrong.append("the clip that play lists point to was opened")
        bait.clip.read_bytes()
        atime_works = bait.clip.stat().st_atime > 0
        table = sentences(placed, source, out)
    for kind, row in table.items():
        print(f"{row['count']} {ascii(kind)[1:-1]}: {row['became']} {ascii(row['sentence'] or '')[1:-1][:160]}")
    print(f"{GOOD} good, {len(placed)} hostile of {len(table)} kinds: {ran.seconds:.1f} s, {ran.peak_mib:.0f} MiB")
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    if wrong:
        raise SystemExit(1)
    write_result(
        "hostile",
        {
            "good": {"files": GOOD, "seconds_alone": alone.seconds, "peak_mib_alone": alone.peak_mib},
            "hostile": {"files": len(placed), "kinds": len(table)},
            "seconds": ran.seconds,
            "peak_mib": ran.peak_mib,
            "most_mib": MOST_MIB,
            "exit_code": ran.code,
            "wrong": wrong,
            "opened_is_noticed": atime_works,
            "not_failed_and_why": {
                title: {"fates": kind.fates, "why": kind.why} for title, kind in KINDS.items() if kind.why
            },
            "kinds": table,
        },
    )


if __name__ == "__main__":
    main()
