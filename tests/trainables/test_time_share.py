"""Something that takes long is not done too often."""

from __future__ import annotations

from trainables.studies.time_share import TimeShare


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_done_again_once_it_has_taken_no_more_than_its_share() -> None:
    clock = Clock()
    share = TimeShare(0.1, clock=clock)
    assert share.due
    with share.taken():
        clock.now += 2.0
    assert not share.due
    clock.now += 19.9
    assert not share.due
    clock.now += 0.2
    assert share.due


def test_what_takes_no_time_still_rests_for_as_long_as_it_is_told() -> None:
    clock = Clock()
    share = TimeShare(0.1, rest=60.0, clock=clock)
    with share.taken():
        pass
    clock.now += 59.0
    assert not share.due
    clock.now += 1.0
    assert share.due
