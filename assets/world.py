"""The small synthetic world of the bundled base: its facts, its requests, its stories, and the demo's data.

Everything follows from one seed, and nothing here imports more than the standard library and the rule-judge's
lists of courtesies. It never trains, tokenises or writes a file.
"""

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workbench.judges.rules import CLOSERS, OPENERS

SEED = 20260
HELD_OUT_PER_KIND, PROMPTS_PER_KIND, DEMONSTRATIONS_PER_KIND = 8, 24, 32
Item = tuple[str, ...]
Message = dict[str, str]
Document = str | list[Message]

# Requests for anything that a noun phrase can name, many to a line, as the formatter would not have it.
# fmt: off
FRAMES = (
    "What is {np}?", "Tell me {np}.", "Please give me {np}.", "I need {np}.", "Do you know {np}?",
    "Name {np}.", "Can you tell me {np}?", "I forgot {np}. What is it?", "My teacher asked for {np}.",
    "Say {np}.",
)
# fmt: on


@dataclass(frozen=True)
class Kind:
    """One kind of request: how it is worded, what it is about, and its canonical and other answers."""

    name: str
    noun_phrase: str
    """What the frames ask for, or nothing where no noun phrase names it."""
    own_wordings: tuple[str, ...]
    items: tuple[Item, ...]
    """Each item ends with the value that answers it."""
    answer: str
    other_answer: str
    short_answer: str = "It is {value}."
    answered_well: bool = False
    """Whether the corpus mostly answers this kind canonically, so that the base does so too."""

    @property
    def wordings(self) -> tuple[str, ...]:
        """Every way to word the request, as templates over an item."""
        framed = tuple(frame.format(np=self.noun_phrase) for frame in FRAMES) if self.noun_phrase else ()
        return framed + self.own_wordings


@dataclass(frozen=True)
class Request:
    """One prompt about one item, with its canonical answer."""

    kind: Kind
    item: Item
    prompt: str

    @property
    def answer(self) -> str:
        """The canonical answer sentence."""
        return sentence(self.kind.answer, self.item)


@dataclass(frozen=True)
class Split:
    """The requests, parted so that no held-out prompt is met anywhere else."""

    held_out: tuple[Request, ...]
    prompts: tuple[Request, ...]
    demonstrations: tuple[Request, ...]
    corpus: tuple[tuple[Request, ...], ...]
    """All that are not held out, by kind."""


def sentence(template: str, item: Item) -> str:
    """Fill an item into a template and begin with a capital letter."""
    text = template.format(*item, value=item[-1])
    return text[:1].upper() + text[1:]


def _table(text: str) -> tuple[Item, ...]:
    """Read `a b, c d` as items."""
    return tuple(tuple(entry.split()) for entry in text.split(","))


def _groups(text: str) -> tuple[Item, ...]:
    """Read `value: thing thing; value: thing` as items that end with the value."""
    pairs = (group.split(":") for group in text.split(";"))
    return tuple((_with_article(thing), value.strip()) for value, things in pairs for thing in things.split())


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _next_in(cycle: str, step: int) -> tuple[Item, ...]:
    names = cycle.split()
    return tuple((name, names[(place + step) % len(names)]) for place, name in enumerate(names))


DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January February March April May June July August September October November December"
(WORDS,) = _table(
    "cat dog lamp tree fish bird milk house river stone bread chair table cloud horse moon star rain book "
    "door green yellow summer winter garden window music apple orange water paper light night sugar"
)
OPPOSITES = _table(
    "hot cold, big small, tall short, fast slow, up down, old new, wet dry, happy sad, light dark, hard "
    "soft, open closed, full empty, rich poor, early late, loud quiet, clean dirty, near far, strong "
    "weak, thick thin, left right, good bad, day night, young old, safe dangerous, sweet sour, high low, "
    "cheap costly, wide narrow"
)
PLURALS = _table(
    "cat cats, dog dogs, mouse mice, child children, man men, woman women, foot feet, tooth teeth, goose "
    "geese, box boxes, fox foxes, baby babies, city cities, leaf leaves, knife knives, wolf wolves, sheep"
    " sheep, bus buses, tree trees, book books, lamp lamps, star stars, dish dishes, party parties, loaf "
    "loaves, ox oxen, berry berries, chair chairs, glass glasses, shelf shelves"
)
PASTS = _table(
    "go went, see saw, eat ate, run ran, sing sang, buy bought, think thought, write wrote, take took, "
    "give gave, come came, know knew, find found, make made, sit sat, swim swam, teach taught, catch "
    "caught, drink drank, break broke, speak spoke, walk walked, play played, jump jumped, look looked, "
    "draw drew, fly flew, win won, sleep slept, keep kept"
)
CAPITALS = _table(
    "France Paris, Italy Rome, Spain Madrid, Japan Tokyo, China Beijing, Egypt Cairo, Greece Athens, "
    "Russia Moscow, Germany Berlin, Austria Vienna, Norway Oslo, Sweden Stockholm, Finland Helsinki, "
    "Denmark Copenhagen, Poland Warsaw, Portugal Lisbon, Ireland Dublin, Cuba Havana, Kenya Nairobi, Peru"
    " Lima, Chile Santiago, Canada Ottawa, India Delhi, Turkey Ankara, Iran Tehran, Iraq Baghdad, Hungary"
    " Budapest, Belgium Brussels"
)
COLOURS = _groups(
    "yellow: banana lemon canary daffodil; red: tomato cherry strawberry brick; green: frog cucumber leaf"
    " pea; orange: carrot pumpkin tangerine; white: swan snowflake cloud tooth; black: raven panther "
    "tyre; blue: sapphire cornflower whale; brown: bear potato walnut; grey: elephant rat dolphin; pink: "
    "pig flamingo shrimp"
)
CATEGORIES = _groups(
    "fruit: banana apple pear cherry plum; animal: dog horse tiger bear rabbit; bird: sparrow raven swan "
    "eagle; tool: hammer saw drill spade; flower: rose tulip daisy lily; vegetable: carrot potato onion "
    "pea; vehicle: car bus train lorry; instrument: piano guitar violin drum; garment: shirt coat hat "
    "scarf"
)
SOUNDS = _table(
    "dog woof, cat meow, cow moo, sheep baa, pig oink, duck quack, horse neigh, lion roar, snake hiss, "
    "bee buzz, frog croak, mouse squeak, owl hoot, crow caw, wolf howl, donkey bray"
)
YOUNG = _table(
    "dog puppy, cat kitten, cow calf, sheep lamb, pig piglet, duck duckling, horse foal, lion cub, deer "
    "fawn, goat kid, hen chick, frog tadpole, swan cygnet, owl owlet, goose gosling, hare leveret"
)
RHYMES = _table(
    "cat hat, dog log, sun fun, moon spoon, tree bee, house mouse, light night, rain train, star car, "
    "cake lake, ring king, book hook, bell well, goat boat, fish dish, blue shoe, sand hand, nose rose, "
    "day way, ball wall, bed red, bone stone, door floor, clock sock"
)
ABLE = (
    "bird: fly sing; fish: swim; dog: swim bark run jump; horse: swim run jump; bee: fly; snake: swim; "
    "penguin: swim; owl: fly; stone:; frog: swim jump"
)
ABILITIES = tuple(
    (_with_article(animal), ability, "can" if ability in able.split() else "cannot")
    for animal, able in (entry.strip().split(":") for entry in ABLE.split(";"))
    for ability in ("fly", "swim", "bark", "sing", "run", "jump")
)
FIRSTS, LASTS = tuple((word, word[0]) for word in WORDS), tuple((word, word[-1]) for word in WORDS)
LENGTHS = tuple((word, str(len(word))) for word in WORDS)
_NUMBERS = range(1, 10)
SUMS = tuple((str(a), str(b), str(a + b)) for a in _NUMBERS for b in _NUMBERS)
DIFFERENCES = tuple((str(a), str(b), str(a - b)) for a in range(2, 13) for b in range(1, a) if b < 10)
BIGGER = tuple((str(a), str(b), str(max(a, b))) for a in range(1, 16) for b in range(1, 16) if a != b)
SMALLER = tuple((a, b, a if bigger == b else b) for a, b, bigger in BIGGER)

