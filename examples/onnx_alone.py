"""What an exported model answers, with onnxruntime, tokenizers and numpy alone: a model, and a text split at spaces.

    python onnx_alone.py runs/demo/onnx "The cats sat in Rome ."

Every kind of head is here. A text must fit the encoder's window; polyhead itself also reads longer ones, cuts raw text
into words, looks for texts with several hypotheses, and says how sure each answer is.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def main(folder: Path, words: list[str]) -> dict:
    """The answers of all tasks, by their names."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    main_graph = run(folder, config, "model", inputs(folder, config, words))
    answers = {}
    for name, task in config["answers"].items():
        head, how = config["heads"][task["head"]], task["chooser"]
        scores = {key: main_graph[output] for key, output in head["scores"].items()}

        def ask(network: str, head: dict = head, **given: np.ndarray) -> dict:
            return run(folder, config, head["networks"][network], given)

        answers[name] = KINDS[how["kind"]](how, scores, words, ask, folder)
    return answers


def run(folder: Path, config: dict, name: str, given: dict, opened: dict = {}) -> dict:  # noqa: B006 - kept on purpose
    """What a graph gives, by name."""
    graph = config["graphs"][name]
    if name not in opened:
        opened[name] = onnxruntime.InferenceSession(str(folder / graph["file"]), providers=["CPUExecutionProvider"])
    outputs = list(graph["outputs"])
    found = opened[name].run(outputs, {key: given[key] for key in graph["inputs"]})
    return dict(zip(outputs, found, strict=True))


def inputs(folder: Path, config: dict, words: list[str]) -> dict:
    """What the main graph reads of one text: its pieces, and where its words are among them."""
    pieces, tokenizer = config["pieces"], Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation(), tokenizer.no_padding()
    spaced = [words[0], *(pieces["gap"] + word for word in words[1:])]
    cut = tokenizer.encode(spaced, is_pretokenized=True, add_special_tokens=False)
    parts = [[piece for piece, word in zip(cut.ids, cut.word_ids, strict=True) if word == i] for i in range(len(words))]
    parts = [part or [pieces["unknown"]] for part in parts]
    before, after = pieces["before"], pieces["after"]
    ids = [*before, *(piece for part in parts for piece in part), *after]
    assert len(ids) <= pieces["window"], "the text does not fit the encoder's window"
    lengths = np.array([len(part) for part in parts])
    lasts = len(before) + np.cumsum(lengths) - 1
    case = (
        [0] * len(before) + [case_of(w) for w, part in zip(words, parts, strict=True) for _ in part] + [0] * len(after)
    )
    row = np.array([ids])
    return {
        "ids": row,
        "mask": np.ones_like(row),
        "types": np.zeros_like(row),
        "case": np.array([case]),
        "owners": np.array([0]),
        "counts": np.array([len(words)]),
        "words": lasts - lengths + 1,
        "lasts": lasts,
        "parts": np.arange(len(before), len(ids) - len(after)),
        "part_of": np.repeat(np.arange(len(words)), lengths),
        "memory": np.arange(len(ids))[None],
    }


def case_of(word: str) -> int:
    """How a word is capitalised: not at all, its first letter, all letters, its only letter, otherwise."""
    if word == word.lower():
        return 0
    if word.isupper():
        return 2 if sum(map(str.isalpha, word)) > 1 else 3
    return 1 if word[:1].isupper() and word[1:] == word[1:].lower() else 4


def label(how, scores, words, ask, folder):
    return how["labels"][scores["logits"][0].argmax()]


def labels(how, scores, words, ask, folder):
    return sorted(name for name, logit in zip(how["labels"], scores["logits"][0], strict=True) if logit > 0)


def number(how, scores, words, ask, folder):
    return float(scores["number"][0] * how["spread"] + how["mean"])


def word_labels(how, scores, words, ask, folder):
    return [how["labels"][i] for i in scores["logits"].argmax(1)]


def lemmas(how, scores, words, ask, folder):
    return [lemma(how["scripts"][i], word) for i, word in zip(scores["logits"].argmax(1), words, strict=True)]


def lemma(script: str, word: str) -> str:
    """Apply an edit script: a case, edits of the beginning, and of the end; or ``a`` and the lemma itself."""
    if script.startswith("a"):
        return script[1:]
    found = re.fullmatch(r"([lktu])((?:[=-]|\+.)*)\|((?:[=-]|\+.)*)", script, re.DOTALL)
    if found is None:
        return word
    cased = {"l": word.lower(), "k": word, "t": word[:1].upper() + word[1:].lower(), "u": word.upper()}[found[1]]
    edits = [re.findall(r"[=-]|\+.", part, re.DOTALL) for part in found.groups()[1:]]
    begin, end = (sum(edit[0] != "+" for edit in part) for part in edits)
    if begin >= len(cased) - end and any(edits):
        return word

    def edit(part: list[str], old: str) -> str:
        letters = iter(old)
        kept = {"=": lambda _: next(letters), "-": lambda _: next(letters) and "", "+": lambda one: one[1:]}
        return "".join(kept[one[0]](one) for one in part)

    middle = len(cased) - end
    return edit(edits[0], cased[:begin]) + cased[begin:middle] + edit(edits[1], cased[middle:])


