"""What a study answers, in words: the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polyhead.scoring import figure, signed
from polyhead.studies.answers import Answers, Saved, Verdict
from polyhead.studies.curves import Needed
from polyhead.studies.effects import Estimate
from polyhead.studies.minutes import Minutes
from polyhead.studies.ways import FROM, JOINT, LORA, OWN, SCRATCH, SPECIAL, TUNED, WITH

NAMES = {
    SCRATCH: "from scratch",
    LORA: "adapters (LoRA)",
    JOINT: "joint",
    SPECIAL: "joint then fine-tuned",
    OWN: "your own stages",
}


def way_name(way: str) -> str:
    """A way as people say it."""
    if way.startswith(WITH):
        return f"from {way.removeprefix(WITH)}"
    return f"{way.removeprefix(FROM)} first" if way.startswith(FROM) else NAMES.get(way, way)


def size_name(size: int) -> str:
    """A number of examples."""
    return f"{size:,} example{'' if size == 1 else 's'}"


def learns_from_tasks(way: str) -> bool:
    """Whether a way learns from other tasks of the recipe, and not from the pretrained encoder alone."""
    return way in (JOINT, SPECIAL, OWN) or way.startswith(FROM)


def headline(found: Answers) -> str:
    """The first line: did transfer help, by how much, what does it save? At the smallest size, where it can most."""
    size = found.sizes[0]
    base, best = found.base(size), found.best(size)
    value = _value(found, found.means[best, size])
    figures = f"{found.metric} {value} with {size_name(size)}"
    if best == base:
        return _not_helped(found, base, figures)
    test = found.between(base, best, size)
    if test is None or not test.called:
        return (
            f"The data cannot tell whether {_hoped(base)}: {way_name(best)} has {figures}, "
            f"{way_name(base)} {_value(found, found.means[base, size])}, and such a difference may be chance."
        )
    gain = f"{signed(found.metric, test.estimate.value)} against {way_name(base)}"
    saving = next((saved_words(one) for one in found.saved if (one.way, one.size, one.other) == (best, size, base)), "")
    return f"Transfer helped: {way_name(best)} has {figures}, {gain}. {saving}".strip()


def _not_helped(found: Answers, base: str, figures: str) -> str:
    """The first line where nothing is above what transfer is measured against: what that says, and what it does not."""
    size = found.sizes[0]
    tests = [test for way in found.ways if (test := found.between(base, way, size)) is not None]
    if not tests:
        return f"There is nothing yet to compare with: {way_name(base)} has {figures}, and no other way has runs there."
    alike = [way_name(test.second) for test in tests if test.winner != base]
    if alike:
        none = f"it and {listed(alike, 'or')} cannot be told apart"
        return f"The data cannot tell whether {_hoped(base)}: {way_name(base)} has {figures}, and {none}."
    nothing = "Transfer has not helped" if base == SCRATCH else f"Nothing else helped more than {way_name(base)}"
    return f"{nothing}: {way_name(base)} has {figures}, and is better than {listed(_others(tests))}."


def _hoped(base: str) -> str:
    """What a study is to show; fine-tuning is transfer itself, and says nothing of what it bought."""
    return "transfer helped" if base == SCRATCH else f"anything helps more than {way_name(base)}"


def _others(tests: Sequence[Verdict]) -> list[str]:
    return [way_name(test.second) for test in tests]


def more_lines(found: Answers) -> Iterator[str]:
    """What the first line leaves out: what other tasks add to fine-tuning alone, and how it is with all examples."""
    first, last = found.sizes[0], found.sizes[-1]
    best = found.best(first)
    if best not in (TUNED, found.base(first)) and (TUNED, first) in found.means:
        yield against_words(found, TUNED, best, first)
    elif best == TUNED and any(learns_from_tasks(way) and (way, first) in found.means for way in found.ways):
        yield f"With {size_name(first)} no other task of the recipe is seen to add to it."
    if last != first:
        best, base = found.best(last), found.base(last)
        if best == base:
            if len([way for way in found.ways if (way, last) in found.means]) > 1:
                yield f"With {size_name(last)} no way is seen to be better than {way_name(base)}."
        else:
            yield against_words(found, base, best, last)


def harm_words(found: Answers) -> Iterator[str]:
    """Where learning from other tasks surely makes the target worse than fine-tuning alone."""
    for way in filter(learns_from_tasks, found.ways):
        for size in found.sizes:
            test = found.between(TUNED, way, size)
            if test is not None and test.winner == TUNED:
                change = f"{signed(found.metric, test.estimate.value)} ({change_ends(found, test.estimate)})"
                yield f"{way_name(way)}, with {size_name(size)}: {change} beside {way_name(TUNED)} alone."


def against_words(found: Answers, base: str, way: str, size: int) -> str:
    """A way beside another, as a sentence about that way."""
    test = found.between(base, way, size)
    with_ = f"With {size_name(size)}"
    if test is None:
        return f"{with_} {way_name(way)} has {_value(found, found.means[way, size])}."
    change = f"{signed(found.metric, test.estimate.value)} ({change_ends(found, test.estimate)})"
    if test.winner is None:
        return f"{with_} the data cannot tell {way_name(way)} and {way_name(base)} apart: {change}."
    return f"{with_} {way_name(way)} is {'better' if test.winner == way else 'worse'} than {way_name(base)}: {change}."


def best_words(found: Answers, size: int) -> str:
    """Which way is best at a size, and which others may be as good."""
    best = found.best(size)
    named = f"With {size_name(size)} {way_name(best)} is highest ({_value(found, found.means[best, size])})"
    if found.lower_is_better:
        named = named.replace(" is highest ", " is lowest ")
    tests = [test for way in found.ways if (test := found.between(way, best, size)) is not None]
    apart = [way_name(test.first) for test in tests if test.called]
    alike = [way_name(test.first) for test in tests if not test.called]
    parts = []
    if apart:
        parts.append(f"it is better than {listed(apart)}")
    if alike:
        parts.append(f"the data cannot tell {way_name(best)} and {listed(alike, 'or')} apart")
    return f"{named}{': ' if parts else ''}{'; '.join(parts)}."


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as a sentence lists them."""
    *firsts, end = names
    return f"{', '.join(firsts)} {last} {end}" if firsts else end