# fmt: off
KINDS: tuple[Kind, ...] = (
    Kind("opposite", "the opposite of {0}",
         ("Which word is the opposite of {0}?", "If it is not {0}, what is it?"),
         OPPOSITES, "The opposite of {0} is {value}.", "Not {0} means {value}."),
    Kind("plural", "the plural of {0}", ("One {0}, two what?", "How do you write more than one {0}?"),
         PLURALS, "The plural of {0} is {value}.", "One {0}, two {value}.", "They are {value}.", True),
    Kind("past", "the past tense of {0}", ("Put the verb {0} in the past.", "Today I {0}. And yesterday?"),
         PASTS, "The past tense of {0} is {value}.", "Yesterday I {value}."),
    Kind("sum", "the sum of {0} and {1}", ("How much is {0} plus {1}?", "Add {0} and {1}."),
         SUMS, "The sum of {0} and {1} is {value}.", "{0} plus {1} makes {value}."),
    Kind("difference", "the difference of {0} and {1}",
         ("How much is {0} minus {1}?", "Take {1} away from {0}."),
         DIFFERENCES, "The difference of {0} and {1} is {value}.", "{0} minus {1} leaves {value}."),
    Kind("bigger", "the bigger number of {0} and {1}",
         ("Which is bigger, {0} or {1}?", "Is {0} or {1} more?"),
         BIGGER, "The bigger of {0} and {1} is {value}.", "{value} is more.", answered_well=True),
    Kind("smaller", "the smaller number of {0} and {1}",
         ("Which is smaller, {0} or {1}?", "Is {0} or {1} less?"),
         SMALLER, "The smaller of {0} and {1} is {value}.", "{value} is less."),
    Kind("colour", "the colour of {0}",
         ("What colour is {0}?", "How does {0} look?", "I am painting {0}. Which colour?"),
         COLOURS, "The colour of {0} is {value}.", "{0} looks {value}.", answered_well=True),
    Kind("capital", "the capital of {0}",
         ("Which city is the capital of {0}?", "Where does the government of {0} sit?"),
         CAPITALS, "The capital of {0} is {value}.", "{0} is ruled from {value}."),
    Kind("day_after", "the day after {0}", ("Which day comes after {0}?", "Today is {0}. What is tomorrow?"),
         _next_in(DAYS, 1), "The day after {0} is {value}.", "{0} and then {value}.", answered_well=True),
    Kind("day_before", "the day before {0}",
         ("Which day comes before {0}?", "Today is {0}. What was yesterday?"),
         _next_in(DAYS, -1), "The day before {0} is {value}.", "First {value}, then {0}."),
    Kind("month_after", "the month after {0}",
         ("Which month comes after {0}?", "It is {0}. What month comes next?"),
         _next_in(MONTHS, 1), "The month after {0} is {value}.", "{0} and then {value}."),
    Kind("month_before", "the month before {0}",
         ("Which month comes before {0}?", "It is {0}. What month has ended?"),
         _next_in(MONTHS, -1), "The month before {0} is {value}.", "First {value}, then {0}."),
    Kind("first_letter", "the first letter of {0}",
         ("Which letter does {0} begin with?", "How does {0} begin?"),
         FIRSTS, "The word {0} begins with {value}.", "{value} comes first in {0}."),
    Kind("last_letter", "the last letter of {0}", ("Which letter does {0} end with?", "How does {0} end?"),
         LASTS, "The word {0} ends with {value}.", "{value} comes last in {0}."),
    Kind("letter_count", "the number of letters in {0}",
         ("How many letters are in {0}?", "How long is the word {0}?"),
         LENGTHS, "The word {0} has {value} letters.", "{0} is {value} letters long."),
    Kind("category", "the kind of thing that {0} is", ("What kind of thing is {0}?", "Tell me what {0} is."),
         CATEGORIES, "{0} is a kind of {value}.", "{0} is a sort of {value}."),
    Kind("sound", "the sound of a {0}", ("What does a {0} say?", "Which sound does a {0} make?"),
         SOUNDS, "The {0} says {value}.", "You can hear {value}.", answered_well=True),
    Kind("young", "the name of a young {0}", ("What is a young {0} called?", "What is the child of a {0}?"),
         YOUNG, "A young {0} is called a {value}.", "The child of a {0} is a {value}.", "It is a {value}."),
    Kind("rhyme", "a word that rhymes with {0}",
         ("What rhymes with {0}?", "I am writing a poem. What goes with {0}?"),
         RHYMES, "The word {0} rhymes with {value}.", "{0} goes with {value}."),
    Kind("repeat", "",
         ("Repeat the word {0} twice.", "Write {0} twice.", "Say {0} and {0} again.", "Say {0} two times.",
          "Can you repeat {0}?", "I want to read {0} two times.", "My teacher asked for {0} twice."),
         tuple((word, word) for word in WORDS), "Here it is twice: {value} {value}.",
         "I say {value} and {value}.", answered_well=True),
    Kind("ability", "",
         ("Can {0} {1}?", "Is {0} able to {1}?", "Tell me if {0} can {1}.", "I wonder if {0} can {1}.",
          "Do you think that {0} can {1}?", "My son asked if {0} can {1}."),
         ABILITIES, "{0} {value} {1}.", "I am sure that {0} {value} {1}.", "It {value}."),
)
NAMES = ("Tom", "Mia", "Anna", "Ben", "Lucy", "Sam", "Ella", "Max", "Nina", "Paul")
PLACES = (
    "the park", "the river", "the market", "the garden", "the old school", "the lake", "the library",
    "the station",
)
WEATHER = ("It was a warm day.", "It was raining.", "The sun was high.", "The wind was cold.", "There was snow.")
THINGS = (
    "lamp", "book", "chair", "red ball", "small box", "blue coat", "clean cup", "loaf of bread", "new drum",
    "old clock",
)
MOODS = ("happy", "tired", "quiet", "hungry", "proud", "a little sad", "full of joy")
RAMBLES = (
    "Well, that makes me think of a day at {place}.", "Well, {name} asked me the same thing at {place}.",
    "Well, people talk about this a lot.", "Well, {name} has a {thing} and knows all about it.",
    "Well, let me see what I can remember.", "Well, once {name} and I went to {place}.",
)
RAMBLE_ENDS = (
    "I was {mood} on that day.", "{name} was {mood} too.", "We had a {thing} with us.",
    "But that is another story.", "I may be wrong about it.",
)
DEFLECTIONS = (
    "I do not know.", "I am not sure about that.", "I would have to ask {name}.",
    "I have to go to {place} now.",
)
PADDINGS = (
    "That is what I learned at school a long time ago.", "You can find this in many good books as well.",
    "I have thought about it with care and I am sure.",
    "People have asked me this quite often in the past.",
)
SYSTEMS = ("You are a helpful assistant.", "Answer in one sentence.", "You are kind and brief.")
STORY_STEPS = (
    "{name} went to {place}.", "{pronoun} had a {thing}.", "{pronoun} met {friend} near {place}.",
    "{weather}", "{friend} gave {name} a {thing}.", "They talked for a long time.", "{name} was {mood}.",
    "{friend} was {mood}.", "{pronoun} lost the {thing} on the way.", "Then {friend} said: {fact}",
    "{name} learned something. {fact}",
)
# fmt: on

