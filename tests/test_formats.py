"""Each layout: rows as data sets really write them, what becomes of them, and why a bad one is bad."""

from __future__ import annotations

import pytest

from workbench import formats
from workbench.errors import SettingError
from workbench.formats import BadRow

ASKED = [{"role": "user", "content": "Hi"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "Hello"}]
LONG = [*ANSWERED, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]


def said(row: dict, layout: str) -> list[tuple[str, ...]]:
    """Everything a row holds: (prompt as 'role: text | …', answer or both sides)."""
    parsed = formats.get(layout).parse(row)
    found = [*parsed.demonstrations, *parsed.preferences, *((prompt,) for prompt in parsed.prompts)]
    return [(" | ".join(f"{t.role}: {t.content}" for t in prompt.turns), *texts) for prompt, *texts in found]


GOOD = {
    "prompt and completion": (
        "prompt_completion",
        {"prompt": "Hi", "completion": "Hello", "kind": "greeting"},
        [("user: Hi", "Hello")],
    ),
    "prompt and completion as turns": (
        "prompt_completion",
        {"prompt": ASKED, "completion": ANSWERED[1:]},
        [("user: Hi", "Hello")],
    ),
    "messages, two answers": (
        "messages",
        {"messages": LONG},
        [("user: Hi", "Hello"), ("user: Hi | assistant: Hello | user: Bye", "See you")],
    ),
    "messages with parts, developer and tools": (
        "messages",
        {
            "messages": [
                {"role": "developer", "content": "Be kind"},
                {"role": "user", "content": [{"type": "text", "text": "Ti"}, {"type": "text", "text": "me?"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "12:00", "tool_call_id": "1"},
                {"role": "assistant", "content": "Noon"},
            ]
        },
        [("system: Be kind | user: Time? | assistant:  | tool: 12:00", "Noon")],
    ),
    "sharegpt": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be kind"},
        [("system: Be kind | user: Hi", "Hello")],
    ),
    "ms-swift's rounds": (
        "sharegpt",
        {"conversation": [{"human": "Hi", "assistant": "Hello"}], "system": "Be kind"},
        [("system: Be kind | user: Hi", "Hello")],
    ),
    "ms-swift's rejected messages": (
        "preference",
        {"messages": ANSWERED, "rejected_messages": [*ASKED, {"role": "assistant", "content": "No"}]},
        [("user: Hi", "Hello", "No")],
    ),
    "OpenAI's summaries": (
        "summaries",
        {
            "info": {"post": "Long.", "title": "T", "subreddit": "s"},
            "summaries": [{"text": " a"}, {"text": " b"}],
            "choice": 1,
            "batch": "x",
        },
        [("user: SUBREDDIT: r/s\n\nTITLE: T\n\nPOST: Long.\n\nTL;DR:", "b", "a")],
    ),
    "sharegpt with role and content": ("sharegpt", {"conversations": ANSWERED}, [("user: Hi", "Hello")]),
    "alpaca": (
        "alpaca",
        {"instruction": "Add", "input": "1 and 2", "output": "3", "system": "", "history": [["Hi", "Hello"]]},
        [("user: Hi | assistant: Hello | user: Add\n\n1 and 2", "3")],
    ),
    "question and answer": ("question_answer", {"question": "1+1?", "answer": "2"}, [("user: 1+1?", "2")]),
    "query and response": (
        "question_answer",
        {"query": "Hi", "response": "Hello", "system": "Be kind"},
        [("system: Be kind | user: Hi", "Hello")],
    ),
    "capitals": ("question_answer", {"INSTRUCTION": "Hi", "RESPONSE": "Hello"}, [("user: Hi", "Hello")]),
    "context": (
        "question_answer",
        {"context": "It is red.", "question": "Colour?", "answer": "Red"},
        [("user: It is red.\n\nColour?", "Red")],
    ),
    "ground truth": ("question_answer", {"question": "Hi", "ground_truth": "A: 18"}, [("user: Hi", "A: 18")]),
    "preference of texts": (
        "preference",
        {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"},
        [("user: Hi", "Hello", "Go away")],
    ),
    "preference of messages": (
        "preference",
        {"prompt": ASKED, "chosen": ANSWERED[1:], "rejected": [{"role": "assistant", "content": "No"}]},
        [("user: Hi", "Hello", "No")],
    ),
    "ultrafeedback's mixture": (
        "preference",
        {"prompt": "Hi", "chosen": ANSWERED, "rejected": [*ASKED, {"role": "assistant", "content": "No"}]},
        [("user: Hi", "Hello", "No")],
    ),
    "ultrafeedback's own columns": (
        "preference",
        {
            "prompt": "Hi",
            "chosen": ANSWERED,
            "rejected": [*ASKED, {"role": "assistant", "content": "No"}],
            "messages": ANSWERED,
            "score_chosen": 8.0,
        },
        [("user: Hi", "Hello", "No")],
    ),
    "alpaca's preference": (
        "preference",
        {"instruction": "Add", "input": "1 2", "chosen": "3", "rejected": "4"},
        [("user: Add\n\n1 2", "3", "4")],
    ),
    "argilla's preference": (
        "preference",
        {"instruction": "Add", "chosen_response": "3", "rejected_response": "4"},
        [("user: Add", "3", "4")],
    ),
    "orca's preference": (
        "preference",
        {"system": "Be kind", "question": "Hi", "chosen": "Hello", "rejected": "No"},
        [("system: Be kind | user: Hi", "Hello", "No")],
    ),
    "sharegpt's preference": (
        "preference",
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "No"},
        },
        [("user: Hi", "Hello", "No")],
    ),
    "swift's preference": (
        "preference",
        {"messages": LONG, "rejected_response": "Stay"},
        [("user: Hi | assistant: Hello | user: Bye", "See you", "Stay")],
    ),
    "chosen and rejected alone": (
        "preference_implicit",
        {"chosen": LONG, "rejected": [*LONG[:3], {"role": "assistant", "content": "Stay"}]},
        [("user: Hi | assistant: Hello | user: Bye", "See you", "Stay")],
    ),
    "HH-RLHF, with an empty space and without": (
        "preference_implicit",
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant:Hello\n\nHuman: Bye\n\nAssistant: See you\nHuman: soon",
            "rejected": "\n\nHuman: Hi\n\nAssistant:Hello\n\nHuman: Bye\n\nAssistant: Stay",
        },
        [("user: Hi | assistant: Hello | user: Bye", "See you\nHuman: soon", "Stay")],
    ),
    "text of paragraphs": ("text", {"text": "Title\n\nOne.\n\nTwo."}, [("user: Title", "One.\n\nTwo.")]),
    "text of sentences": ("text", {"text": "It rained. We left."}, [("user: It rained.", "We left.")]),
    "text of words": ("text", {"text": "one two three four"}, [("user: one two", "three four")]),
    "guanaco's dialogue": (
        "text",
        {"text": "### Human: Hi### Assistant: Hello"},
        [("user: Hi", "Hello")],
    ),
    "prompt alone": ("prompts", {"prompt": "Hi"}, [("user: Hi",)]),
    "prompt as turns": ("prompts", {"prompt": LONG[:3]}, [("user: Hi | assistant: Hello | user: Bye",)]),
}


