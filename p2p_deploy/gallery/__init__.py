"""The gallery of a run: one HTML file that shows inputs and outputs before and after a slider."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from p2p_deploy.files import replacing
from p2p_deploy.gallery.account import Entry, read_account
from p2p_deploy.gallery.page import render
from p2p_deploy.gallery.pairs import Pair, read_pair
from p2p_deploy.machine import available_cores
from p2p_deploy.runner.record import RECORD_NAME
from p2p_deploy.spec import ModelSpec

__all__ = ["GALLERY_NAME", "SHOWN", "write_gallery"]

GALLERY_NAME = "gallery.html"
SHOWN = 60  # pairs on a page
PAGE_BYTES = 20_000_000
_READERS = 4  # each holds an input and its output in full size


def write_gallery(
    source: Path, folder: Path, *, spec: ModelSpec | None = None, limit: int = SHOWN, path: Path | None = None
) -> Path:
    """Write the page about what the record in ``folder`` says was done.

    A long run is represented by pairs evenly spaced through it. Pictures are embedded, in as good a quality as lets the
    page stay near ``PAGE_BYTES``; the page loads nothing from anywhere. Memory does not grow with the run.

    Args:
        source: the image, video or folder that was run over. What has gone from it is shown as its output only.
        folder: the output folder, with ``p2p-run.jsonl``.
        spec: of the model, where it is known: its name is on the page, and maps of labels are coloured.
        limit: pairs to show at most, at least 1.
        path: the file to write or replace, by default ``gallery.html`` in ``folder``.

    Returns:
        The path of the page.

    Raises:
        InputError: the record is not there or cannot be read.
        OutputError: the page cannot be written.
    """
    path = path or folder / GALLERY_NAME
    account = read_account(folder / RECORD_NAME, limit)
    labels = spec is not None and spec.input.kind == "labels"
    share = PAGE_BYTES * 3 // 4 // max(1, len(account.sample))  # base64 makes four bytes of three

    def read(entry: Entry) -> Pair | None:
        return read_pair(source, folder, entry, share, labels)

    with ThreadPoolExecutor(min(_READERS, available_cores()), thread_name_prefix="gallery") as pool:
        pairs = [pair for pair in pool.map(read, account.sample) if pair is not None]
    text = render(account, pairs, folder, spec.name if spec else None)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")  # the policy in the page has hashes of its parts
    return path
