"""Requests whose answers are the stories of a corpus, made by rule.

What a story is about is read off its own words: the hero ("a little girl named Lily"), a place, an
object that comes up more than once, how it ends, and words that are neither rare nor everywhere.
A request asks for some of these, and the story is its answer. All choices come from the random
generator that is passed in, so the same seed makes the same requests.
"""

import collections
import re

PLACES = """attic bakery barn beach castle cave circus city desert farm field forest garden hill
house island jungle kitchen lake library market meadow moon mountain museum ocean palace park
playground pond river school sea shop store town tower village woods yard zoo""".split()
OBJECTS = """apple ball balloon banana basket bell bike blanket boat bone book bottle bow box bread
bridge bucket bus button cake camera candle candy car carrot chair cheese clock coat coin cookie
crayon crown cup diamond doll door dress drum egg fan feather fire flag flower fruit gem gift glass
guitar hammer hat helmet honey hoop horn jar jewel key kite ladder lamp leaf letter lock lollipop
map mask medal mirror music net orange paint paper pear pen pencil phone picture pie pillow pizza
plant plate pumpkin puzzle radio rainbow ribbon ring robot rock rocket rope salad sandwich scarf
seed shell ship shirt shoe shovel sled slide snow soap sock song soup spoon star stick sticker stone
string sweater swing sword table tape tent ticket towel toy train treasure tree truck tunnel
umbrella vase violin wagon watch water wheel whistle window wing""".split()
HEROES = """ant bear bee bird bug bunny butterfly cat chicken cow crab crocodile deer dinosaur dog
dolphin dragon duck eagle elephant fairy farmer fish fox frog ghost giraffe girl goat hippo horse
kangaroo king kitten knight ladybug lion lizard man monkey monster mouse octopus owl panda parrot
penguin pig pirate prince princess puppy queen rabbit raccoon robot seal shark sheep snail snake
spider squirrel tiger turtle unicorn whale witch wizard wolf woman worm zebra boy""".split()
MORALS = {"share": "sharing", "brave": "being brave", "kind": "being kind", "help": "helping others",
          "friend": "friendship", "honest": "telling the truth", "sorry": "saying sorry",
          "patient": "being patient", "listen": "listening", "lost": "getting lost",
          "dream": "a dream", "magic": "magic", "birthday": "a birthday", "rain": "a rainy day"}
NOT_NAMES = set("""A An And As At But Can Come Did Do For From Good He Hello Her Hey Hi His How I If
In Is It Let Mama Mom Mommy Mum Mummy My No Of Oh Okay On One Once Papa Dad Daddy Please She So Thank
Thanks That The Their Then There They This To Too We What When Where Who Why Will With Yes You Your
Look Wow Mr Mrs Miss Grandma Grandpa""".split())

Facts = collections.namedtuple("Facts", "hero kind place object moral happy words")


def words_of(text):
    return re.findall(r"[a-z]+", text.lower())


def document_frequencies(stories):
    """In how many stories each word occurs."""
    counts = collections.Counter()
    for story in stories:
        counts.update(set(words_of(story)))
    return counts


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def facts_of(story, frequencies, count):
    """What `story` is about, as Facts; a member is "" (or [] for words) where nothing was found."""
    named = re.search(r"\b(?:a|an) ((?:[a-z]+,? ){0,2})([a-z]+) (?:named|called) ([A-Z][a-z]+)", story)
    kind, hero = "", ""
    if named and named[2] in HEROES:
        adjective = named[1].replace(",", "").split()
        kind = " ".join(adjective[-1:] + [named[2]])
        hero = named[3]
    else:
        there = re.search(r"\bthere (?:was|lived) (?:a|an) ((?:[a-z]+ )?)([a-z]+)", story)
        if there and there[2] in HEROES:
            kind = (there[1] + there[2]).strip()
    if not hero:
        names = collections.Counter(w for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", story)
                                    if w not in NOT_NAMES)
        if names and names.most_common(1)[0][1] >= 2:
            hero = names.most_common(1)[0][0]
    place = next((m[1] for m in re.finditer(r"\b(?:in|at|to|near|into) (?:the|a|an) (?:[a-z]+ )?([a-z]+)",
                                            story) if m[1] in PLACES), "")
    found = collections.Counter(words_of(story))
    objects = [w for w in OBJECTS if found[w] >= 2 and w not in kind.split() and w != place]
    thing = max(objects, key=lambda w: found[w], default="")
    moral = next((text for word, text in MORALS.items() if found[word] >= 2), "")
    last = story[-220:].lower()
    happy = "happy" in last or "happily" in last or "smiled" in last
    least, most = count * 0.002, count * 0.08
    words = sorted(w for w in found if len(w) >= 3 and least <= frequencies[w] <= most)
    return Facts(hero, kind, place, thing, moral, happy, words)


