"""The web service beside in-process batches: throughput, latency, errors, and memory over a million texts.

    python benchmarks/serving.py RUN [--texts FILE] [--clients 64] [--seconds 60] [--rounds 3]
    python benchmarks/serving.py RUN --memory 1000000 [--fresh-words]

A server is started on the model as ``polyhead serve`` starts it. Clients in a process of their own ask over the
loopback, each on one kept connection, one text a request, the next as soon as the last is answered; every answer is
checked to be that of its own question. The same texts are answered by ``polyhead.load(RUN)`` in a third process:
in batches of as many as there are clients, which is the most that the server can gather, and as one long list, whose
texts are sorted by length a thousand at a time. The three take turns, round by round.
The clients compute on the same processors: what they, the server and the model take of them is in the table. ``RUN``
is trained on the sample corpus if it is not there; the texts are lines of a file, by default the sentences of that
corpus.

``--memory N`` sends N texts, many in a request, and prints what server and model hold as it goes; ``--fresh-words``
gives each text words that no other has, so that a cache that only grows would show.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count, cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from results import machine


@dataclass
class Outcome:
    """What came of some seconds of asking.

    Attributes:
        texts: How many were answered.
        seconds: In how long.
        latencies: Of the answered requests, in seconds.
        statuses: How many answers of each status.
        lost: Requests without an answer, or with that to another question.
        cpu: Processor seconds of the clients.
    """

    texts: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    cpu: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run; trained on the sample corpus if it is not there")
    parser.add_argument("--texts", type=Path, help="a text on each line")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="N", help="send so many texts, and watch the memory")
    parser.add_argument("--per-request", type=int, default=200, help="texts of a request, with --memory")
    parser.add_argument("--fresh-words", action="store_true", help="with --memory: words that were never seen")
    parser.add_argument("--serve", default="", help="more options of polyhead serve, in one string")
    options = parser.parse_args()
    if not options.run.exists():
        train(options.run)
    texts = read_texts(options.texts)
    process, url = start(options.run, options.serve.split())
    try:
        if options.memory:
            watch_memory(process, url, texts, options)
        else:
            take_turns(process, url, texts, options)
    finally:
        process.terminate()
        print(f"\nThe server ended with status {process.wait(60)}.")


def train(run: Path) -> None:
    import polyhead

    polyhead.train(str(files("polyhead") / "sample" / "recipe.toml"), str(run))


def read_texts(path: Path | None) -> list[str]:
    if path is not None:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    corpus = (files("polyhead") / "sample" / "reviews-train.conllu").read_text(encoding="utf-8")
    return re.findall(r"(?m)^# text = (.+)$", corpus)


def start(run: Path, more: list[str]) -> tuple[subprocess.Popen[str], str]:
    """A server at a free port, when it listens."""
    command = [sys.executable, "-m", "polyhead", "serve", str(run), "--port", "0", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    if found is None:
        sys.exit("The server did not start.")
    return process, found[0]


# --- throughput and latency ---


def take_turns(process: subprocess.Popen[str], url: str, texts: list[str], options: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    inside = context.Process(target=answer_inside, args=(options.run, texts, theirs), daemon=True)
    inside.start()
    ours.recv()  # it is loaded
    mean = statistics.mean(map(len, texts))
    print(f"{machine()}; {len(texts)} texts of {mean:.0f} characters on average; {options.clients} clients\n")
    columns = ["round", "one list, texts/s", "batches, texts/s", "served, texts/s", "of the list", "of batches"]
    columns += ["median, ms", "p99, ms", "answers", "lost", "CPU s/s: clients", "server", "model"]
    print("| " + " | ".join(columns) + " |\n|" + 8 * "---:|" + "---|" + 4 * "---:|")
    ask(url, texts, options.clients, min(5.0, options.seconds))  # warm up
    shares = []
    for number in range(1, options.rounds + 1):
        alone = []
        for at_once in (None, options.clients):
            ours.send((options.seconds, at_once))
            alone.append(ours.recv())
        before = cpu_of(process)
        got = ask(url, texts, options.clients, options.seconds)
        used = [(now - then) / got.seconds for now, then in zip(cpu_of(process), before, strict=True)]
        served = got.texts / got.seconds
        shares.append([served / one for one in alone])
        median, late = (statistics.quantiles(got.latencies, n=100)[place] * 1000 for place in (49, 98))
        answers = ", ".join(f"{status}: {number:,}" for status, number in sorted(got.statuses.items()))
        row = [f"{number}", *(f"{one:.1f}" for one in (*alone, served)), *(f"{share:.1%}" for share in shares[-1])]
        row += [f"{median:.1f}", f"{late:.1f}", answers, f"{got.lost}"]
        row += [f"{one:.2f}" for one in (got.cpu / got.seconds, *used)]
        print("| " + " | ".join(row) + " |", flush=True)
    ours.send(None)
    of_list, of_batches = (f"{statistics.median(found):.1%}" for found in zip(*shares, strict=True))
    print(f"\nMedian share of in-process throughput: {of_list} of one list, {of_batches} of batches")


def answer_inside(run: Path, texts: list[str], connection: Connection) -> None:
    """Answer texts for as many seconds as are asked for, so many at once or as one long list; sends texts a second."""
    import polyhead

    annotate = polyhead.load(run)
    annotate.texts(texts[:100])
    connection.send(None)
    while (asked := connection.recv()) is not None:
        seconds, at_once = asked
        begin = time.perf_counter()
        done = 0
        for doc in answers(annotate, texts, at_once):
            json.dumps(doc.to_dict(confidence=False), ensure_ascii=False)
            done += 1
            if done % 64 == 0 and time.perf_counter() - begin > seconds:
                break
        connection.send(done / (time.perf_counter() - begin))


def answers(annotate: Any, texts: list[str], at_once: int | None) -> Iterator[Any]:
    """Answers without end, to so many texts at once or as one long list."""
    from polyhead.data import Example

    ring = cycle(texts)
    if at_once is None:
        yield from annotate.stream(Example(text=text) for text in ring)
    while at_once:
        yield from annotate.texts(list(islice(ring, at_once)))


def cpu_of(process: subprocess.Popen[str]) -> list[float]:
    """The processor seconds of the server, and of its models."""
    server = psutil.Process(process.pid)
    times = [sum(server.cpu_times()[:2]), sum(sum(child.cpu_times()[:2]) for child in server.children())]
    return times


def ask(url: str, texts: list[str], clients: int, seconds: float) -> Outcome:
    """Ask from a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=be_clients, args=(url, texts, clients, seconds, theirs))
    process.start()
    outcome: Outcome = ours.recv()
    process.join()
    return outcome


