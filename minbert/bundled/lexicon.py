"""The words of a miniature world: people, things, actions and judgements, with synonyms, opposites and forms."""

from __future__ import annotations

from dataclasses import dataclass

Concept = tuple[str, ...]
"""The words for one thing; all are synonyms."""
Words = list[str]


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


def plural(word: str) -> str:
    """Return the plural of one of the nouns above."""
    if word.endswith("man"):
        return word[:-3] + "men"
    if word in {"thief", "knife"}:
        return word.removesuffix("e").removesuffix("f") + "ves"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def participle(verb: str) -> str:
    """Return the past participle of one of the verbs above."""
    return _PARTICIPLES.get(verb, verb + ("d" if verb.endswith("e") else "ed"))


def past(verb: str) -> str:
    """Return the simple past of one of the verbs above."""
    return _PASTS.get(verb, participle(verb))


def opposite(concepts: tuple[Concept, ...], concept: Concept) -> Concept:
    """Return the opposite of a concept in a list whose neighbours are opposites."""
    return concepts[concepts.index(concept) ^ 1]
