"""Our GGUF files against llama.cpp's own converter: every family, bit for bit, and every text, token for token.

    python -m tests.benchmarks.gguf_parity [NAME]...        only cases whose name holds NAME
    python -m tests.benchmarks.gguf_parity --record         also rewrite tests/gguf_oracle.json, for the test suite

For each case a small model of random weights with a published configuration and a real vocabulary is converted by both.
`tensors` and `metadata` count what is equal; `only ours` are keys that the converter leaves out; `tokens` compares the
Hugging Face tokenizer with llama.cpp reading our file; `logits` is the largest difference of log-probabilities between
transformers and llama.cpp on our f32 file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import oracle
from tests.benchmarks.oracle import record
from tests.gguf_models import CASES, NAME_KEYS, Case, shapes_of, write_ours, write_weights
from tests.gguf_reading import File
from tests.gguf_vocabularies import fields_of, write_byte_level, write_gemma, write_pieces

TOKENS = 96


def main(words: list[str]) -> int:
    """0 where everything is equal, or where there is nothing to compare with."""
    names = [word for word in words if not word.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            converter = oracle.Oracle(Path(folder))
        except oracle.UnreachableError as error:
            print(f"skipped: llama.cpp's converter could not be got from the package index ({error})")
            return 0
        print(
            f"{'case':<26}{'pre-tokenizer':<22}{'f16':>8}{'f32':>8}{'bf16':>8}{'metadata':>10}{'tokens':>10}{'logits':>9}"
        )
        cases = [case for case in CASES if not names or any(name in case.name for name in names)]
        equal = [Comparison(case, converter, Path(folder) / str(n)).run() for n, case in enumerate(cases)]
        if "--record" in words:
            record.write(converter, Path(folder) / "recording")
    return 0 if all(equal) else 1


class Comparison:
    """One case, converted by both."""

    def __init__(self, case: Case, converter: oracle.Oracle, folder: Path) -> None:
        self.case, self.converter, self.folder = case, converter, folder
        self.model = folder / "model"
        self.notes: list[str] = []

    def run(self) -> bool:
        """Prints the case's row; whether everything is equal."""
        write_weights(self.case, self.model, shapes_of(self.case))
        write_tokenizer(self.case, self.converter, self.model)
        cells, knew = [], True
        for kind in ("f16", "f32", "bf16"):
            theirs, ours = self.folder / f"theirs-{kind}.gguf", self.folder / f"ours-{kind}.gguf"
            knew &= self.converter.convert(self.model, theirs, kind, self.case.pre).knew_hash
            write_ours(self.model, ours, kind)
            cells.append(self._tensors(theirs, ours))
        cells.append(self._metadata(self.folder / "theirs-f16.gguf", self.folder / "ours-f16.gguf"))
        cells.append(self._tokens(self.folder / "ours-f16.gguf"))
        worst = logits(self.model, self.folder / "ours-f32.gguf")
        rules = fields_of(self.folder / "ours-f16.gguf")["pre"]
        rules += "" if knew else " (hash unknown)"
        row = "".join(f"{cell:>{10 if n > 2 else 8}}" for n, cell in enumerate(cells))
        print(f"{self.case.name:<26}{rules:<22}{row}{worst:>9.1e}", flush=True)
        for note in self.notes:
            print(f"    {note}", flush=True)
        for path in self.folder.glob("*.gguf"):
            path.unlink()
        return all(same == total for same, total in (cell.split("/") for cell in cells)) and worst < 1e-2

    def _tensors(self, theirs: Path, ours: Path) -> str:
        mine, other = File(ours).tensors, File(theirs).tensors
        same = [name for name in mine.keys() & other.keys() if mine[name] == other[name]]
        wrong = sorted((mine.keys() | other.keys()) - set(same))
        self.notes += [f"{ours.name}: {name} differs" for name in wrong[:3]]
        return f"{len(same)}/{len(mine.keys() | other.keys())}"

    def _metadata(self, theirs: Path, ours: Path) -> str:
        mine, other = File(ours).keys, File(theirs).keys
        wanted = {name for name in other if not name.startswith(NAME_KEYS)}
        same = [name for name in wanted if mine.get(name) == other[name]]
        for name in sorted(wanted - set(same)):
            self.notes.append(f"{name}: {_short(mine.get(name))}, the converter {_short(other[name])}")
        extra = sorted(n for n in mine.keys() - other.keys() if not n.startswith(("finetune_workbench.", *NAME_KEYS)))
        if extra:
            self.notes.append("only ours: " + ", ".join(f"{name} {_short(mine[name])}" for name in extra))
        return f"{len(same)}/{len(wanted)}"

    def _tokens(self, path: Path) -> str:
        from workbench.exports.gguf import vocabulary
        from workbench.exports.source import read_json

        apart = vocabulary.departures(read_json(self.model / "tokenizer.json"))
        same, total = 0, 0
        for what, text, expected, got in readings(self.model, path):
            concerned = next((d for d in apart if d.concerns(text)), None)
            if concerned is not None and expected != got:
                told = f"left out, for example {text[:30]!r}: {concerned.sentence}"
                if not any(concerned.sentence in note for note in self.notes):
                    self.notes.append(told)
                continue
            total += 1
            same += expected == got
            if expected != got:
                self.notes.append(f"{what} {text[:60]!r}: {expected[:12]}, llama.cpp {got[:12]}")
        return f"{same}/{total}"