def about(facts, rng):
    """(request, what it asks for) for facts, or None where they do not suffice for the form drawn."""
    ask = [("Tell me", "a story"), ("Write", "a story"), ("Please write", "a short story"),
           ("Tell me", "a short story"), ("I want", "a story"), ("Can you tell me", "a story"),
           ("Write", "a bedtime story"), ("", "a story"), ("Tell", "a tale")]
    verb, noun = ask[rng.integers(len(ask))]
    subject, wanted = "", []
    who = facts.kind and article(facts.kind)
    if who and facts.hero and rng.random() < 0.4:
        who += f" named {facts.hero}"
        wanted += [facts.kind.split()[-1], facts.hero]
    elif who:
        wanted.append(facts.kind.split()[-1])
    elif facts.hero:
        who = facts.hero
        wanted.append(facts.hero)
    if who:
        subject = f" about {who}"
    if facts.object and (not who or rng.random() < 0.5):
        subject += f" and {article(facts.object)}" if who else f" about {article(facts.object)}"
        wanted.append(facts.object)
    if facts.place and rng.random() < (0.4 if subject else 1.0):
        preposition = "at" if facts.place in ("beach", "zoo", "school", "market") else "in"
        subject += f" {preposition} the {facts.place}"
        wanted.append(facts.place)
    if facts.moral and rng.random() < (0.15 if subject else 1.0):
        subject += (" that is about " if subject else " about ") + facts.moral
    if facts.happy and rng.random() < 0.15:
        subject += " with a happy ending"
    if not subject:
        return None
    request = f"{verb} {noun}{subject}".strip()
    return request[0].upper() + request[1:], wanted


def with_words(facts, rng):
    if len(facts.words) < 3:
        return None
    words = [str(w) for w in rng.permutation(facts.words)[:3]]
    forms = ["Write a story with the words {}, {} and {}", "Tell me a story that uses {}, {} and {}",
             "Use these words in a story: {}, {}, {}", "A story with {}, {} and {}"]
    return forms[rng.integers(len(forms))].format(*words), words


def sentence_ends(story):
    """Offsets at which a sentence of `story` has ended and another follows."""
    return [m.end() for m in re.finditer(r'[.!?]"?(?=\s)', story)]


def conversation(story, facts, rng):
    """A list of (user's text, answer) whose answers together are `story`, or its end."""
    end = lambda text: text + ("." if rng.random() < 0.6 else "")  # noqa: E731
    form = rng.random()
    ends = sentence_ends(story)
    if form < 0.20 and ends:  # a beginning, continued
        cut = ends[min(int(rng.integers(3)), len(ends) - 1)]
        if rng.random() < 0.5:  # in the middle of a sentence
            spaces = [m.start() for m in re.finditer(" ", story[:max(cut, 60)])]
            cut = spaces[int(rng.integers(2, max(3, len(spaces))))] if len(spaces) > 3 else cut
        first = story[:cut]
        lead = ["", "", "Continue: ", "Continue this story: "][rng.integers(4)]
        return [(lead + first, story[cut:].lstrip())]
    if form < 0.27:
        plain = ["Tell me a story", "Write a story", "Story please", "Tell me something",
                 "A bedtime story, please", "I want to hear a story", "Once upon a time"]
        pick = plain[rng.integers(len(plain))]
        if pick == "Once upon a time":
            return [(pick, story[len(pick):].lstrip())] if story.startswith(pick) else [("Tell me a story", story)]
        return [(end(pick), story)]
    made = with_words(facts, rng) if form < 0.45 else about(facts, rng)
    request = end((made or ("Tell me a story", []))[0])
    if len(ends) >= 6 and rng.random() < 0.25:
        cut = ends[len(ends) // 2]
        more = ["What happens next?", "Go on.", "Continue.", "And then?", "Tell me more."]
        if rng.random() < 0.4:
            cut = ends[-min(3, len(ends) - 1)]
            more = ["How does it end?", "Finish the story.", "What is the end?"]
            if facts.happy:
                more += ["Make it end happily.", "Give it a happy ending."]
        return [(request, story[:cut].rstrip()), (more[rng.integers(len(more))], story[cut:].lstrip())]
    return [(request, story)]
