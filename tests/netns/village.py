"""Village: the nodes together; when they are whole, and whether every message is accounted for."""

import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overlay_edge.ctl.gaps import compare
from tests.netns.board import RONCTL, Board, Script, boards
from tests.netns.waiting import say, until
from tests.netns.wires import Wires

SIZE = 8
SEEDS = (1, 5)  # one in each half
Stream = tuple[str, int]  # publisher, epoch


class Village:
    """Eight nodes, and a ninth host for who is none of them.

    Args:
        wires: Between them.
        boards: The nodes, from number 1 on.
    """

    def __init__(self, wires: Wires, boards: Sequence[Board], folder: Path) -> None:
        self.wires = wires
        self.boards = boards
        self.folder = folder
        self._scripts: list[Script] = []

    def board(self, number: int) -> Board:
        """The node with this number."""
        return self.boards[number - 1]

    @property
    def live(self) -> list[Board]:
        """Nodes whose process runs."""
        return [one for one in self.boards if one.is_alive]

    # -- listening and speaking ---------------------------------------------------------

    def hear(self, *topics: str, boards: Iterable[Board] = ()) -> list[Script]:
        """Subscribe on nodes, or on all; returns when every one hears."""
        where = list(boards) or self.boards
        ears = [board.hear(topic) for board in where for topic in topics]
        self._scripts += ears
        until(lambda: all(ear.lines() for ear in ears), f"{len(ears)} subscribers hear")
        return ears

    def speak(self, numbers: Iterable[int], topic: str, count: int, every_ms: int) -> list[Script]:
        """Publish on nodes; returns at once."""
        argv = (topic, str(count), str(every_ms))
        made = [self.board(one).script("tests.netns.speaker", *argv) for one in numbers]
        self._scripts += made
        return made

    def quiet(self) -> None:
        """End all subscribers and publishers."""
        while self._scripts:
            self._scripts.pop().close()

    # -- what must hold -----------------------------------------------------------------

    def whole(self) -> bool:
        """Every live node has neighbours, and all are connected through them."""
        pages = {board: board.read("/peers") for board in self.live}
        links = {
            page.get("id"): {row["id"] for row in page.get("peers", ())} for page in pages.values()
        }
        if None in links or not all(links.values()):
            return False
        seen, todo = set[str](), [next(iter(links))]
        while todo:
            here = todo.pop()
            if here not in seen and here in links:
                seen.add(here)
                # A link that only one end knows of is none.
                todo += [there for there in links[here] if here in links.get(there, ())]
        return seen == set(links)

    def streams(self) -> list[dict[str, Any]]:
        """How every live node stands to every stream, by `ronctl gaps`' own arithmetic."""
        return compare({one.admin: one.read("/ledger").get("streams", []) for one in self.live})

    def wrong(self, publishers: set[str] | None = None) -> list[str]:
        """What does not add up, of some publishers or all."""
        names = {one.admin: str(one) for one in self.boards}
        return [
            f"{row['topic']} of {row['publisher'][:8]} epoch {row['epoch']},"
            f" {row['published']} published: {names[admin]} {node}"
            for row in self.streams()
            if publishers is None or row["publisher"] in publishers
            for admin, node in row["nodes"].items()
            if not node["holds"]
        ]

    def converge(self, publishers: set[str] | None = None) -> float:
        """Wait until all of it holds, as long as it may take; returns the seconds."""
        took_s = until(
            lambda: self.whole() and not self.wrong(publishers),
            f"{len(self.live)} nodes whole, every message accounted for",
            boards=self.live,
            why=lambda: self._trouble(publishers),
        )
        if publishers is None:
            self._prove()
        return took_s

    def _prove(self) -> None:
        """The same by the operator's tool."""
        argv = [RONCTL, "gaps", "--json"]
        for board in self.live:
            argv += ["--admin", f"http://{board.admin}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        found = json.loads(done.stdout)
        assert found["holds"]
        total = Counter[str]()
        for row in found["streams"]:
            for node in row["nodes"].values():
                total.update({key: node[key] for key in ("delivered", "gapped")})
        say(f"ronctl gaps: {len(found['streams'])} streams, {dict(total)}")

    def _trouble(self, publishers: set[str] | None) -> str:
        lines = self.wrong(publishers)[:40]
        for board in self.live:
            page = board.read("/peers")
            rows = [
                f"{row['addr']} {row['role']} {row['score']} {[f['fault'] for f in row['faults']]}"
                for row in page.get("peers", ())
            ]
            lines.append(f"{board} {page.get('id', '')[:8]}: {rows} {page.get('stats')}")
        return "\n".join(lines)

    def heard(self, ears: Iterable[Script], topic: str, publishers: set[str]) -> Counter[str]:
        """Wait until each subscriber was told of every message once, as itself or as a gap.

        Args:
            ears: Subscribers that have heard the topic from the start.
            topic: What they hear.
            publishers: Whose messages count.

        Returns:
            How many were messages, and how many numbers were gaps.
        """
        ears = list(ears)
        wanted: dict[Stream, int] = {
            (row["publisher"], row["epoch"]): row["published"]
            for row in self.streams()
            if row["topic"] == topic and row["publisher"] in publishers
        }
        assert wanted, f"nobody knows of {topic}"

        def lacking() -> list[str]:
            found = []
            for ear in ears:
                told = _told(ear)
                for stream, top in wanted.items():
                    lost = set(range(1, top + 1)) - told[stream].keys()
                    if lost:
                        found.append(f"{ear.board}: {stream[0][:8]} lacks {sorted(lost)[:20]}")
            return found

        until(lambda: not lacking(), f"{len(ears)} subscribers were told everything", why=lacking)
        total = Counter[str]()
        for ear in ears:
            told = _told(ear)
            for stream in wanted:
                twice = [seq for seq, times in told[stream].items() if len(times) > 1]
                assert not twice, f"{ear.board}: {stream[0][:8]} told twice: {twice[:20]}"
                total.update(kind for times in told[stream].values() for kind in times)
        say(f"{len(ears)} subscribers of {topic}: {dict(total)}")
        return total


def _told(ear: Script) -> dict[Stream, dict[int, list[str]]]:
    """What a subscriber was told of each number: ``message`` or ``gap``, as often as it was."""
    told: dict[Stream, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in ear.lines():
        if line["event"] == "subscribed":
            continue
        stream = told[line["publisher"], line["epoch"]]
        first = line.get("first", line.get("seq"))
        for seq in range(first, line.get("last", first) + 1):
            stream[seq].append(line["event"])
    return told


def spoken(speakers: Iterable[Script]) -> dict[Stream, int]:
    """How many messages of each stream were taken, by their publishers' own account."""
    taken: dict[Stream, int] = {}
    for speaker in speakers:
        for line in speaker.lines():
            if "seq" in line:
                taken[line["publisher"], line["epoch"]] = line["seq"]
    return taken


def said(speakers: Iterable[Script], least: int) -> bool:
    """Each has published so many, or come to its end."""
    return all(
        len(one.lines()) >= least or one.process.poll() is not None for one in list(speakers)
    )


def finished(speakers: Iterable[Script]) -> None:
    """Wait until all have come to their end."""
    speakers = list(speakers)
    until(lambda: all(one.process.poll() is not None for one in speakers), "all is published")


@contextmanager
def village(wires: Wires, folder: Path) -> Iterator[Village]:
    """A village that serves."""
    with boards(wires, SIZE, folder, SEEDS) as made:
        found = Village(wires, made, folder)
        try:
            yield found
        finally:
            found.quiet()
