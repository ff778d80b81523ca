"""The store's time: what passes on a boot counts, and wall clocks in between if they can be believed."""

from dataclasses import replace

import pytest

from storage.clock import Anchor, Clock, Machine, read_boot, read_uptime
from tests.storage.hands import Hands

DAY, YEAR = 86400, 365 * 86400
MONTH = 30 * DAY
NOTED = Anchor("first boot", 1000, 5000, 1_700_000_000)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_a_new_index_begins_with_the_wall_clock(hands: Hands) -> None:
    clock = Clock(None, hands.machine)
    assert clock.now() == hands.wall
    assert clock.anchor == Anchor("first boot", 1000, 1_700_000_000, 1_700_000_000)


@pytest.mark.parametrize("jump", [0, 10 * YEAR, -10 * YEAR, -3600])
@pytest.mark.parametrize("passed", [0, 1, DAY])
def test_within_a_boot_only_uptime_counts(hands: Hands, passed: int, jump: int) -> None:
    clock = Clock(None, hands.machine)
    begun = clock.now()
    hands.wait(passed)
    hands.wall += jump
    assert clock.now() == begun + passed
    assert Clock(clock.anchor, hands.machine).now() == begun + passed  # opened again
    assert Clock(clock.look(), hands.machine).now() == begun + passed


def test_another_process_of_the_same_boot_goes_on_from_what_was_noted(hands: Hands) -> None:
    hands.uptime = 1060.0
    clock = Clock(NOTED, hands.machine)
    assert clock.anchor is NOTED
    assert clock.now() == 5060


@pytest.mark.parametrize(
    ("off", "trusted"),
    [
        (0, 0),
        (1, 1),
        (DAY, DAY),
        (MONTH, MONTH),
        (MONTH + 1, 0),
        (10 * YEAR, 0),
        (-1, 0),
        (-10 * YEAR, 0),
    ],
)
def test_the_next_boot_goes_on_as_far_as_the_wall_clock_is_believed(
    hands: Hands, off: int, trusted: int
) -> None:
    hands.boot_again("second boot", off=off)
    clock = Clock(NOTED, hands.machine)
    assert clock.now() == 5000 + trusted
    assert clock.anchor == Anchor("second boot", 10, 5000 + trusted, int(hands.wall))
    hands.wait(7)
    assert clock.now() == 5000 + trusted + 7


def test_a_wall_clock_that_was_wrong_once_is_believed_from_then_on(hands: Hands) -> None:
    hands.boot_again("second boot", off=10 * YEAR)
    noted = Clock(NOTED, hands.machine).look()
    hands.boot_again("third boot", off=100)
    assert Clock(noted, hands.machine).now() == 5100


def test_time_never_goes_back_from_boot_to_boot(hands: Hands) -> None:
    last: Anchor | None = None
    seen = []
    for number, off in enumerate((0, -YEAR, 50, 10 * YEAR, MONTH, -1)):
        hands.boot_again(f"boot {number}", off=off)
        clock = Clock(last, hands.machine)
        hands.wait(5)
        seen.append(clock.now())
        last = clock.look()
    assert seen == sorted(seen)
    assert seen[-1] == seen[0] + 5 * 5 + 50 + MONTH


def test_a_boot_without_a_name_is_none_that_was_before(hands: Hands) -> None:
    hands.boot = ""
    one = Clock(None, hands.machine)
    two = Clock(one.look(), hands.machine)
    assert "" not in (one.boot, two.boot)
    assert one.boot != two.boot
    assert two.now() == one.now()


def test_a_copy_goes_exactly_as_the_original(hands: Hands) -> None:
    """Also where the boot has no name."""
    hands.boot = ""
    one = Clock(replace(NOTED, boot="an earlier boot"), hands.machine)
    copy = Clock(one.anchor, one.machine)
    hands.wait(30)
    assert (copy.boot, copy.now()) == (one.boot, one.now())


@pytest.mark.parametrize(("uptime", "now"), [(1000.0, 5000), (1000.999, 5000), (1001.0, 5001)])
def test_now_is_the_second_that_has_begun(hands: Hands, uptime: float, now: int) -> None:
    clock = Clock(NOTED, hands.machine)
    hands.uptime = uptime
    assert clock.now() == now


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.999])
def test_what_counts_from_the_next_second_is_never_found_too_old(hands: Hands, fraction: float) -> None:
    hands.uptime += fraction
    clock = Clock(None, hands.machine)
    begun = clock.now() + 1
    hands.wait(10 - 0.001)
    assert clock.now() - begun < 10


def test_this_machine_has_clocks() -> None:
    machine = Machine(read_boot())
    assert len(machine.boot) in (0, 36)
    assert 0 < read_uptime() <= machine.uptime()
    assert Clock(None, machine).now() == pytest.approx(machine.wall(), abs=2)


def test_a_boot_that_cannot_be_told_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.clock._BOOT", "/nowhere/boot_id")
    assert read_boot() == ""
