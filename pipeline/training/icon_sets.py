"""Which icon sets training shows, what their pictures of our classes are called there, and under which licences.

`twemoji` is never trained on. Each set is the npm package @iconify-json/STYLE.
"""

from __future__ import annotations

TRAIN_STYLES = ("noto", "noto-v1", "openmoji", "fluent-emoji-flat", "emojione", "fxemoji", "fluent-emoji",
                "fluent-emoji-high-contrast", "emojione-v1", "emojione-monotone", "streamline-emojis", "game-icons")
"""Icon sets that training draws from."""

MONOTONE = ("fluent-emoji-high-contrast", "emojione-monotone", "game-icons")
"""Sets of one ink; their pictures get paper inside, and ink and paper get colours when they are drawn."""

TEST_STYLE = "twemoji"
"""Icon set that is never trained on: recognising its pictures is the test."""

PACKAGES = {"noto": "1.2.9", "noto-v1": "1.2.5", "openmoji": "1.2.29", "fluent-emoji-flat": "1.2.6",
            "emojione": "1.2.3", "fxemoji": "1.2.2", "fluent-emoji": "1.2.7", "fluent-emoji-high-contrast": "1.2.6",
            "emojione-v1": "1.2.3", "emojione-monotone": "1.2.1", "streamline-emojis": "1.2.4", "game-icons": "1.2.4",
            "twemoji": "1.2.5"}
"""Version of the npm package @iconify-json/STYLE that each style is taken from."""

LICENCES = {
    "noto": "Apache-2.0 (Apache 2.0): Noto Emoji, Google Inc",
    "noto-v1": "Apache-2.0 (Apache 2.0): Noto Emoji (v1), Google Inc",
    "openmoji": "CC-BY-SA-4.0 (CC BY-SA 4.0): OpenMoji, OpenMoji",
    "fluent-emoji-flat": "MIT (MIT): Fluent Emoji Flat, Microsoft Corporation",
    "emojione": "CC-BY-4.0 (CC BY 4.0): Emoji One (Colored), Emoji One",
    "fxemoji": "Apache-2.0 (Apache 2.0): Firefox OS Emoji, Mozilla",
    "fluent-emoji": "MIT (MIT): Fluent Emoji, Microsoft Corporation",
    "fluent-emoji-high-contrast": "MIT (MIT): Fluent Emoji High Contrast, Microsoft Corporation",
    "emojione-v1": "CC-BY-SA-4.0 (CC BY-SA 4.0): Emoji One (v1), Emoji One",
    "emojione-monotone": "CC-BY-4.0 (CC BY 4.0): Emoji One (Monotone), Emoji One",
    "streamline-emojis": "CC-BY-4.0 (CC BY 4.0): Streamline Emojis, Streamline",
    "game-icons": "CC-BY-3.0 (CC BY 3.0): Game Icons, GameIcons",
    "twemoji": "CC-BY-4.0 (CC BY 4.0): Twitter Emoji, Twitter",
}
"""SPDX identifier (title): set, author; as each package's info.json says."""

NAMES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in (
        "bicycle", "tractor", "helicopter", "rocket", "sailboat", "horse", "cow", "elephant", "fish", "turtle",
        "snail", "butterfly", "snake", "penguin", "duck", "octopus", "crab", "trophy", "kite", "hammer", "wrench",
        "key", "umbrella", "guitar", "banana", "hamburger", "carrot", "strawberry", "mushroom",
        "balloon", "bus", "motorcycle")},
    "photo camera": ("camera",), "bunch of grapes": ("grapes",),
    "train": ("locomotive", "steamlocomotive"), "pig": ("pigside", "pig"), "rabbit": ("rabbit", "bunnyside"),
    "bee": ("honeybee",), "whale": ("spouting-whale", "spurtingwhale"),
    "football": ("american-football", "americanfootball"), "pair of scissors": ("scissors", "blackscissors"),
    "clock": ("alarm-clock", "alarmclock"), "telephone": ("telephone", "blacktelephone"),
    "apple": ("red-apple", "redapple"), "pizza": ("pizza", "sliceofpizza"), "cake": ("shortcake",),
    "car": ("automobile",), "truck": ("delivery-truck", "deliverytruck"), "dog": ("dogside", "dog"),
    "cat": ("catside", "cat"), "bird": ("bird",), "plane": ("airplane",),
}
"""Class -> names of its picture in the icon sets; the first one that a set has is taken."""

STYLE_NAMES: dict[tuple[str, str], str | None] = {
    ("openmoji", "truck"): "articulated-lorry",         # its delivery truck is a van
    ("emojione", "motorcycle"): "motor-scooter",        # its motorcycle has a rider
    ("fxemoji", "bird"): "doveofpeace",                 # its bird is a head
    ("fxemoji", "umbrella"): "umbrellawithraindrops",   # its umbrella is closed
    ("fxemoji", "sailboat"): None,                      # on an opaque square of sea and sky
    **{("streamline-emojis", cls): name for cls, name in (
        ("penguin", "penguin-1"), ("hamburger", "hamburger-1"), ("strawberry", "strawberry-1"), ("pizza", "pizza-1"),
        ("cake", "birthday-cake-1"), ("bird", "bird-1"), ("fish", "tropical-fish"))},
    **{("game-icons", cls): name for cls, name in (
        ("tractor", "farm-tractor"), ("hammer", "claw-hammer"), ("photo camera", "photo-camera"), ("bee", "bee"),
        ("whale", "sperm-whale"), ("football", "american-football-ball"), ("apple", "shiny-apple"),
        ("pizza", "pizza-slice"), ("cake", "cake-slice"), ("car", "city-car"), ("truck", "truck"),
        ("dog", "sitting-dog"), ("train", "steam-locomotive"), ("bird", "hummingbird"), ("cat", "cat"))},
}
"""(style, class) -> name to take instead, where the set's picture of the usual name is a poor one; None = take none."""
