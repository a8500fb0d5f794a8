"""Questions that nobody can answer from a scene of this world: what the pair must decline.

    outside(random.Random(0), unseen=False)      # "What is the price of the bus?"

Training and evaluation have lists of their own. Training also asks about words that do not exist, because there
are more unknown words than any list can hold.
"""

from __future__ import annotations

import random

from pipeline.training.phrasings import PHRASINGS, YES_NO
from pipeline.training.wording import KNOWN_WORDS, article, fill
from streams.scenes.world import CLASSES

TEMPLATES_TRAIN: tuple[str, ...] = (
    "What does the sign say?", "What is the weather like?", "How warm is it?", "Which city is this?",
    "Which country is this?", "Who recorded this?", "What will happen tomorrow?", "What day of the week is it?",
    "What is the date?", "Is anybody talking?", "What music is playing?", "Who is the president?", "Tell me a joke.",
    "Write a poem.", "What is two plus two?", "What is the capital of {country}?", "Can you open the door?",
    "Why is the {cls} here?", "What is inside the {cls}?", "What is written on the {cls}?", "Which team is winning?",
    "What is the score?", "Who won the game?", "Translate this into {language}.", "Do you like the {cls}?",
    "Are you a human?", "What is your name?", "How are you?", "What is behind the camera?", "Which camera was used?",
    "How tall is the {cls} in meters?", "Is it going to rain?", "Who is driving?", "When was the {cls} built?",
    "Who made the {cls}?", "Read the text on the wall.", "What language are they speaking?", "Call the police.",
    "Play some music.", "Turn on the light.", "How many people live here?", "What did I have for breakfast?", "Hello.",
    "What is the phone number?", "Is the {cls} new?", "How many wheels does the {cls} have?",
    "Has the {cls} been here before?", "How do I get home?", "What should I do now?", "Who owns the {cls}?",
    "How much does the {cls} cost?", "How heavy is the {cls}?", "How old is the {cls}?", "Good morning.", "Thank you.",
    "What happened yesterday?", "What will the {cls} do next?", "Why did the {cls} stop?", "Whose {cls} is that?",
    "Who are you?", "Which month is it?", "What is the news?", "Is this real?", "Do you love me?", "Stop.",
    "Explain {subject}.", "What do you know about {subject}?", "Who wrote {subject}?", "Who invented {subject}?",
    "Tell me a story about {subject}.", "Give me a recipe for {noun}.", "How do I cook {noun}?", "Buy me a {noun}.",
    "Is there a {noun}?", "Do you see a {noun}?", "Where is the {noun}?", "What color is the {noun}?",
    "How many {noun}s are there?", "Which way does the {noun} move?", "Is the {noun} open?", "Does the {noun} work?",
    "How fast is the {noun}?", "What is the {noun} doing?", "Are there any {noun}s?", "Count the {noun}s.",
    "Is the {noun} moving?", "Describe the {noun}.", "Is the {noun} red?", "Can you see the {noun}?",
    "Do you see any {noun}s?", "What is the {noun}?", "Which {noun} is this?", "Show me the {noun}.",
    "Where is the nearest {noun}?", "Tell me about the {noun}.", "In which direction does the {noun} travel?",
    "What is the {attribute} of the {cls}?", "Tell me the {attribute} of the {cls}.", "Which {attribute} is this?",
    "What is the {attribute}?", "What is the {attribute} of the {noun}?", "Do you know the {attribute}?",
    "Is the {cls} {adjective}?", "Does the {cls} look {adjective}?", "How {adjective} is the {cls}?",
    "Is it {adjective}?", "Is this {adjective}?", "Are they {adjective}?", "Is the driver {adjective}?",
    "What does the {cls} {verb}?", "Can the {cls} {verb}?", "Why does the {cls} {verb}?",
    "Where does the {cls} {verb}?",
    "Did the {cls} {verb} today?", "Who will {verb} the {cls}?", "Can you {verb}?", "Did you {verb} the {noun}?",
    "What did the {cls} {verb}?", "When will the {cls} {verb}?", "Please {verb} the {cls}.", "Should I {verb} it?",
    "What {attribute} is that?", "Which {noun} does the {cls} {verb}?", "Please {verb} a {noun}.", "Draw a {noun}.",
    "What sort of {noun} is that?", "How do you {verb} a {noun}?", "Can you {verb} {subject}?", "Do you {verb}?",
    "Who is the {noun} of {country}?", "What is three plus five?", "How much is nine minus four?",
    "Is {subject} {adjective}?", "Where did they {verb} the {cls}?", "Which {noun} was it?",
    "What make of {cls} is it?", "Tell me the {attribute}.", "How many {attribute}s does it have?",
    "When is the {cls} {adjective}?", "What do {noun}s {verb}?", "Will it {verb} soon?",
    "Will the {noun} {verb} tomorrow?", "What is the plot of {subject}?", "Whom did you {verb}?",
    "Which {noun} company is it?", "Does the {noun} ever stop?", "What is the smell of {noun}?", "Wake up.",
    "Did the {noun} come by?", "Is a {noun} to be seen?", "Would you say it is {adjective}?", "Where do you live?",
    "Who painted the {cls}?", "What comes after the {noun}?", "Is the {attribute} {adjective}?", "Write a {noun}.",
    "Which planet is this?", "Whose {noun} is it?", "How was your day?", "Let us {verb}.", "What {noun} is it made of?")
