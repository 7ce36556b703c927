"""The grammar of a miniature world: its words, and how events, questions and reviews become sentences.

Everything in the bundled corpus and the bundled encoder is generated here; no text is
copied from anywhere. A *meaning* (:class:`Event`, :class:`Question`, :class:`Review`) is
drawn first; :func:`tell`, :func:`ask` and :func:`judge` put it into words, differently
each time: synonyms, voice, order of the parts. Labels are computed from meanings, never
from words (:mod:`minbert.bundled.make_corpus`), so a model has to find the meaning again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeVar

Concept = tuple[str, ...]
"""The words for one thing; all are synonyms."""
Words = list[str]
Option = TypeVar("Option")


def _concepts(words: str) -> tuple[Concept, ...]:
    return tuple(tuple(group.split("/")) for group in words.split())


@dataclass(frozen=True)
class Scene:
    """People, places and objects that occur together, so that a word's company tells what it means."""

    people: tuple[Concept, ...]
    places: tuple[Concept, ...]
    objects: tuple[Concept, ...]


def _scene(people: str, places: str, objects: str) -> Scene:
    return Scene(_concepts(people), _concepts(places), _concepts(objects))


SCENES = (
    _scene("doctor/physician nurse/medic patient surgeon", "hospital/clinic ward", "bandage needle/syringe pill/tablet bed"),
    _scene("farmer/grower shepherd miller hunter", "field/meadow barn/stable", "cart/wagon fence ladder basket"),
    _scene("teacher/instructor pupil/student principal/headmaster librarian", "school/academy library", "book/volume desk pencil map/chart"),
    _scene("sailor/seaman captain/skipper fisherman diver", "harbour/port beach/shore", "boat/vessel rope/cord anchor lantern/lamp"),
    _scene("judge lawyer/attorney thief/burglar officer/policeman", "court/tribunal prison/jail", "letter/note key knife/blade safe"),
    _scene("actor/performer singer/vocalist dancer painter/artist", "theatre/playhouse studio", "mask costume/outfit violin/fiddle mirror"),
    _scene("cook/chef waiter/server baker guest/visitor", "kitchen restaurant/diner", "plate/dish bottle/flask oven/stove spoon"),
    _scene("driver/chauffeur tourist/traveller reporter/journalist mayor", "street/road square/plaza", "car/automobile bicycle/bike camera suitcase/trunk"),
    _scene("player/athlete coach/trainer goalkeeper/keeper fan/supporter", "stadium/arena gym", "ball trophy/cup whistle helmet"),
    _scene("soldier/warrior king/monarch servant/butler knight", "castle/fortress garden/park", "sword shield crown/diadem carpet/rug"),
)  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """One action: its synonyms in base form and the place of its opposite in the list it stands in."""

    words: Concept
    opposite: int


def _verbs(pairs: str) -> tuple[Verb, ...]:
    """Read ``help/assist:hinder/obstruct …``: what stands on the two sides of a colon is opposite."""
    return tuple(Verb(words, index ^ 1) for index, words in enumerate(_concepts(pairs.replace(":", " "))))


TO_PEOPLE = _verbs(
    "help/assist:hinder/obstruct praise/commend:criticise/condemn follow/trail:lead/guide hire/employ:dismiss/sack "
    "love/adore:hate/detest trust:doubt/suspect save/rescue:abandon/desert attack/assault:defend/protect "
    "push/shove:pull/drag watch/observe:ignore/overlook forgive/pardon:blame/accuse welcome/greet:reject/refuse "
    "hug/embrace:hit/slap thank:insult/offend"
)
TO_THINGS = _verbs(
    "buy/purchase:sell open:close/shut lift/raise:drop clean/wash:stain/soil repair/fix:break/smash "
    "hide/conceal:show/display build/construct:destroy/demolish find/discover:lose/misplace steal/snatch:return "
    "push/shove:pull/drag love/adore:hate/detest save/rescue:abandon/desert"
)
_PARTICIPLES = {
    "lead": "led", "hit": "hit", "buy": "bought", "sell": "sold", "shut": "shut", "break": "broken", "hide": "hidden",
    "show": "shown", "build": "built", "find": "found", "lose": "lost", "steal": "stolen", "drop": "dropped",
    "hug": "hugged", "drag": "dragged", "slap": "slapped",
}  # fmt: skip
_PASTS = {"break": "broke", "hide": "hid", "show": "showed", "steal": "stole"}

