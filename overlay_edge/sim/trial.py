"""Trial: a mesh is started, something is published and broken, and what came of it is counted.

    boards join --> it settles --> messages, and half way a crash or a cut --> repair --> report

The figures are those of the papers:

    missed   deliveries that never came, of boards that live
    RMR      relative message redundancy: copies per delivery, less one; 0 is a perfect tree
    LDH      last delivery hop: over how many links the last board got a message
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from overlay_edge.config import GossipConfig
from overlay_edge.proto.effects import Deliver, Gapped, Shed
from overlay_edge.sim.network import Board, Network, Weather
from overlay_edge.sim.score import Score

TOPIC = "sim"
SEEDS = 8  # boards whose addresses all others are given three of
JOIN_S = 0.02  # between two boards that join
SETTLE_S = 30.0
STEP_S = 0.5
ROUND_S = 5.0  # between two bursts

Progress = Callable[[str, float], None]  # what is going on, and the share of it that is done


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Attributes:
        nodes: Boards.
        messages: In all.
        senders: ``one`` board, a ``random`` one for each message, or a ``burst``: all at once.
        size_bytes: Of a message.
        interval_s: Between two messages.
        crash: Share of the boards that crash after half of the messages.
        part_s: For how long the network is cut in two after half of the messages.
        seed: Of the dice.
    """

    nodes: int = 100
    messages: int = 100
    senders: str = "one"
    size_bytes: int = 256
    interval_s: float = 0.2
    crash: float = 0.0
    part_s: float = 0.0
    seed: int = 1
    weather: Weather = field(default_factory=Weather)
    config: GossipConfig = field(default_factory=GossipConfig)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it.

    Attributes:
        missed: Deliveries that never came to a live board.
        gapped: Of these, told as a gap; the rest is unaccounted for, which must not be.
        early: Deliveries that had not come one second after the last message.
        rmr: Copies per delivery, less one.
        ldh: Last delivery hops, one for each message, sorted.
        last_s: The time each message took to its last board, sorted.
        repair_s: From the last message until nothing was missing.
        control_per_node: Payloads sent that are no messages.
        sent_per_node: Bytes sent.
        held_per_node: Bytes held at the end, mean; ``held_most`` of the fullest board.
        shed: Messages that their publisher was refused.
    """

    live: int
    published: int
    shed: int
    expected: int
    delivered: int
    missed: int
    gapped: int
    unaccounted: int
    early: int
    doubles: int
    rmr: float
    ldh: tuple[int, ...]
    last_s: tuple[float, ...]
    repair_s: float
    control_per_node: float
    sent_per_node: float
    held_per_node: float
    held_most: int
    events: int
    virtual_s: float
    counts: dict[str, int]
    timeline: tuple[tuple[float, float], ...]


@dataclass(slots=True)
class Trial:
    """One run, and the network as it is at the end.

    Args:
        plan: What is tried.
        progress: Told how far it is.
    """

    plan: Plan
    progress: Progress = lambda _what, _share: None
    network: Network = field(init=False)
    score: Score = field(init=False)
    shed: int = 0

    def __post_init__(self) -> None:
        plan = self.plan
        self.score = Score(plan.nodes)
        self.network = Network(plan.config, plan.weather, seed=plan.seed, watch=self._watch)

    def run(self) -> Report:
        """Do it."""
        plan, network = self.plan, self.network
        rng = Random(plan.seed)
        self._join(rng)
        start = network.now
        before = self._counts()
        sent = [(board.sent_bytes, board.sent_control) for board in network.boards]
        sender = network.boards[0]
        half = (plan.messages + 1) // 2
        for number in range(plan.messages):
            if number == half:
                self._break(rng, sender)
            live = self.live()
            if plan.senders == "burst":
                board = live[number % len(live)]
                is_round_over = number % len(live) == len(live) - 1
                wait_s = ROUND_S if is_round_over else 0.0
            else:
                board = sender if plan.senders == "one" else rng.choice(live)
                wait_s = plan.interval_s
            self._publish(board)
            network.run(network.now + wait_s)
            self.progress("publishing", (number + 1) / plan.messages)
        return self._settle(start, before, sent)

    def live(self) -> list[Board]:
        """Boards that have not crashed."""
        return [board for board in self.network.boards if board.is_alive]

    def _join(self, rng: Random) -> None:
        plan, network = self.plan, self.network
        seeds = [f"board-{index}:9444" for index in range(min(SEEDS, plan.nodes))]
        for number in range(plan.nodes):
            peers = tuple(rng.sample(seeds, min(3, len(seeds))))
            network.add(peers=peers, topics=(TOPIC,))
            network.run(network.now + JOIN_S)
            self.progress("joining", (number + 1) / plan.nodes)
        end = network.now + SETTLE_S
        while network.now < end:
            network.run(min(end, network.now + 1.0))
            self.progress("settling", 1 - (end - network.now) / SETTLE_S)

    def _break(self, rng: Random, sender: Board) -> None:
        plan, network = self.plan, self.network
        others = [board for board in network.boards if board is not sender]
        for board in rng.sample(others, round(plan.crash * len(others))):
            network.crash(board)
        if plan.part_s:
            network.part(lambda board: board.index % 2)
            network.at(network.now + plan.part_s, network.part, lambda _: 0)

    def _publish(self, board: Board) -> None:
        network = self.network
        outcome = network.publish(board, TOPIC, bytes(self.plan.size_bytes))
        if isinstance(outcome, Shed):
            self.shed += 1
        else:
            name = (board.contact.node, outcome.epoch, outcome.seq)
            self.score.published(name, board.index, network.now)

    def _settle(self, start: float, before: dict[str, int], sent: list[tuple[int, int]]) -> Report:
        """Let it repair itself until nothing is missing, or all of it must be a gap."""
        plan, network, score = self.plan, self.network, self.score
        end = network.now
        network.run(end + 1.0)
        live = self.live()
        early = left = score.awaited(live)
        wait_s = plan.part_s + 60.0 + 5 * plan.config.antientropy_s
        repair_s = 0.0
        while left and network.now < end + wait_s:
            network.run(network.now + STEP_S)
            left = score.awaited(live)
            repair_s = network.now - end
            self.progress("repairing", (network.now - end) / wait_s)
        after = self._counts()
        received, doubles = (
            after.get(name, 0) - before.get(name, 0) for name in ("received", "duplicates")
        )
        gapped = score.gapped(live)
        messages = [one for one in score.messages.values() if any(one.heard[b.index] for b in live)]
        expected = len(messages) * len(live)
        held = [board.mesh.held_bytes for board in live]
        grown = [
            (board.sent_bytes - bytes_, board.sent_control - control)
            for board, (bytes_, control) in zip(network.boards, sent, strict=True)
        ]
        return Report(
            live=len(live),
            published=len(messages),
            shed=self.shed,
            expected=expected,
            delivered=expected - left - gapped,
            missed=left + gapped,
            gapped=gapped,
            unaccounted=left + self._disagreeing(live),
            early=early,
            doubles=score.doubles + score.strangers,
            rmr=doubles / received if received else 0.0,
            ldh=tuple(sorted(one.last_hop for one in messages)),
            last_s=tuple(sorted(one.last_at - one.at for one in messages)),
            repair_s=repair_s,
            control_per_node=sum(control for _, control in grown) / len(grown),
            sent_per_node=sum(bytes_ for bytes_, _ in grown) / len(grown),
            held_per_node=sum(held) / len(held),
            held_most=max(held),
            events=network.events_total,
            virtual_s=network.now,
            counts=after,
            timeline=tuple((at - start, took) for at, took in score.times),
        )

    def _disagreeing(self, live: list[Board]) -> int:
        """Streams whose ledger does not say what the board was told.

        Counted from what the boards themselves keep: delivered + gapped must be all that was
        published, and the same as what came out of their doors.
        """
        told: dict[tuple[int, bytes, int], list[int]] = {}
        for (publisher, epoch, _), message in self.score.messages.items():
            for board in live:
                heard = message.heard[board.index]
                if heard:
                    both = told.setdefault((board.index, publisher, epoch), [0, 0])
                    both[heard - 1] += 1
        wrong = 0
        for board in live:
            for one in board.mesh.delivery.ledger.accounts():
                both = told.get((board.index, one.publisher, one.epoch), [0, 0])
                wrong += both != [one.delivered, one.gapped]
                wrong += one.delivered + one.gapped + one.missing != one.top
        return wrong

    def _counts(self) -> dict[str, int]:
        totals: dict[str, int] = {}
        for board in self.network.boards:
            if board.is_alive:
                for name, count in board.mesh.stats().items():
                    totals[name] = totals.get(name, 0) + count
        return totals

    def _watch(self, board: Board, what: Deliver | Gapped) -> None:
        self.score.told(board, what, self.network.now)


def percentile(values: tuple[float, ...] | tuple[int, ...], share: float) -> float:
    """Of sorted values; 0 if there are none."""
    return float(values[min(len(values) - 1, int(share * len(values)))]) if values else 0.0
