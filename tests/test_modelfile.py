"""Chat templates in Ollama's language, and the Modelfile around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.errors import FormatError
from workbench.exports import go_template, modelfile
from workbench.paths import BUNDLED_BASE
from workbench.tokens import ChatTokens, Turns, compile_template

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
NUMBERED = "{% for m in messages %}{{ loop.index ~ m['role'] ~ m['content'] }}{% endfor %}>"
QWEN = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}" + CHATML
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + (first if loop.last else '') + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA31 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n' + said + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + "
    "'<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set said = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set said = false %}{% endif %}"
    "{% for m in rest %}{% if loop.index0 == 0 and said != false %}"
    "{% set content = '<<SYS>>\n' + said + '\n<</SYS>>\n\n' + m['content'] %}{% else %}{% set content = m['content'] %}"
    "{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TINYLLAMA = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
GRANITE = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set said = 'You are Granite, developed by IBM.' %}{% set rest = messages %}{% endif %}"
    "{{ '<|start_of_role|>system<|end_of_role|>' + said + '<|end_of_text|>\n' }}{% for m in rest %}"
    "{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)
OLMO2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + '\n' }}"
    "{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '\n' }}{% elif not loop.last %}"
    "{{ '<|assistant|>\n' + m['content'] + eos_token + '\n' }}{% else %}"
    "{{ '<|assistant|>\n' + m['content'] + eos_token }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def renderer(source: str, bos: str = "<s>") -> Callable[[Turns, bool], str]:
    compiled = compile_template(source)

    def render(turns: Turns, ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(
                compiled.render(messages=list(turns), add_generation_prompt=ask, bos_token=bos, eos_token="</s>")
            )
        except TemplateError as error:
            raise FormatError(str(error)) from None

    return render


@pytest.mark.parametrize(
    ("source", "begin", "user", "opening"),
    [
        (CHATML, "", ("<|im_start|>user\n", "<|im_end|>\n"), "<|im_start|>assistant\n"),
        (
            LLAMA3,
            "<s>",
            ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
    ],
)
def test_known_templates_are_recognised(source: str, begin: str, user: tuple[str, str], opening: str) -> None:
    """ChatML and Llama 3 wrap each turn in fixed text, which probes find."""
    found = modelfile.recognise(renderer(source), "<s>")

    assert found is not None
    assert (found.begin, found.around["user"], found.opening) == (begin, user, opening)
    assert set(found.around) == {"user", "assistant", "system"}


@pytest.mark.parametrize(
    "source",
    [
        CHATML, LLAMA2, LLAMA3, LLAMA31, QWEN, GEMMA, MISTRAL, PHI, TINYLLAMA, GRANITE, OLMO2, NO_SYSTEM,
    ],
)  # fmt: skip
def test_ollama_s_template_renders_as_the_model_s_own(source: str) -> None:
    """What Ollama is given, run as Go runs it, gives the Jinja template's text for every chat, system turns too."""
    render = renderer(source)
    found = modelfile.recognise(render, "<s>")

    assert found is not None
    template = modelfile.ollama_template(found, with_begin=True)
    chats = [chat for chat in modelfile.CHATS if all(turn["role"] in found.around for turn in chat)]
    assert len(chats) == (2 if source is NO_SYSTEM else 4)
    assert [go_template.render(template, chat) for chat in chats] == [render(chat, True) for chat in chats]


def test_a_template_that_counts_its_turns_is_left_to_jinja() -> None:
    """A template whose text depends on a turn's place has no simple form, and none is made up."""
    assert modelfile.recognise(renderer(NUMBERED)) is None


def test_a_template_without_system_turns_is_recognised_without_them() -> None:
    """Where the template refuses a system turn, the form has none and the other roles are kept."""
    found = modelfile.recognise(renderer(NO_SYSTEM))

    assert found is not None
    assert set(found.around) == {"user", "assistant"}


