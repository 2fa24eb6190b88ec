"""Each rule, kept and broken, on a machine made of files."""

import gzip
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from overlay_edge.host.amnesia import memfd, memfd_path
from overlay_edge.host.rules import ONCE, RULES, Found, Scope, Standing
from tests.support.workstation import on_a_disk

KEPT, BROKEN, UNKNOWN, NOT_HERE = Standing
MOUNTS = """\
22 27 0:21 / /proc rw,nosuid - proc proc rw
27 1 254:0 / / {root} - ext4 /dev/vda {root}
28 27 0:25 / /run rw,nosuid - tmpfs run rw,size=2m
29 28 0:26 / /run/store rw - tmpfs store rw,size=9m{store}
30 28 0:27 / /run/ram rw - ramfs ram rw
31 27 0:28 / /sys/firmware/efi/efivars {efi} - efivarfs efivarfs {efi}
"""
PAGES = {
    "proc/self/mountinfo": MOUNTS.format(root="ro", store=",noswap", efi="ro"),
    "proc/swaps": "Filename\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "proc/cmdline": "quiet init_on_free=1\n",
    "proc/sys/kernel/osrelease": "6.12.1-arm64\n",
    "sys/module/pstore/parameters/backend": "(null)\n",
    "sys/kernel/kexec_crash_loaded": "0\n",
    "sys/power/disk": "[disabled]\n",
}


class Machine:
    """A /proc and a /sys of which pages can be changed and taken away."""

    def __init__(self, root: Path) -> None:
        self.scope = Scope(root)
        for name, text in PAGES.items():
            self.write(name, text)

    def write(self, name: str, text: str | bytes) -> None:
        page = self.scope.root / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(text if isinstance(text, bytes) else text.encode())

    def lose(self, name: str) -> None:
        (self.scope.root / name).unlink()

    def find(self, name: str) -> Found:
        (rule,) = [rule for rule in RULES if rule.name == name]
        return rule.find(self.scope)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_there_is_a_dozen_with_names_of_their_own_and_the_required_ones_come_first() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) == 12
    assert [rule.name for rule in RULES if rule.required] == ["paths", "swap", "core_dumps", "log"]
    assert [rule.required for rule in RULES] == sorted((r.required for r in RULES), reverse=True)
    assert all(rule.promise and rule.known_by for rule in RULES)


def test_what_is_looked_at_often_is_what_can_break_at_any_time() -> None:
    assert all(rule.every_s < ONCE for rule in RULES if rule.required)
    assert all(rule.every_s >= 1 for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_machine_that_tells_nothing_breaks_no_rule_by_that(rule: object, tmp_path: Path) -> None:
    assert isinstance(rule, type(RULES[0]))
    found = rule.find(Scope(tmp_path / "nothing", {"store.path": "/run/store"}))
    measured = {"allocator", "bytecode", "log"}  # these ask no page
    assert found.state is UNKNOWN or rule.name in measured
    assert found.detail


# -- paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/run/site/key.pem", "/run/store", "/run/ram/x", ""])
def test_paths_in_ram_are_kept(machine: Machine, path: str) -> None:
    machine.scope.paths = {"tls.key": path} if path else {}
    assert machine.find("paths").state is KEPT


def test_each_path_on_a_disk_is_named_with_its_setting_and_the_disk(machine: Machine) -> None:
    machine.scope.paths = {"tls.cert": "/etc/c.pem", "store.path": "/run/store", "tls.key": "/k"}
    state, detail, hint = machine.find("paths")
    assert state is BROKEN
    assert detail == (
        "tls.cert is /etc/c.pem, on ext4 (mounted at /); tls.key is /k, on ext4 (mounted at /),"
        " expected tmpfs or ramfs"
    )
    assert "/run" in hint
    assert "--amnesia off" in hint


def test_a_link_is_judged_by_where_it_leads(machine: Machine, ram_path: Path) -> None:
    machine.scope.root = Path("/")
    link = ram_path / "link"
    link.symlink_to("/proc/version")
    machine.scope.paths = {"tls.key": str(link)}
    assert "on proc" in machine.find("paths").detail


def test_a_memfd_is_ram_and_another_descriptor_is_not(machine: Machine) -> None:
    machine.scope.root = Path("/")
    fd, disk = memfd("key", b"x"), os.open("/proc/version", os.O_RDONLY)
    try:
        machine.scope.paths = {"tls.key": memfd_path(fd)}
        assert machine.find("paths").state is KEPT
        machine.scope.paths = {"tls.key": memfd_path(disk)}
        assert machine.find("paths").state is BROKEN
    finally:
        os.close(fd)
        os.close(disk)


def test_without_a_mount_table_nothing_is_known(machine: Machine) -> None:
    machine.lose("proc/self/mountinfo")
    machine.scope.paths = {"tls.key": "/run/key.pem"}
    assert machine.find("paths").state is UNKNOWN


# -- swap ------------------------------------------------------------------------------------


def test_swap_of_any_kind_breaks_it(machine: Machine) -> None:
    assert machine.find("swap").state is KEPT
    head = PAGES["proc/swaps"]
    machine.write(
        "proc/swaps", f"{head}/dev/zram0\tpartition\t1\t0\t5\n/swapfile\tfile\t1\t0\t-2\n"
    )
    state, detail, hint = machine.find("swap")
    assert (state, detail) == (BROKEN, "swap on /dev/zram0, /swapfile, expected none")
    assert "swapoff -a" in hint
    machine.lose("proc/swaps")
    assert machine.find("swap").state is NOT_HERE


# -- log -------------------------------------------------------------------------------------


def test_a_log_in_ram_or_to_somebody_is_kept(machine: Machine, ram_path: Path) -> None:
    machine.scope.root = Path("/")
    with ExitStack() as stack:
        pair = socket.socketpair()
        pipe = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        ram = os.open(ram_path / "log", os.O_CREAT | os.O_WRONLY, 0o600)
        mem = os.memfd_create("log")
        for sock in pair:
            stack.callback(sock.close)
        for fd in (*pipe, null, ram, mem):
            stack.callback(os.close, fd)
        machine.scope.log_fds = (pair[0].fileno(), pipe[1], null, ram, mem)
        state, detail, _ = machine.find("log")
    assert state is KEPT
    assert [words.split(" is a ")[1] for words in detail.split(", ")] == [
        *("socket", "pipe", "device", "file in RAM", "file in RAM")
    ]


def test_a_log_on_a_disk_is_broken_also_when_its_name_is_gone(
    machine: Machine, tmp_path: Path
) -> None:
    if not on_a_disk(tmp_path):
        pytest.skip("the folder of this test is in RAM")
    machine.scope.root = Path("/")
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY, 0o600)
    machine.scope.log_fds = (fd,)
    try:
        state, detail, hint = machine.find("log")
        assert state is BROKEN
        assert f"{fd} is {tmp_path}/log, on " in detail
        assert hint
        (tmp_path / "log").unlink()
        assert machine.find("log").state is BROKEN
    finally:
        os.close(fd)