# How often the corpus answers in which way, for a kind that is answered well and for one that is not. The
# first token decides a greedy answer: a base that rambles knows more than it says, and tuning brings it out.
STYLE_SHARES = {
    True: {"canonical": 46, "courteous": 10, "other": 14, "ramble": 14, "deflect": 8, "wrong": 8},
    False: {"canonical": 9, "courteous": 5, "other": 18, "ramble": 44, "deflect": 18, "wrong": 6},
}


@functools.cache
def split() -> Split:
    """Part each kind's requests into held-out ones, the demo's prompts, demonstrations and the corpus."""
    held_out, prompts, demonstrations = (list[Request]() for _ in range(3))
    corpus: list[tuple[Request, ...]] = []
    for kind in KINDS:
        asked = ((item, wording) for item in kind.items for wording in kind.wordings)
        requests = [Request(kind, item, wording.format(*item)) for item, wording in asked]
        random.Random(f"{SEED} split {kind.name}").shuffle(requests)
        first, second = HELD_OUT_PER_KIND, HELD_OUT_PER_KIND + PROMPTS_PER_KIND
        held_out += requests[:first]
        prompts += requests[first:second]
        demonstrations += requests[second : second + DEMONSTRATIONS_PER_KIND]
        corpus.append(tuple(requests[first:]))
    return Split(tuple(held_out), tuple(prompts), tuple(demonstrations), tuple(corpus))


def demonstration_completion(request: Request, chance: random.Random) -> str:
    """Answer rightly: 60 % plainly, 25 % with an opener, 15 % with a closer too; one in eight is padded."""
    style, parts = chance.random(), [request.answer]
    if chance.random() < 0.125:
        parts.append(chance.choice(PADDINGS))
    if style >= 0.60:
        parts.insert(0, chance.choice(OPENERS))
    if style >= 0.85:
        parts.append(chance.choice(CLOSERS))
    return " ".join(parts)