def test_the_bundled_base_s_modelfile() -> None:
    """The bundled template, its begin token written out (the tokenizer adds none), its stops, its context."""
    tokens = ChatTokens(BUNDLED_BASE)
    found = modelfile.recognise(lambda turns, ask: tokens.render(turns, ask=ask), tokens.special["bos_token"])
    stops = modelfile.stops(found, ["<|end|>"])

    text = modelfile.write(
        "model-Q8_0.gguf", found, stops=stops, context=512, adds_bos=tokens.adds_bos, title="0001-sft"
    )

    expected = """\
# 0001-sft, made by the finetune workbench.
# Use it:  ollama create 0001-sft -f Modelfile
FROM ./model-Q8_0.gguf
TEMPLATE \"\"\"<|bos|>{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}<|user|>{{ .Content }}<|end|>\
{{ else if eq .Role "assistant" }}<|assistant|>{{ .Content }}<|end|>\
{{ else if eq .Role "system" }}<|system|>{{ .Content }}<|end|>{{ end }}\
{{ if and (eq (len (slice $.Messages $i)) 1) (ne .Role "assistant") }}<|assistant|>{{ end }}{{ end }}\"\"\"
PARAMETER stop "<|end|>"
PARAMETER stop "<|user|>"
PARAMETER num_ctx 512
"""
    assert text == expected


def test_a_begin_token_that_llama_cpp_adds_is_left_out() -> None:
    """Where the GGUF says that bos is added, the template must not write it a second time."""
    found = modelfile.recognise(renderer(LLAMA3), "<s>")

    text = modelfile.write("m.gguf", found, stops=[], context=10**6, adds_bos=True, title="t")

    assert "<s>" not in text
    assert f"num_ctx {modelfile.MOST_CONTEXT}" in text


def test_a_template_that_ollama_cannot_express_gets_the_bare_prompt_and_says_so() -> None:
    """No simple form, or triple quotes in it: the Modelfile passes the prompt and a comment says why."""
    quoted = modelfile.Wrapping("", {"user": ('"""', ""), "assistant": ("", "")}, "")

    for found in (None, quoted):
        text = modelfile.write("m.gguf", found, stops=["</s>"], context=512, adds_bos=False, title="t")
        assert 'TEMPLATE """{{ .Prompt }}"""' in text
        assert "cannot express" in text


def test_braces_in_a_template_s_text_are_not_go_actions() -> None:
    """Literal {{ in the text is written as a string, or Ollama would run it."""
    found = modelfile.Wrapping("", {"user": ("{{u}}", ""), "assistant": ("", "")}, "")

    assert '{{ "{{" }}u}}' in modelfile.ollama_template(found, with_begin=True)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, ["<|im_end|>", "<|im_start|>user"]),
        (LLAMA2, ["</s><s>", "[INST]"]),
        (LLAMA3, ["<|eot_id|>", "<|start_header_id|>user<|end_header_id|>"]),
        (QWEN, ["<|im_end|>", "<|im_start|>user"]),
        (GEMMA, ["<end_of_turn>", "<start_of_turn>user"]),
        (MISTRAL, ["</s>", "[INST]"]),
        (PHI, ["<|end|>", "<|user|>"]),
        (GRANITE, ["<|end_of_text|>", "<|start_of_role|>user<|end_of_role|>"]),
        (OLMO2, ["</s>", "<|user|>"]),
    ],
)
def test_every_format_has_its_stops_in_the_modelfile(source: str, expected: list[str]) -> None:
    """The end token, what closes an answer and what would open the person's next turn each end an answer."""
    found = modelfile.recognise(renderer(source), "<s>")

    stops = modelfile.stops(found, ["</s>"])
    text = modelfile.write("m.gguf", found, stops=stops, context=4096, adds_bos=True, title="t")

    assert set(expected) | {"</s>"} == set(stops)
    for stop in stops:
        assert f'PARAMETER stop "{stop}"' in text
    assert "PARAMETER num_ctx 4096" in text
