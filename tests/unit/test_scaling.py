"""The scaling policies: by examples, by properties, and against oracles too plain to be wrong."""

import math
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podfleet import (
    Buffer,
    Chain,
    ConfigurationError,
    Demand,
    Load,
    ScalingPolicy,
    Schedule,
    Window,
)
from podfleet.scaling import as_policy, wanted
from podfleet.scaling.poisson import poisson_quantile

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
FORWARD, BACK = date(2026, 3, 29), date(2026, 10, 25)  # Sundays, at 02:00 and at 03:00
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

counts = st.integers(0, 3000)
percents = st.integers(1, 99)
rates = st.floats(0, 20)
seconds = st.floats(0, 600)
loads = st.builds(
    Load,
    now=st.just(NOW),
    allocated=counts,
    ready=counts,
    starting=counts,
    rate=rates,
    start_seconds=seconds,
    waiting=counts,
)


def load(**told: Any) -> Load:
    return Load(**{"now": NOW, **told})


# --- Load


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("now", datetime(2026, 11, 23)),  # noqa: DTZ001  (that is what is refused)
        ("now", "12:00"),
        ("allocated", -1),
        ("ready", 1.0),
        ("starting", True),
        ("waiting", None),
        ("rate", -0.1),
        ("rate", math.nan),
        ("start_seconds", math.inf),
        ("start_seconds", "30"),
    ],
)
def test_a_load_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(**{field: value})
    assert (refused.value.field, refused.value.value) == (f"Load.{field}", value) or value != value


# --- Buffer


@given(loads, counts)
def test_a_buffer_is_so_many(load: Load, ready: int) -> None:
    assert Buffer(ready).free(load) == ready


@given(loads, percents)
def test_a_share_is_reached_and_no_more(load: Load, percent: int) -> None:
    free, allocated = Buffer(f"{percent}%").free(load), load.allocated
    assert 100 * free >= percent * (free + allocated)
    if free:
        assert 100 * (free - 1) < percent * (free - 1 + allocated)


def test_a_buffer_scales_to_zero_and_min_keeps_it_above() -> None:
    assert Buffer(0).free(load()) == 0
    assert Buffer("20%").free(load()) == 0
    assert Buffer("20%", min=1).free(load()) == 1
    assert Buffer("20%", min=1).free(load(allocated=1)) == 1


@given(
    loads,
    st.one_of(
        st.builds(lambda ready: (Buffer, {"ready": ready}), counts),
        st.builds(lambda percent: (Buffer, {"ready": f"{percent}%"}), percents),
        st.builds(lambda share: (Demand, {"covered": share}), st.floats(0.01, 0.9999)),
    ),
    counts,
    st.one_of(st.none(), counts),
)
def test_the_bounds_hold(
    load: Load, made: tuple[Callable[..., Any], dict[str, Any]], least: int, more: int | None
) -> None:
    kind, told = made
    most = None if more is None else least + more
    free = kind(**told, min=least, max=most).free(load)
    unbounded = kind(**told).free(load)
    total = load.allocated + free
    assert free >= 0
    assert total >= least
    assert most is None or total <= most or free == 0
    if load.allocated + unbounded >= least and (most is None or load.allocated + unbounded <= most):
        assert free == unbounded


@pytest.mark.parametrize(
    "value",
    ["0%", "100%", "20", "%", "-5%", "2.5%", "020%", "20 %", "٢٠%", "", -1, 1.5, True, None],
)
def test_a_buffer_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Buffer(value)
    assert (refused.value.field, refused.value.value) == ("Buffer.ready", value)