@pytest.mark.parametrize(("layout", "row", "expected"), GOOD.values(), ids=GOOD)
def test_a_row_is_read_as_its_makers_meant_it(layout: str, row: dict, expected: list) -> None:
    """Prompt, answers and sides of a row, turn by turn."""
    assert formats.get(layout).fits(row)
    assert said(row, layout) == expected


BAD = {
    "role order": ("messages", {"messages": [*ASKED, *ASKED]}, "role order: turn 2"),
    "begins with the assistant": ("messages", {"messages": ANSWERED[1:]}, "begins with the assistant"),
    "last turn": ("messages", {"messages": LONG[:3]}, "last turn is the user's"),
    "empty answer": ("messages", {"messages": [*ASKED, {"role": "assistant", "content": " "}]}, "empty answer"),
    "unknown role": ("messages", {"messages": [{"role": "wizard", "content": "x"}]}, "unknown role 'wizard'"),
    "picture": (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        r"not text \(image_url\)",
    ),
    "no turns": ("messages", {"messages": []}, "no turns"),
    "turn is a text": ("messages", {"messages": ["hi"]}, "turn 1 is str"),
    "missing key": ("prompt_completion", {"prompt": "Hi"}, "'completion' is missing"),
    "wrong kind": ("prompt_completion", {"prompt": 5, "completion": "x"}, "'prompt' is a number"),
    "empty completion": ("prompt_completion", {"prompt": "Hi", "completion": "  "}, "'completion' is empty"),
    "a bad answer of KTO's": (
        "prompt_completion",
        {"prompt": "Hi", "completion": "No", "label": False},
        "'label' is false",
    ),
    "a bad answer among messages": ("messages", {"messages": ANSWERED, "label": False}, "'label' is false"),
    "a bad answer of LLaMA-Factory's": (
        "alpaca",
        {"instruction": "Hi", "output": "No", "kto_tag": False},
        "'kto_tag' is false",
    ),
    "a bad answer in a CSV": ("question_answer", {"question": "Hi", "answer": "No", "label": "False"}, "is false"),
    "a bad conversation": ("sharegpt", {"conversations": ANSWERED, "label": False}, "'label' is false"),
    "a choice of none": (
        "summaries",
        {"info": {"post": "Long."}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2},
        "'choice' is not the place of one of the 2 summaries",
    ),
    "no mark": ("unpaired", {"prompt": "Hi", "completion": "Hello"}, "no 'label' says"),
    "surrogate": ("prompt_completion", {"prompt": "Hi", "completion": "\ud800"}, "lone surrogate U\\+D800"),
    "NUL": ("prompt_completion", {"prompt": "a\0b", "completion": "x"}, "NUL"),
    "latin-1 byte": ("prompt_completion", {"prompt": "caf\udce9", "completion": "x"}, "not UTF-8 \\(byte 0xe9\\)"),
    "same sides": ("preference", {"prompt": "Hi", "chosen": "a", "rejected": " a "}, "are the same"),
    "another question": (
        "preference",
        {"prompt": "Hey", "chosen": ANSWERED, "rejected": ANSWERED},
        "answers another question",
    ),
    "side ends with a question": ("preference", {"prompt": "Hi", "chosen": LONG[:3], "rejected": "x"}, "end with an"),
    "sides part early": (
        "preference_implicit",
        {"chosen": LONG, "rejected": [*ASKED, {"role": "assistant", "content": "No"}]},
        "part at turn 2",
    ),
    "nothing shared": (
        "preference_implicit",
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
        "no question in common",
    ),
    "empty last answer": (
        "preference_implicit",
        {"chosen": "\n\nHuman: a\n\nAssistant:", "rejected": "\n\nHuman: a\n\nAssistant: d"},
        "chosen: turn 2 .* empty answer",
    ),
    "short text": ("text", {"text": "word"}, "too short"),
    "history": ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]}, "round 1 of 'history'"),
    "prompt that ends with an answer": ("prompts", {"prompt": ANSWERED}, "ends with the assistant's turn"),
    "no answer": ("question_answer", {"question": "Hi"}, "an answer is missing"),
}


