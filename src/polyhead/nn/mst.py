"""The best dependency tree with exactly one root, from a score for every arc."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IMPOSSIBLE = -1e6
"""An arc this far (or further) below the best arc of its word counts as impossible, like one of score -inf."""


def decode(scores: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], float]:
    """The maximum spanning tree in which exactly one word hangs on the root, as UD demands.

    The best tree without the demand (Chu and Liu 1965, Edmonds 1967) has several roots quite often where a
    parser is unsure, and repairing it greedily misses the optimum (Zmigrod et al. 2020, "Please Mind the Root").
    Three steps, each exact:

    1. The best head of each word. Where these form a tree with one root, no tree can score more.
    2. The maximum spanning tree. Where it has one root, it is the best of those that have.
    3. The maximum spanning tree after taking a constant off every root arc, so large that a tree with k roots
       loses to any with k - 1; among trees with one root the order stays as it was.

    Args:
        scores: (n + 1, n + 1) as [dependent, head]: the score of each arc, such as its log-probability, of any
            float type. Row and column 0 stand for the root; row 0 and the diagonal are not read. -inf forbids
            an arc, as far as a tree with one root can do without it.

    Returns:
        The head of each word, (n,) with words counted from 1 and 0 for the root, as in ``Tree.heads``; and the
        sum of the scores of these arcs.

    Raises:
        ValueError: Another shape, or a score that is nan or +inf.
    """
    arcs = _arcs(scores)
    heads = arcs.argmax(axis=1)  # (n,)
    if not is_single_rooted(heads):
        heads = _search(arcs)
    return heads, float(arcs[np.arange(len(arcs)), heads].sum())


def is_single_rooted(heads: npt.NDArray[np.int64]) -> bool:
    """Whether heads, (n,) with words counted from 1, form a tree in which one word hangs on 0; true for n = 0."""
    n = len(heads)
    if n == 0:
        return True
    if np.count_nonzero(heads == 0) != 1:
        return False
    ancestors = np.concatenate(([0], heads))
    # Each pass doubles the distance climbed, so a word that is not at the root afterwards is in or on a cycle.
    for _ in range(n.bit_length()):
        ancestors = ancestors[ancestors]
    return not ancestors.any()


def _arcs(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The rows of the words, (n, n + 1), as a copy in which no word is its own head."""
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not scores.size:
        raise ValueError(f"scores must be (words + 1, words + 1), not {scores.shape}")
    arcs = scores[1:].astype(np.float64)
    words = np.arange(len(arcs))
    arcs[words, words + 1] = -np.inf
    if not (arcs < np.inf).all():
        row, head = np.argwhere(~(arcs < np.inf))[0]
        raise ValueError(f"the score of head {head} for word {row + 1} is {arcs[row, head]}")
    return arcs


def _search(arcs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Steps 2 and 3 of ``decode``: (n, n + 1) arc scores to (n,) heads."""
    n = len(arcs)
    best = arcs.max(axis=1, keepdims=True)  # (n, 1)
    # Every tree takes one arc from each row, so a constant per row changes no comparison. With the best arcs
    # at 0 and the impossible ones at a bound, the constant of step 3 stays small enough to add without loss.
    best[np.isneginf(best)] = 0.0
    square = np.full((n + 1, n + 1), np.nan)  # nan: no such arc
    np.subtract(arcs, best, out=square[1:])
    np.maximum(square[1:], IMPOSSIBLE, out=square[1:])
    np.fill_diagonal(square, np.nan)
    heads = _spanning_tree(square)
    if np.count_nonzero(heads == 0) > 1:
        square[1:, 0] += n * np.nanmin(square) - 1.0  # any two trees differ by less than this
        heads = _spanning_tree(square)
    return heads


def _spanning_tree(square: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The maximum spanning tree, with any number of roots (Chu and Liu 1965, Edmonds 1967).

    From a word without a place in the tree, walk from best head to best head until the walk meets the tree,
    which gives all its nodes their place, or itself: then the cycle becomes one new node, and the walk goes on
    from there (Gabow et al. 1986). n words make at most n - 1 cycles, and contracting one costs O(n) times its
    length, so the whole search is O(n^2).

    Args:
        square: (n + 1, n + 1) as in ``decode``; nan or -inf where there is no such arc.

    Returns:
        The head of each word, (n,).

    Raises:
        ValueError: The arcs there are connect no tree.
    """
    size = len(square)
    # A cycle takes over the row and the column of one of its nodes: -inf hides the others. Memory grows with the square
    # of the words, so that of these two arrays is what bounds the length of a sentence.
    scores = square.copy()
    scores[np.isnan(scores)] = -np.inf
    # The arc between words behind [dependent, head], in four bytes where they hold its number.
    numbers: type[np.signedinteger] = np.int32 if size**2 < 2**31 else np.int64
    arcs: npt.NDArray[np.signedinteger] = np.arange(size**2, dtype=numbers).reshape(size, size)
    entering = [0] * (2 * size)  # node -> the arc chosen for it, as in arcs
    around = list(range(2 * size))  # node -> the cycle it is in; itself if none
    placed = [True] + [False] * (2 * size - 1)
    place = list(range(2 * size))  # node -> its row and column
    at = list(range(size))  # row and column -> the outermost node there
    new = size
    for word in range(1, size):
        walk = [] if placed[word] else [word]
        while walk:
            node = walk[-1]
            placed[node] = True
            row = place[node]
            column = int(scores[row].argmax())
            if scores[row, column] == -np.inf:
                raise ValueError("no tree without forbidden arcs")
            entering[node] = int(arcs[row, column])
            head = at[column]
            if head in walk:
                start = walk.index(head)
                _contract(scores, arcs, [place[member] for member in walk[start:]])
                for member in walk[start:]:
                    around[member] = new
                place[new] = place[head]
                at[place[new]] = new
                walk[start:] = [new]
                new += 1
            elif placed[head]:
                break
            else:
                walk.append(head)
    return _expand(entering[:new], around, size)


def _contract(scores: npt.NDArray[np.float64], arcs: npt.NDArray[np.signedinteger], cycle: list[int]) -> None:
    """Makes the nodes of a cycle, each the best head of another, one node in the place of the first; scores and arcs
    are changed.
    """
    everyone = np.arange(len(scores))
    new = cycle[0]
    heads = scores[cycle]  # (cycle, nodes)
    # An arc into the cycle replaces the best arc of the member it enters, so it counts as what that costs.
    heads -= heads.max(axis=1, keepdims=True)
    dependents = scores[:, cycle]  # (nodes, cycle)
    enters, leaves = heads.argmax(axis=0), dependents.argmax(axis=1)
    members = np.array(cycle)
    entered = arcs[members[enters], everyone]
    arcs[:, new] = arcs[everyone, members[leaves]]
    arcs[new] = entered
    scores[:, cycle] = -np.inf
    scores[:, new] = dependents[everyone, leaves]
    scores[new] = heads[enters, everyone]
    scores[new, cycle] = -np.inf


def _expand(entering: list[int], around: list[int], size: int) -> npt.NDArray[np.int64]:
    """The heads of the words, (size - 1,), from the arc chosen for each node; cycles come after what is in them."""
    heads = np.zeros(size, dtype=np.int64)
    done = [False] * len(entering)
    for node in reversed(range(1, len(entering))):
        if done[node]:
            continue
        dependent, head = divmod(entering[node], size)
        heads[dependent] = head
        # The cycles between the word and this node open where the arc enters; their other members keep theirs.
        while dependent != node:
            done[dependent] = True
            dependent = around[dependent]
    return heads[1:]