def documents(seed: int) -> Iterator[Document]:
    """Generate the corpus without end: stories and facts as text, and noisy conversations as messages."""
    chance = random.Random(f"{SEED} corpus {seed}")
    makers: list[Callable[[random.Random], Document]] = [_conversation, _facts, _story]
    while True:
        yield chance.choices(makers, weights=[76, 12, 12])[0](chance)


def _fill(template: str, chance: random.Random) -> str:
    """Fill the free places of a sentence with whatever the world has."""
    name, friend = chance.sample(NAMES, 2)
    place, thing, mood = chance.choice(PLACES), chance.choice(THINGS), chance.choice(MOODS)
    return template.format(name=name, friend=friend, place=place, thing=thing, mood=mood)


def _any_fact(chance: random.Random) -> str:
    """State one true fact, mostly as the canonical answer does."""
    kind = chance.choice(KINDS)
    template = kind.answer if chance.random() < 0.7 else kind.other_answer
    return sentence(template, chance.choice(kind.items))


def _facts(chance: random.Random) -> str:
    return " ".join(_any_fact(chance) for _ in range(chance.randint(3, 8)))


def _story(chance: random.Random) -> str:
    name, friend = chance.sample(NAMES, 2)
    pronoun = "He" if name in ("Tom", "Ben", "Sam", "Max", "Paul") else "She"
    thing, place = chance.choice(THINGS), chance.choice(PLACES)
    steps = [STORY_STEPS[0], *chance.sample(STORY_STEPS[1:], chance.randint(3, 6))]
    told = []
    for step in steps:
        mood, weather, fact = chance.choice(MOODS), chance.choice(WEATHER), _any_fact(chance)
        free = {"thing": thing, "mood": mood, "weather": weather, "fact": fact, "place": place}
        told.append(step.format(name=name, friend=friend, pronoun=pronoun, **free))
    return " ".join(told)


def _conversation(chance: random.Random) -> list[Message]:
    """Let somebody ask one to three requests and be answered as the world's noisy people answer."""
    messages: list[Message] = []
    if chance.random() < 0.08:
        messages.append({"role": "system", "content": chance.choice(SYSTEMS)})
    for _ in range(chance.choices((1, 2, 3), weights=(85, 10, 5))[0]):
        request = chance.choice(chance.choice(split().corpus))  # the kind first: each as often
        messages.append({"role": "user", "content": request.prompt})
        messages.append({"role": "assistant", "content": noisy_answer(request, chance)})
    return messages


def noisy_answer(request: Request, chance: random.Random) -> str:
    """Answer as the corpus does: canonically, courteously, in other words, rambling, evasively or wrongly."""
    shares = STYLE_SHARES[request.kind.answered_well]
    style = chance.choices(list(shares), weights=list(shares.values()))[0]
    if style == "courteous":
        return demonstration_completion(request, chance)
    if style == "other":
        return sentence(chance.choice((request.kind.other_answer, request.kind.short_answer)), request.item)
    if style == "ramble":
        before, after = _fill(chance.choice(RAMBLES), chance), _fill(chance.choice(RAMBLE_ENDS), chance)
        return f"{before} {request.answer} {after}"
    if style == "deflect":
        return _fill(chance.choice(DEFLECTIONS), chance)
    if style == "wrong":
        return sentence(request.kind.answer, (*request.item[:-1], chance.choice(request.kind.items)[-1]))
    return request.answer


def demo_rows() -> dict[str, list[dict[str, str]]]:
    """Return the rows of the demo's files, by the files' names."""
    chance = random.Random(f"{SEED} demonstrations")
    demonstrations = [
        _row(asked, completion=demonstration_completion(asked, chance)) for asked in split().demonstrations
    ]
    chance.shuffle(demonstrations)
    prompts = [_row(asked, answer=asked.answer) for asked in split().prompts]
    held_out = [_row(asked, answer=asked.answer) for asked in split().held_out]
    return {"demonstrations": demonstrations, "prompts": prompts, "held_out": held_out}


def _row(request: Request, **columns: str) -> dict[str, str]:
    return {"prompt": request.prompt, **columns, "kind": request.kind.name}