TEMPLATES_TEST: tuple[str, ...] = (
    "What is the licence plate?", "Who is the owner of this {cls}?", "What age is the {cls}?",
    "What is the {cls} called?",
    "Would you call the {cls} {adjective}?", "Do you know the {cls}'s {attribute}?", "What town is this?",
    "Who filmed this?",
    "What year is it?", "Can you hear anything?", "Sing a song.", "What is seven times eight?",
    "Is there a {noun} here?",
    "Can you find the {noun}?", "Can a {noun} be seen here?", "Does the {noun} hurry?", "What is up with the {noun}?",
    "Who is the mayor of {country}?", "Which company built the {cls}?", "Does the {cls} ever {verb}?",
    "What is the title of the book?", "How do you feel?", "Read the sign.", "Is the {noun} broken?",
    "What is the use of {subject}?", "What is the taste of {noun}?", "Where will the {cls} be next week?",
    "Will the {cls} {verb} again?", "How many {noun}s came by?", "What kind of {noun} is it?")
"""Questions that only evaluation asks; its nouns, attributes, adjectives, verbs and subjects are its own too."""

COUNTRIES = ("France", "Japan", "Brazil", "Kenya", "Norway", "India", "Peru", "Spain")
LANGUAGES = ("French", "German", "Spanish", "Chinese", "Latin")
SUBJECTS = {False: ("gravity", "history", "the internet", "chess", "the rules", "electricity", "Hamlet", "algebra",
                    "politics", "the moon", "dinosaurs", "music", "religion", "money", "physics", "art", "the past"),
            True: ("philosophy", "the ocean", "economics", "geometry", "magnets")}
NOUNS = {False: (
        "giraffe", "sofa", "window", "bridge", "river", "tower", "lamp", "bottle", "chair", "table", "zebra", "lion",
        "tiger", "monkey", "piano", "violin", "book", "computer", "television", "bread", "cheese", "knife", "spoon",
        "ladder", "fence", "church", "castle", "tent", "canoe", "tram", "scooter", "skateboard", "hat", "shoe", "shirt",
        "mirror", "candle", "bucket", "shovel", "robot", "statue", "fountain", "policeman", "teacher", "crocodile",
        "kangaroo", "spider", "ant", "frog", "eagle", "house", "tree", "flower", "mountain", "cloud", "star", "door",
        "roof", "garden", "road", "station", "shop", "market", "school", "hospital", "factory", "farm", "barn",
        "stable", "sheep", "goose", "chicken", "hamster", "parrot", "owl", "swan", "fox", "bear", "deer", "moose",
        "beaver", "lizard", "dinosaur", "unicorn", "ghost", "angel", "king", "queen", "soldier", "sailor", "farmer",
        "baker", "nurse", "judge", "thief", "band", "dancer", "singer", "painter", "radio", "printer", "keyboard",
        "screen", "cable", "battery", "engine", "wheel", "tire", "pedal", "brake", "trailer", "van", "taxi",
        "ambulance", "crane", "digger", "anchor", "rope", "net", "hook", "chain", "nail", "screw", "drill", "axe",
        "rake", "broom", "sponge", "towel", "soap", "brush", "comb", "ring", "necklace", "watch", "belt", "glove",
        "scarf", "coat", "sock", "pants", "skirt", "dress", "suitcase", "bag", "box", "basket", "jar", "plate", "bowl",
        "glass", "fork", "oven", "stove", "sink", "bathtub", "toilet", "bed", "blanket", "curtain", "carpet", "shelf",
        "drawer", "desk", "poster", "picture", "letter", "stamp", "coin", "wallet", "ticket", "map", "pencil", "pen",
        "ruler", "eraser", "notebook", "globe", "telescope", "microscope", "magnet", "bell", "drum", "flute", "trumpet",
        "harp", "doll", "puzzle", "dice", "card", "chessboard", "tennis", "racket", "goal", "ski", "sled", "snowman",
        "igloo", "cactus", "palm", "rose", "tulip", "sunflower", "lemon", "orange", "pear", "peach", "cherry", "melon",
        "tomato", "potato", "onion", "pepper", "corn", "bean", "egg", "sausage", "sandwich", "cookie", "candy"),
         True: (
        "panda", "camel", "bench", "mailbox", "backpack", "flagpole", "wheelchair", "submarine", "shark", "goat",
        "pillow", "fridge", "newspaper", "dragon", "volcano", "parachute", "doctor", "hedgehog", "squirrel",
        "lighthouse", "windmill", "saxophone", "pancake", "pineapple")}