TRAITS = _concepts(
    "big/large small/little old/ancient new/modern rich/wealthy poor/needy happy/cheerful sad/unhappy clever/smart "
    "foolish/stupid strong/powerful weak/feeble quiet/silent loud/noisy clean/spotless dirty/filthy fast/quick slow/sluggish"
)
"""Adjectives; a concept at an even place is opposite to the next one."""
COMPARISONS = _concepts(
    "bigger/larger smaller older newer richer/wealthier poorer louder/noisier quieter cheaper dearer/costlier"
)
"""Comparatives; opposites are neighbours here too."""
NUMBERS = ("two", "three", "four", "five", "seven", "nine")
TIMES = (
    "yesterday",
    "on monday",
    "on friday",
    "last week",
    "this morning",
    "at noon",
    "in summer",
    "at night",
)
TOWNS = _concepts("arvel tolmar brenwick ostrand kelby maravo dunlow fenholt silgate quorra")
VEHICLES = _concepts("train/railway bus plane/aeroplane ferry taxi/cab tram")


@dataclass(frozen=True)
class Noun:
    """Who or what takes part: a concept, how many ("the" for one) and a trait."""

    concept: Concept
    count: str = "the"
    trait: Concept | None = None


@dataclass(frozen=True)
class Event:
    """Who did what to whom, where and when, or that it did not happen."""

    scene: Scene
    agent: Noun
    verb: Verb
    patient: Noun
    to_person: bool
    place: Concept | None
    time: str | None
    negated: bool

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """The actions that fit this kind of patient."""
        return TO_PEOPLE if self.to_person else TO_THINGS


def draw_event(rng: random.Random, scene: Scene | None = None) -> Event:
    """Draw an event, in a given scene or any."""
    scene = scene or rng.choice(SCENES)
    to_person = rng.random() < 0.7
    agent, other = rng.sample(scene.people, 2)
    return Event(
        scene=scene,
        agent=draw_noun(rng, agent),
        verb=rng.choice(TO_PEOPLE if to_person else TO_THINGS),
        patient=draw_noun(rng, other if to_person else rng.choice(scene.objects)),
        to_person=to_person,
        place=maybe(rng, 0.35, scene.places),
        time=maybe(rng, 0.2, TIMES),
        negated=rng.random() < 0.15,
    )


def draw_noun(rng: random.Random, concept: Concept) -> Noun:
    """Draw how many of a concept there are and what they are like."""
    return Noun(concept, maybe(rng, 0.2, NUMBERS) or "the", maybe(rng, 0.25, TRAITS))


def maybe(rng: random.Random, chance: float, options: tuple[Option, ...]) -> Option | None:
    """Return one of the options with the given probability, else None."""
    return rng.choice(options) if rng.random() < chance else None


def tell(event: Event, rng: random.Random) -> Words:
    """Put an event into words: active, passive or cleft, place and time first or last."""
    agent, patient = _noun_phrase(event.agent, rng), _noun_phrase(event.patient, rng)
    verb = rng.choice(event.verb.words)
    voice = rng.random()
    if voice < 0.4:
        clause = [*patient, "were" if event.patient.count != "the" else "was"]
        clause += ["not"] * event.negated + [participle(verb), "by", *agent]
    else:
        action = ["did", "not", verb] if event.negated else [past(verb)]
        clause = [
            *(["it", "was"] if voice > 0.85 else []),
            *agent,
            *(["who"] if voice > 0.85 else []),
            *action,
            *patient,
        ]
    where = ["in", "the", rng.choice(event.place)] if event.place else []
    when = event.time.split() if event.time else []
    if where and rng.random() < 0.3:
        return [*where, *clause, *when]
    if when and rng.random() < 0.3:
        return [*when, *clause, *where]
    return [*clause, *where, *when]


def _noun_phrase(noun: Noun, rng: random.Random) -> Words:
    word = rng.choice(noun.concept)
    trait = [rng.choice(noun.trait)] if noun.trait else []
    return [noun.count, *trait, word if noun.count == "the" else plural(word)]


