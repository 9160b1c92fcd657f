"""A test collection: needs, and which products answer them.

Judged by rule: a need is written for a kind of product, and the products of that kind are relevant, all others are not. Fifty
needs are made from the catalogue itself, a product's title with the value of one of its options; the others are written by
hand, most of them without a word of the product's title. They are for the retail catalogue of the tau2 benchmark (50 products
without descriptions) and for the example store (16 products with descriptions); written before anything was measured.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RETAIL = Path(__file__).parents[4] / "shared" / "data" / "feeds" / "retail_acp" / "products.jsonl"


class Judged(NamedTuple):
    """A need, and the ids of the products that answer it."""

    need: str
    relevant: frozenset[str]


_RETAIL_WANTED = """
Electric Kettle, Tea Kettle: something to boil water for tea | a kettle that keeps quiet | water boiler for the kitchen
Mechanical Keyboard: a clicky thing to type on | keys for my desk with a tactile feel | keyboard for a programmer
Vacuum Cleaner: I want to hoover up dog hair | a robot that cleans the floor | cordless hoover
Smartphone: a new mobile phone | cell phone with lots of storage | an android handset
Jigsaw Puzzle: a rainy afternoon pastime with 1000 pieces | puzzles for beginners | a brain teaser for the family
Skateboard: a board to ride in the half pipe | maple deck for tricks | skate gear for my teenager
Wall Clock: something that tells the time in the living room | an analog clock | a timepiece to hang up
Backpack: a bag for school | rucksack for hiking | a bag for carrying my laptop on my shoulders
LED Light Bulb: a lamp bulb for warm light | energy saving lighting | smart bulbs
Pet Bed: somewhere soft for my dog to sleep | a cat basket | bed for a puppy
Notebook: paper to write my diary in | a journal with a hard cover | stationery for taking notes
Indoor Security Camera: watch my house while I am away | surveillance for the home | baby monitoring cam
Action Camera: film my surfing | a waterproof cam for sports | gopro
E-Reader: read novels on a screen | an ebook device | kindle
Air Purifier: get rid of dust and pollen in the bedroom | clean air for an allergy sufferer | HEPA filter for a small room
Espresso Machine, Coffee Maker: strong Italian coffee at home | brew a cup in the morning | cappuccino maker
Yoga Mat: something to do pilates on | a rubber mat for exercise | stretching on the floor
Laptop: a portable computer for university | notebook computer with an i7 processor | PC for travelling
Bluetooth Speaker: play music at the beach | portable sound for a party | wireless loudspeaker
Office Chair: a comfortable seat for working from home | ergonomic seating | swivel chair with armrests
Smart Thermostat: control the heating from my phone | save on the gas bill | room temperature regulator
Makeup Kit: cosmetics for a professional | lipstick and eye shadow | beauty set
Luggage Set: suitcases for a long trip | travel trunks | a hardshell case with wheels
Gaming Mouse: pointing device for playing shooters | a wireless mouse | optical mice
Wristwatch, Smart Watch: something to wear on my wrist that tells the time | a watch with a leather strap | a timepiece for him
Garden Hose: water the lawn | a pipe for the plants outside | 50ft hose
Desk Lamp: light to read by at my table | a lamp for my study | USB powered light
Grill: cook sausages outdoors | a barbecue | bbq with charcoal
Perfume: a fragrance for my wife | eau de toilette | something that smells woody
Running Shoes, Sneakers: footwear for jogging | trainers | shoes for a marathon
Portable Charger: power bank | battery pack for my phone | recharge my devices on the go
Smart Watch: track my heart rate and steps | wearable with an AMOLED screen | fitness tracker
Headphones, Wireless Earbuds: listen to music on the train | noise cancelling cans | a headset
Dumbbell Set: weights for strength training | home gym equipment | lift iron to build muscle
Sunglasses: protect my eyes in summer | shades with polarized lenses | eyewear for the beach
Electric Toothbrush: brush my teeth better | dental care | oral hygiene with rechargeable battery
Hiking Boots: footwear for the mountains | waterproof boots | trekking shoes
Sneakers: casual canvas shoes | gym shoes | leather kicks
Cycling Helmet: protect my head on the bike | headgear for cyclists | ventilated helmet
Coffee Maker: filter coffee for four people | french press | drip machine
Tablet: a touch screen bigger than a phone | an ipad | watch movies in bed on a small screen
Water Bottle: a flask for the gym | something to drink from on a hike | stainless steel drinking vessel
Fleece Jacket: a warm top for autumn | winter coat | half zip pullover
Bookshelf: furniture to store novels | shelves for the living room | a wooden bookcase
Digital Camera: take photos on holiday | photography for a beginner | camera with 10x zoom
T-Shirt: a cotton top | tee with a v-neck | casual clothing for summer
Patio Umbrella: shade for the terrace | parasol | keep the sun off the garden table
Bicycle: a bike for commuting | cycle for mountain trails | two wheels for my daughter
Tea Kettle: a ceramic pot for brewing tea | whistling pot for the stove | glass teapot for induction
Wireless Earbuds: earphones without a cable | airpods | in-ear buds for the gym
"""

_STORE_WANTED = """
hp-kettle: a quiet kettle | boil water in the morning without waking anyone | pour slowly for filter coffee
hp-kettle, hp-stovetop: a kettle | hot water for tea | something for brewing tea
hp-stovetop: an enamel pot that whistles | kettle for a gas hob | stovetop kettle for induction
hp-grinder: grind my own beans | an espresso mill | coffee grinder that is easy to clean
hp-pourover: filter coffee set | a glass carafe with dripper | slow coffee for a friend
hp-mug: a cup for my coffee | a mug that can go in the dishwasher | stoneware to drink from
hp-pan, hp-casserole: cookware for the oven | something to fry or braise in | pots and pans
hp-pan: a skillet | fry an egg | light frying pan for induction
hp-casserole: a dutch oven | stew for six people | big pot with a lid
hp-knife: a sharp blade for vegetables | Japanese chef's knife | something to chop with
hp-board: a chopping board | cutting board in maple | wood to cut on
hp-apron: protect my clothes while cooking | work wear of waxed cotton | an apron
hp-towel: dish cloths | dry the glasses | Irish linen
hp-lamp: light for the terrace | a rechargeable lamp | dim lighting for the table
hp-throw: a warm blanket | wool for the sofa | keep me cosy in winter
hp-candle: a nice scent for the living room | wax with a wick | smell of the forest
hp-basket: store firewood | something woven | a basket with handles
hp-clock: when is high water | a clock for a sailor | know the time on the wall
"""


def retail() -> list[Judged]:
    """The needs for the retail catalogue. Raises OSError where it is not there."""
    with RETAIL.open(encoding="utf-8") as lines:
        products = [json.loads(line) for line in lines]
    ids = {product["title"]: product["id"] for product in products}
    named = [Judged(need, frozenset({product["id"]})) for product in products if (need := _named(product))]
    return [*named, *_written(_RETAIL_WANTED, ids)]


def store() -> list[Judged]:
    """The needs for the example store."""
    return list(_written(_STORE_WANTED, None))


def _named(product: dict[str, object]) -> str | None:
    """A title with an option of the first variant that can be bought."""
    variants: list[dict[str, dict[str, bool]]] = product["variants"]  # type: ignore[assignment]
    for variant in variants:
        if variant["availability"]["available"]:
            value = variant["variant_options"][0]["value"]  # type: ignore[index]
            return f"a {product['title']} with {value}"
    return None


def _written(text: str, ids: dict[str, str] | None) -> Iterator[Judged]:
    for line in text.strip().splitlines():
        titles, needs = line.split(": ", 1)
        relevant = frozenset(ids[title] if ids is not None else title for title in titles.split(", "))
        for need in needs.split(" | "):
            yield Judged(need, relevant)
