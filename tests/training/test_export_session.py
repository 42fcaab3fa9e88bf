"""Talking to a model through its own process: a run through transformers, a file through llama.cpp."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from tests.training.test_export_gguf import write_gguf
from workbench.errors import InputError, RunError
from workbench.paths import ProjectPaths, RunPaths
from workbench.records import Turn
from workbench.session import ModelRef, Session
from workbench.worker.limits import bounded

pytestmark = pytest.mark.torch

QUESTION = (Turn("user", "Where is the <|end|> fox?"),)


def test_a_run_streams_what_generate_says(lora_run: RunPaths, export_base: Path, tmp_path: Path) -> None:
    """Greedy pieces joined are transformers' own greedy answer of base and adapter; a long chat is refused."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from workbench.tokens import ChatTokens

    tokens = ChatTokens(export_base)
    prompt = tokens.prompt_ids([{"role": "user", "content": QUESTION[0].content}])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(export_base), lora_run.model).eval()
    ids = model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=24)[0, len(prompt) :]
    expected = tokens.decode(ids.tolist())

    session = Session(ModelRef("run", "0001"), ProjectPaths(tmp_path / "project"))
    try:
        loaded = session.start()
        pieces = list(session.ask(QUESTION, temperature=0.0, max_tokens=24))
        again = list(session.ask(QUESTION, temperature=1.0, max_tokens=5, seed=1))
        long = (Turn("user", "fox " * 400),)
        with pytest.raises(InputError, match="tokens long; the model reads 256"):
            list(session.ask(long))
    finally:
        session.close()

    assert loaded.context == 256
    assert "".join(pieces) == expected
    assert session.answered is None
    assert again


def test_a_file_answers_as_its_model_and_survives_being_killed(export_base: Path, tmp_path: Path) -> None:
    """llama.cpp's greedy answer is transformers' own; after a kill the session starts again and says the same."""
    import torch

    from workbench.exports import answers
    from workbench.tokens import ChatTokens

    tokens = ChatTokens(export_base)
    prompt = tokens.prompt_ids([{"role": "user", "content": QUESTION[0].content}])
    with answers.whole(export_base, "cpu", torch.float32) as model:
        ((ids, _),) = answers.greedy(model, [prompt], tokens.end_ids)
    session = Session(ModelRef("gguf", str(gguf_with_template(tmp_path, export_base))), ProjectPaths(tmp_path))
    try:
        session.start()
        first = "".join(session.ask(QUESTION, temperature=0.0, max_tokens=96))
        assert session._child is not None
        os.kill(session._child.pid, signal.SIGSTOP)  # so that the answer cannot be quicker than the kill
        answer = session.ask(QUESTION, temperature=0.0, max_tokens=200)
        os.kill(session._child.pid, signal.SIGABRT)
        os.kill(session._child.pid, signal.SIGCONT)
        with pytest.raises(RunError, match=r"gave up on model\.gguf"):
            list(answer)
        session.start()
        second = "".join(session.ask(QUESTION, temperature=0.0, max_tokens=96))
    finally:
        session.close()

    assert first == second == tokens.decode(ids)


def gguf_with_template(folder: Path, base: Path) -> Path:
    """The base as an f32 GGUF that carries its chat template."""
    import json

    from workbench.exports.gguf import writing
    from workbench.exports.tensors import Merged, Weights

    path = folder / "model.gguf"
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    template = (base / "chat_template.jinja").read_text()
    tokens = writing.TokenFacts(tokenizer, {"bos": 1, "eos": 2}, template)
    config = json.loads((base / "config.json").read_text())
    writing.write(path, "f32", Merged(Weights(base)), config, tokens, writing.Description("tiny"), lambda size: None)
    return path


@pytest.mark.parametrize("fault", ["not a gguf", "cut in half", "claims 2^60 tensors"])
def test_a_damaged_file_is_a_sentence(export_base: Path, tmp_path: Path, fault: str) -> None:
    """Whatever is wrong with a file, starting it ends in a sentence, exit code 2, and never in a dead app."""
    path = write_gguf(tmp_path / "model.gguf", export_base)
    data = bytearray(path.read_bytes())
    if fault == "not a gguf":
        data[:4] = b"PK\x03\x04"
    elif fault == "cut in half":
        del data[len(data) // 2 :]
    else:
        data[8:16] = struct.pack("<Q", 2**60)
    path.write_bytes(data)
    session = Session(ModelRef("gguf", str(path)), ProjectPaths(tmp_path))

    with pytest.raises(InputError, match=r"model\.gguf") as caught:
        session.start()
    assert caught.value.exit_code == 2
    assert not session.alive


def test_a_template_that_loops_is_ended() -> None:
    """A chat template that runs for ever is ended after its seconds, with a sentence."""
    from workbench.tokens import compile_template

    bomb = compile_template("{% for n in range(99999) %}" * 3 + "{% endfor %}" * 3)

    with pytest.raises(InputError, match=r"did not finish within 0\.2 seconds"), bounded("The template", seconds=0.2):
        bomb.render()


def test_a_template_that_doubles_its_text_is_ended() -> None:
    """A chat template that builds a text of gigabytes runs into the memory limit, and the process goes on."""
    from workbench.tokens import compile_template

    bomb = compile_template(
        "{% set n = namespace(t='x' * 1000000) %}{% for i in range(40) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}"
    )

    with pytest.raises(InputError, match="more than 256 MB"), bounded("The template", 30.0, 2**28):
        bomb.render()