def saved_words(saved: Saved) -> str:
    """What a way saves, as a sentence."""
    way, other = way_name(saved.way), way_name(saved.other)
    if saved.needed.value is None:
        said = f"All the examples that there are do not bring {other} to what {way} has with {saved.size:,}"
        low = saved.needed.low
        return f"{said}." if low is None else f"{said}; the data do not rule out that {_rounded(low):,} would."
    if saved.needed.below:
        return f"{other[:1].upper()}{other[1:]} has as much with {needed_words(saved.needed)}."
    return f"{other[:1].upper()}{other[1:]} needs {needed_words(saved.needed)} for as much."


def needed_words(needed: Needed) -> str:
    """A number of examples with its interval; what was not reached is more than all."""
    high = "more than all" if needed.high is None else f"{_rounded(needed.high):,}"
    if needed.value is None:
        return "more than all" + ("" if needed.low is None else f" ({_rounded(needed.low):,} to more than all)")
    if needed.below:
        least = f"{_rounded(needed.value):,} or fewer"
        if needed.high is None:
            return f"{least} (no upper end)"
        return least if needed.high <= needed.value else f"{least} (at most {high})"
    low = "?" if needed.low is None else f"{_rounded(needed.low):,}"
    return f"about {_rounded(needed.value):,} ({low} to {high})"


def minutes_words(one: Minutes) -> str:
    """How long a way trains until a score, with its interval."""
    reached = [time for time in one.minutes if time is not None]
    if one.mean is None:
        return f"{few_digits(min(reached))} or never" if reached else "never"
    if one.low is None or one.high is None:
        return few_digits(one.mean)
    return f"{few_digits(one.mean)} ({few_digits(one.low)} to {few_digits(one.high)})"


def time_line(found: Answers) -> Iterator[str]:
    """How long each way trains until as good a score, in a sentence; none without a dev split or a second way."""
    if found.minutes:
        first = found.minutes[0]
        times = "; ".join(f"{way_name(one.way)} {minutes_words(one)}" for one in found.minutes)
        goal = f"{found.metric} {figure(found.metric, first.score)} on dev"
        yield f"Minutes of training until {goal}, with {size_name(first.size)}: {times}."


def few_digits(minutes: float) -> str:
    """A time to two digits: no clock says more."""
    return f"{minutes:.0f}" if minutes >= 9.95 else f"{minutes:.1f}" if minutes >= 0.95 else f"{minutes:.2g}"


def verdict_words(found: Answers, size: int) -> Iterator[str]:
    """Each test of a size as a sentence; the surest first."""
    for test in sorted((test for test in found.verdicts if test.size == size), key=lambda test: test.p):
        first, second = way_name(test.first), way_name(test.second)
        if test.winner is None:
            difference = f"{signed(found.metric, test.estimate.value)} ({change_ends(found, test.estimate)})"
            yield f"The data cannot tell {first} and {second} apart: {difference} from {first} to {second}."
            continue
        loser = test.first if test.winner == test.second else test.second
        least, most = sorted(abs(end) for end in (test.estimate.low, test.estimate.high))
        by, low, high = (figure(found.metric, one) for one in (abs(test.estimate.value), least, most))
        yield f"{way_name(test.winner)} is better than {way_name(loser)}, by {by} ({low} to {high})."


def estimate_words(found: Answers, estimate: Estimate) -> str:
    """A figure with its interval."""
    return f"{_value(found, estimate)} ({_ends(found, estimate)})"


def change_ends(found: Answers, estimate: Estimate) -> str:
    """The interval of a difference, with signs."""
    return f"{signed(found.metric, estimate.low)} to {signed(found.metric, estimate.high)}"


def _value(found: Answers, estimate: Estimate) -> str:
    return figure(found.metric, estimate.value)


def _ends(found: Answers, estimate: Estimate) -> str:
    return f"{figure(found.metric, estimate.low)} to {figure(found.metric, estimate.high)}"


def _rounded(count: float) -> int:
    """A number of examples to two digits: no curve says more."""
    digits = max(0, len(str(int(count))) - 2)
    return int(round(count, -digits))