ATTRIBUTES = {False: (
        "price", "brand", "age", "name", "owner", "height", "width", "temperature", "smell", "material", "model",
        "number", "history", "purpose", "engine", "driver", "address", "shape", "meaning", "sound", "language", "song",
        "password", "email", "destination", "origin", "value", "quality", "texture", "mass", "volume", "gender",
        "nationality", "team", "result", "winner", "reason", "cause", "density", "voltage", "mileage", "warranty",
        "insurance", "licence", "plate", "manufacturer", "title", "author", "date", "year", "mood", "feeling",
        "opinion", "job", "salary", "hobby", "religion"),
              True: ("weight", "taste", "serial number", "birthday", "nickname", "horsepower", "rent", "country")}
ADJECTIVES = {False: (
        "happy", "angry", "hungry", "tired", "dangerous", "expensive", "cheap", "old", "new", "broken", "clean",
        "dirty", "heavy", "hot", "cold", "warm", "wet", "dry", "friendly", "rich", "poor", "famous", "smart", "stupid",
        "sick", "healthy", "alive", "dead", "electric", "wooden", "plastic", "soft", "hard", "sharp", "sweet", "sour",
        "loud", "quiet", "legal", "safe", "beautiful", "ugly", "male", "female", "young", "married", "lost", "full",
        "empty", "locked"),
              True: ("sad", "thirsty", "rusty", "poisonous", "lonely", "stolen", "edible", "jealous")}
VERBS = {False: (
        "eat", "drink", "think", "say", "want", "sell", "buy", "cook", "read", "write", "sing", "dance", "sleep",
        "dream", "learn", "teach", "build", "break", "fix", "paint", "wash", "win", "lose", "steal", "find", "hide",
        "remember", "forget", "know", "believe", "love", "hate", "marry", "call", "answer", "ask", "pay", "earn",
        "cost", "hear", "smell", "taste", "touch", "grow", "die", "wear", "use", "need", "like", "prefer", "vote",
        "pray", "lie", "cry", "laugh"),
         True: ("weigh", "celebrate", "borrow", "study", "whisper", "cure", "invent", "fear")}
SYLLABLES = (
    "ba", "bo", "bri", "ca", "clo", "da", "dre", "fa", "flo", "gri", "gu", "ha", "ho", "ka", "kle", "lo", "ma",
    "mi", "mu", "na", "no", "pa", "pli", "ra", "ro", "sa", "sno", "ta", "to", "tru", "va", "vo", "wa", "wo", "ya",
    "zo", "lin", "mer", "tan", "dor", "vel", "nip", "gos", "rak", "sil", "bum")
ENDINGS = ("", "", "er", "ing", "y", "le", "n", "t", "k", "sh", "rd", "x", "p")
INVENTED = 0.45
"""Share of training's blanks that are filled with a word that does not exist."""

ABOUT_A_CLASS = tuple(text for texts in (*PHRASINGS.values(), *YES_NO.values()) for text in texts
                      if ("{cls}" in text or "{plural}" in text) and "{colour}" not in text and "{way}" not in text)
FAMILIAR = 0.35
"""Share of training's questions that only differ from one about a class in the thing asked about."""


def outside(rng: random.Random, unseen: bool = False) -> str:
    """A question that cannot be answered from a scene; unseen: from the lists that training never draws from."""
    if not unseen and rng.random() < FAMILIAR:
        thing = invented(rng) if rng.random() < INVENTED else rng.choice(NOUNS[False])
        return fill(rng.choice(ABOUT_A_CLASS), thing)
    template = rng.choice(TEMPLATES_TEST if unseen else TEMPLATES_TRAIN)

    def word(table: dict[bool, tuple[str, ...]]) -> str:
        return invented(rng) if not unseen and rng.random() < INVENTED else rng.choice(table[unseen])

    noun = word(NOUNS)
    text = template.format(cls=rng.choice(CLASSES), noun=noun, attribute=word(ATTRIBUTES), adjective=word(ADJECTIVES),
                           verb=word(VERBS), subject=rng.choice(SUBJECTS[unseen]), country=rng.choice(COUNTRIES),
                           language=rng.choice(LANGUAGES))
    return text.replace(f"a {noun}", article(noun))


def invented(rng: random.Random) -> str:
    """A word that this world does not know, easy to pronounce."""
    while True:
        word = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3))) + rng.choice(ENDINGS)
        if word not in KNOWN_WORDS:
            return word
