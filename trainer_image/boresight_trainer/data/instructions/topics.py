"""What instructions are about. A topic belongs to one side of the split for good, so no seed can mix the sides."""

from __future__ import annotations

from dataclasses import dataclass

from .constraint import Pool, Split
from .text import words

FORMS = Pool(
    train=("Describe {topic}.", "Tell me about {topic}.", "Say something about {topic}.", "Write about {topic}."),
    evaluation=("Give a fact about {topic}.", "What can you say about {topic}?", "Share a thought about {topic}."),
)
"""Requests that a constraint follows."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic by its name in prompts, and beginnings of words of which an answer about it contains one."""

    name: str
    keywords: tuple[str, ...]

    def named_in(self, response: str) -> bool:
        """Whether a word of ``response`` begins with one of the keywords."""
        return any(word.casefold().startswith(self.keywords) for word in words(response))


def topics(split: Split) -> tuple[Topic, ...]:
    """The topics of one side."""
    return _TRAIN if split is Split.TRAIN else _EVALUATION


def _parse(lines: str) -> tuple[Topic, ...]:
    pairs = (line.split(":") for line in lines.strip().splitlines())
    return tuple(Topic(name.strip(), tuple(keywords.split())) for name, keywords in pairs)


_TRAIN = _parse("""
the sea: sea ocean water wave
bread: bread bak flour loaf dough
bicycles: bicycl bike cycl
the moon: moon lunar
winter: winter cold snow season
libraries: librar book
cats: cat kitten feline
chess: chess game board
rain: rain water weather
the heart: heart blood
trains: train rail
coffee: coffee caffe
forests: forest tree wood
the internet: internet online web network
bees: bee honey hive
mountains: mountain peak climb
music: music song sound
schools: school student learn teach
soap: soap clean wash
gold: gold metal
rivers: river water flow
dogs: dog pup canine
clocks: clock time hour
football: football soccer ball team
tea: tea drink
deserts: desert sand dry
doctors: doctor patient medic health
rice: rice grain
airplanes: airplane plane fly flight
glass: glass transparent
dreams: dream sleep
salt: salt
horses: horse rid
bridges: bridge cross
the brain: brain mind think
summer: summer warm sun season
paper: paper write wood
fish: fish water swim
money: money buy currency
snow: snow cold winter
potatoes: potato
telephones: telephone phone call
dancing: danc music
farmers: farm crop
volcanoes: volcano lava erupt
milk: milk cow dairy
teeth: teeth tooth
elephants: elephant
maps: map place direction
sleep: sleep rest
cheese: cheese milk
wind: wind air blow
museums: museum art
shoes: shoe feet foot wear
apples: apple fruit
robots: robot machine
islands: island water land
candles: candle light wax
families: famil parent
birthdays: birthday celebrat born
cars: car vehicle driv
poetry: poet poem
friendship: friend
computers: computer machine
""")  # fmt: skip
_EVALUATION = _parse("""
the sun: sun star light
butterflies: butterfl wing insect
oranges: orange fruit
lakes: lake water
painting: paint art color colour
trees: tree leaves wood
kitchens: kitchen cook food
cows: cow milk cattle
autumn: autumn fall leaves season
stars: star sky light
eggs: egg chicken
swimming: swim water
castles: castle king
ships: ship boat sea sail
newspapers: newspaper news
bananas: banana fruit
penguins: penguin bird
gardens: garden plant flower
pencils: pencil writ draw
thunder: thunder lightning storm
honey: honey bee sweet
photography: photo picture image camera
wolves: wolf wolves
markets: market buy sell
sugar: sugar sweet
tigers: tiger cat
beaches: beach sand sea
guitars: guitar music string
spiders: spider web
hospitals: hospital doctor patient health
cooking: cook food
owls: owl bird
ice: ice cold water
baseball: baseball ball game
""")  # fmt: skip
