"""What makes heads a dependency tree: one root, and from every word a way to it."""

from __future__ import annotations

from collections.abc import Sequence


def check_tree(heads: Sequence[int]) -> None:
    """Refuses heads that are no tree.

    Args:
        heads: For each word the number of its head, counted from 1; 0 for the root. Length n.

    Raises:
        ValueError: ``(index of the word at fault, what is wrong, remedy)``.
    """
    n = len(heads)
    if not 0 <= min(heads, default=0) <= max(heads, default=0) <= n:
        word = next(word for word, head in enumerate(heads) if not 0 <= head <= n)
        raise ValueError(word, f"head {heads[word]} of word {word + 1}", f"The words are 1 to {n}, and 0 is the root.")
    if heads.count(0) != 1:
        roots = [word for word, head in enumerate(heads) if head == 0]
        if not roots:
            raise ValueError(0, "the sentence has no root", "One word of each sentence has the head 0.")
        which = ", ".join(str(word + 1) for word in roots)
        raise ValueError(
            roots[1], f"the sentence has {len(roots)} roots: words {which}", "Only one word may have the head 0."
        )
    if (looping := cycle(heads)) is not None:
        path = " -> ".join(str(word) for word in looping)
        raise ValueError(looping[0] - 1, f"the heads run in a cycle: {path}", "Correct one of the heads.")


def cycle(heads: Sequence[int]) -> list[int] | None:
    """The words of a cycle, counted from 1, its first word again at the end; None if there is none."""
    walk = [0] * (len(heads) + 1)  # The word from which each word was first reached; 0: not yet.
    walk[0] = -1
    for start in range(1, len(heads) + 1):
        word = start
        while not walk[word]:
            walk[word] = start
            word = heads[word - 1]
        if walk[word] == start:
            path = [word]
            while heads[path[-1] - 1] != word:
                path.append(heads[path[-1] - 1])
            return [*path, word]
    return None