def be_clients(url: str, texts: list[str], clients: int, seconds: float, connection: Connection) -> None:
    try:
        import uvloop

        run: Any = uvloop.run
    except ImportError:
        run = asyncio.run
    outcome = Outcome()

    async def all_of_them() -> None:
        place = urlsplit(url)
        began, cpu = time.perf_counter(), time.process_time()
        end = began + seconds
        asking = [one_client(place.hostname, place.port, texts, i, clients, end, outcome) for i in range(clients)]
        await asyncio.gather(*asking)
        outcome.seconds, outcome.cpu = time.perf_counter() - began, time.process_time() - cpu

    run(all_of_them())
    connection.send(outcome)


async def one_client(
    host: str | None, port: int | None, texts: list[str], number: int, clients: int, end: float, outcome: Outcome
) -> None:
    """Ask one text after the other on one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    for text in islice(cycle(texts), number * len(texts) // clients, None):
        began = time.perf_counter()
        if began > end:
            break
        try:
            writer.write(request({"text": text}, host))
            status, body, wait = await response(reader)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            outcome.lost += 1
            reader, writer = await asyncio.open_connection(host, port)
            continue
        outcome.statuses[status] += 1
        if status == 200:
            outcome.latencies.append(time.perf_counter() - began)
            outcome.texts += 1
            outcome.lost += json.dumps(text, ensure_ascii=False).encode() not in body
        elif wait:
            await asyncio.sleep(wait)
    writer.close()


def request(body: dict[str, Any], host: str | None) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/annotate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes, float]:
    """The status, the body, and after how many seconds to ask again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
    again = head.partition(b"retry-after: ")[2].partition(b"\r")[0]
    return int(head[9:12]), await reader.readexactly(length), float(again or 0)


# --- memory ---


def watch_memory(process: subprocess.Popen[str], url: str, texts: list[str], options: argparse.Namespace) -> None:
    place = urlsplit(url)
    numbers, ring = count(), cycle(texts)

    def word() -> str:  # spread over all numbers of 32 bits, so that the last words have as many pieces as the first
        return f"w{next(numbers) * 2654435761 % 2**32:x}"

    def lot() -> list[str]:
        some = list(islice(ring, options.per_request))
        return [f"{text} {word()} {word()}" for text in some] if options.fresh_words else some

    async def go() -> list[tuple[int, float, float]]:
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**26)
        rows, done, step = [], 0, max(options.memory // 40, 1)
        began = time.perf_counter()
        print("| texts | server MiB | model MiB | texts/s |\n|---:|---:|---:|---:|")
        while done < options.memory:
            writer.write(request({"texts": lot()}, place.hostname))
            status, body, _ = await response(reader)
            assert status == 200 and len(json.loads(body)["answers"]) == options.per_request, status
            done += options.per_request
            if done // step > (done - options.per_request) // step:
                rows.append((done, *resident(process)))
                rate = done / (time.perf_counter() - began)
                print(f"| {done:,} | {rows[-1][1]:.0f} | {rows[-1][2]:.0f} | {rate:.0f} |", flush=True)
        writer.close()
        return rows

    rows = asyncio.run(go())
    later = rows[len(rows) // 4 :]
    for name, place_of in (("server", 1), ("model", 2)):
        growth = later[-1][place_of] - later[0][place_of]
        print(f"{name}: {growth:+.1f} MiB over the last {later[-1][0] - later[0][0]:,} texts")


def resident(process: subprocess.Popen[str]) -> tuple[float, float]:
    server = psutil.Process(process.pid)
    return server.memory_info().rss / 2**20, sum(child.memory_info().rss for child in server.children()) / 2**20


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