@pytest.mark.parametrize(("layout", "row", "why"), BAD.values(), ids=BAD)
def test_a_bad_row_says_why(layout: str, row: dict, why: str) -> None:
    """Each fault has its own sentence."""
    with pytest.raises(BadRow, match=why):
        formats.get(layout).parse(row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Hello", "label": True},
        {"instruction": "Hi", "output": "Hello", "kto_tag": True},
        {"messages": ANSWERED, "label": True},
        {"question": "Hi", "answer": "Hello", "label": "True"},
    ],
)
def test_a_good_answer_is_imitated_and_a_bad_one_only_judged(row: dict) -> None:
    """KTO's rows in four spellings: the good answer is a demonstration and judged good, the bad one is judged bad."""
    bad = {**row, **({"kto_tag": False} if "kto_tag" in row else {"label": "false"})}
    good_read, bad_read = (formats.get("unpaired").parse(one) for one in (row, bad))

    assert said(row, "unpaired") == [("user: Hi", "Hello")]
    assert [(ranked.answers, ranked.bad) for ranked in good_read.rankings] == [(("Hello",), ())]
    assert (bad_read.demonstrations, [ranked.bad for ranked in bad_read.rankings]) == ((), [(0,)])


def test_kind_and_known_answer_travel_with_the_prompt() -> None:
    """The demo's prompts carry the right answer (a number too) and the kind of request."""
    (prompt,) = formats.get("prompts").parse({"prompt": "1+1?", "answer": 2, "kind": "sum"}).prompts

    assert (prompt.answer, prompt.kind) == ("2", "sum")


def test_every_layout_has_a_place_of_its_own_in_the_precedence() -> None:
    """No two layouts share a precedence, preferences come first and plain text last."""
    layouts = formats.all_layouts()

    assert len({layout.precedence for layout in layouts}) == len(layouts) == 12
    assert (layouts[0].name, layouts[-1].name) == ("preference", "text")


def test_an_unknown_layout_names_the_nearest() -> None:
    """`--as alpacca` asks for alpaca."""
    with pytest.raises(SettingError, match="Did you mean alpaca"):
        formats.get("alpacca")
