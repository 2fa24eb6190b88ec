"""The machine: its boards, clocks and the promise to stay in RAM."""