@pytest.mark.parametrize("kind", [Demand, lambda **told: Buffer(1, **told)])
@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"min": -1}, "min"),
        ({"min": None}, "min"),
        ({"max": -1}, "max"),
        ({"max": 1.5}, "max"),
        ({"min": 5, "max": 4}, "max"),
    ],
)
def test_bounds_that_cannot_be_are_refused(
    kind: Callable[..., ScalingPolicy], told: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        kind(**told)
    assert refused.value.field.endswith(f".{field}")
    assert refused.value.value == told[field]


# --- Demand


@given(st.floats(0, 300), st.floats(0.001, 0.9999))
def test_the_quantile_is_that_of_a_direct_sum(mean: float, share: float) -> None:
    def at_most(number: int) -> float:
        return math.fsum(
            math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else float(k == 0)
            for k in range(number + 1)
        )

    number = poisson_quantile(mean, share)
    assert at_most(number) >= share - 1e-9
    assert not number or at_most(number - 1) < share + 1e-9


@pytest.mark.parametrize(
    ("mean", "share", "number"),
    [
        # Of tables, and of R's qpois(share, mean).
        (0.0, 0.99, 0),
        (1.0, 0.5, 1),
        (5.0, 0.95, 9),
        (10.0, 0.99, 18),
        (30.0, 0.99, 43),
        (100.0, 0.01, 77),
    ],
)
def test_quantiles_that_are_known(mean: float, share: float, number: int) -> None:
    assert poisson_quantile(mean, share) == number


@given(st.floats(1e4, 1e7))
def test_a_large_mean_is_nearly_normal_and_takes_no_time(mean: float) -> None:
    margin = (poisson_quantile(mean, 0.99) - mean) / math.sqrt(mean)
    assert margin == pytest.approx(2.3263, abs=0.03)


@given(st.floats(0, 1e4))
def test_the_largest_share_below_one_has_a_quantile(mean: float) -> None:
    number = poisson_quantile(mean, math.nextafter(1.0, 0.0))
    assert int(mean) <= number <= mean + 10 * math.sqrt(mean) + 20


@given(loads, rates, seconds, st.floats(0.01, 0.9999))
def test_more_demand_never_asks_for_fewer(
    one: Load, more: float, longer: float, share: float
) -> None:
    policy = Demand(covered=share)
    said = policy.free(one)
    told = {"allocated": one.allocated, "waiting": one.waiting}
    faster = load(**told, rate=one.rate + more, start_seconds=one.start_seconds)
    slower = load(**told, rate=one.rate, start_seconds=one.start_seconds + longer)
    assert policy.free(faster) >= said
    assert policy.free(slower) >= said
    assert Demand(covered=(1 + share) / 2).free(one) >= said


@given(st.floats(0.01, 2), st.floats(1, 60), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_share_of_callers_who_find_a_server_is_covered(
    rate: float, start: float, share: float
) -> None:
    """Those of ``free`` that are being replaced are Poisson: one is left if fewer are."""
    free = Demand(covered=share).free(load(rate=rate, start_seconds=start))
    mean = rate * start
    left = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(free))
    assert left >= share - 1e-9


def test_demand_scales_to_zero_and_from_it() -> None:
    assert Demand().free(load(start_seconds=30.0)) == 0
    assert Demand().free(load(waiting=3)) == 3
    assert Demand().free(load(rate=0.01)) == 1  # no start has been measured
    assert Demand().free(load(rate=0.01, start_seconds=30.0)) == 3
    assert Demand(min=2).free(load()) == 2


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, -0.5, 99, math.nan, "0.99", True, None])
def test_a_share_that_cannot_be_covered_is_refused(share: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Demand\.covered"):
        Demand(covered=share)


# --- Schedule


def minutes(first: date, last: date) -> Iterator[datetime]:
    """Yield every minute from one day's start in Berlin to another's."""
    now = datetime(first.year, first.month, first.day, tzinfo=BERLIN).astimezone(UTC)
    end = datetime(last.year, last.month, last.day, tzinfo=BERLIN).astimezone(UTC)
    while now < end:
        yield now
        now += timedelta(minutes=1)


def held_minutes(start: str, end: str, days: set[str]) -> set[str]:
    """Return the minutes of a week in which a window holds, each as ``"Sun 02:30"``.

    Walks from the start of the window to its end, minute by minute, on a clock without changes.
    """
    held = set()
    for day, name in enumerate(DAYS):
        if name not in days:
            continue
        at = datetime(2026, 11, 23 + day)  # noqa: DTZ001  (23: a Monday)
        while at.strftime("%H:%M") != start:
            at += timedelta(minutes=1)
        while True:
            held.add(f"{DAYS[at.weekday()]} {at:%H:%M}")
            at += timedelta(minutes=1)
            if at.strftime("%H:%M") == end.replace("24:", "00:"):
                break
    return held


times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))


