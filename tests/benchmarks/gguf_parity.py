"""Our GGUF files against llama.cpp's own converter: every family, bit for bit, and every text, token for token.

    python -m tests.benchmarks.gguf_parity [NAME]...        only cases whose name holds NAME
    python -m tests.benchmarks.gguf_parity --record         also rewrite tests/gguf_oracle.json, for the test suite
    python -m tests.benchmarks.gguf_parity --save           also keep the table in tests/benchmarks/results

For each case a small model of random weights with a published configuration and a real vocabulary is converted by both.
`tensors` and `metadata` count what is equal; `only ours` are keys that the converter leaves out; `tokens` compares the
Hugging Face tokenizer with llama.cpp reading our file; `logits` is the largest difference of log-probabilities between
transformers and llama.cpp on our f32 file. `hash unknown`: the converter does not know this vocabulary with these rules
and was told the name of them, so there the tokens prove the name and not the metadata.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import oracle
from tests.benchmarks.oracle import record, report
from tests.benchmarks.oracle.report import Table
from tests.gguf_comparing import of_llama_cpp, of_transformers, random_ids, readings, told_of
from tests.gguf_models import CASES, NAME_KEYS, Case, shapes_of, write_ours, write_weights
from tests.gguf_reading import File
from tests.gguf_vocabularies import fields_of, write_byte_level, write_gemma, write_pieces

TOKENS = 96


def main(words: list[str]) -> int:
    """0 where everything is equal, or where there is nothing to compare with."""
    names = [word for word in words if not word.startswith("--")]
    began, table = report.conditions(), Table()
    with tempfile.TemporaryDirectory() as folder:
        try:
            converter = oracle.Oracle(Path(folder))
        except oracle.UnreachableError as error:
            print(f"skipped: llama.cpp's converter could not be got from the package index ({error})")
            return 0
        table.say(
            f"{'case':<26}{'pre-tokenizer':<22}{'f16':>8}{'f32':>8}{'bf16':>8}{'metadata':>10}{'tokens':>10}{'logits':>9}"
        )
        cases = [case for case in CASES if not names or any(name in case.name for name in names)]
        equal = [Comparison(case, converter, Path(folder) / str(n), table).run() for n, case in enumerate(cases)]
        table.say(f"{sum(equal)} of {len(equal)} cases equal")
        if "--record" in words:
            record.write(converter, Path(folder) / "recording")
    if "--save" in words:
        command = " ".join(["python -m tests.benchmarks.gguf_parity", *words])
        report.save("gguf_parity", "Our GGUF files and those of llama.cpp's converter", command, table.lines, began)
    return 0 if all(equal) else 1


class Comparison:
    """One case, converted by both."""

    def __init__(self, case: Case, converter: oracle.Oracle, folder: Path, table: Table) -> None:
        self.case, self.converter, self.folder, self.table = case, converter, folder, table
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
        worst = self._logits(self.folder / "ours-f32.gguf")
        rules = fields_of(self.folder / "ours-f16.gguf")["pre"]
        rules += "" if knew else " (hash unknown)"
        row = "".join(f"{cell:>{10 if n > 2 else 8}}" for n, cell in enumerate(cells))
        self.table.say(f"{self.case.name:<26}{rules:<22}{row}{worst:>9.1e}")
        for note in self.notes:
            self.table.say(f"    {note}")
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
        same, total = 0, 0
        for reading in readings(self.model, path):
            equal = reading.expected == reading.got
            sentence = "" if equal else told_of(self.model, reading)
            if sentence:
                if not any(sentence in note for note in self.notes):
                    self.notes.append(f"left out, for example {reading.text[:30]!r}: {sentence}")
                continue
            total += 1
            same += equal
            if not equal:
                cut = f"{reading.expected[:12]}, llama.cpp {reading.got[:12]}"
                self.notes.append(f"{reading.what} {reading.text[:60]!r}: {cut}")
        return f"{same}/{total}"

    def _logits(self, path: Path) -> float:
        ids = random_ids(self.model, TOKENS)
        return float(abs(of_transformers(self.model, ids) - of_llama_cpp(path, ids)).max())


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


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    content = value[1]
    return f"{len(content)} values" if isinstance(content, list) else repr(content)[:60]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