def plural(word: str) -> str:
    """Return the plural of one of the grammar's nouns."""
    if word.endswith("man"):
        return word[:-3] + "men"
    if word in {"thief", "knife"}:
        return word.removesuffix("e").removesuffix("f") + "ves"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def participle(verb: str) -> str:
    """Return the past participle of one of the grammar's verbs."""
    return _PARTICIPLES.get(verb, verb + ("d" if verb.endswith("e") else "ed"))


def past(verb: str) -> str:
    """Return the simple past of one of the grammar's verbs."""
    return _PASTS.get(verb, participle(verb))


@dataclass(frozen=True)
class Intent:
    """A kind of question: its slots, templates that all ask the same, and two slots that must not be swapped."""

    slots: tuple[str, ...]
    templates: tuple[str, ...]
    swap: tuple[str, str] | None = None


INTENTS = {
    "travel": Intent(
        ("a", "b", "vehicle"),
        (
            "how do i get from {a} to {b} by {vehicle}",
            "what is the best way to travel to {b} from {a} by {vehicle}",
            "can i take a {vehicle} from {a} to {b}",
            "which {vehicle} goes to {b} from {a}",
        ),
        swap=("a", "b"),
    ),
    "compare": Intent(
        ("a", "b", "more"),
        (
            "is {a} {more} than {b}",
            "is {b} {less} than {a}",
            "would you say that {a} is {more} than {b}",
            "do people think that {b} is {less} than {a}",
        ),
        swap=("a", "b"),
    ),
    "why": Intent(
        ("a", "b", "verb"),
        (
            "why did the {a} {verb} the {b}",
            "why was the {b} {done} by the {a}",
            "what made the {a} {verb} the {b}",
            "for what reason was the {b} {done} by the {a}",
        ),
        swap=("a", "b"),
    ),
    "who": Intent(
        ("b", "verb", "place"),
        ("who {did} the {b} in the {place}", "by whom was the {b} {done} in the {place}", "in the {place} who {did} the {b}")
    ),
    "whom": Intent(
        ("b", "verb", "place"),
        ("who did the {b} {verb} in the {place}", "who was {done} by the {b} in the {place}", "in the {place} who was {done} by the {b}")
    ),
    "where": Intent(
        ("town", "verb", "trait", "thing"),
        (
            "where in {town} can i {verb} a {trait} {thing}",
            "what is a good place to {verb} a {trait} {thing} in {town}",
            "is there a shop in {town} where i can {verb} a {trait} {thing}",
        )
    ),
    "how": Intent(
        ("verb", "trait", "thing"),
        (
            "how do i {verb} a {trait} {thing}",
            "what is the best way to {verb} a {trait} {thing}",
            "how should one {verb} a {trait} {thing}",
            "what do i need to {verb} a {trait} {thing}",
        )
    ),
    "film": Intent(
        ("a", "b"),
        (
            "is the film about the {a} and the {b} any good",
            "should i watch the movie about the {b} and the {a}",
            "is it worth seeing the film about the {a} and the {b}",
        )
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked: a kind of question and what fills its slots."""

    intent: str
    slots: dict[str, Concept]
    scene: Scene


def draw_question(rng: random.Random, intent: str | None = None, scene: Scene | None = None) -> Question:
    """Draw a question of one kind or any."""
    intent = intent or rng.choice(tuple(INTENTS))
    scene = scene or rng.choice(SCENES)
    slots: dict[str, Concept] = {}
    for name in INTENTS[intent].slots:
        slots[name] = rng.choice(
            [option for option in slot_options(intent, name, scene) if option not in slots.values()]
        )
    return Question(intent, slots, scene)


def slot_options(intent: str, name: str, scene: Scene) -> tuple[Concept, ...]:
    """Return what may fill a slot of a question."""
    if name in {"a", "b"}:
        return TOWNS if intent in {"travel", "compare"} else scene.people
    if name == "verb":
        return tuple(verb.words for verb in (TO_THINGS if intent in {"where", "how"} else TO_PEOPLE))
    options = {
        "vehicle": VEHICLES,
        "more": COMPARISONS,
        "place": scene.places,
        "town": TOWNS,
        "trait": TRAITS,
    }
    return scene.objects if name == "thing" else options[name]


def ask(question: Question, rng: random.Random) -> Words:
    """Put a question into words by one of its templates and any synonyms."""
    words = {name: rng.choice(concept) for name, concept in question.slots.items()}
    if "more" in words:
        words["less"] = rng.choice(opposite(COMPARISONS, question.slots["more"]))
    if "verb" in words:
        words |= {"did": past(words["verb"]), "done": participle(words["verb"])}
    return rng.choice(INTENTS[question.intent].templates).format(**words).split()


def opposite(concepts: tuple[Concept, ...], concept: Concept) -> Concept:
    """Return the opposite of a concept in a list whose neighbours are opposites."""
    return concepts[concepts.index(concept) ^ 1]


VALUES: dict[int, Words] = {
    2: [
        "brilliant",
        "wonderful",
        "superb",
        "magnificent",
        "outstanding",
        "masterful",
        "excellent",
        "glorious",
    ],
    1: ["pleasant", "decent", "likeable", "charming", "solid", "enjoyable", "amusing", "fine"],
    0: ["ordinary", "average", "typical", "usual", "familiar", "plain", "standard", "conventional"],
    -1: ["dull", "tired", "clumsy", "bland", "forgettable", "tedious", "uneven", "stale"],
    -2: ["dreadful", "awful", "terrible", "horrible", "atrocious", "appalling", "unbearable", "disastrous"],
}
"""What critics call a film, from best to worst."""
DEGREES = {
    "": 1.0,
    "very": 1.5,
    "truly": 1.5,
    "slightly": 0.5,
    "somewhat": 0.5,
    "not": -0.6,
    "never": -0.6,
    "hardly": -0.5,
}
"""Words before a judgement and what they multiply it by."""
ASPECTS = [
    "plot",
    "story",
    "acting",
    "music",
    "soundtrack",
    "dialogue",
    "script",
    "ending",
    "finale",
    "cast",
    "pacing",
    "humour",
    "camerawork",
    "direction",
    "hero",
    "villain",
]
GENRES = ["comedy", "drama", "thriller", "western", "romance", "documentary", "musical", "film", "movie"]
JOINTS = {
    "and": ("{a} and {b}", 0.6, 0.6),
    "but": ("{a} but {b}", 0.2, 1.0),
    "although": ("although {a} , {b}", 0.2, 1.0),
    "despite": ("{a} , although {b}", 1.0, 0.2),
    "only": ("{a}", 1.0, 0.0),
}
"""How two clauses make a review, and what each of them weighs."""


@dataclass(frozen=True)
class Clause:
    """One judgement: a word's value and the degree word before it."""

    value: int
    degree: str

    @property
    def worth(self) -> float:
        """From about −3 to 3."""
        return self.value * DEGREES[self.degree]


@dataclass(frozen=True)
class Review:
    """Two judgements (the second one unused by "only") and how they are joined."""

    first: Clause
    second: Clause
    joint: str

    @property
    def worth(self) -> float:
        """From about −3 to 3."""
        _, first, second = JOINTS[self.joint]
        return first * self.first.worth + second * self.second.worth


def draw_review(rng: random.Random) -> Review:
    """Draw a review: "and" joins judgements of the same sign, "but" and "although" opposite ones."""
    while True:
        review = Review(_draw_clause(rng), _draw_clause(rng), rng.choice(tuple(JOINTS)))
        agreement = review.first.worth * review.second.worth
        if review.joint == "only" or (agreement >= 0 if review.joint == "and" else agreement < 0):
            return review


def _draw_clause(rng: random.Random) -> Clause:
    return Clause(rng.choice((-2, -2, -1, -1, 0, 1, 1, 2, 2)), maybe(rng, 0.45, tuple(DEGREES)) or "")


def judge(review: Review, rng: random.Random) -> Words:
    """Put a review into words."""
    first, second = rng.sample(ASPECTS, 2)
    template = JOINTS[review.joint][0]
    words = template.format(a=_clause(review.first, first, rng), b=_clause(review.second, second, rng))
    return words.split()


def _clause(clause: Clause, aspect: str, rng: random.Random) -> str:
    value = f"{clause.degree} {rng.choice(VALUES[clause.value])}".strip()
    if rng.random() < 0.6:
        return f"the {aspect} is {value}"
    person = rng.choice(rng.choice(rng.choice(SCENES).people))
    return f"this {rng.choice(GENRES)} about a {person} is {value}"