def write_tokenizer(case: Case, converter: oracle.Oracle, folder: Path) -> None:
    """The case's vocabulary as its model publishes it."""
    size = int(case.config["vocab_size"])
    if case.vocabulary == "gemma":
        write_gemma(folder, fields_of(converter.vocabulary("gemma-4")), size)
    elif case.pre:
        fields = fields_of(converter.vocabulary(case.vocabulary))
        write_byte_level(folder, fields, case.pre, size)
    else:
        write_pieces(folder, fields_of(converter.vocabulary(case.vocabulary)), size)


def readings(model: Path, path: Path) -> list[tuple[str, str, list[int], list[int]]]:
    """(what, text, the tokenizer's ids, llama.cpp's): bare, with begin and end, special tokens read or as text."""
    from workbench.exports import verify
    from workbench.tokens import ChatTokens
    from workbench.worker import gguf_file

    tokens = ChatTokens(model)
    tokenizer = tokens.tokenizer
    special = [text for text in tokens.special.values() if text]
    mixed = [f"{token}{text}" for token in special for text in verify.TEXTS] + [f"a {t} b{t}\n c" for t in special]
    chat = [{"role": "user", "content": "Où est\n  la 12345e 😀?"}, {"role": "assistant", "content": "Là. 你好"}]
    mixed.append(tokens.render([*chat, *chat]))
    found = []

    def plain(text: str, *, as_text: bool = False) -> list[int]:
        tokenizer.encode_special_tokens = as_text
        try:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)
        finally:
            tokenizer.encode_special_tokens = False

    with gguf_file.opened(path, vocab_only=True) as llama:

        def cut(text: str, bos: bool, special: bool) -> list[int]:
            return list(llama.tokenize(text.encode(), add_bos=bos, special=special))

        for text in [*verify.TEXTS, *mixed]:
            found.append(("text", text, plain(text), cut(text, False, True)))
        for text in verify.TEXTS:
            found.append(("with begin", text, list(tokenizer.encode(text).ids), cut(text, True, True)))
        for text in mixed:
            found.append(("as text", text, plain(text, as_text=True), cut(text, False, False)))
    return found


def logits(model: Path, path: Path) -> float:
    """The largest difference of log-probabilities between transformers and llama.cpp over some random tokens."""
    import numpy as np
    import torch

    from workbench.exports import answers
    from workbench.exports.source import read_json

    size = int(read_json(model / "config.json")["vocab_size"])
    ids = np.random.RandomState(1).randint(300, min(size, 32_000), TOKENS).tolist()
    with answers.whole(model, "cpu", torch.float32) as loaded:
        expected = answers.log_probs(loaded, ids[:1], ids[1:])
    with answers.LlamaCpp(path, 128) as llama:
        return float(np.abs(expected - llama.log_probs(ids[:1], ids[1:])).max())


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    content = value[1]
    return f"{len(content)} values" if isinstance(content, list) else repr(content)[:60]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
