"""What a study answers, in words: the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator

from polyhead.scoring import figure, signed
from polyhead.study.answers import Answers, Saved, Verdict
from polyhead.study.curves import Needed
from polyhead.study.effects import Estimate
from polyhead.study.ways import FROM, JOINT, LORA, OWN, SCRATCH, SPECIAL, TUNED, WITH

NAMES = {
    SCRATCH: "from scratch",
    LORA: "adapters (LoRA)",
    JOINT: "joint",
    SPECIAL: "joint, then fine-tuned",
    OWN: "your own stages",
}


def way_name(way: str) -> str:
    """A way as people say it."""
    if way.startswith(WITH):
        return f"from {way.removeprefix(WITH)}"
    return f"{way.removeprefix(FROM)} first" if way.startswith(FROM) else NAMES.get(way, way)


def headline(found: Answers) -> str:
    """The first line: did transfer help, by how much, what does it save? At the smallest size, where it can most."""
    size = found.sizes[0]
    here = {way: found.means[way, size] for way in found.ways if (way, size) in found.means}
    base = SCRATCH if SCRATCH in here else TUNED if TUNED in here else next(iter(here))
    sign = -1 if found.lower_is_better else 1
    best = max(here, key=lambda way: sign * here[way].value)
    figures = f"{found.metric} {_value(found, here[best])} with {size:,} examples"
    if best == base:
        others = "no other way was better" if len(here) > 1 else "no other way is finished yet"
        return f"Transfer has not helped so far: {way_name(base)} has {figures}, and {others}."
    test = _between(found, base, best, size)
    if test is None or not test.called:
        return (
            f"The data cannot tell whether transfer helped: {way_name(best)} has {figures}, "
            f"{way_name(base)} {_value(found, here[base])}, and such a difference may be chance."
        )
    gain = f"{signed(found.metric, abs(test.estimate.value))} over {way_name(base)}"
    saving = next((saved_words(one) for one in found.saved if (one.way, one.size, one.other) == (best, size, base)), "")
    return f"Transfer helped: {way_name(best)} has {figures}, {gain}. {saving}".strip()


def saved_words(saved: Saved) -> str:
    """What a way saves, as a sentence."""
    way, other = way_name(saved.way), way_name(saved.other)
    if saved.needed.value is None:
        return f"All the examples that there are do not bring {other} to what {way} has with {saved.size:,}."
    if saved.needed.below:
        return f"{other[:1].upper()}{other[1:]} has as much with {saved.size:,} or fewer."
    return f"{other[:1].upper()}{other[1:]} needs {needed_words(saved.needed)} for as much."


def needed_words(needed: Needed) -> str:
    """A number of examples with its interval; what was not reached is more than all."""
    if needed.value is None:
        return "more than all"
    low = "?" if needed.low is None else f"{_rounded(needed.low):,}"
    high = "more than all" if needed.high is None else f"{_rounded(needed.high):,}"
    return f"about {_rounded(needed.value):,} ({low} to {high})"


def verdict_words(found: Answers, size: int) -> Iterator[str]:
    """Each test of a size as a sentence; the surest first."""
    for test in sorted((test for test in found.verdicts if test.size == size), key=lambda test: test.p):
        first, second = way_name(test.first), way_name(test.second)
        difference = f"{signed(found.metric, test.estimate.value)} ({_ends(found, test.estimate)})"
        if test.winner is None:
            yield f"The data cannot tell {first} and {second} apart: {difference}."
        else:
            loser = test.first if test.winner == test.second else test.second
            yield f"{way_name(test.winner)} is better than {way_name(loser)}: {difference} from {first} to {second}."


def estimate_words(found: Answers, estimate: Estimate) -> str:
    """A figure with its interval."""
    return f"{_value(found, estimate)} ({_ends(found, estimate)})"


def _between(found: Answers, first: str, second: str, size: int) -> Verdict | None:
    wanted = {first, second}
    return next((test for test in found.verdicts if test.size == size and {test.first, test.second} == wanted), None)


def _value(found: Answers, estimate: Estimate) -> str:
    return figure(found.metric, estimate.value)


def _ends(found: Answers, estimate: Estimate) -> str:
    return f"{figure(found.metric, estimate.low)} to {figure(found.metric, estimate.high)}"


def _rounded(count: float) -> int:
    """A number of examples to two digits: no curve says more."""
    digits = max(0, len(str(int(count))) - 2)
    return int(round(count, -digits))
