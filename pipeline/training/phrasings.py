"""How people ask: at least eight phrasings of every kind of question, and other words for things.

{cls}, {plural}: a class; {colour}; {way}: a direction; {time}: a time of day.
"""

from __future__ import annotations

PHRASINGS: dict[str, tuple[str, ...]] = {
    "brief": ("What is happening?", "Describe the scene briefly.", "Give a short caption.", "What do you see?",
              "Summarize this clip in one sentence.", "Caption this.", "What is going on?", "What happens here?",
              "Say in one sentence what you see.", "Short caption, please."),
    "detailed": ("Describe the scene in detail.", "Give a detailed description of the clip.",
                 "Please describe everything that happens.", "Tell me in detail what is going on.",
                 "Write a detailed caption.", "Describe everything you see.", "Give me all the details.",
                 "Describe this in full detail.", "What exactly can be seen? Be detailed."),
    "change": ("What changed since the last window?", "What has changed?", "What is new?", "Did anything change?",
               "What is different from before?", "Tell me what changed.", "Has anything appeared or left?",
               "What is different now?", "Anything new since the last time?"),
    "count": ("How many objects are there?", "How many things can you see?", "Count the objects.",
              "What is the number of objects in the scene?", "How many things are in view?", "Count everything.",
              "Tell me how many objects you see.", "How many objects do you count?", "What is the object count?"),
    "count_class": ("How many {plural} are there?", "Count the {plural}.", "How many {plural} do you see?",
                    "Tell me the number of {plural}.", "What is the number of {plural}?",
                    "How many {plural} can be seen?", "How many {plural} are in view?",
                    "Give me the count of {plural}."),
    "count_colour": ("How many {colour} objects are there?", "How many {colour} things do you see?",
                     "Count the {colour} objects.", "Tell me the number of {colour} objects.",
                     "How many things are {colour}?", "How many objects are {colour}?",
                     "How many {colour} things are in view?", "What is the number of {colour} things?"),
    "existence": ("Is there a {cls}?", "Can you see a {cls}?", "Do you see any {plural}?", "Is a {cls} visible?",
                  "Are there any {plural}?", "Is there a {cls} in the scene?", "Does a {cls} appear?",
                  "Do you see a {cls}?", "Any {plural} here?"),
    "direction": ("Which direction is the {cls} moving?", "Where is the {cls} going?",
                  "Is the {cls} moving left or right?", "In what direction does the {cls} travel?",
                  "Which way does the {cls} move?", "Where is the {cls} heading?",
                  "What is the direction of the {cls}?", "Which way is the {cls} going?"),
    "colour": ("What color is the {cls}?", "What is the color of the {cls}?", "Tell me the color of the {cls}.",
               "Which color does the {cls} have?", "What colour is the {cls}?", "Which colour is the {cls}?",
               "Name the color of the {cls}.", "Can you tell the color of the {cls}?"),
    "speed": ("How fast is the {cls}?", "Is the {cls} moving fast or slowly?", "What is the speed of the {cls}?",
              "Does the {cls} move quickly?", "How quickly does the {cls} move?", "How fast does the {cls} go?",
              "Is the {cls} fast?", "Tell me how fast the {cls} is moving."),
    "position": ("Where is the {cls}?", "In which part of the picture is the {cls}?", "Where can I find the {cls}?",
                 "What is the position of the {cls}?", "Where in the view is the {cls}?", "Locate the {cls}.",
                 "Tell me where the {cls} is.", "In which corner is the {cls}?"),
    "place": ("Where is this?", "What kind of place is this?", "What is the setting?", "Is this indoors or outdoors?",
              "Which place is shown?", "Where was this recorded?", "What is the location?",
              "What sort of place do you see?"),
    "time": ("Is it day or night?", "What time of day is it?", "Is this scene bright or dark?",
             "Was this recorded at night?", "Is it dark outside?", "When was this recorded, by day or at night?",
             "Tell me the time of day.", "Is it daytime, dusk or night?"),
    "fastest": ("Which object is the fastest?", "What moves fastest?", "Which one is moving the quickest?",
                "What is the fastest thing?", "Name the fastest object.", "Which thing has the highest speed?",
                "Who is the fastest?", "Tell me which object moves fastest."),
    "largest": ("Which object is the largest?", "What is the biggest thing?", "Which one is the largest?",
                "Name the largest object.", "What looks biggest?", "Which thing takes up the most space?",
                "Tell me which object is the largest.", "What is the largest object in view?"),
    "leftmost": ("Which object is leftmost?", "What is furthest to the left?", "Which one is on the far left?",
                 "Name the leftmost object.", "What is the leftmost thing?", "Which object is most to the left?",
                 "Tell me what is furthest left.", "What do you see on the far left side?"),
    "activity": ("What is the {cls} doing?", "Describe the {cls}.", "What does the {cls} do?",
                 "Tell me about the {cls}.", "What is going on with the {cls}?", "What about the {cls}?",
                 "Describe what the {cls} does.",
                 "Say something about the {cls}."),
}
"""By kind; "yes_no" and "outside" have tables of their own."""

YES_NO: dict[str, tuple[str, ...]] = {
    "moving": ("Is the {cls} moving?", "Does the {cls} move?", "Is the {cls} in motion?",
               "Is that {cls} moving?"),
    "colour": ("Is the {cls} {colour}?", "Is the color of the {cls} {colour}?", "Does the {cls} look {colour}?",
               "Is that {cls} {colour}?"),
    "direction": ("Is the {cls} moving {way}?", "Does the {cls} move {way}?", "Is the {cls} going {way}?",
                  "Is that {cls} moving {way}?"),
    "anything": ("Is anything moving?", "Does anything move?", "Is there any movement?", "Is something moving?"),
    "time": ("Is it {time}?", "Is this scene at {time}?", "Was it {time} when this was recorded?",
             "Is it {time} here?"),
    "camera moving": ("Is the camera moving?", "Does the camera move?"),
    "camera shaking": ("Does the camera shake?", "Is the camera shaking?", "Is the picture shaking?"),
    "camera still": ("Is the camera still?", "Does the camera stand still?"),
}
"""Yes or no, by topic: the answer repeats what is true, so that a "No" says more than no."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "car": ("automobile", "auto"), "truck": ("lorry",), "bus": ("coach",), "motorcycle": ("motorbike",),
    "pedestrian": ("person", "walker"), "cyclist": ("biker", "bike rider"), "dog": ("puppy", "hound"),
    "cat": ("kitten", "kitty"), "drone": ("quadcopter", "uav"), "plane": ("airplane", "aircraft", "jet"),
    "bicycle": ("bike",), "pair of scissors": ("scissors",), "bunch of grapes": ("grapes",),
    "train": ("locomotive",), "helicopter": ("chopper",), "sailboat": ("sailing boat",),
    "rabbit": ("bunny",), "trophy": ("cup",), "wrench": ("spanner",),
    "telephone": ("phone",), "hamburger": ("burger",), "horse": ("pony",), "rocket": ("spaceship",)}
"""Other words for classes that people use and the answers do not."""
