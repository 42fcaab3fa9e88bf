"""The bundled base, the demo's data, and the world that both come from."""

import json
import math
import re
from itertools import islice
from pathlib import Path

import pytest

from assets import world
from workbench import bases
from workbench.judges.rules import exact_match, is_right

ASSETS = Path(world.__file__).parent
BASE = ASSETS / "base"
DOCUMENTS_READ = 40_000  # a good part of what a training run reads, in about a second


def _rows(name: str) -> list[dict[str, str]]:
    lines = (ASSETS / "demo" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_world_is_the_same_every_time() -> None:
    """One seed gives one corpus, and another seed another."""
    first, again, other = (list(islice(world.documents(seed), 300)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_the_demo_files_are_what_the_world_makes() -> None:
    """Nobody has edited the rows by hand or changed the world without making them anew."""
    assert {name: _rows(name) for name in ("demonstrations", "prompts", "held_out")} == world.demo_rows()


def test_the_demo_is_large_and_varied_enough() -> None:
    """There is enough of each file to tune on and to measure with."""
    assert len(_rows("demonstrations")) >= 600
    assert len(_rows("prompts")) >= 240
    assert len(_rows("held_out")) >= 150
    for name in ("demonstrations", "prompts", "held_out"):
        assert len({row["kind"] for row in _rows(name)}) >= 14


def test_held_out_prompts_occur_nowhere_else() -> None:
    """No held-out prompt is a demonstration's, a prompt of the demo, or one that the corpus can draw."""
    held_out = {row["prompt"] for row in _rows("held_out")}
    elsewhere = {row["prompt"] for name in ("demonstrations", "prompts") for row in _rows(name)}
    can_be_drawn = {request.prompt for requests in world.split().corpus for request in requests}
    drawn = {
        message["content"]
        for document in islice(world.documents(1), DOCUMENTS_READ)
        if not isinstance(document, str)
        for message in document
    }

    assert not held_out & (elsewhere | can_be_drawn | drawn)


def test_each_demonstration_holds_the_right_answer() -> None:
    """A demonstration is right by the rule; courteous and padded ones are a part, plain ones the most."""
    answers = {request.prompt: request.answer for request in world.split().demonstrations}
    rows = _rows("demonstrations")
    plain = sum(row["completion"] == answers[row["prompt"]] for row in rows)
    padded = sum(not exact_match(row["completion"], answers[row["prompt"]]) for row in rows)

    assert all(is_right(row["completion"], answers[row["prompt"]]) for row in rows)
    assert 0.45 < plain / len(rows) < 0.65
    assert 0.05 < padded / len(rows) < 0.20


def test_the_base_is_small() -> None:
    """The folder stays under 8 MB, and the header of the weights counts 1 to 4 million float16 parameters."""
    weights = (BASE / "model.safetensors").read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]

    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 8_000_000
    assert 1_000_000 <= sum(math.prod(tensor["shape"]) for tensor in tensors) <= 4_000_000
    assert {tensor["dtype"] for tensor in tensors} == {"F16"}


def test_the_end_of_a_turn_ends_a_generation_everywhere() -> None:
    """Config, generation config and tokenizer name the same end, and padding is another token."""
    config, generation, tokenizer_config, tokenizer = (
        json.loads((BASE / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("config", "generation_config", "tokenizer_config", "tokenizer")
    )
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}

    assert tokenizer_config["eos_token"] == "<|end|>"
    assert config["eos_token_id"] == generation["eos_token_id"] == ids["<|end|>"]
    assert config["pad_token_id"] == generation["pad_token_id"] == ids["<|pad|>"] != ids["<|end|>"]
    assert config["bos_token_id"] == ids[tokenizer_config["bos_token"]]
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"])


@pytest.mark.torch
def test_the_template_marks_what_the_assistant_says() -> None:
    """A chat renders turn by turn, and only the assistant's words and their end token carry the mark."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    chat = [{"role": "user", "content": "Say cat twice."}, {"role": "assistant", "content": "Here it is."}]
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mark]
    rendered = "<|bos|><|user|>Say cat twice.<|end|><|assistant|>Here it is.<|end|>"
    opened = "<|bos|><|user|>Say cat twice.<|end|><|assistant|>"

    assert tokenizer.apply_chat_template(chat, tokenize=False) == rendered
    assert tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True) == opened
    assert tokenizer.decode(marked) == "Here it is.<|end|>"


@pytest.mark.torch
def test_any_text_survives_the_tokenizer() -> None:
    """Byte-level tokens know every character, and none is lost on the way back."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    text = "Zwölf Boxkämpfer — 12 naïve 🦙s,\n\tand  two spaces."

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.torch
def test_the_base_answers_as_often_as_its_readme_says() -> None:
    """Greedy answers match on the held-out prompts as often as measured, give or take three points."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    rows = _rows("held_out")
    chats = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    read_tokens = inputs["input_ids"].shape[1]
    written = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        do_sample=False,
        max_new_tokens=48,
    )
    answers = tokenizer.batch_decode(written[:, read_tokens:], skip_special_tokens=True)
    matched = sum(exact_match(answer, row["answer"]) for answer, row in zip(answers, rows, strict=True))
    stated = re.search(r"\| (\d+) of (\d+) \(", (BASE / "README.md").read_text(encoding="utf-8"))

    assert stated is not None
    assert int(stated[2]) == len(rows)
    assert matched / len(rows) == pytest.approx(int(stated[1]) / int(stated[2]), abs=0.03)


def test_the_base_carries_the_project_s_licence() -> None:
    """Its card names Apache-2.0, from which exports take theirs, and the maker writes the same head."""
    front = "---\nlicense: apache-2.0\n---\n\n# The bundled base\n"

    assert bases.resolve("bundled").licence == "apache-2.0"
    assert (BASE / "README.md").read_text(encoding="utf-8").startswith(front)
    assert f'README = """{front}' in (ASSETS / "make_base.py").read_text(encoding="utf-8")