@settings(max_examples=40)  # of thousands of minutes each
@given(
    times,
    times | st.just("24:00"),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.sampled_from([FORWARD, BACK]),
)
def test_a_window_holds_when_the_wall_clock_says_so(
    start: str, end: str, days: set[str], change: date
) -> None:
    if end in (start, start.replace("00:", "24:")):
        return
    window = Window(start=start, end=end, days=",".join(sorted(days)), policy=1)
    schedule = Schedule([window], zone="Europe/Berlin")
    held = held_minutes(start, end, days)
    for now in minutes(change - timedelta(days=1), change + timedelta(days=2)):
        wall = now.astimezone(BERLIN)
        expected = 1 if f"{DAYS[wall.weekday()]} {wall:%H:%M}" in held else None
        assert schedule.free(load(now=now)) == expected, wall


def hours_held(schedule: Schedule, day: date) -> float:
    held = (schedule.free(load(now=now)) for now in minutes(day, day + timedelta(days=1)))
    return sum(free == 1 for free in held) / 60


@pytest.mark.parametrize(
    ("start", "end", "forward", "back"),
    [
        ("00:00", "24:00", 23, 25),
        ("01:00", "04:00", 2, 4),
        ("02:00", "03:00", 0, 2),
        ("18:00", "23:00", 5, 5),
        ("22:00", "03:00", 4, 6),  # two hours in the evening, the rest in the morning
    ],
)
def test_days_on_which_the_clock_changes(start: str, end: str, forward: float, back: float) -> None:
    schedule = Schedule([Window(start=start, end=end, policy=1)], zone="Europe/Berlin")
    assert hours_held(schedule, FORWARD) == forward
    assert hours_held(schedule, BACK) == back


@pytest.mark.parametrize(
    ("days", "held"),
    [
        (None, set(DAYS)),
        ("Mon-Fri", set(DAYS[:5])),
        ("Sat,Sun", {"Sat", "Sun"}),
        ("Fri-Mon", {"Fri", "Sat", "Sun", "Mon"}),
        ("Mon-Wed,Sat", {"Mon", "Tue", "Wed", "Sat"}),
        ("Thu", {"Thu"}),
        ("Tue-Tue", {"Tue"}),
        ("Tue-Mon", set(DAYS)),
    ],
)
def test_days_of_the_week(days: str | None, held: set[str]) -> None:
    window = Window(start="10:00", end="14:00", days=days, policy=1)
    noons = [NOW + timedelta(days=day) for day in range(7)]
    assert {DAYS[noon.weekday()] for noon in noons if window.holds(noon)} == held