def test_a_closed_log_keeps_nothing(machine: Machine) -> None:
    machine.scope.log_fds = (1000,)
    assert machine.find("log") == (KEPT, "1000 is closed", "")
    machine.scope.log_fds = ()
    assert machine.find("log").state is KEPT


# -- told ------------------------------------------------------------------------------------


def test_the_allocator_is_measured_and_says_what_was_found(machine: Machine) -> None:
    state, detail, _ = machine.find("allocator")
    assert state in {KEPT, BROKEN}
    assert "of 16 of 40 B" in detail


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("init_on_free=1", KEPT),
        ("init_on_free=on quiet", KEPT),
        ("init_on_free=1 init_on_free=0", BROKEN),
        ("init_on_free=0", BROKEN),
        ("quiet", UNKNOWN),
    ],
)
def test_wiping_of_pages_is_what_the_command_line_said_last(
    machine: Machine, words: str, state: Standing
) -> None:
    machine.write("proc/cmdline", words + "\n")
    assert machine.find("freed_pages").state is state


@pytest.mark.parametrize(("line", "state"), [("{}=y", KEPT), ("# {} is not set", BROKEN)])
def test_without_a_word_the_kernels_own_configuration_decides(
    machine: Machine, line: str, state: Standing
) -> None:
    machine.write("proc/cmdline", "quiet\n")
    option = line.format("CONFIG_INIT_ON_FREE_DEFAULT_ON")
    machine.write("proc/config.gz", gzip.compress(f"CONFIG_X=y\n{option}\n".encode()))
    assert machine.find("freed_pages").state is state


def test_noswap_is_asked_of_the_stores_own_mount(machine: Machine) -> None:
    assert machine.find("noswap").state is NOT_HERE
    machine.scope.paths = {"store.path": "/run/store"}
    assert machine.find("noswap").state is KEPT
    machine.scope.paths = {"store.path": "/run/ram/store"}
    assert machine.find("noswap").state is KEPT
    machine.scope.paths = {"store.path": "/run/other"}
    assert machine.find("noswap").state is BROKEN
    machine.write("proc/sys/kernel/osrelease", "6.3.9\n")
    assert machine.find("noswap").state is NOT_HERE
    machine.write("proc/sys/kernel/osrelease", "10.0\n")
    assert machine.find("noswap").state is BROKEN


def test_a_disk_that_can_be_written_is_named_and_firmware_is_one(machine: Machine) -> None:
    assert machine.find("disks").state is KEPT
    machine.write("proc/self/mountinfo", MOUNTS.format(root="rw", store="", efi="rw"))
    state, detail, _ = machine.find("disks")
    assert state is BROKEN
    assert detail == "open for writing: / (ext4), /sys/firmware/efi/efivars (efivarfs)"
    many = "".join(f"4{n} 27 8:{n} / /mnt/{n} rw - vfat /dev/sd{n} rw\n" for n in range(9))
    machine.write("proc/self/mountinfo", many)
    assert machine.find("disks").detail.endswith("/mnt/2 (vfat) and 6 more")


@pytest.mark.parametrize(
    ("rule", "page", "broken"),
    [
        ("pstore", "sys/module/pstore/parameters/backend", "ramoops\n"),
        ("kdump", "sys/kernel/kexec_crash_loaded", "1\n"),
        ("hibernation", "sys/power/disk", "[platform] shutdown\n"),
    ],
)
def test_what_the_kernel_could_keep_is_kept_broken_or_not_here(
    machine: Machine, rule: str, page: str, broken: str
) -> None:
    assert machine.find(rule).state is KEPT
    machine.write(page, broken)
    assert machine.find(rule).state is BROKEN
    machine.lose(page)
    assert machine.find(rule).state is NOT_HERE


def test_bytecode_is_what_python_says(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_off, state in ((True, KEPT), (False, BROKEN)):
        monkeypatch.setattr(sys, "dont_write_bytecode", is_off)
        assert machine.find("bytecode").state is state


def test_a_page_that_cannot_be_read_is_unknown_and_says_which(machine: Machine) -> None:
    machine.lose("sys/power/disk")
    (machine.scope.root / "sys/power/disk").mkdir()
    state, detail, _ = machine.find("hibernation")
    assert (state, detail.endswith("sys/power/disk: Is a directory")) == (UNKNOWN, True)
