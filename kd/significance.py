"""Whether a difference is more than chance: paired tests by seed and by image, and the verdict in words."""

# SciPy has all of this, but is 35 MB to download and 114 MB on the disk (1.17, Linux) for the four short functions
# below, on every Space too: nothing else here needs it. They are tested against its values.
import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

LEVEL = 0.05
MARGIN = 0.005  # of accuracy: what lies within half a point of nothing counts as no difference
ROUNDING = 1e-12  # what floats make of the spread of equal differences, like .9 - .8 and .8 - .7


class PairedDifference(NamedTuple):
    """The mean difference of n pairs, and what Student's paired t-test says of it.

    Attributes:
        mean: of the n differences.
        sd: their standard deviation; None for one pair.
        low, high: the 95 % confidence interval of the mean; None for one pair. Both are the mean where all differences
            are equal: no spread is known then, and there is no interval.
        p: two-sided probability of a difference at least as large by chance; None for one pair, 1 where no spread is
            known.
    """

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


class Verdict(StrEnum):
    """What a comparison shows, in the words that people read.

    BETTER or WORSE where p, corrected for the number of comparisons (`holm`), is under .05; NO DIFFERENCE where that is
    not so and the whole interval lies within the margin; else NOT SHOWN: few seeds that vary prove no difference, and
    no equality either. One pair is ONE SEED.
    """

    BETTER = "BETTER"
    WORSE = "WORSE"
    NO_DIFFERENCE = "NO DIFFERENCE"
    NOT_SHOWN = "NOT SHOWN"
    ONE_SEED = "ONE SEED"


def judged(comparisons: Sequence[Mapping], margin: float | None = MARGIN) -> list[dict]:
    """The comparisons of one study, each with `p_corrected` and its `verdict`, a `Verdict`.

    Args:
        comparisons: paired differences as dicts, with whatever else they hold.
        margin: of the quantity compared; None where none was declared.
    """
    tested = [found for found in comparisons if found["p"] is not None]
    corrected = iter(holm([found["p"] for found in tested]))
    together = []
    for found in comparisons:
        p = next(corrected) if found["p"] is not None else None
        if p is None:
            verdict = Verdict.ONE_SEED
        elif p < LEVEL:
            verdict = Verdict.BETTER if found["mean"] > 0 else Verdict.WORSE
        elif margin is not None and -margin <= found["low"] < found["high"] <= margin:  # of a known spread
            verdict = Verdict.NO_DIFFERENCE
        else:
            verdict = Verdict.NOT_SHOWN
        together.append({**found, "p_corrected": p, "verdict": verdict})
    return together


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected so that testing each at a level errs anywhere with at most that probability.

    That bounds the family-wise error rate: of m, the k-th smallest is multiplied by m - k + 1, and none falls below the
    one before it or exceeds 1 (Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6).
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = largest
    return corrected


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> PairedDifference:
    """Student's paired t-test of `ours` minus `theirs`, pair by pair (here: seed by seed).

    Raises:
        ValueError: no pairs, or sequences of different lengths.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    if not differences:
        raise ValueError("no pairs to compare")
    n, mean = len(differences), statistics.fmean(differences)
    if n == 1:
        return PairedDifference(1, mean)
    sd = statistics.stdev(differences)
    error = sd / math.sqrt(n)
    if error < ROUNDING:  # by chance, as accuracies are counted: no spread is known, and nothing can be said of it
        return PairedDifference(n, mean, sd, mean, mean, 1.0)
    half_width = t_quantile(1 - LEVEL / 2, n - 1) * error
    return PairedDifference(n, mean, sd, mean - half_width, mean + half_width, 2 * t_tail(abs(mean) / error, n - 1))


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """McNemar's exact test, two-sided: the p-value of two classifiers' disagreements over the same images.

    Args:
        only_ours: images that the first alone has right.
        only_theirs: images that the second alone has right.
    """
    n, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    # Under chance each of the n images falls to either side like a coin; exact integers, whatever n is.
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def t_tail(t: float, degrees: int) -> float:
    """P(X > t) of Student's t distribution, t >= 0, for a whole number of degrees of freedom.

    The finite sums of Abramowitz & Stegun 1964, 26.7.3 and 26.7.4; below 1e-12 nothing but rounding is left of it.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    cosine, odd = math.cos(theta), degrees % 2
    # Odd: 2/pi (theta + sin (cos + 2/3 cos^3 + ...)), for one degree 2 theta / pi. Even: sin (1 + 1/2 cos^2 + ...).
    term, total = cosine if odd else 1.0, 0.0
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    within = math.sin(theta) * total
    if odd:
        within = 2 / math.pi * (theta + within)
    return max(0.0, (1 - within) / 2)


def t_quantile(probability: float, degrees: int) -> float:
    """The t with P(X <= t) = `probability`, from .5 up to 1 exclusive; by bisection."""
    low, high = 0.0, 1e6
    while high - low > 1e-12 * max(1.0, low):
        middle = (low + high) / 2
        if t_tail(middle, degrees) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