def test_the_first_window_that_holds_counts() -> None:
    noon = Window(start="12:00", end="13:00", policy=lambda load: load.allocated)
    day = Window(start="08:00", end="18:00", policy=Buffer("50%"))
    silent = Window(start="12:00", end="12:01", policy=Chain([]))
    schedule = Schedule([noon, day], zone="UTC", otherwise=3)
    assert schedule.free(load(allocated=7)) == 7
    assert schedule.free(load(allocated=7, now=NOW.replace(hour=11))) == 7
    assert schedule.free(load(allocated=7, now=NOW.replace(hour=18))) == 3
    assert Schedule([noon], zone="UTC").free(load(now=NOW.replace(hour=18))) is None
    assert Schedule([silent, day], zone="UTC").free(load()) is None  # it holds, and is silent


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", "24:00"),
        ("start", "9:00"),
        ("start", "09:60"),
        ("start", 9),
        ("end", "24:01"),
        ("end", "noon"),
        ("end", None),
        ("end", "18:00"),  # the start
        ("days", "Monday"),
        ("days", "Mon-"),
        ("days", "Mon Tue"),
        ("days", ""),
        ("days", ["Mon"]),
        ("policy", None),
        ("policy", "5"),
        ("policy", -1),
    ],
)
def test_a_window_that_cannot_be_is_refused(field: str, value: object) -> None:
    told: dict[str, Any] = {"start": "18:00", "end": "23:00", "policy": 5}
    with pytest.raises(ConfigurationError) as refused:
        Window(**{**told, field: value})
    assert (refused.value.field, refused.value.value) == (f"Window.{field}", value)


@pytest.mark.parametrize(
    "zone", ["Europe/Bonn", "Europe", "", "../UTC", "/etc/localtime", "a\0b", "x" * 300, None, 1]
)
def test_a_zone_that_is_not_known_is_refused(zone: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be the name of a time zone") as refused:
        Schedule([], zone=zone)
    assert (refused.value.field, refused.value.value) == ("Schedule.zone", zone)


@pytest.fixture
def without_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be a machine that has no time zones, as small container images are."""
    for name in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()


@pytest.mark.usefixtures("without_zones")
def test_where_no_zone_is_known_the_remedy_is_told() -> None:
    with pytest.raises(ConfigurationError, match="install tzdata"):
        Schedule([], zone="Europe/Berlin")


def test_what_is_no_window_is_refused() -> None:
    windows: Any = [Window(start="18:00", end="23:00", policy=1), 5]
    with pytest.raises(ConfigurationError, match=r"Schedule\.windows\[1\]: 5"):
        Schedule(windows, zone="UTC")


# --- Chain, numbers and functions


def test_the_first_that_says_something_counts() -> None:
    silent = Schedule([], zone="UTC")
    assert Chain([silent, 0, 5]).free(load()) == 0
    assert Chain([silent, Chain([]), lambda load: load.ready, 5]).free(load(ready=2)) == 2
    assert Chain([silent]).free(load()) is None


def test_who_says_nothing_wants_nothing() -> None:
    assert wanted(Chain([]), load()) == 0
    assert wanted(Schedule([], zone="UTC"), load()) == 0


def test_a_number_is_a_buffer_and_a_policy_is_itself() -> None:
    policy = Demand()
    assert as_policy("ready", 5) == Buffer(5)
    assert as_policy("ready", policy) is policy
    assert as_policy("ready", lambda load: load.waiting).free(load(waiting=4)) == 4


@pytest.mark.parametrize("value", [-1, True, 1.5, "20%", None, [], Demand])
def test_what_is_no_policy_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        as_policy("ready", value)
    assert (refused.value.field, refused.value.value) == ("ready", value)
    with pytest.raises(ConfigurationError) as refused:
        Chain([5, value])
    assert (refused.value.field, refused.value.value) == ("Chain.policies[1]", value)


NONSENSE = [-1, 1.5, True, "5", math.nan, []]


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_of_a_function_is_told_by_the_argument_that_it_was(value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wanted(Chain([Schedule([], zone="UTC"), lambda load: value]), load())
    assert refused.value.field == "Chain.policies[1]"
    assert refused.value.value is value


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_of_a_policy_is_told_by_its_name(value: Any) -> None:
    class Mine(ScalingPolicy):
        def free(self, load: Load) -> int | None:
            answer: int | None = value
            return answer

    with pytest.raises(ConfigurationError) as refused:
        wanted(Mine(), load())
    assert refused.value.field == "Mine.free"
    assert refused.value.value is value
