"""A collector of telemetry that knows what it has not got."""

import json


class Collected:
    """Records of one boot."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.told: set[int] = set()  # lost, and said to be
        self.boots: set[str] = set()

    def take(self, text: bytes) -> None:
        """Take a record or a gap, in any order."""
        record = json.loads(text)
        self.boots.add(record["boot"])
        if "gap" in record:
            self.told |= set(range(record["first"], record["first"] + record["gap"]))
        else:
            self.numbers.add(record["seq"])

    def missing(self) -> list[int]:
        """Numbers below the highest that neither came nor were told as lost."""
        known = self.numbers | self.told
        return sorted(set(range(max(known, default=-1) + 1)) - known)