def spans(how, scores, words, ask, folder):
    """The best sequence of tags in which ``I-x`` follows ``B-x`` or ``I-x`` only (Viterbi), as spans."""
    tags, logits = how["tags"], scores["logits"]
    follow = np.array([[0 if t[0] != "I" or b[1:] == t[1:] else -np.inf for t in tags] for b in tags])
    first = np.array([-np.inf if tag[0] == "I" else 0 for tag in tags])
    if how["follow"] is not None:
        follow, first = follow + np.array(how["follow"]), first + np.array(how["first"])
    best, pointers = logits[0] + first, []
    for one in logits[1:]:
        pointers.append((best[:, None] + follow).argmax(0))
        best = (best[:, None] + follow).max(0) + one
    path = [int(best.argmax())]
    for pointer in reversed(pointers):
        path.insert(0, int(pointer[path[0]]))
    found: list[list] = []
    for i, tag in enumerate(tags[t] for t in path):
        if tag[0] == "B":
            found.append([i, i + 1, tag[2:]])
        elif tag[0] == "I":
            found[-1][1] = i + 1
    return found


def tree(how, scores, words, ask, folder):
    """The best tree with one root (Chu-Liu-Edmonds for each word as the root), and a relation for each arc."""
    arcs = scores["arcs"].astype(float)  # (words, words + 1), the root first
    arcs -= np.log(np.exp(arcs - arcs.max(1, keepdims=True)).sum(1, keepdims=True)) + arcs.max(1, keepdims=True)
    trees = []
    for root in range(len(words)):
        square = np.full((len(words) + 1,) * 2, -np.inf)
        square[1:, 1:] = arcs[:, 1:]
        square[root + 1] = -np.inf
        square[root + 1, 0] = arcs[root, 0]
        heads = spanning_tree(square)
        trees.append((sum(arcs[i, head] for i, head in enumerate(heads[1:])), heads[1:]))
    heads = max(trees, key=lambda one: one[0])[1]
    given = {"dependents": scores["dependents"], "heads": scores["heads"][heads]}
    logits = ask("relations", **given)["logits"].copy()
    if "root" in how["relations"] and len(how["relations"]) > 1:
        is_root = np.array([name == "root" for name in how["relations"]])
        logits[(np.array(heads) == 0)[:, None] != is_root] = -np.inf
    return [[int(head), how["relations"][i]] for head, i in zip(heads, logits.argmax(1), strict=True)]


def spanning_tree(scores: np.ndarray) -> list[int]:
    """The head of each node, of [dependent, head] scores, node 0 being the root."""
    scores = scores.copy()
    np.fill_diagonal(scores, -np.inf)
    heads = [0, *scores[1:].argmax(1).tolist()]
    for start in range(1, len(heads)):
        seen, node = [], start
        while node and node not in seen:
            seen.append(node)
            node = heads[node]
        if not node:
            continue
        cycle = seen[seen.index(node) :]
        rest = [i for i in range(len(heads)) if i not in cycle]
        inner = np.array([scores[i, heads[i]] for i in cycle])
        smaller = np.full((len(rest) + 1,) * 2, -np.inf)
        smaller[:-1, :-1] = scores[np.ix_(rest, rest)]
        smaller[:-1, -1] = scores[np.ix_(rest, cycle)].max(1)
        into = scores[np.ix_(cycle, rest)] - inner[:, None]
        smaller[-1, :-1] = into.max(0)
        found = spanning_tree(smaller)
        out = list(heads)
        for i, head in zip(rest[1:], found[1:-1], strict=True):
            out[i] = rest[head] if head < len(rest) else cycle[scores[i, cycle].argmax()]
        out[cycle[into[:, found[-1]].argmax()]] = rest[found[-1]]
        return out
    return heads


def text(how, scores, words, ask, folder):
    """The likeliest piece each time, until the end; what was computed is kept in cached states."""
    mask = scores["mask"]
    limit = min(how["longest"], how["room"] + round(how["stretch"] * int(mask.sum())))
    found = ask("first", states=scores["states"], mask=mask, ids=np.array([how["prompt"]]))
    read = {name: state for name, state in found.items() if name.startswith("read.")}
    ids: list[int] = []
    never = [how["padding"]] if how["padding"] != how["end"] else []
    while len(ids) < limit:
        found["logits"][0, never] = -np.inf
        piece = int(found["logits"][0].argmax())
        if piece == how["end"]:
            break
        ids.append(piece)
        past = {name.replace("present.", "past."): s for name, s in found.items() if name.startswith("present.")}
        found = ask("next", mask=mask, ids=np.array([[piece]]), **past, **read)
    return " ".join(Tokenizer.from_file(str(folder / how["vocabulary"])).decode(ids).replace("\0", "").split())


KINDS = {"label": label, "labels": labels, "number": number, "word-labels": word_labels, "lemmas": lemmas}
KINDS |= {"spans": spans, "tree": tree, "text": text}

if __name__ == "__main__":
    if not " ".join(sys.argv[2:]).split():
        sys.exit('Say which model, and a text: python onnx_alone.py FOLDER "The cats sat in Rome ."')
    print(json.dumps(main(Path(sys.argv[1]), " ".join(sys.argv[2:]).split()), ensure_ascii=False))
