"""Sentences of the embedded corpus: a finite-state grammar of 536 words.

Every word has one spelling that a recogniser would write: no numbers, names, contractions or
homophones, nothing that differs between British and American English. What is confused in the
scores is then confused by the ear, not by spelling. A verb's past tense always stands before a
vowel ("carried another"): before "the" its ending cannot be heard.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

Part = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Scene:
    """Words that go together; slots of the patterns are filled from one scene at a time.

    Nouns and adjectives are separated by spaces, places (three or four words each) by commas.
    """

    name: str
    person: str
    trait: str
    action: str
    thing: str
    quality: str
    place: str


PATTERNS = (
    "the <trait> <person> <action> <which> <thing> <place>",
    "<time> the <person> <action> <which> <quality> <thing>",
    "please <handle> the <quality> <thing> <place>",
    "<witness> <must> <meet> the <trait> <person> <place>",
    "the <thing> <place> <seemed> <quality>",
)

# Slots that all scenes share; alternatives are separated by commas.
SHARED = {
    "time": "yesterday, this morning, last winter, every evening, after lunch, before dinner, "
    "at midnight, on friday, during october, almost always",
    "which": "another, every",
    "handle": "bring, keep, leave, remove, protect, compare",
    "witness": "nobody, somebody, everyone, they, we",
    "must": "should, must, could",
    "meet": "follow, remember, visit, expect, invite, forget",
    "seemed": "was, became, felt",
}

SCENES = (
    Scene(
        name="farm",
        person="farmer shepherd cowboy grandfather uncle helper",
        trait="old sleepy stubborn friendly hungry",
        action="carried lifted loaded gathered pulled dropped",
        thing="basket bucket wagon pumpkin ladder turkey barrel",
        quality="heavy muddy yellow broken wooden empty",
        place="behind the barn, near the fence, across the meadow, beside the pond, "
        "under the apple tree, around the stable",
    ),
    Scene(
        name="kitchen",
        person="baker chef waiter grandmother cousin butcher",
        trait="cheerful nervous busy angry elderly",
        action="sliced served ordered mixed finished melted",
        thing="pancake sandwich chicken pudding salad pizza",
        quality="warm sour delicious salty frozen spicy",
        place="in the kitchen, at the restaurant, beside the oven, on the counter, "
        "near the refrigerator, in the cafeteria",
    ),
    Scene(
        name="ocean",
        person="sailor captain diver swimmer pirate tourist",
        trait="brave lonely famous careful lucky",
        action="rescued spotted painted repaired discovered captured",
        thing="boat lobster dolphin anchor turtle canoe",
        quality="tiny golden silver massive ancient",
        place="near the island, beyond the lighthouse, along the beach, under the bridge, "
        "across the ocean, beside the river",
    ),
    Scene(
        name="school",
        person="teacher student professor librarian janitor scholar",
        trait="curious quiet clever honest gentle",
        action="studied explained borrowed opened copied described",
        thing="notebook dictionary puzzle letter magazine question",
        quality="difficult simple boring secret interesting",
        place="in the library, inside the classroom, at the university, on the desk, "
        "behind the bookcase, before the lecture",
    ),
    Scene(
        name="city",
        person="driver cyclist reporter plumber mechanic detective",
        trait="impatient reckless polite worried handsome",
        action="parked stopped followed avoided damaged crashed",
        thing="taxi bicycle truck ambulance tractor motorcycle",
        quality="modern noisy dirty rapid electric",
        place="at the corner, outside the museum, near the airport, in the tunnel, "
        "behind the station, across the avenue",
    ),
    Scene(
        name="hospital",
        person="doctor nurse dentist surgeon visitor scientist",
        trait="tireless gloomy calm humorous kind",
        action="examined tested measured inspected covered emptied",
        thing="bandage bottle needle microscope machine stretcher",
        quality="sharp plastic sterile useful delicate",
        place="in the hospital, at the clinic, beside the cabinet, near the entrance, "
        "inside the elevator, along the corridor",
    ),
    Scene(
        name="sport",
        person="coach runner athlete champion referee goalkeeper",
        trait="strong clumsy energetic confident exhausted",
        action="kicked tossed grabbed blocked lost collected",
        thing="helmet trophy racket football whistle jersey",
        quality="round official spare slippery shiny",
        place="at the stadium, in the gymnasium, around the track, behind the scoreboard, "
        "on the bench, inside the arena",
    ),
    Scene(
        name="stage",
        person="singer drummer actor dancer magician composer",
        trait="talented elegant jealous graceful shy",
        action="played rehearsed recorded imagined presented interrupted",
        thing="guitar trumpet violin melody costume piano",
        quality="loud romantic dramatic splendid familiar",
        place="on the stage, in the studio, behind the curtain, at the concert, "
        "during the festival, after the opera",
    ),
    Scene(
        name="office",
        person="manager secretary lawyer engineer accountant director",
        trait="ambitious greedy formal reliable efficient",
        action="approved rejected printed delivered scanned demanded",
        thing="contract document computer envelope package calendar",
        quality="important expensive confidential urgent missing",
        place="in the office, during the conference, on the keyboard, beside the printer, "
        "after the meeting, at the reception",
    ),
    Scene(
        name="forest",
        person="hunter rabbit squirrel monkey elephant tiger",
        trait="wild gigantic fierce playful timid",
        action="frightened touched trapped smelled attacked buried",
        thing="mushroom acorn butterfly spider beetle feather",
        quality="poisonous beautiful fragile strange soft",
        place="in the forest, beneath the branches, inside the cave, on the mountain, "
        "across the valley, near the waterfall",
    ),
    Scene(
        name="home",
        person="sister brother father mother toddler carpenter",
        trait="generous lazy grumpy thoughtful happy",
        action="cleaned folded wrapped polished admired decorated",
        thing="carpet pillow mirror candle blanket sofa",
        quality="comfortable narrow crimson fluffy antique",
        place="in the bedroom, under the table, beside the fireplace, in the basement, "
        "on the balcony, below the window",
    ),
    Scene(
        name="camp",
        person="hiker skier climber explorer soldier ranger",
        trait="fearless thirsty frozen weary bold",
        action="borrowed carried shared unfolded abandoned fastened",
        thing="tent lantern compass hammock jacket shovel",
        quality="sturdy torn orange bright portable",
        place="beside the campfire, on the glacier, inside the cabin, along the canyon, "
        "above the village, during the storm",
    ),
    Scene(
        name="space",
        person="astronaut pilot inventor robot technician commander",
        trait="brilliant fearful ridiculous impressive silent",
        action="launched controlled improved destroyed designed adjusted",
        thing="rocket satellite telescope battery engine camera",
        quality="powerful digital enormous complicated dangerous",
        place="above the planet, in the laboratory, on the platform, inside the factory, "
        "behind the spaceship, around the moon",
    ),
    Scene(
        name="market",
        person="customer merchant cashier girl widow banker",
        trait="wealthy fashionable suspicious humble charming",
        action="bought wanted selected returned ignored stole",
        thing="necklace umbrella sweater bracelet hammer carton",
        quality="purple leather stylish valuable black",
        place="at the market, in the supermarket, on the shelf, near the fountain, "
        "outside the bakery, beside the statue",
    ),
)

_SLOT = re.compile(r"<(\w+)>")


def _alternatives(scene: Scene, slot: str) -> list[str]:
    if slot in SHARED:
        return SHARED[slot].split(", ")
    content: str = getattr(scene, slot)
    return content.split(", ") if slot == "place" else content.split()


def words() -> list[str]:
    """All distinct words that a sentence can hold, sorted, lower case."""
    text = " ".join([*PATTERNS, *SHARED.values()])
    for scene in SCENES:
        text += " " + " ".join(v for field, v in asdict(scene).items() if field != "name")
    return sorted(set(_SLOT.sub(" ", text).replace(",", " ").split()))


def part_of(sentence: str) -> Part:
    """The set that a sentence belongs to: a hash of its words, 80 % train, 10 % dev, 10 % test.

    It depends on nothing but the sentence, so the sets stay disjoint whatever their sizes.
    """
    bucket = zlib.crc32(sentence.encode()) % 10
    return "dev" if bucket == 0 else "test" if bucket == 1 else "train"


def draw(rng: np.random.Generator, part: Part) -> str:
    """A random sentence of ``part``: 7 to 10 words, lower case, without punctuation."""
    while True:
        scene = SCENES[rng.integers(len(SCENES))]
        pattern = PATTERNS[rng.integers(len(PATTERNS))]
        sentence = _SLOT.sub(
            lambda slot: str(rng.choice(_alternatives(scene, slot[1]))),  # noqa: B023
            pattern,
        )
        if part_of(sentence) == part:
            return sentence


def jsgf() -> str:
    """The grammar in JSpeech Grammar Format, as pocketsphinx reads it."""
    rules = {name: alternatives.split(", ") for name, alternatives in SHARED.items()}
    sentences = []
    for scene in SCENES:
        for slot in ("person", "trait", "action", "thing", "quality", "place"):
            rules[f"{scene.name}_{slot}"] = _alternatives(scene, slot)
        sentences += [
            _SLOT.sub(lambda m: m[0] if m[1] in SHARED else f"<{scene.name}_{m[1]}>", pattern)  # noqa: B023
            for pattern in PATTERNS
        ]
    lines = ["#JSGF V1.0;", "grammar sentences;", f"public <sentence> = {' | '.join(sentences)};"]
    lines += [f"<{name}> = {' | '.join(content)};" for name, content in rules.items()]
    return "\n".join(lines) + "\n"
